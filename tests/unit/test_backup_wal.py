"""Names, timelines, gaps and what may go: by names alone."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.backup import wal
from aya.backup.catalogue import Backup, Catalogue, newest_good, superfluous
from aya.backup.wal import Segment, Span
from aya.postgres.privileges import RunAs

MIB = 1 << 20
SIZES = [MIB << power for power in range(11)]


def names(timeline: int, *numbers: int, size: int = 16 * MIB) -> list[str]:
    """Return names of segments."""
    return [wal.name_of(Segment(timeline, number), size) for number in numbers]


@given(st.integers(1, 1 << 31), st.integers(0, 1 << 30), st.sampled_from(SIZES))
def test_a_segments_name_says_which_it_is(timeline: int, number: int, size: int) -> None:
    """There and back, at every size of segments."""
    segment = Segment(timeline, number)
    assert wal.segment_of(wal.name_of(segment, size), size) == segment


def test_backups_of_one_second_have_names_of_their_own(tmp_path: Path) -> None:
    """In the order in which they were made."""
    catalogue = Catalogue(tmp_path, RunAs(None, None, "me"))
    moment = datetime(2026, 12, 31, 23, 59, 59, tzinfo=UTC)
    for name in ("20261231T235959Z", "20270101T000000Z", "20270101T000001Z"):
        assert catalogue.free_name(moment) == name
        (tmp_path / name).mkdir()


def test_names_are_postgresqls() -> None:
    """Known ones, from a server."""
    assert wal.name_of(Segment(1, 256), 16 * MIB) == "000000010000000100000000"
    assert wal.name_of(Segment(2, 4096), MIB) == "000000020000000100000000"
    assert wal.segment_of("00000002.history", MIB) is None
    assert (wal.history_timeline("0000000A.history"), wal.history_timeline("x")) == (10, None)


@given(st.integers(0, (1 << 64) - 1))
def test_a_position_is_written_and_read(place: int) -> None:
    """As PostgreSQL does."""
    assert wal.position(wal.lsn_text(place)) == place


@pytest.mark.parametrize("text", ["", "0", "/", "0/", "0/16B3748x", "0/1234567890", " 0/1", "-1/0"])
def test_what_is_no_position_is_refused(text: str) -> None:
    """In words."""
    with pytest.raises(ValueError, match="is no position"):
        wal.position(text)


HISTORY = "1\t0/5000000\tno recovery target specified\n\n2\t0/7800000\tafter LSN 0/7800000\n"


def test_a_history_is_a_line_of_spans() -> None:
    """Each begins where the one before it ended."""
    line = wal.line_to(3, HISTORY)
    assert line == [Span(1, 0, 0x5000000), Span(2, 0x5000000, 0x7800000), Span(3, 0x7800000, None)]
    assert wal.line_to(1, "") == [Span(1, 0, None)]
    assert wal.newest_line({2: "1\t0/5000000\t\n", 3: HISTORY}, [1, 2]) == line


@pytest.mark.parametrize(
    ("timeline", "end", "expected"),
    [(1, 0x5000000, True), (1, 0x5000001, False), (2, 0x7800000, True), (3, 1 << 40, True), (4, 1, False)],
)
def test_a_backup_behind_the_fork_of_its_timeline_is_of_no_use(timeline: int, end: int, *, expected: bool) -> None:
    """It has what the later timelines do not."""
    assert wal.is_on(wal.line_to(3, HISTORY), timeline, end) is expected


LINE = wal.line_to(2, "1\t0/3800000\t\n")  # inside segment 3


@pytest.mark.parametrize(
    ("present", "lacking"),
    [
        ([*names(1, 1, 2), *names(2, 3, 4)], []),
        ([*names(1, 1, 2, 3), *names(2, 4)], []),  # the fork's segment under its old name
        ([*names(1, 1), *names(2, 3, 4)], names(1, 2)),
        ([*names(1, 1, 2), *names(2, 3, 5, 6)], names(2, 4)),
        ([*names(1, 1, 2), *names(2, 5)], names(1, 3) + names(2, 4)),
        ([*names(1, 1, 2, 3, 4, 5), *names(2, 3, 6)], names(2, 4, 5)),  # an old timeline's own do not help
        (names(2, 3, 4), names(1, 1, 2)),
        ([], []),
        (names(1, 4, 5), []),
    ],
)
def test_gaps_are_found_along_the_line(present: list[str], lacking: list[str]) -> None:
    """From segment 1 on."""
    there = [one for name in present if (one := wal.segment_of(name, 16 * MIB))]
    found = wal.missing(there, LINE, 16 * MIB, 16 * MIB)
    assert [wal.name_of(one, 16 * MIB) for one in found] == lacking


def test_only_what_nobody_needs_may_go() -> None:
    """Older segments with their checksums and what is left of a timeline; never a history or a foreign file."""
    old, new = names(1, 1, 2), names(2, 3, 4)
    kept = ["00000002.history", "00000002.history.sha256", "notes.txt", *new, new[0] + ".sha256"]
    gone = [old[0], old[0] + ".sha256", old[1], old[1] + ".partial", old[0] + ".00000028.backup"]
    assert wal.removable([*kept, *gone], 3 * 16 * MIB, 16 * MIB) == sorted(gone)


def backup(day: int, *, good: bool = True) -> Backup:
    """Return a base backup of that day."""
    stamp = f"2026-01-{day:02}T03:30:00+00:00"
    verified = stamp if good else None
    return Backup(f"202601{day:02}", "alpha", stamp, stamp, 1, day << 24, (day << 24) + 1, 1, 1 << 24, "18.4", verified)


@pytest.mark.parametrize(
    ("days", "bad", "keep", "gone"),
    [
        ([1, 2, 3], [], 3, []),
        ([1, 2, 3, 4], [], 3, [1]),
        ([1, 2, 3, 4], [4], 3, []),
        ([1, 2, 3, 4, 5], [3], 2, [1, 2, 3]),
        ([1, 2, 3], [2, 3], 1, []),
        ([1, 2, 3], [1, 2, 3], 1, []),
        ([1], [], 0, []),
        ([1, 2], [], 0, [1]),
        ([], [], 3, []),
    ],
)
def test_the_last_good_one_never_goes(days: list[int], bad: list[int], keep: int, gone: list[int]) -> None:
    """What was never checked, or is damaged, does not count as kept."""
    backups = [backup(day, good=day not in bad) for day in days]
    assert [int(one.name[-2:]) for one in superfluous(backups, keep)] == gone
    good = [day for day in days if day not in bad]
    found = newest_good(backups)
    assert (int(found.name[-2:]) if found else None) == (good[-1] if good else None)
