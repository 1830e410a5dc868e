"""What an archive lacks and what waits for it, by names alone."""

from __future__ import annotations

import os
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

from aya.backup import archive
from aya.backup.catalogue import Backup, superfluous

SEGMENT = 1 << 20
MADE = Backup(
    "20260101T033000Z", "beta", "2026-01-01T03:30:00+00:00", "2026-01-01T03:30:05+00:00", 1, 5 * SEGMENT + 40,
    7 * SEGMENT + 90, 9, SEGMENT, "18.4", verified_at="2026-01-01T03:30:06+00:00",
)  # fmt: skip
UNKNOWN = Backup("20260102T033000Z", "", "", "", 0, 0, 0, 0, 0, "", problem="cannot be read")


def segments(directory: Path, *numbers: int) -> list[str]:
    """Archive these segments of the first timeline."""
    for number in numbers:
        (directory / f"{1:08X}{0:08X}{number:08X}").touch()
    return archive.names(directory)


def test_a_standby_that_was_just_copied_lacks_nothing(tmp_path: Path) -> None:
    """It archives from its first whole segment on; what came before that is in the base backup itself."""
    assert archive.gaps(tmp_path, [MADE], segments(tmp_path, 7, 8, 9)) == ()


def test_what_is_missing_behind_the_backup_is_a_gap(tmp_path: Path) -> None:
    """Whatever was archived before it."""
    missing = f"{1:08X}{0:08X}{8:08X}"
    assert archive.gaps(tmp_path, [MADE], segments(tmp_path, 5, 6, 7, 9)) == ((missing, missing),)


def test_a_backup_of_which_nothing_is_known_says_nothing_of_gaps(tmp_path: Path) -> None:
    """Nor does it count as one to keep."""
    assert archive.gaps(tmp_path, [UNKNOWN, MADE], segments(tmp_path, 7, 8)) == ()
    later = replace(MADE, name="20260103T033000Z")
    assert superfluous([MADE, UNKNOWN, later], keep=1) == [MADE, UNKNOWN]


def test_what_waits_to_be_archived_is_counted_from_the_first(tmp_path: Path) -> None:
    """By the marks that the server makes when a segment is full."""
    assert archive.waiting(tmp_path) == (0, None)
    marks = tmp_path / "pg_wal" / "archive_status"
    marks.mkdir(parents=True)
    for name, seconds in (("a.ready", 2000), ("b.ready", 1000), ("c.done", 1)):
        (marks / name).touch()
        os.utime(marks / name, (seconds, seconds))
    assert archive.waiting(tmp_path) == (2, datetime.fromtimestamp(1000, UTC))
