"""What is known of AIR's copy and of its primary, as frozen values.

The document of `aya sync status --json` (fields may be added; none is renamed or removed):

    {"node": "air", "condition": "following"|"new"|"paused"|"offline"|"leaderless"|"stuck"|"stopped", "why": "sentence",
     "copy": {"timeline": 1|null, "paused": false, "reachable": true, "error": "…"|null, "since": "2026-…"|null,
              "pulled_at": "2026-…"|null, "pushed_at": "2026-…"|null, "seconds_behind": 1.2|null, "daemon": true,
              "waiting": 0, "sending": 0, "held": 0, "rejected": 0, "sent_per_second": 0.0,
              "fetching": {"phase": "reading"|"merging"|"indexing", "table_name": "documents"|"chunks"|null,
                           "done": 3|null, "total": 9, "size": 2048|null, "seconds": 1.5,
                           "seconds_left": 3.0|null}|null},
     "primary": {"address": "postgresql://…", "error": "…"|null, "timeline": 1|null, "is_standby": false,
                 "unseen": 0|null, "conflicts": 0|null},
     "rejected": [{"id": 3, "operation": "UPDATE", "unit": "document", "row_uid": "…", "row_id": 5|null,
                   "title": "…"|null, "created_at": "2026-…", "error": "…"}, …]}
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any, Literal
from uuid import UUID


@dataclass(frozen=True, slots=True)
class Fetch:
    """What is being fetched, where it is much. table_name: of what; None while rows of both are merged.

    done, total: rows; done is None where nobody counts, total is 0 where nobody knows. size: bytes so far. seconds:
    since this phase began.
    """

    phase: Literal["reading", "merging", "indexing"]
    table_name: str | None
    done: int | None
    total: int
    size: int | None
    seconds: float

    @property
    def seconds_left(self) -> float | None:
        """Return how long this phase takes at this speed; None when that cannot be said."""
        return max(0, self.total - self.done) * self.seconds / self.done if self.done and self.total else None

    def to_json(self) -> dict[str, Any]:
        """Return it as the document above has it."""
        return {**asdict(self), "seconds_left": self.seconds_left}


@dataclass(frozen=True, slots=True)
class Copy:
    """AIR's own side. system_identifier, timeline, snapshot: of the primary, None before anything was copied.

    error, since: why it does not go on, and since when; reachable: though a server answers it. seconds_behind: since it
    last had all that the primary had. waiting, sending, held, rejected: operations in the queue; held wait for one that
    was rejected. sent_per_second: in the last ten seconds. daemon: it runs. asked_at: when this was read, by the
    server's clock. fetching: what is being fetched, where it is much.
    """

    system_identifier: int | None
    timeline: int | None
    snapshot: str | None
    paused: bool
    reachable: bool
    error: str | None
    since: datetime | None
    pulled_at: datetime | None
    pushed_at: datetime | None
    seconds_behind: float | None
    asked_at: datetime
    waiting: int
    sending: int
    held: int
    rejected: int
    daemon: bool
    sent_per_second: float = 0.0
    fetching: Fetch | None = None

    @property
    def seconds_left(self) -> float | None:
        """Return how long it takes at this speed to send what waits; None when that cannot be said."""
        return (self.waiting + self.sending) / self.sent_per_second if self.sent_per_second else None

    def to_json(self) -> dict[str, Any]:
        """Return it as the document above has it."""
        left_out = {"system_identifier", "snapshot", "asked_at"}
        said = {key: value for key, value in asdict(self).items() if key not in left_out}
        return {**said, "fetching": self.fetching.to_json() if self.fetching else None}


@dataclass(frozen=True, slots=True)
class Primary:
    """The other side. error: why it does not answer. is_standby: nobody leads, and a standby answered.

    unseen: entries of its log that the copy has not seen, None when it has to be copied anew. conflicts: open ones.
    """

    address: str
    error: str | None = None
    system_identifier: int | None = None
    timeline: int | None = None
    is_standby: bool = False
    unseen: int | None = None
    conflicts: int | None = None

    @property
    def leads(self) -> bool:
        """Return whether it answers and may be written."""
        return self.error is None and not self.is_standby

    def to_json(self) -> dict[str, Any]:
        """Return it as the document above has it."""
        return {key: value for key, value in asdict(self).items() if key != "system_identifier"}


@dataclass(frozen=True, slots=True)
class Rejected:
    """An operation that the primary cannot take. row_id, title: of the row on AIR, None when it is gone."""

    id: int
    operation: str
    unit: str
    row_uid: UUID | None
    created_at: datetime
    error: str | None
    row_id: int | None
    title: str | None

    def to_json(self) -> dict[str, Any]:
        """Return it as the document above has it."""
        return asdict(self)


@dataclass(frozen=True, slots=True)
class SyncStatus:
    """Both sides, as they were at about the same moment. rejected: the first of them, if not all."""

    copy: Copy
    primary: Primary
    rejected: tuple[Rejected, ...] = ()
