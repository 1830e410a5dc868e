"""What `aya status` knows, as frozen values.

The document of `aya status --json` (fields may be added; none is renamed or removed):

    {"home": "/…", "health": "healthy"|"degraded"|"down", "aya": "0.1.0",
     "nodes": [{
        "name": "alpha", "role": "primary"|"standby"|"copy",
        "dsn": "postgresql://aya_user@127.0.0.1:20001/aya_rag",       the password is left out
        "embedder_url": "http://127.0.0.1:20002",
        "data_dir": "/…"|null, "postmaster_pid": 123|null,            null: the database is not ours
        "versions": {"aya": "0.1.0", "postgresql": "18.4"|null, "pgvector": "0.8.5"|null, "schema": 2|null},
        "health": "healthy"|"degraded"|"down", "problems": ["sentence", …],
        "failover": {"condition": "SYNC", "why": "sentence", "role": "primary"|"standby", "epoch": 3, "paused": false,
                     "has_partner": true,                              what its watchdog says; null: it has none
                     "partner": {"name": "beta", "role": "standby"|null, "epoch": 3|null, "server": "running"|null,
                                 "age_seconds": 0.2|null, "lag_bytes": 0|null, "error": "…"|null}|null}|null,
        "replication": {"state": "streaming", "sync_state": "async", "lag_bytes": 0}|null,   of a standby
        "counts": {"documents": 1, "chunks": 1, "waiting": 0, "poison": 0, "overdue": 0}|null,
        "poison": [{"document_id": 1, "error": "…"}, …],              at most three of them
        "model": {"bound": {"model": "…", "fingerprint": "…"}|null,
                  "embedder": {"model": "…", "fingerprint": "…"}|null},
        "reembedding": {"model": "…", "fingerprint": "…", "source": "…", "phase": "preparing"|"running"|"paused",
                        "started_at": "…", "requested_by": "aya_user", "total": 9, "done": 4, "cut": 0, "refused": 0,
                        "rows_per_second": 12.5|null, "seconds_left": 0.4|null, "error": "…"|null}|null,
        "archive": {"mode": "always"|"on"|"off", "archived": 9, "failed": 0, "last_archived": "0000…"|null,
                    "last_failed": "0000…"|null, "failing": false}|null,
        "backups": {"count": 3, "newest": "2026-01-01T03:30:05+00:00"|null, "overdue": false, "error": "…"|null,
                    "damaged": ["20260101T033000Z"], "gap": "0000…"|null, "waiting": 0, "waiting_since": "…"|null,
                    "stuck": false}|null,
        "sync": {"condition": "following", …}|null,                   of AIR's copy, as in aya.sync.types
        "services": [{"name": "postgres", "pid": 123|null,
                      "state": "running"|"starting"|"restarting"|"stopping"|"stopped"|"exited"|"failed"|"orphaned",
                      "uptime_seconds": 12.3|null,
                      "last": {"time": "2026-01-01T00:00:00Z"|null, "event": "…"}|null}, …]
     }, …]}
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

from aya import __version__
from aya.home import Home
from aya.knowledge.models import Progress
from aya.sync.judge import told
from aya.sync.types import SyncStatus

Health = Literal["healthy", "degraded", "down"]


@dataclass(frozen=True, slots=True)
class LastEvent:
    """The last thing a log tells. time: ISO 8601 in UTC, None when the line has none."""

    time: str | None
    event: str


@dataclass(frozen=True, slots=True)
class Service:
    """One process of a node. pid: None when it does not run. uptime_seconds: since its last start."""

    name: str
    pid: int | None
    state: str
    uptime_seconds: float | None
    last: LastEvent | None


@dataclass(frozen=True, slots=True)
class Model:
    """A model's name and the fingerprint by which its vectors are told from others."""

    model: str
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Counts:
    """Rows: documents, chunks, and documents that wait for the indexer.

    Of the latter, poison: failed so often that they are only tried rarely; overdue: never tried, and long due.
    """

    documents: int
    chunks: int
    waiting: int
    poison: int
    overdue: int = 0


@dataclass(frozen=True, slots=True)
class Poison:
    """A document that failed POISON_ATTEMPTS times or more, and its last error."""

    document_id: int
    error: str


@dataclass(frozen=True, slots=True)
class Replication:
    """How a standby follows its primary. state: as in pg_stat_replication, or "disconnected", or "unknown"."""

    state: str
    sync_state: str | None = None
    lag_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Partner:
    """The other server, as a watchdog hears of it: all that is known here of one on a machine of its own.

    role, epoch, server: None while it was never heard. age_seconds: since it was. lag_bytes: how much less the standby
    of the two has.
    """

    name: str
    role: str | None
    epoch: int | None
    server: str | None
    age_seconds: float | None
    lag_bytes: int | None
    error: str | None = None


@dataclass(frozen=True, slots=True)
class Failover:
    """What a watchdog says of its node (docs/failover.md)."""

    condition: str
    why: str
    role: str
    epoch: int
    paused: bool
    has_partner: bool
    partner: Partner | None = None


@dataclass(frozen=True, slots=True)
class Archiving:
    """How the server archives its WAL: archive_mode, how often it did and failed, and the names of both last ones."""

    mode: str
    archived: int
    failed: int
    last_archived: str | None
    last_failed: str | None
    failing: bool


@dataclass(frozen=True, slots=True)
class Backups:
    """The good base backups of a node, and what its archive lacks.

    newest: when it ended. error: why the last try of the schedule failed. damaged: names of those that are no good.
    gap: the first segment that is missing behind the newest. waiting: how many segments are to be archived, and
    waiting_since when the first of them was full; stuck: that is longer ago than an archive that works takes.
    """

    count: int
    newest: str | None = None
    overdue: bool = False
    error: str | None = None
    damaged: tuple[str, ...] = ()
    gap: str | None = None
    waiting: int = 0
    waiting_since: str | None = None
    stuck: bool = False


@dataclass(frozen=True, slots=True)
class DatabaseFacts:
    """What the database says. error: why it does not answer; schema_error: why its schema is not the one expected.

    moving: how far its move to another model is. weak: settings that give up what a commit is promised, in sentences.
    """

    error: str | None = None
    postgresql: str | None = None
    pgvector: str | None = None
    is_standby: bool = False
    schema: int | None = None
    schema_error: str | None = None
    counts: Counts | None = None
    poison: tuple[Poison, ...] = ()
    bound: Model | None = None
    moving: Progress | None = None
    weak: tuple[str, ...] = ()
    archiving: Archiving | None = None


@dataclass(frozen=True, slots=True)
class EmbedderFacts:
    """What the embedder says. status: "healthy", "loading" …; None when it does not answer, and error says why."""

    status: str | None = None
    error: str | None = None
    model: Model | None = None


@dataclass(frozen=True, slots=True)
class Observation:
    """One node, as seen. role: what it was made as. replication: of a standby only. failover, backups: of a server.

    sync: of a copy. starts: the command that starts its services: launchd or systemd may look after them.
    """

    name: str
    role: str
    dsn: str
    embedder_url: str
    data_dir: str | None
    postmaster_pid: int | None
    database: DatabaseFacts
    embedder: EmbedderFacts
    services: tuple[Service, ...]
    replication: Replication | None = None
    failover: Failover | None = None
    backups: Backups | None = None
    sync: SyncStatus | None = None
    starts: str = "aya up"


@dataclass(frozen=True, slots=True)
class NodeStatus:
    """One node, judged."""

    seen: Observation
    role: str
    health: Health
    problems: tuple[str, ...] = field(default=())

    def to_json(self) -> dict[str, Any]:
        """Return the node as the document above has it."""
        seen, database = self.seen, self.seen.database
        return {
            "name": seen.name,
            "role": self.role,
            "dsn": seen.dsn,
            "embedder_url": seen.embedder_url,
            "data_dir": seen.data_dir,
            "postmaster_pid": seen.postmaster_pid,
            "versions": {
                "aya": __version__,
                "postgresql": database.postgresql,
                "pgvector": database.pgvector,
                "schema": database.schema,
            },
            "health": self.health,
            "problems": list(self.problems),
            "failover": _or_none(seen.failover),
            "replication": _or_none(seen.replication),
            "counts": _or_none(database.counts),
            "poison": [asdict(document) for document in database.poison],
            "model": {"bound": _or_none(database.bound), "embedder": _or_none(seen.embedder.model)},
            "reembedding": database.moving.to_json() if database.moving else None,
            "archive": _or_none(database.archiving),
            "backups": _or_none(seen.backups),
            "sync": told(seen.sync) if seen.sync else None,
            "services": [asdict(service) for service in seen.services],
        }


def document(home: Home, health: Health, nodes: Sequence[NodeStatus]) -> dict[str, Any]:
    """Return the document described above; pure."""
    return {
        "home": str(home.path),
        "health": health,
        "aya": __version__,
        "nodes": [node.to_json() for node in nodes],
    }


def _or_none(
    value: Failover | Counts | Replication | Model | Archiving | Backups | None,
) -> dict[str, Any] | None:
    return None if value is None else asdict(value)
