"""When a base backup is due; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from aya.backup.catalogue import Backup, newest_good

# A backup that failed is tried again, but not at once: what ails it may need a person.
RETRY = timedelta(hours=1)
# After a start the machine has other things to do.
SETTLING = timedelta(minutes=10)
# Three are missed then: something is wrong with the schedule itself.
OVERDUE = timedelta(days=3)


def last_moment(now: datetime, at: tuple[int, int]) -> datetime:
    """Return the last time that the clock showed `at`. now: with its zone."""
    today = now.replace(hour=at[0], minute=at[1], second=0, microsecond=0)
    return today if today <= now else today - timedelta(days=1)


def why_due(
    now: datetime, at: tuple[int, int], backups: Sequence[Backup], *, broken: bool, failed_at: datetime | None
) -> str | None:
    """Return why a base backup is due, None when it is not.

    at: hour and minute of the daily one. broken: the archive has a gap behind the newest good one, so nothing behind
    that gap can be restored. failed_at: of the last try, when it failed.
    """
    if failed_at is not None and now - failed_at < RETRY:
        return None
    newest = newest_good(backups)
    if newest is None:
        return "there is no good one"
    if broken:
        return "the archive has a gap behind the newest"
    if datetime.fromisoformat(newest.started_at) < last_moment(now, at):
        return "the newest is of an earlier day"
    return None


def overdue(now: datetime, backups: Sequence[Backup]) -> bool:
    """Return whether the newest good one is older than any schedule explains."""
    newest = newest_good(backups)
    return newest is not None and now - newest.ended > OVERDUE
