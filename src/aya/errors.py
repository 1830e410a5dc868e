"""Every error a person of AYA can meet, as one tree.

AyaError
├── UsageError             the call itself is wrong (exit 2)
├── ConfigError            aya.toml, the environment or AYA_HOME is wrong
├── DocumentError          one document or file cannot be taken or found
├── DatabaseError
│   ├── DatabaseUnavailable    down, refused, or lost on the way (retryable)
│   │   └── NoneAnswers            no server answers, but one that is silent may yet (retryable)
│   ├── DatabaseFull           out of disk, memory or connections (retryable)
│   ├── DatabaseConflict       two changes got in each other's way (retryable)
│   ├── DatabaseReadOnly       a standby was asked to write
│   ├── DatabaseRefused        the role may not do this, or the password is wrong
│   └── SchemaMismatch         the database was migrated by another version of AYA
├── OutcomeUnknown         a change was sent, and nobody can say whether it is kept (retryable)
├── EmbedderError
│   ├── EmbedderUnavailable    down or too slow (retryable)
│   ├── EmbedderOverloaded     answered 429 or 503 (retryable)
│   ├── TextTooLong            over the model's window, and the caller refused truncation
│   └── ModelMismatch          its vectors must not be mixed with those in the database
│       └── ModelNotLoaded     it has not loaded the model whose vectors were asked for
├── WatchdogError          a watchdog refused an order, or its nodes did not get there
│   └── WatchdogUnavailable    none runs here, or it does not answer (retryable)
├── BackupError            a base backup or an archive is not there, or not what it should be
├── ServiceManagerError    launchd or systemd refused, or does not answer
├── SyncError              AIR and its primary are not in sync, or this is neither of them
└── PostgresError          a cluster of ours cannot be made, started, stopped or found

The message says what happened and why; `hint` is the next command to type; `retryable` says whether
the same call may succeed later without anybody's help.
"""

from __future__ import annotations

EXIT_FAILED = 1
EXIT_USAGE = 2
EXIT_DEGRADED = 3


class AyaError(Exception):
    """Something AYA can explain: what, why and the next command."""

    retryable = False
    exit_code = EXIT_FAILED

    def __init__(self, message: str, *, hint: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.hint = hint


class UsageError(AyaError):
    """The call itself is wrong; nothing was done."""

    exit_code = EXIT_USAGE


class ConfigError(AyaError):
    """A setting is missing, malformed or contradicts another."""


class DocumentError(AyaError):
    """One document cannot be taken in, changed or found; the others are not concerned."""


class DatabaseError(AyaError):
    """The database answered with an error."""


class DatabaseUnavailable(DatabaseError):
    """The database cannot be reached, or the connection was lost."""

    retryable = True


class NoneAnswers(DatabaseUnavailable):
    """No server answers, but one of them is silent, and may yet: a failover may be under way."""


class DatabaseFull(DatabaseError):
    """The database is out of disk space, memory or connections."""

    retryable = True


class DatabaseConflict(DatabaseError):
    """Two changes got in each other's way and the server ended this one; nothing of it was kept."""

    retryable = True


class DatabaseReadOnly(DatabaseError):
    """A read-only server (a standby) was asked to write."""


class DatabaseRefused(DatabaseError):
    """The role may not do this, or its password is wrong."""


class SchemaMismatch(DatabaseError):
    """The schema in the database is not the one this version of AYA knows."""


class OutcomeUnknown(AyaError):
    """A change was sent, and whether it is kept cannot be said: neither a success nor a failure.

    The same call again is safe: our writes are told apart by a key, and what is there already is not done twice.
    """

    retryable = True


class EmbedderError(AyaError):
    """The embedding service answered with an error."""

    def __init__(self, message: str, *, hint: str | None = None, status: int | None = None) -> None:
        """status: of the HTTP answer that refused; None when it was another one that says nothing of the texts."""
        super().__init__(message, hint=hint)
        self.status = status


class EmbedderUnavailable(EmbedderError):
    """The embedding service is down, or did not answer in time."""

    retryable = True


class EmbedderOverloaded(EmbedderError):
    """The embedding service has too much to do right now (429 or 503)."""

    retryable = True

    def __init__(self, message: str, *, hint: str | None = None, retry_after_seconds: float | None = None) -> None:
        """retry_after_seconds: when the service wishes to be asked again; None when it did not say."""
        super().__init__(message, hint=hint)
        self.retry_after_seconds = retry_after_seconds


class TextTooLong(EmbedderError):
    """A text is longer than the model's window, and the caller asked not to have it cut."""


class ModelMismatch(EmbedderError):
    """The embedder's vectors are not comparable with those in the database."""


class ModelNotLoaded(ModelMismatch):
    """The embedder has not loaded the model whose vectors were asked for."""


class WatchdogError(AyaError):
    """A watchdog refused an order, or what was ordered did not come about."""


class WatchdogUnavailable(WatchdogError):
    """No watchdog runs on this node, or it does not answer."""

    retryable = True


class BackupError(AyaError):
    """A base backup or the archive is missing or damaged, or cannot give what was asked for."""


class ServiceManagerError(AyaError):
    """launchd or systemd refused what was asked of it, is not there, or does not answer."""


class SyncError(AyaError):
    """The exchange between AIR and the primary cannot do what was asked for, or has not done it in time."""


class PostgresError(AyaError):
    """A PostgreSQL cluster cannot be created, started, stopped or found."""
