"""Which figures have crossed their limits, told once when one does and once when it is well again; pure.

The page's service looks at every node of its machine anyway: so it is the one that tells.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from aya.alerts.config import Limit
from aya.status.types import NodeStatus

# How long a figure must be beyond its limit: a large document, a restart and a copy are over by then.
LASTS_SECONDS = 60.0
# It is well again at that share of its limit: one that goes to and fro around it is told once.
_WELL = 0.9
_MIB = 2**20
_MINUTE, _HOUR = 60.0, 3600.0

Key = tuple[Limit, str]


@dataclass(frozen=True, slots=True)
class Told:
    """What to tell. of: the node. value, allowed: in the limit's own unit. crossed: False: it is well again."""

    limit: Limit
    of: str
    value: float
    allowed: float
    crossed: bool


@dataclass(frozen=True, slots=True)
class Disk:
    """The file system of a node's files, in bytes."""

    used: int
    size: int


def measured(
    nodes: Sequence[NodeStatus], disks: Mapping[str, Disk], queue_age_seconds: Mapping[str, float], at: float
) -> dict[Key, float]:
    """Return the figures that have limits, each in its limit's unit; what is not known is left out.

    at: seconds since the epoch.
    """
    found: dict[Key, float | None] = {}
    for name, disk in disks.items():
        found["disk", name] = found["disk_full", name] = 100.0 * disk.used / disk.size if disk.size else None
    for name, seconds in queue_age_seconds.items():
        found["queue_minutes", name] = seconds / _MINUTE
    for node in nodes:
        seen, name = node.seen, node.seen.name
        if seen.replication is not None and seen.replication.lag_bytes is not None:
            found["lag_mb", name] = seen.replication.lag_bytes / _MIB
        if seen.sync is not None:
            behind = seen.sync.copy.seconds_behind
            found["copy_hours", name] = None if behind is None else behind / _HOUR
            found["conflicts", name] = seen.sync.primary.conflicts
        if seen.backups is not None:
            found["archive_minutes", name] = _age(seen.backups.waiting_since, at, _MINUTE, none=0.0)
            found["backup_hours", name] = _age(seen.backups.newest, at, _HOUR, none=None)
    return {key: float(value) for key, value in found.items() if value is not None}


def _age(moment: str | None, at: float, unit: float, *, none: float | None) -> float | None:
    return none if moment is None else (at - datetime.fromisoformat(moment).timestamp()) / unit


@dataclass(slots=True)
class Limits:
    """What is beyond its limit: since when, and whether that was told. Times are monotonic seconds.

    lasts: how long it must be.
    """

    lasts: float = LASTS_SECONDS
    since: dict[Key, float] = field(default_factory=dict[Key, float])
    told: set[Key] = field(default_factory=set[Key])

    def judge(self, figures: Mapping[Key, float], limits: Mapping[Limit, float], now: float) -> list[Told]:
        """Return what is to be told of a look. limits: 0: not looked at. A figure that is not known changes nothing."""
        found: list[Told] = []
        for key, value in figures.items():
            limit, of = key
            allowed = limits[limit]
            if allowed and value > allowed:
                if now - self.since.setdefault(key, now) >= self.lasts and key not in self.told:
                    self.told.add(key)
                    found.append(Told(limit, of, value, allowed, crossed=True))
                continue
            self.since.pop(key, None)
            if key in self.told and (not allowed or value <= allowed * _WELL):
                self.told.discard(key)
                found.append(Told(limit, of, value, allowed, crossed=False))
        return found
