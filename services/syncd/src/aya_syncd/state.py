"""How far the copy is, and what that means for the next step; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

_FEWEST, _MOST = 25, 1_000
Step = Literal["copy", "pull", "peek", "rewind", "refuse"]


@dataclass(frozen=True, slots=True)
class Cursor:
    """What AIR remembers. snapshot: of the primary, as text; None: nothing was copied yet. fingerprint: the model's."""

    system_identifier: int | None = None
    timeline: int | None = None
    snapshot: str | None = None
    lsn: str | None = None
    fingerprint: str | None = None


@dataclass(frozen=True, slots=True)
class Upstream:
    """The server that answered. has_all: its log still has what the cursor wants."""

    system_identifier: int
    timeline: int
    is_standby: bool
    has_all: bool
    fingerprint: str | None


def next_step(cursor: Cursor, upstream: Upstream) -> tuple[Step, str]:  # noqa: PLR0911 a table, row by row
    """Return what to do with this server, and why.

    copy: fetch everything anew. pull: fetch what changed, and move the cursor. peek: fetch what changed, and leave the
    cursor (a standby's snapshot does not say which transactions run). rewind: go back to what this primary surely had
    when it was promoted, then pull. refuse: this is not the primary any more.
    """
    fresh = cursor.snapshot is None or cursor.system_identifier != upstream.system_identifier
    if not fresh and cursor.timeline is not None and upstream.timeline < cursor.timeline:
        return "refuse", f"it is on timeline {upstream.timeline}, the primary is on {cursor.timeline} by now"
    if upstream.is_standby:
        if fresh:
            return "refuse", "there is no primary, and this is a standby of which no copy is begun"
        if not upstream.has_all or cursor.fingerprint != upstream.fingerprint:
            return "refuse", "there is no primary, and the copy has to be made anew"
        return "peek", "there is no primary: what is there already is fetched from a standby"
    if cursor.snapshot is None:
        return "copy", "nothing was copied yet"
    if fresh:
        return "copy", "it is another base than before"
    if cursor.fingerprint != upstream.fingerprint:
        return "copy", "the base was moved to another model"
    if not upstream.has_all:
        return "copy", "the change log does not go back far enough"
    if cursor.timeline is not None and upstream.timeline > cursor.timeline:
        return "rewind", f"timeline {upstream.timeline} leads now, it was {cursor.timeline}"
    return "pull", "what changed since"


def batch_size(before: int, seconds: float) -> int:
    """Return how many operations to send at once, after so many took so long: for a transaction of about a second.

    It grows and shrinks to a quarter and fourfold at most; what a transaction holds locked it should not hold for long.
    """
    wanted = before * min(4.0, max(0.25, 1.0 / max(seconds, 0.001)))
    return max(_FEWEST, min(_MOST, round(wanted)))


def switch_point(history: str, timeline: int) -> str | None:
    """Return the place in the log at which a timeline ended, from a later one's history file; None: it says nothing.

    history: lines of a timeline, the place where the next one begins, and why (PostgreSQL, "Timelines"); pure.
    """
    for line in history.splitlines():
        words = line.split()
        if len(words) > 1 and words[0] == str(timeline):
            return words[1]
    return None
