"""Room on the disks, and how long it lasts; pure."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding

FULL_BYTES = 2 * 10**9
LOW_BYTES = 15 * 10**9
_FEW_INODES_SHARE = 0.03
LEAST_DAYS = 14.0
_DAY = 86400.0
# Younger archives say nothing of what a day brings.
_SHORTEST_HISTORY_DAYS = 1.0


@dataclass(frozen=True, slots=True)
class Room:
    """A file system. paths: what of ours is on it. inodes: 0 where they are not counted (APFS makes them as needed)."""

    paths: tuple[str, ...]
    free_bytes: int
    total_bytes: int
    free_inodes: int = 0
    inodes: int = 0


@dataclass(frozen=True, slots=True)
class Growth:
    """What an archive grew by. bytes_a_day: None for one with too short a history."""

    node: str
    directory: str
    free_bytes: int
    bytes_a_day: float | None


def growth(files: Sequence[tuple[float, int]], now: float) -> float | None:
    """Return how many bytes a day come to an archive; None while it is younger than a day.

    files: when each was archived (Unix time), and its bytes. What was pruned is not there: the span is that of what is.
    """
    times = [when for when, _ in files]
    days = (now - min(times, default=now)) / _DAY
    return sum(size for _, size in files) / days if days >= _SHORTEST_HISTORY_DAYS else None


def judge(room: Room) -> list[Finding]:
    """Return what runs out on one file system."""
    where = shlex.quote(room.paths[0])
    hint = f"df -h {where}; du -sh {where}/*; aya backup list shows what backups take"
    found: list[Finding] = []
    if room.free_bytes < FULL_BYTES:
        found.append(finding("disk.full", f"{_gb(room.free_bytes)} are free for {_listed(room.paths)}", hint))
    elif room.free_bytes < LOW_BYTES:
        found.append(finding("disk.low", f"{_gb(room.free_bytes)} are free for {_listed(room.paths)}", hint))
    if room.inodes and room.free_inodes < _FEW_INODES_SHARE * room.inodes:
        what = f"{room.free_inodes} of {room.inodes} inodes are free for {_listed(room.paths)}"
        found.append(finding("disk.few-inodes", what, f"df -i {where}"))
    return found


def judge_growth(seen: Growth) -> list[Finding]:
    """Return whether an archive fills its disk soon."""
    if not seen.bytes_a_day:
        return []
    days = seen.free_bytes / seen.bytes_a_day
    if days >= LEAST_DAYS:
        return []
    what = f"{seen.directory} grows by {_gb(seen.bytes_a_day)} a day: {days:.0f} days until the disk is full"
    hint = "fewer base backups ([backup] keep in aya.toml), or a larger disk; aya backup list"
    return [finding("disk.days-left", what, hint, node=seen.node)]


def _gb(count: float) -> str:
    return f"{count / 10**9:.1f} GB"


def _listed(paths: Iterable[str]) -> str:
    return ", ".join(paths)
