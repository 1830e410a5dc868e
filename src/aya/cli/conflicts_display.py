"""How a conflict is shown: a line in a list, and both versions against each other; pure."""

from __future__ import annotations

import difflib
import json
from collections.abc import Sequence
from datetime import datetime

from aya.knowledge.conflicts import Conflict, Side, Version

HEADERS = ("id", "when", "what", "lost", "why", "title")
SIDES: tuple[Side, Side] = ("here", "sender")
_CONTEXT_LINES = 3


def row(conflict: Conflict) -> tuple[str, ...]:
    """Return a conflict's line of the list."""
    shown = conflict.lost or conflict.head
    why = conflict.reason if conflict.resolution is None else f"resolved ({conflict.resolution}): {conflict.reason}"
    return (
        str(conflict.id),
        _time(conflict.created_at),
        conflict.what,
        whose(conflict, conflict.loser),
        why,
        shown.name if shown else "",
    )


def whose(conflict: Conflict, side: Side) -> str:
    """Return whose version it is, as a person types it, with the sender's name."""
    return f"sender ({conflict.origin})" if side == "sender" else "here"


def facts(conflict: Conflict) -> list[str]:
    """Return what is known of the conflict, a line each."""
    lines = [f"conflict {conflict.id}: {conflict.what}, {_time(conflict.created_at)} (UTC)", conflict.reason]
    if conflict.resolved_at is not None:
        lines.append(f"resolved {_time(conflict.resolved_at)} (UTC): {conflict.resolution}")
    return lines


def labels(conflict: Conflict) -> list[tuple[str, ...]]:
    """Return a table of what the versions are besides their texts: a row for each thing that one of them has."""
    versions = [conflict.version(side) for side in SIDES]
    rows = [("", *(_standing(conflict, side) for side in SIDES))]
    names = ("title", "category", "source", "metadata", "created", "updated")
    for name, *values in zip(names, *(_values(version) for version in versions), strict=True):
        if any(values):
            rows.append((name, *(value or "-" for value in values)))
    return rows


def _standing(conflict: Conflict, side: Side) -> str:
    deleted = " (deleted)" if conflict.version(side) is None else ""
    if side == conflict.loser:
        return f"lost, kept here{deleted}"
    return f"as it is now{deleted or f' (revision {conflict.rev})'}"


def _values(version: Version | None) -> tuple[str, ...]:
    if version is None:
        return ("",) * 6
    metadata = json.dumps(version.metadata, ensure_ascii=False) if version.metadata else ""
    times = (_time(version.created_at), _time(version.updated_at))
    return (version.title or "", version.category or "", version.source or "", metadata, *times)


def difference(conflict: Conflict) -> list[str]:
    """Return how the texts differ, from the version here to the sender's, as a unified diff; [] when they are equal."""
    here, sender = [_lines(conflict.version(side)) for side in SIDES]
    before, after = [_named(conflict, side) for side in SIDES]
    found = difflib.unified_diff(here, sender, before, after, n=_CONTEXT_LINES, lineterm="")
    return [line.rstrip("\n") for line in found]


def _named(conflict: Conflict, side: Side) -> str:
    return whose(conflict, side) + (" (deleted)" if conflict.version(side) is None else "")


def _lines(version: Version | None) -> Sequence[str]:
    return version.content.splitlines() if version is not None else ()


def _time(when: datetime | None) -> str:
    return f"{when:%Y-%m-%d %H:%M:%S}" if when else ""
