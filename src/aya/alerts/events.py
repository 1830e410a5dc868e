"""Which events of the logs are alerts, how grave they are, and where it is written what to do; pure.

An outage is told when it lasts: the services log its first failure, and every 30 s that it goes on. What an event
repeats is told once in a while.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

Severity = Literal["info", "warning", "critical"]

_REPEATED_SECONDS = 900.0
_LASTS_SECONDS = 20.0
_MOST_KEPT = 1000
_SENT = {"event", "at", "node", "service", "severity", "runbook", "summary"}
# What the log has, and an alert does not repeat.
_OF_THE_LOG = {"event", "timestamp", "level", "node", "service", "exception"}


@dataclass(frozen=True, slots=True)
class Kind:
    """What is told of an event. runbook: the page, in docs/operations. after: how long it must go on, in seconds.

    by: the fields by which two of them are told apart. ends: the outage that is over with it. repeated: the same is not
    told again for so many seconds.
    """

    severity: Severity
    runbook: str
    summary: str
    after: float = 0.0
    by: tuple[str, ...] = ()
    ends: str = ""
    repeated: float = _REPEATED_SECONDS


def _outage(noun: str, runbook: str, what: str) -> dict[str, Kind]:
    return {
        f"{noun}.interrupted": Kind("warning", runbook, what, after=_LASTS_SECONDS),
        f"{noun}.recovered": Kind("info", runbook, f"over: {what}", ends=f"{noun}.interrupted"),
    }


KINDS: dict[str, Kind] = {
    "condition.changed": Kind("info", "failover.md", "a server is in another condition", repeated=0.0),
    "epoch.begun": Kind("critical", "failover.md#alpha-is-gone", "another server leads", by=("epoch",)),
    "rows.kept": Kind(
        "critical", "failover.md#what-only-one-node-had", "what only one server had is kept in a file", by=("file",)
    ),
    "rows.not_kept": Kind(
        "critical", "failover.md#what-only-one-node-had", "what only one server had could not be kept"
    ),
    "slot.lost": Kind("critical", "failover.md#a-slot-is-lost", "the standby has to be copied anew"),
    "watchdog.paused": Kind("warning", "failover.md#paused", "nobody fails over while the watchdogs are paused"),
    "watchdog.resumed": Kind("info", "failover.md#paused", "the watchdogs look after the servers again"),
    "document.poisoned": Kind(
        "warning", "alerts.md#documentpoisoned", "a document is not indexed, however often", by=("document_id",)
    ),
    "conflicts.kept": Kind(
        "warning",
        "sync.md#both-sides-changed-the-same-document",
        "rows were changed on AIR and at the primary: aya conflicts",
    ),
    "changes.rejected": Kind(
        "warning", "sync.md#a-change-was-rejected", "the primary cannot take what was written on AIR: aya sync status"
    ),
    "rows.differ": Kind("critical", "sync.md", "AIR's copy was not the primary's, and was mended", by=("table",)),
    "cursor.lost": Kind("warning", "sync.md#the-copy-is-made-anew", "AIR copies everything anew"),
    "limit.crossed": Kind("warning", "alerts.md", "a figure is beyond its limit", repeated=0.0),
    "limit.recovered": Kind("info", "alerts.md", "a figure is within its limit again", repeated=0.0),
    "backup.failed": Kind("critical", "backup.md", "the daily base backup was not made"),
    "model.failed": Kind("critical", "alerts.md#modelfailed", "the embedder has no model", by=("source",)),
    **_outage("indexer", "alerts.md#indexerinterrupted", "documents are not being indexed"),
    **_outage("move", "alerts.md#moveinterrupted", "the move to another model stands still"),
}


# Which conditions need somebody, and how soon; the others mend themselves, or are as it should be.
_CONDITIONS: dict[str, Severity] = {
    "SUSPECT": "warning", "SOLO": "warning", "QUARANTINE": "warning",
    "FENCED": "critical", "STRANDED": "critical", "STRAY": "critical",
}  # fmt: skip
# A full disk stops the server, and an archive that stands fills it.
_GRAVE_LIMITS = frozenset({"disk_full", "archive_minutes"})
_HEADINGS = {"FENCING": "fencing-promoted", "PROMOTED": "fencing-promoted"}


@dataclass(slots=True)
class Gate:
    """Lets an event through once. What it remembers is bounded; forgetting tells something twice, never not at all.

    since: when outages began. told: when what was told last, in monotonic seconds.
    """

    since: dict[str, float] = field(default_factory=dict[str, float])
    told: dict[tuple[str, ...], float] = field(default_factory=dict[tuple[str, ...], float])

    def passes(self, event: str, details: Mapping[str, Any], now: float) -> bool:
        """Return whether an event that was logged is to be told. now: monotonic seconds."""
        kind = KINDS.get(event)
        if kind is None:
            return False
        if kind.ends:
            self.since.pop(kind.ends, None)
            return self.told.pop((kind.ends,), None) is not None
        if kind.after and now - self.since.setdefault(event, now) < kind.after:
            return False
        key = (event, *(str(details.get(name)) for name in kind.by))
        told = self.told.get(key)
        if told is not None and now - told < kind.repeated:
            return False
        if len(self.told) >= _MOST_KEPT:
            self.told.clear()
        self.told[key] = now
        return True


def document(event: str, details: Mapping[str, Any], *, at: str, node: str, service: str) -> dict[str, Any]:
    """Return what is sent: the event's own fields, and what it means and where it says what to do."""
    kind = KINDS[event]
    severity, page = kind.severity, kind.runbook
    if event == "condition.changed":
        condition = str(details.get("condition", ""))
        severity, page = _CONDITIONS.get(condition, "info"), f"{page}#{_HEADINGS.get(condition, condition.lower())}"
    if event in {"limit.crossed", "limit.recovered"}:
        limit = str(details.get("limit", ""))
        page = f"{page}#{limit}"
        severity = "critical" if event == "limit.crossed" and limit in _GRAVE_LIMITS else severity
    own = {name: value for name, value in details.items() if name not in _OF_THE_LOG | _SENT}
    return {
        "event": event, "at": at, "node": node, "service": service, "severity": severity,
        "summary": kind.summary, "runbook": f"docs/operations/{page}", **own,
    }  # fmt: skip
