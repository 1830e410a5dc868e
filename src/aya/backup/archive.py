"""What an archive holds, checked file by file, and what may go of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from aya.backup import archive_program, wal
from aya.backup.catalogue import Backup
from aya.backup.wal import Segment, Span
from aya.errors import BackupError
from aya.postgres import files

_STALE_SECONDS = 3600.0
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Findings:
    """What is wrong with an archive.

    damaged: files that are not what was archived, each with the reason. gaps: runs of missing segments, first and last
    name. first, last: names of the segments from which on and up to which it reaches; None: there is none.
    """

    files: int
    size: int
    damaged: tuple[tuple[str, str], ...]
    gaps: tuple[tuple[str, str], ...]
    first: str | None
    last: str | None


def names(directory: Path) -> list[str]:
    """Return the names of what is archived, in order, without checksums and unfinished copies."""
    try:
        found = [one.name for one in directory.iterdir()]
    except FileNotFoundError:
        return []
    except OSError as error:
        raise BackupError(f"{directory} cannot be read: {error.strerror}", hint=f"ls -ld '{directory}'") from error
    return sorted(one for one in found if not one.startswith(".") and not one.endswith(archive_program.SUFFIX))


def line(directory: Path, found: Sequence[str], segment_bytes: int) -> list[Span]:
    """Return the line of timelines that a recovery from this archive follows."""
    try:
        histories = {
            timeline: files.read_text(directory / name)
            for name in found
            if (timeline := wal.history_timeline(name)) is not None
        }
    except (OSError, UnicodeDecodeError) as error:
        raise BackupError(f"a history in {directory} cannot be read: {error}", hint="aya backup verify") from error
    return wal.newest_line(histories, {one.timeline for one in segments(found, segment_bytes)})


def segments(found: Sequence[str], segment_bytes: int) -> list[Segment]:
    """Return the whole segments among these names; pure."""
    return [one for name in found if (one := wal.segment_of(name, segment_bytes)) is not None]


def segment_size(directory: Path, found: Sequence[str], backups: Sequence[Backup]) -> int:
    """Return how large a segment is, by a base backup's record or else by the first segment."""
    if known := [one.segment_bytes for one in backups if one.is_known]:
        return known[-1]
    sizes = ((directory / name).stat().st_size for name in found if archive_program.SEGMENT.match(name))
    return next((size for size in sizes if size and size & (size - 1) == 0), 1 << 24)


def gaps(directory: Path, backups: Sequence[Backup], found: Sequence[str]) -> tuple[tuple[str, str], ...]:
    """Return the runs of segments that are missing since the end of the oldest base backup, or since the first segment.

    What was written while a base backup was made is in the backup itself: a standby that was copied a moment ago has
    archived nothing of it.
    """
    size = segment_size(directory, found, backups)
    there = segments(found, size)
    if not there:
        return ()
    start = min((one.end for one in backups if one.is_known), default=min(one.number for one in there) * size)
    lacking = wal.missing(there, line(directory, found, size), start, size)
    runs: list[list[Segment]] = []
    for one in lacking:
        if runs and runs[-1][-1].number + 1 == one.number:
            runs[-1].append(one)
        else:
            runs.append([one])
    return tuple((wal.name_of(run[0], size), wal.name_of(run[-1], size)) for run in runs)


def audit(directory: Path, backups: Sequence[Backup], progress: Progress) -> Findings:
    """Read every file of the archive and compare it with its checksum; look for gaps."""
    found = names(directory)
    damaged: list[tuple[str, str]] = []
    size, told = 0, time.monotonic()
    for number, name in enumerate(found):
        if problem := _problem(directory, name):
            damaged.append((name, problem))
        with suppress(OSError):
            size += (directory / name).lstat().st_size
        if time.monotonic() - told > 2.0:  # noqa: PLR2004 - as often as a person looks
            told = time.monotonic()
            progress(f"{number + 1} of {len(found)} files of the archive read")
    whole = [name for name in found if archive_program.SEGMENT.match(name)]
    return Findings(
        len(found),
        size,
        tuple(damaged),
        gaps(directory, backups, found),
        min(whole, default=None, key=lambda name: name[8:]),
        max(whole, default=None, key=lambda name: (name[8:], name)),
    )


def _problem(directory: Path, name: str) -> str | None:
    try:
        digest = archive_program.file_digest(str(directory / name), from_disk=True)
        stored = archive_program.stored_digest(str(directory), name)
        if stored is None:
            return "has no checksum"
        if stored != digest:
            return "is not what was archived: its checksum differs"
        return archive_program.header_problem(str(directory / name), name)
    except (OSError, archive_program.Refused) as error:
        return f"cannot be read: {error}"


def waiting(data: Path) -> tuple[int, datetime | None]:
    """Return how many files a server has still to archive, and since when the first of them waits. data: its directory.

    An archiving program that hangs fails never: only this tells.
    """
    since: list[float] = []
    with suppress(OSError):
        for one in (data / "pg_wal" / "archive_status").glob("*.ready"):
            with suppress(FileNotFoundError):
                since.append(one.lstat().st_mtime)
    return len(since), datetime.fromtimestamp(min(since), UTC) if since else None


def prune(directory: Path, start: int, segment_bytes: int) -> list[str]:
    """Remove what no recovery from the position `start` on needs, and copies that a killed program has left.

    Returns the names of what was archived and is gone now. Of a segment and its checksum the segment goes first.
    """
    everything = [one.name for one in directory.iterdir()] if directory.is_dir() else []
    gone = wal.removable(everything, start, segment_bytes)
    for name in gone:
        (directory / name).unlink(missing_ok=True)
    old = time.time() - _STALE_SECONDS
    for name in everything:
        file = directory / name
        with suppress(FileNotFoundError):
            if name.startswith(".") and name.endswith(archive_program.PARTIAL) and file.lstat().st_mtime < old:
                file.unlink()
    return [name for name in gone if not name.endswith(archive_program.SUFFIX)]
