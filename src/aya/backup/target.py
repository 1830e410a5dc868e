"""To which moment a restore goes, and which base backup it begins with; pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from aya.backup import wal
from aya.backup.catalogue import Backup
from aya.backup.wal import Span
from aya.errors import BackupError, UsageError


@dataclass(frozen=True, slots=True)
class Target:
    """A moment, a place in the WAL, or neither: the end. Both are inclusive."""

    time: datetime | None = None
    place: int | None = None

    @property
    def words(self) -> str:
        """Return it for people."""
        if self.time is not None:
            return self.time.isoformat(sep=" ")
        return wal.lsn_text(self.place) if self.place is not None else "the end of what is archived"

    def settings(self) -> dict[str, str]:
        """Return what PostgreSQL is told of it."""
        if self.time is not None:
            return {"recovery_target_time": self.time.astimezone(UTC).isoformat(sep=" ")}
        return {"recovery_target_lsn": wal.lsn_text(self.place)} if self.place is not None else {}


def parse(to_time: str | None, to_lsn: str | None, *, latest: bool, now: datetime) -> Target:
    """Return what the options say: exactly one of the three.

    to_time: ISO 8601; local time where it names no zone. Raises UsageError, with the next command.
    """
    if sum((to_time is not None, to_lsn is not None, latest)) != 1:
        raise UsageError("say where to: one of --to-time, --to-lsn and --latest", hint="aya restore --help")
    if to_lsn is not None:
        try:
            return Target(place=wal.position(to_lsn))
        except ValueError as error:
            raise UsageError(f"--to-lsn {error}", hint="aya restore --to-lsn 0/16B3748") from error
    if to_time is None:
        return Target()
    example = now.astimezone().isoformat(sep=" ", timespec="seconds")
    try:
        moment = datetime.fromisoformat(to_time.strip()).astimezone()
    except (ValueError, OverflowError, OSError) as error:
        raise UsageError(f"--to-time {to_time!r} is no time", hint=f"aya restore --to-time '{example}'") from error
    if moment > now:
        raise UsageError(f"--to-time {moment.isoformat(sep=' ')} lies in the future", hint="aya restore --latest")
    return Target(time=moment)


def choose(backups: Sequence[Backup], target: Target, line: Sequence[Span], node: str) -> Backup:
    """Return the newest good base backup from which the target can be reached. Raises BackupError.

    line: the timelines that the recovery follows.
    """
    good = [one for one in backups if one.good and wal.is_on(line, one.timeline, one.end)]
    fitting = [one for one in good if _is_before(one, target)]
    if fitting:
        return fitting[-1]
    if good:
        raise BackupError(
            f"{target.words} is before every good backup of {node}; the oldest reaches back to"
            f" {good[0].ended.astimezone().isoformat(sep=' ')} ({wal.lsn_text(good[0].end)})",
            hint=f"aya backup list --node {node}",
        )
    raise BackupError(f"{node} has no good backup to begin with", hint=f"aya backup create --node {node}")


def _is_before(backup: Backup, target: Target) -> bool:
    if target.time is not None:
        return backup.ended <= target.time
    return target.place is None or backup.end <= target.place
