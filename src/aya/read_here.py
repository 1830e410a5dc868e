"""The files that this machine has read, in a file of its home.

A document knows the paths that it was read from, not the machine, and two Macs may have different files under one path:
what is not on this disk is gone only when this machine has read it here. Whoever loses the ledger loses nothing: what
is read again is noted again, and until then nothing is taken for gone.
"""

from __future__ import annotations

import sqlite3
import threading
from pathlib import Path
from types import TracebackType
from typing import Self

from aya import queries
from aya.errors import DocumentError

_SQL = queries.load("aya", "read_here.sql")
_BUSY_SECONDS = 30.0
_AT_ONCE = 500


class ReadHere:
    """The ledger. Its methods may be called from any thread, and several processes may have it open.

    `with ReadHere(path) as ledger` writes what is left at its end; a process that is killed has not noted up to some
    hundred files. Raises DocumentError when the file cannot be used.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._lock = threading.Lock()
        self._unwritten: set[str] = set()
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._file = sqlite3.connect(path, timeout=_BUSY_SECONDS, check_same_thread=False)
            path.chmod(0o600)
            self._file.execute(_SQL["create"])
        except (OSError, sqlite3.Error) as error:
            raise self._unusable(error) from error

    def note(self, path: str) -> None:
        """Note that this machine has read the file at an absolute path."""
        with self._lock:
            self._unwritten.add(path)
            if len(self._unwritten) >= _AT_ONCE:
                self._write()

    def has(self, path: str) -> bool:
        """Return whether it has."""
        with self._lock:
            if path in self._unwritten:
                return True
            try:
                return self._file.execute(_SQL["has"], (path,)).fetchone() is not None
            except sqlite3.Error as error:
                raise self._unusable(error) from error

    def _write(self) -> None:
        try:
            with self._file:
                self._file.executemany(_SQL["note"], [(path,) for path in self._unwritten])
        except sqlite3.Error as error:
            raise self._unusable(error) from error
        self._unwritten.clear()

    def _unusable(self, error: Exception) -> DocumentError:
        return DocumentError(
            f"{self._path}, which says what this machine has read, cannot be used: {error}",
            hint=f"mv '{self._path}' '{self._path}.old', then run the same again: it is made anew",
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            try:
                self._write()
            finally:
                self._file.close()
