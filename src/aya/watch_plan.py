"""What following a folder decides: which hints count, when everything is looked at again, how much may go; pure.

Events are hints, the scan is the truth. They are lost when a queue of the kernel runs over, which watchfiles does not
tell (https://github.com/samuelcolvin/watchfiles/issues/348), and while the machine sleeps.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

MOST_HINTS = 2000
ASLEEP_SECONDS = 30.0
RESCAN_SECONDS = 600.0
# Looking at everything takes a twentieth of the time at most.
_RESCAN_SHARE = 20
FEW = 10
MOST_SHARE = 0.3

Hints = frozenset[Path] | None
"""Absolute paths where something may have changed; None: anything may have."""


@dataclass(frozen=True, slots=True)
class Moment:
    """One moment by two clocks, in seconds. monotonic: stands still while the machine sleeps, on macOS and Linux."""

    wall: float
    monotonic: float


@dataclass(frozen=True, slots=True)
class Scan:
    """The last look at everything, and how long it took, in seconds."""

    ended: Moment
    seconds: float


def hints(roots: Mapping[Path, Path], changed: Iterable[str]) -> frozenset[Path]:
    """Return the paths that the walk may know: what lies below a hidden name is none of them.

    roots: the folders as events may name them (FSEvents names them without links) → as they were added.
    """
    below = [(path, seen) for path in map(Path, changed) for seen in roots if path.is_relative_to(seen)]
    inside = [(path.relative_to(seen), roots[seen]) for path, seen in below]
    return frozenset(root / path for path, root in inside if not any(part.startswith(".") for part in path.parts))


def rescan(hinted: int, before: Moment, now: Moment, last: Scan) -> str | None:
    """Return why everything is to be looked at again; None: the hints are enough.

    before: when it was asked last.
    """
    if hinted > MOST_HINTS:
        return f"{hinted:,} paths changed at once"
    if (now.wall - before.wall) - (now.monotonic - before.monotonic) > ASLEEP_SECONDS:
        return "the machine slept"
    if now.monotonic - last.ended.monotonic > max(RESCAN_SECONDS, _RESCAN_SHARE * last.seconds):
        return "it is time"
    return None


def concerns(path: Path, hinted: frozenset[Path]) -> bool:
    """Return whether `path`, or a folder above it, is hinted at."""
    return path in hinted or any(parent in hinted for parent in path.parents)


def tops(paths: Iterable[Path]) -> list[Path]:
    """Return the paths that lie below no other of them: a folder stands for what was in it."""
    chosen: list[Path] = []
    # By their parts, what a folder holds follows it.
    for path in sorted(paths, key=lambda each: each.parts):
        if not (chosen and path.is_relative_to(chosen[-1])):
            chosen.append(path)
    return chosen


def is_suspicious(removed: int, total: int) -> bool:
    """Return whether so many of a folder's documents are gone at once that a person has to say that it is meant."""
    return removed > FEW and removed > MOST_SHARE * total
