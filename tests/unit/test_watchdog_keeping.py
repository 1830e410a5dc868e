"""What only a former primary has: where its history and the primary's part, and how it is written down."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from aya_watchdog.keeping import committed, ends, fork, kept
from aya_watchdog.way_back import lost

MIB = 1 << 20
FORKED_AT_16_MIB = "1\t0/1000000\tno recovery target specified\n"
FORKED_TWICE = FORKED_AT_16_MIB + "\n2\t1/2000000\tno recovery target specified\n"


def test_a_history_tells_where_each_timeline_ended() -> None:
    """In bytes, and past 4 GiB."""
    assert ends("") == {}
    assert ends(FORKED_TWICE) == {1: 16 * MIB, 2: (1 << 32) + 32 * MIB}


@pytest.mark.parametrize(
    ("ours", "theirs", "parted"),
    [
        (("", 1), (FORKED_AT_16_MIB, 2), 16 * MIB),
        (("", 1), (FORKED_TWICE, 3), 16 * MIB),
        ((FORKED_AT_16_MIB, 2), (FORKED_TWICE, 3), (1 << 32) + 32 * MIB),
        # Both were promoted: the earlier fork is where they part.
        ((FORKED_AT_16_MIB, 2), ("1\t0/800000\tby hand\n", 3), 8 * MIB),
        (("1\t0/800000\tby hand\n", 3), (FORKED_AT_16_MIB, 2), 8 * MIB),
        # The former primary is ahead of whom it is to follow: a person has overruled.
        ((FORKED_AT_16_MIB, 2), ("", 1), 16 * MIB),
    ],
)
def test_two_histories_part_at_the_end_of_what_is_common(
    ours: tuple[str, int], theirs: tuple[str, int], parted: int
) -> None:
    """Whoever has the longer one."""
    assert fork(*ours, *theirs) == parted


@pytest.mark.parametrize(
    ("ours", "theirs"), [(("", 1), ("", 1)), (("2\t0/10\tx\n", 4), ("1\t0/10\tx\n", 3)), (("", 1), ("", 5))]
)
def test_nothing_is_said_of_histories_that_do_not_part(ours: tuple[str, int], theirs: tuple[str, int]) -> None:
    """One and the same, or two that have nothing in common: then nothing can be told to be only here."""
    assert fork(*ours, *theirs) is None


def test_what_is_lost_of_an_archive_is_told_by_its_timeline() -> None:
    """With the sums beside it; what is no file of an archive stays, whatever it is called."""
    ours = ["000000010000000000000001", "00000002.history", "000000020000000000000003.partial.sha256"]
    lost_ones = ["000000030000000000000004", "000000030000000000000004.00000028.backup", "00000003.history.sha256"]
    others = ["00000003", "note", ".00000003.history.12.partial-copy", "00000003.history.old"]
    assert lost([*ours, *lost_ones, *others], {1, 2}) == sorted(lost_ones)
    assert lost(ours, {1, 2}) == []


def test_only_commits_count() -> None:
    """Of what pg_waldump prints."""
    line = "rmgr: Transaction len (rec/tot): 34/34, tx: {}, lsn: 0/01A2, prev 0/0178, desc: {} 2026-11-27 10:00:00"
    assert committed("\n".join([line.format("731", "COMMIT"), line.format("      732", "ABORT")])) == [731]


def test_what_was_kept_before_stays(tmp_path: Path) -> None:
    """Twice in one second, and after a write that was cut off; for its owner's eyes alone."""
    directory = tmp_path / "only-here"
    first = kept(directory, [{"table": "public.documents", "row": {"content": "Zoë"}}])
    (directory / first.name.replace("only-here", ".only-here")).touch()
    second = kept(directory, [{"table": "public.documents", "row": {"content": "two"}}] * 2)
    assert first != second
    assert json.loads(first.read_text(encoding="utf-8"))["row"] == {"content": "Zoë"}
    assert len(second.read_text(encoding="utf-8").splitlines()) == 2
    assert {stat.S_IMODE(file.stat().st_mode) for file in (first, second)} == {0o600}
    assert sorted(directory.glob("only-here-*")) == sorted([first, second])
