"""In which condition AIR's copy is, and what of it needs a person; pure."""

from __future__ import annotations

from datetime import timedelta
from typing import Any, Literal

from aya.sync.types import SyncStatus

Condition = Literal["stopped", "paused", "offline", "leaderless", "stuck", "new", "following"]
# The daemon looks every five seconds, whether or not it was told to.
LATE_SECONDS = 60
_BEGINNING = timedelta(seconds=10)
_RUNBOOK = "docs/operations/sync.md"


def condition(seen: SyncStatus) -> tuple[Condition, str]:
    """Return the condition and the reason for it, in words: of the first row that applies."""
    copy, primary = seen.copy, seen.primary
    standby = f"{primary.address} answers, which is a standby: what it has is fetched, nothing is sent"
    silent = f"nothing was fetched for {copy.seconds_behind or 0:.0f} s, and nobody knows why"
    table: tuple[tuple[bool, Condition, str], ...] = (
        (not copy.daemon, "stopped", "the sync daemon is not connected to AIR's server"),
        (copy.paused, "paused", "somebody paused it"),
        (primary.error is not None, "offline", primary.error or ""),
        (copy.error is not None and not copy.reachable, "offline", copy.error or ""),
        (primary.is_standby, "leaderless", standby),
        (copy.error is not None, "stuck", copy.error or ""),
        (copy.pulled_at is None, "new", "nothing was copied yet"),
        (_is_late(seen), "stuck", silent),
        (True, "following", f"{primary.address} on timeline {primary.timeline}"),
    )
    return next((word, why) for applies, word, why in table if applies)


def told(seen: SyncStatus) -> dict[str, Any]:
    """Return the document that aya.sync.types describes, without the node."""
    word, why = condition(seen)
    return {
        "condition": word,
        "why": why,
        "copy": seen.copy.to_json(),
        "primary": seen.primary.to_json(),
        "rejected": [one.to_json() for one in seen.rejected],
    }


def problems(seen: SyncStatus) -> list[str]:
    """Return what needs a person, each in a sentence that ends in the next command. Being offline is none of it."""
    found: list[str] = []
    copy = seen.copy
    if copy.rejected:
        first = next((one.error for one in seen.rejected if one.error), "no reason is known")
        found.append(f"the primary rejected {copy.rejected} changes ({first}): aya sync status, then aya sync retry")
    if seen.primary.leads and _is_late(seen):
        found.append(_why_late(seen))
    return found


def _is_late(seen: SyncStatus) -> bool:
    """Return whether it should have more by now; one that begins has time, unless it says why it does not begin.

    So has one that is at work: how far that is, is told.
    """
    copy = seen.copy
    if copy.fetching is not None:
        return False
    if copy.seconds_behind is not None:
        return copy.seconds_behind > LATE_SECONDS
    # A daemon that starts with everything else may come before its primary.
    return copy.error is not None and copy.since is not None and copy.asked_at - copy.since > _BEGINNING


def _why_late(seen: SyncStatus) -> str:
    word, why = condition(seen)
    behind = seen.copy.seconds_behind
    far = "nothing was copied yet" if behind is None else f"the copy is {behind:.0f} s behind"
    command = {"paused": "aya sync resume", "stopped": "aya up"}.get(word, f"aya sync status, then {_RUNBOOK}")
    return f"{far} although the primary answers ({why}): {command}"
