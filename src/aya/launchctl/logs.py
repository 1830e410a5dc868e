"""The logs of services, their last lines and what is added to them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path

from aya.local.wait import read_tail


class Followed:
    """One log that is read on: also after it was exchanged for a new one, or cut."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._inode, self._place = _identity(file)
        self._rest = b""

    def added(self) -> list[str]:
        """Return the whole lines that were added since the last call."""
        inode, size = _identity(self._file)
        if inode != self._inode or size < self._place:
            self._inode, self._place, self._rest = inode, 0, b""
        try:
            with self._file.open("rb") as stream:
                stream.seek(self._place)
                new = stream.read()
        except OSError:
            return []
        self._place += len(new)
        *lines, self._rest = (self._rest + new).split(b"\n")
        return [line.decode("utf-8", errors="replace") for line in lines]


def _identity(file: Path) -> tuple[int, int]:
    try:
        status = file.stat()
    except OSError:
        return 0, 0
    return status.st_ino, status.st_size


def last_lines(files: Mapping[str, Path], count: int) -> Iterator[tuple[str, str]]:
    """Return the last lines of each log, at most `count` and 8 KiB of it: (whose, line)."""
    for whose, file in files.items():
        lines = read_tail(file).splitlines()
        for line in lines[-count:] if count else []:
            yield whose, line
