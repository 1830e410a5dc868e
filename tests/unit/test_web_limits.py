"""What is told of a figure with a limit: once when it has been beyond it for a while, once when it is well again."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_status_judge import GOOD, STANDBY
from tests.unit.test_sync_judge import COPY, PRIMARY

from aya.alerts.config import LIMITS, Limit
from aya.status.judge import judge
from aya.status.types import Backups, Replication
from aya.sync.types import SyncStatus
from aya_web.limits import LASTS_SECONDS, Disk, Key, Limits, measured

KEY: Key = ("disk", "alpha")


def limits_with(disk: float) -> dict[Limit, float]:
    """Return the usual limits, but for the disk's."""
    usual = dict(LIMITS)
    usual["disk"] = disk
    return usual


def told(values: list[float], *, allowed: float = 90.0, every: float = 5.0) -> list[tuple[int, bool]]:
    """Return at which looks what was told. values: one a look."""
    limits, said = Limits(), limits_with(allowed)
    return [
        (number, one.crossed)
        for number, value in enumerate(values)
        for one in limits.judge({KEY: value}, said, every * number)
    ]


LOOKS = int(LASTS_SECONDS / 5.0)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([91.0] * 40, [(LOOKS, True)]),
        ([91.0] * LOOKS + [89.0] * 40, []),
        # To and fro around it is one time, until it is well within.
        ([91.0] * 20 + [89.0, 91.0] * 20 + [81.0, 80.0], [(LOOKS, True), (60, False)]),
        ([91.0] * 20 + [80.0] + [91.0] * 20, [(LOOKS, True), (20, False), (21 + LOOKS, True)]),
        ([90.0] * 40, []),
    ],
)
def test_a_limit_is_told_once_each_way(values: list[float], expected: list[tuple[int, bool]]) -> None:
    """After a minute; what it is exactly is not beyond."""
    assert told(values) == expected


def test_a_limit_that_is_turned_off_says_nothing_more() -> None:
    """But that it is over, when it had been told."""
    assert told([100.0] * 40, allowed=0.0) == []
    limits = Limits(told={KEY})
    assert [one.crossed for one in limits.judge({KEY: 100.0}, limits_with(0.0), 0.0)] == [False]


@given(st.lists(st.floats(0, 100), max_size=60))
def test_what_is_told_alternates(values: list[float]) -> None:
    """Never twice the same, and it begins with a limit that is crossed."""
    said = [crossed for _, crossed in told(values, every=LASTS_SECONDS)]
    assert said == [number % 2 == 0 for number in range(len(said))]


def test_what_is_known_of_the_nodes_is_measured() -> None:
    """A standby's lag, AIR's, open conflicts, and the ages of backups and of what waits for the archive."""
    at = datetime.fromisoformat("2026-01-02T15:30:00+00:00").timestamp()
    backups = Backups(1, "2026-01-02T03:30:00+00:00", waiting=3, waiting_since="2026-01-02T15:00:00+00:00")
    beta = replace(STANDBY, replication=Replication("streaming", "sync", 3 << 20), backups=backups)
    air = replace(GOOD, name="air", role="copy", sync=SyncStatus(replace(COPY, seconds_behind=7200.0), PRIMARY))
    assert measured([judge(beta), judge(air)], {}, {}, at) == {
        ("lag_mb", "beta"): 3.0, ("archive_minutes", "beta"): 30.0, ("backup_hours", "beta"): 12.0,
        ("copy_hours", "air"): 2.0, ("conflicts", "air"): float(PRIMARY.conflicts or 0),
    }  # fmt: skip


def test_the_disk_is_measured_in_per_cent() -> None:
    """And the queue in minutes; of what is not known nothing is said."""
    found = measured([], {"alpha": Disk(95, 100), "beta": Disk(0, 0)}, {"alpha": 120.0}, at=0.0)
    assert found == {("disk", "alpha"): 95.0, ("disk_full", "alpha"): 95.0, ("queue_minutes", "alpha"): 2.0}
