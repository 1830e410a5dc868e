"""The base backups of a node, each in a directory of its own: the copy, and what is written down of it.

    nodes/NODE/backups/20260101T033000Z/data           the copy, as a data directory
    nodes/NODE/backups/20260101T033000Z/backup.json    a Backup

A name that does not begin with a dot is a whole copy.
"""

from __future__ import annotations

import json
import os
import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from aya.errors import BackupError
from aya.flush import flush
from aya.home import Home
from aya.json_object import json_object
from aya.postgres import files
from aya.postgres.privileges import RunAs

_RECORD = "backup.json"
_STAMP = "%Y%m%dT%H%M%SZ"
_REMOVED = ".removed"
PARTIAL = ".partial"
_ORPHAN_SECONDS = 10.0
_AGAIN_SECONDS = 0.05


@dataclass(frozen=True, slots=True)
class Backup:
    """One base backup.

    started_at, ended_at, verified_at: ISO 8601 in UTC; verified_at: when every file was last found as it was copied,
    None never. start, end: positions in the WAL, in bytes; it can be rolled forward to any place from `end` on.
    size: bytes. problem: what the last check found wrong; None nothing. Of one whose record cannot be read nothing is
    known but its name and that: its numbers are 0.
    """

    name: str
    node: str
    started_at: str
    ended_at: str
    timeline: int
    start: int
    end: int
    size: int
    segment_bytes: int
    postgresql: str
    verified_at: str | None = None
    problem: str | None = None

    @property
    def good(self) -> bool:
        """Return whether it was checked, and nothing was wrong."""
        return self.verified_at is not None and self.problem is None

    @property
    def is_known(self) -> bool:
        """Return whether its record could be read."""
        return self.segment_bytes > 0

    @property
    def ended(self) -> datetime:
        """Return the first moment that it can be rolled forward to."""
        return datetime.fromisoformat(self.ended_at)


@dataclass(frozen=True, slots=True)
class Catalogue:
    """What a node has. user: who owns it, PostgreSQL's."""

    directory: Path
    user: RunAs

    @classmethod
    def of(cls, home: Home, node: str, user: RunAs) -> Catalogue:
        """Return a node's; nothing need exist."""
        return cls(home.backup_directory(node), user)

    def data(self, name: str) -> Path:
        """Return the copy's directory."""
        return self.directory / name / "data"

    def all(self) -> list[Backup]:
        """Return them, oldest first. One whose record cannot be read has a problem, and holds up none of the others."""
        if not self.directory.is_dir():
            return []
        names = sorted(one.name for one in self.directory.iterdir() if one.is_dir() and not one.name.startswith("."))
        return [self._get(name) for name in names]

    def _get(self, name: str) -> Backup:
        try:
            return self.get(name)
        except BackupError as error:
            return Backup(name, "", "", "", 0, 0, 0, 0, 0, "", problem=error.message)

    def get(self, name: str) -> Backup:
        """Return one. Raises BackupError when there is none of that name, or its record cannot be read."""
        file = self.directory / name / _RECORD
        try:
            fields = json_object(json.loads(files.read_text(file)))
            return _checked(fields or {}, name)
        except FileNotFoundError as error:
            raise BackupError(f"there is no backup {name!r} in {self.directory}", hint="aya backup list") from error
        except (OSError, ValueError, TypeError, RecursionError) as error:
            raise BackupError(f"{file} cannot be read: {error}", hint=f"move {file.parent} away") from error

    def free_name(self, moment: datetime) -> str:
        """Return what a backup of a moment is called: by its second, or by the next that no backup has."""
        while (self.directory / moment.strftime(_STAMP)).exists():
            moment += timedelta(seconds=1)
        return moment.strftime(_STAMP)

    def write(self, backup: Backup, directory: Path | None = None) -> None:
        """Write down what is known of a backup. directory: where it is, while it has not its name yet."""
        text = json.dumps(asdict(backup), indent=2) + "\n"
        files.write_text((directory or self.directory / backup.name) / _RECORD, text, self.user)

    def keep(self, backup: Backup, unfinished: Path) -> None:
        """Give a copy that was checked its name, and have that on disk."""
        self.write(backup, unfinished)
        sync_directory(unfinished)
        unfinished.rename(self.directory / backup.name)
        sync_directory(self.directory)

    def remove(self, backup: Backup) -> None:
        """Remove one; half removed, it cannot be seen."""
        hidden = self.directory / f".{backup.name}{_REMOVED}"
        (self.directory / backup.name).rename(hidden)
        shutil.rmtree(hidden, ignore_errors=True)

    def tidy(self) -> None:
        """Remove what earlier runs have not ended. Nobody else is at work."""
        for one in self.directory.iterdir() if self.directory.is_dir() else ():
            if one.name.startswith(".") and one.name.endswith((PARTIAL, _REMOVED)):
                _remove_tree(one)


def _checked(fields: dict[str, Any], name: str) -> Backup:
    """Return a backup whose record says what it should. Raises ValueError, TypeError."""
    found = Backup(**fields)
    texts = ("node", "started_at", "ended_at", "postgresql")
    numbers = ("timeline", "start", "end", "size", "segment_bytes")
    notes = [fields.get(each) for each in ("verified_at", "problem")]
    if (
        not all(isinstance(fields[each], str) for each in texts)
        or not all(type(fields[each]) is int and fields[each] >= 0 for each in numbers)
        or not all(one is None or isinstance(one, str) for one in notes)
        or found.segment_bytes == 0
    ):
        raise TypeError("it holds what it should not")
    if found.name != name:
        raise ValueError(f"it is of {found.name!r:.100}")
    for moment in (found.started_at, found.ended_at, *([found.verified_at] if found.verified_at else [])):
        if datetime.fromisoformat(moment).tzinfo is None:
            raise ValueError(f"{moment} has no time zone")
    return found


def _remove_tree(directory: Path) -> None:
    """Remove a directory into which a program that was just killed may still write, by a child that it left."""
    deadline = time.monotonic() + _ORPHAN_SECONDS
    while directory.exists() and time.monotonic() < deadline:
        shutil.rmtree(directory, ignore_errors=True)
        if directory.exists():
            time.sleep(_AGAIN_SECONDS)


def superfluous(backups: Sequence[Backup], keep: int) -> list[Backup]:
    """Return those to remove so that `keep` good ones stay, oldest first; pure.

    While there are not more than that, nothing goes: neither the last good one nor one that failed its check, for it
    may be all there is.
    """
    good = [one for one in backups if one.good]
    if len(good) <= max(keep, 1):
        return []
    oldest_kept = good[-max(keep, 1)]
    return [one for one in backups if one.name < oldest_kept.name]


def newest_good(backups: Sequence[Backup]) -> Backup | None:
    """Return the last that was checked and is good; pure."""
    return next((one for one in reversed(backups) if one.good), None)


def sync_directory(path: Path) -> None:
    """Have a directory's entries on disk."""
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        with suppress(OSError):
            flush(handle)
    finally:
        os.close(handle)
