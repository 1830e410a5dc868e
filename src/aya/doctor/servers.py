"""What a running server says of itself, as frozen values; durability, versions and stale judge it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Slot:
    """A replication slot. held_bytes: of WAL that it keeps; None when it keeps none. wal_status: as the server says."""

    name: str
    active: bool
    wal_status: str | None
    held_bytes: int | None
    inactive_seconds: float | None = None


@dataclass(frozen=True, slots=True)
class Prepared:
    """A prepared transaction."""

    gid: str
    age_seconds: float


@dataclass(frozen=True, slots=True)
class Idle:
    """A session that does nothing inside a transaction."""

    pid: int
    user: str
    application: str
    idle_seconds: float


@dataclass(frozen=True, slots=True)
class Access:
    """A line of pg_hba.conf. kind: local, host, hostssl …; address: with its mask; error: why it cannot be read."""

    line: int
    kind: str
    users: str
    address: str
    method: str
    error: str | None = None


@dataclass(frozen=True, slots=True)
class RoleSetting:
    """A setting that a role or a database keeps (aya.postgres.kept). taken_back: the statement that does that."""

    whose: str
    name: str
    value: str
    taken_back: str


@dataclass(frozen=True, slots=True)
class Overridden:
    """A setting that AYA writes and something else decides. source: a file, or the kind of it."""

    name: str
    value: str
    source: str


@dataclass(frozen=True, slots=True)
class ServerFacts:
    """One server. settings: as SHOW has them. system: the platform that it was built for, as version() says.

    pgvector: in use; pgvector_library: the newest that is installed. schema: version of the last migration;
    schema_aya: which AYA made it; schema_error: what is wrong with it for this AYA, and the next command. model:
    fingerprint and name. collation: provider and locale of the database; recorded, actual: its collation's version.
    index_left: idx_chunks_embedding_new is there and nobody builds it. ours: a cluster that this home configures.
    clock: as aya.doctor.clock.offset returns it. started_at: Unix time, by the server's clock of that moment.
    """

    node: str
    settings: Mapping[str, str]
    version: str = ""
    system: str = ""
    is_standby: bool = False
    ours: bool = True
    pgvector: str | None = None
    pgvector_library: str | None = None
    schema: int | None = None
    schema_aya: str | None = None
    schema_error: tuple[str, str] | None = None
    model: tuple[str, str] | None = None
    collation: str = ""
    collation_recorded: str | None = None
    collation_actual: str | None = None
    access: tuple[Access, ...] = ()
    kept: tuple[RoleSetting, ...] = ()
    overridden: tuple[Overridden, ...] = ()
    pending: tuple[str, ...] = ()
    slots: tuple[Slot, ...] = ()
    prepared: tuple[Prepared, ...] = ()
    idle: tuple[Idle, ...] = ()
    index_left: bool = False
    clock: tuple[float, float] = (0.0, 0.0)
    started_at: float | None = None
    database: str = field(default="aya_rag")

    @property
    def major(self) -> str:
        """Return the major version, such as "18"."""
        return self.version.partition(".")[0]
