"""When a base backup is due."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone

import pytest

from aya.backup.catalogue import Backup
from aya.backup.schedule import OVERDUE, RETRY, last_moment, overdue, why_due

NOW = datetime(2026, 1, 2, 12, 0, tzinfo=UTC)
AT = (3, 30)


def backup(started: datetime, *, good: bool = True) -> Backup:
    """Return a base backup that began then."""
    stamp = started.isoformat()
    return Backup("x", "alpha", stamp, stamp, 1, 0, 1, 1, 1 << 24, "18.4", stamp if good else None)


TODAY = backup(NOW.replace(hour=3, minute=30, second=4))
YESTERDAY = backup(NOW - timedelta(days=1))


@pytest.mark.parametrize(
    ("backups", "broken", "failed", "why"),
    [
        ([], False, None, "there is no good one"),
        ([backup(NOW, good=False)], False, None, "there is no good one"),
        ([TODAY], False, None, None),
        ([YESTERDAY], False, None, "the newest is of an earlier day"),
        ([YESTERDAY, TODAY], False, None, None),
        ([TODAY], True, None, "the archive has a gap behind the newest"),
        ([YESTERDAY], False, NOW - RETRY / 2, None),
        ([YESTERDAY], False, NOW - RETRY, "the newest is of an earlier day"),
    ],
)
def test_a_backup_is_due_once_a_day_and_when_something_is_broken(
    backups: list[Backup], *, broken: bool, failed: datetime | None, why: str | None
) -> None:
    """One that failed is not tried again at once."""
    assert why_due(NOW, AT, backups, broken=broken, failed_at=failed) == why


@pytest.mark.parametrize(("hour", "day"), [(3, 1), (4, 2), (0, 1), (23, 2)])
def test_the_clock_on_the_wall_decides(hour: int, day: int) -> None:
    """In the zone of the machine."""
    zone = timezone(timedelta(hours=5))
    assert last_moment(datetime(2026, 1, 2, hour, 0, tzinfo=zone), AT) == datetime(2026, 1, day, 3, 30, tzinfo=zone)


def test_three_days_without_a_good_one_are_too_many() -> None:
    """None at all is not overdue: the first one comes by itself."""
    assert not overdue(NOW, [])
    assert not overdue(NOW, [backup(NOW - OVERDUE + timedelta(hours=1))])
    assert overdue(NOW, [backup(NOW - OVERDUE - timedelta(hours=1)), backup(NOW, good=False)])
