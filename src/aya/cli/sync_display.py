"""How the sync is shown to a person; pure."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aya.cli.text import duration
from aya.sync.judge import condition, told
from aya.sync.types import Copy, Fetch, Primary, Rejected, SyncStatus

_MEGABYTE = 1e6
HEADERS = ("id", "when", "what", "title", "why")


def lines(node: str, seen: SyncStatus) -> list[str]:
    """Return what `aya sync status` says, without the table of what was rejected."""
    word, why = condition(seen)
    copy, primary = seen.copy, seen.primary
    found = [f"{node} is {word}: {why}"]
    if copy.error is not None and copy.error != why:
        found.append(f"the daemon says: {copy.error}")
    if copy.since is not None:
        found.append(f"since {time(copy.since)} (UTC)")
    found.append(f"behind:    {behind(copy, primary)}")
    if copy.fetching is not None:
        found.append(f"fetching:  {fetch(copy.fetching)}")
    found.append(f"queue:     {queue(copy)}")
    found.append(f"timeline:  {timelines(copy, primary)}")
    open_ones = "not known, as the primary does not answer" if primary.conflicts is None else str(primary.conflicts)
    found.append(f"conflicts: {open_ones}{' open: aya conflicts' if primary.conflicts else ''}")
    return found


def behind(copy: Copy, primary: Primary) -> str:
    """Return how far the copy is behind, in time and, when the primary says, in changes."""
    if copy.seconds_behind is None:
        return "nothing was copied yet"
    ago = f"{duration(copy.seconds_behind)} since it had everything"
    if primary.error is not None:
        return f"{ago}; how many changes there are since is not known"
    if primary.unseen is None:
        return f"{ago}; it has to be copied anew"
    return f"{ago}; {count(primary.unseen, 'change')} not seen yet"


def queue(copy: Copy) -> str:
    """Return what waits to be sent."""
    parts = [
        f"{copy.waiting} waiting" if copy.waiting else "",
        f"{copy.sending} being sent" if copy.sending else "",
        f"{copy.held} held back by a rejected one" if copy.held else "",
        f"{copy.rejected} rejected" if copy.rejected else "",
    ]
    waits = ", ".join(part for part in parts if part) or "nothing waits"
    if not (copy.waiting or copy.sending) or copy.seconds_left is None:
        return waits
    return f"{waits}; {copy.sent_per_second:.0f} a second, {duration(copy.seconds_left)} left"


def fetch(what: Fetch) -> str:
    """Return how far a fetch is: rows, speed, and time left."""
    if what.done is None:
        return f"{what.phase} {what.total:,} rows"
    parts = [f"{what.phase} {what.table_name}: {what.done:,}{f' of {what.total:,}' if what.total else ''}"]
    if what.size is not None and what.seconds:
        parts.append(f"{what.size / what.seconds / _MEGABYTE:.1f} MB/s")
    if what.seconds_left is not None:
        parts.append(f"{duration(what.seconds_left)} left")
    return ", ".join(parts)


def timelines(copy: Copy, primary: Primary) -> str:
    """Return the primary's timeline as AIR knows it, and as it is."""
    known = "not known yet" if copy.timeline is None else str(copy.timeline)
    if primary.timeline is None or primary.timeline == copy.timeline:
        return known
    return f"{known}; {primary.address} is on {primary.timeline}"


def rejected_row(one: Rejected) -> tuple[str, ...]:
    """Return a rejected operation's line of the table."""
    row = f" {one.row_id}" if one.row_id is not None else ""
    return (
        str(one.id),
        f"{one.created_at:%Y-%m-%d %H:%M}",
        f"{one.operation} {one.unit}{row}",
        (one.title or "").strip().split("\n")[0],
        one.error or "",
    )


def progress(copy: Copy) -> str:
    """Return a line for whoever waits: what is still to be done, and what keeps it."""
    held_up = f" ({copy.error})" if copy.error else "" if copy.daemon else " (the daemon is not connected)"
    fetched = f"{fetch(copy.fetching)}" if copy.fetching else f"fetched {time(copy.pulled_at)}"
    return f"{queue(copy)}; {fetched}{held_up}"


def document(node: str, seen: SyncStatus) -> dict[str, Any]:
    """Return the document that aya.sync.types describes."""
    return {"node": node, **told(seen)}


def summary(seen: SyncStatus) -> str:
    """Return the copy's line below the table of `aya status`."""
    word, why = condition(seen)
    parts = [word if word == "following" else f"{word} ({why})", behind(seen.copy, seen.primary), queue(seen.copy)]
    if seen.copy.fetching is not None:
        parts.append(fetch(seen.copy.fetching))
    if seen.primary.conflicts:
        parts.append(f"{count(seen.primary.conflicts, 'conflict')} open: aya conflicts")
    return "; ".join(parts)


def count(number: int, noun: str) -> str:
    """Return a number with its noun, which takes an s."""
    return f"{number} {noun}{'' if number == 1 else 's'}"


def time(when: datetime | None) -> str:
    """Return a moment; "never" for None."""
    return f"{when:%Y-%m-%d %H:%M:%S}" if when else "never"
