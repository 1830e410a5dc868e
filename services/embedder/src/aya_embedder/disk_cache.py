"""The vector cache's persistent tier: what was computed before a restart need not be computed again.

One SQLite file, on a thread of its own. It is a cache and nothing more: whatever happens to the file or the disk, the
service goes on without. A read that takes too long is given up, writes are dropped when too many wait, a damaged file
is moved aside. Two processes may share the file. Source: docs/adr/0012-a-persistent-cache-in-sqlite.md.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import json
import sqlite3
import struct
import time
from collections import deque
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from aya import log
from aya.queries import load
from aya_embedder.cache import Entry
from aya_embedder.thread import OneThread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Sequence
    from pathlib import Path

    from aya_embedder.cache import Key
    from aya_embedder.config import Config

Result = TypeVar("Result")
FILE_NAME = "vectors.sqlite3"

_SQL = load("aya_embedder", "disk_cache.sql")
_SCHEMA_VERSION = 1
_SLOWEST_READ_SECONDS = 0.05
_BUSY_SECONDS = 0.25
_PAUSE_SECONDS = 1.0
_LOG_EVERY_SECONDS = 30.0
_STOP_SECONDS = 0.5
_MOST_WAITING = 8192
_READ_AT_ONCE = 256
_WRITTEN_AT_ONCE = 256
_DELETED_AT_ONCE = 256
_HOUR_SECONDS = 3600
_PRIMARY_CODE = 0xFF  # the rest of an extended result code says more than we need
_DAMAGED = (sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB)


class DiskCache:
    """Vectors by key, in a file. `get`, `put` and `close` belong to the event loop, the rest to the thread."""

    def __init__(self, directory: Path, max_bytes: int, *, now: Callable[[], float] = time.time) -> None:
        """Begin to open the file in `directory`, which is made when it is not there.

        max_bytes: bound of the file; its log takes 4 MiB or so more. now: says what was used when, in Unix seconds.
        """
        self._path = directory / FILE_NAME
        self._max_bytes = max_bytes
        self._now = now
        self._unwritten: deque[tuple[Key, Entry]] = deque()
        self._late = False
        self._file: sqlite3.Connection | None = None
        self._inode = 0
        self._newer = False
        self._paused_until = 0.0
        self._failing_since: float | None = None
        self._logged_at = 0.0
        self._thread = OneThread("disk-cache")
        self._thread.post(self._do, self._make_room)

    @property
    def late(self) -> bool:
        """Whether the disk is not being asked, because it has not answered yet what it was asked before."""
        return self._late

    @property
    def unwritten(self) -> int:
        """How many vectors wait to be written."""
        return len(self._unwritten)

    async def flush(self) -> None:
        """Wait until the thread has done all that it was given so far, and what followed from that."""
        await self._thread.call(_nothing)
        while self._unwritten:
            await self._thread.call(_nothing)
        await self._thread.call(_nothing)  # the last of them may be on their way

    async def get(self, keys: Collection[Key]) -> dict[Key, Entry]:
        """Return those of `keys` that are on disk; some of them when it takes over 50 ms to read 256.

        Until the thread has caught up with a read that was given up, the disk is not asked at all.
        """
        left = iter(keys)
        found: dict[Key, Entry] = {}
        while not self._late and (some := list(itertools.islice(left, _READ_AT_ONCE))):
            try:
                async with asyncio.timeout(_SLOWEST_READ_SECONDS):
                    found |= await self._thread.call(self._look_up, some)
            except TimeoutError:
                self._late = True
                self._thread.post(self._catch_up)
        return found

    def put(self, entries: Sequence[tuple[Key, Entry]]) -> None:
        """Have `entries` written soon; they are dropped while thousands wait for a slow disk."""
        if len(self._unwritten) + len(entries) <= _MOST_WAITING:
            self._unwritten.extend(entries)
            self._thread.post(self._do, self._write)

    def close(self) -> None:
        """Write what is left and close the file, or leave the rest after half a second: the service is leaving."""
        for _ in range(0, len(self._unwritten), _WRITTEN_AT_ONCE):
            self._thread.post(self._do, self._write)
        self._thread.post(self._shut)
        self._thread.stop(_STOP_SECONDS)

    def _catch_up(self) -> None:
        self._late = False

    def _look_up(self, keys: Collection[Key]) -> dict[Key, Entry]:
        return self._do(partial(self._read, keys)) or {}

    def _do(self, work: Callable[[sqlite3.Connection], Result]) -> Result | None:
        """Run `work` on the open file; None when it cannot be, which the log says."""
        if self._newer or time.monotonic() < self._paused_until:
            self._unwritten.clear()
            return None
        try:
            self._file = self._file or self._opened()
            result = work(self._file) if self._file else None
        except Exception as error:  # noqa: BLE001 - whatever happens to the file, the thread goes on, and so the service
            self._failed(error)
            return None
        if self._file is None:
            self._unwritten.clear()
        if self._failing_since is not None and self._file:
            log.get_logger().info("disk_cache.recovered", seconds=round(time.monotonic() - self._failing_since))
            self._failing_since = None
        return result

    def _opened(self) -> sqlite3.Connection | None:
        """Open the file and prepare it; None when a newer version of AYA made it, which is left to that one."""
        self._path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._inode = _inode(self._path)
        file = sqlite3.connect(self._path, timeout=_BUSY_SECONDS, isolation_level=None)
        file.text_factory = bytes
        try:
            version: int = file.execute(_SQL["read_version"]).fetchone()[0]
            if version <= _SCHEMA_VERSION:
                _prepare(file)
                self._inode = _inode(self._path)
                return file
        except BaseException:
            file.close()
            raise
        file.close()
        self._newer = True
        log.get_logger().warning("disk_cache.made_by_newer_version", file=str(self._path), schema=version)
        return None

    def _read(self, keys: Collection[Key], file: sqlite3.Connection) -> dict[Key, Entry]:
        by_number = {_number(key): key for key in keys}
        hour = self._hour()
        found: dict[Key, Entry] = {}
        stale: list[tuple[int, int]] = []
        for number, vector, tokens, seal, used in file.execute(_SQL["read_vectors"], [json.dumps(list(by_number))]):
            key = by_number.get(number)
            # a damaged row may hold anything, of any type
            if key and isinstance(vector, bytes) and isinstance(tokens, int):
                entry = Entry(vector, tokens)
                if seal == _seal(key, entry):
                    found[key] = entry
                    if used != hour:
                        stale.append((hour, number))
        if stale:
            self._thread.post(self._do, partial(_touch, stale))
        return found

    def _write(self, file: sqlite3.Connection) -> None:
        """Write some of what waits; the rest at the next turn, so that reads come between."""
        some = [self._unwritten.popleft() for _ in range(min(_WRITTEN_AT_ONCE, len(self._unwritten)))]
        if not some:
            return
        hour = self._hour()
        rows = [(_number(key), entry.vector, entry.tokens, _seal(key, entry), hour) for key, entry in some]
        with _transaction(file):
            file.executemany(_SQL["write_vector"], rows)
        self._make_room(file)
        if self._unwritten:
            self._thread.post(self._do, self._write)

    def _make_room(self, file: sqlite3.Connection) -> None:
        """Forget what was used longest ago until the pages in use fit, and shorten a file that is over its bound."""
        pages, free, page_bytes = file.execute(_SQL["read_size"]).fetchone()
        while (pages - free) * page_bytes > self._max_bytes:
            with _transaction(file):
                deleted = file.execute(_SQL["delete_oldest"], [_DELETED_AT_ONCE]).rowcount
            pages, free, page_bytes = file.execute(_SQL["read_size"]).fetchone()
            if not deleted:
                break
        if pages * page_bytes > self._max_bytes and free:
            file.executescript(_SQL["give_pages_back"])  # execute would give one page back

    def _failed(self, error: Exception) -> None:
        """Move a damaged file aside; after other failures, and when it cannot be moved, pause."""
        self._unwritten.clear()
        code = getattr(error, "sqlite_errorcode", 0) & _PRIMARY_CODE
        if code == sqlite3.SQLITE_BUSY:
            return  # another process is writing: what was not written will be computed again
        self._shut()
        if code not in _DAMAGED:
            self._pause(str(error) or type(error).__name__)
            return
        try:
            self._move_aside(str(error))
        except OSError as obstacle:
            self._pause(f"{error}; the file cannot be moved aside: {obstacle}")

    def _pause(self, error: str) -> None:
        """Leave the disk alone for a second; log the first failure, and then one every 30 s."""
        now = time.monotonic()
        self._paused_until = now + _PAUSE_SECONDS
        if self._failing_since is None or now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = now
            log.get_logger().warning("disk_cache.failed", file=str(self._path), error=error)
        self._failing_since = self._failing_since or now

    def _move_aside(self, error: str) -> None:
        """Keep the damaged file beside, unless another process has; its log must not be replayed into a new file.

        Raises OSError when it cannot be moved: a directory that is read-only, or something else of that name.
        """
        if self._inode != _inode(self._path):
            return
        kept = self._path.with_name(FILE_NAME + ".damaged")
        for suffix in ("-wal", "-shm"):
            self._path.with_name(FILE_NAME + suffix).unlink(missing_ok=True)
        self._path.replace(kept)
        log.get_logger().warning("disk_cache.damaged", error=error, kept_as=str(kept))

    def _shut(self) -> None:
        if self._file is not None:
            with contextlib.suppress(sqlite3.Error):
                self._file.close()
        self._file = None

    def _hour(self) -> int:
        return int(self._now()) // _HOUR_SECONDS


@contextlib.contextmanager
def opened(config: Config) -> Generator[DiskCache | None]:
    """Open what `config` asks for, and close it in the end; None when it asks for none."""
    if config.cache_directory is None or not config.disk_cache_bytes:
        yield None
        return
    with contextlib.closing(DiskCache(config.cache_directory, config.disk_cache_bytes)) as disk:
        yield disk


def _nothing() -> None:
    pass


def _prepare(file: sqlite3.Connection) -> None:
    for name in ("give_pages_back_by_and_by", "log_ahead", "sync_now_and_then", "bound_log"):
        file.execute(_SQL[name]).fetchall()
    with _transaction(file):
        for name in ("create_vectors", "create_order_of_use", "write_version"):
            file.execute(_SQL[name])


def _touch(used: Sequence[tuple[int, int]], file: sqlite3.Connection) -> None:
    with _transaction(file):
        file.executemany(_SQL["touch_vector"], used)


@contextlib.contextmanager
def _transaction(file: sqlite3.Connection) -> Generator[None]:
    """Take the lock for writing at the start, so that the whole waits its turn, and not its middle."""
    file.execute("BEGIN IMMEDIATE")
    try:
        yield
        file.execute("COMMIT")
    except BaseException:
        if file.in_transaction:
            file.rollback()
        raise


def _digest(key: Key) -> bytes:
    facts = f"{key.fingerprint}\0{key.prompt}\0{key.limit_tokens}\0".encode()
    return hashlib.sha256(facts + key.text_sha256).digest()


def _number(key: Key) -> int:
    """Return 64 bits of the key's hash, as SQLite's integer."""
    number: int = struct.unpack("<q", _digest(key)[:8])[0]
    return number


def _seal(key: Key, entry: Entry) -> int:
    """Return 64 bits over key and entry: they differ when a page was damaged, or when two keys share a number."""
    sealed = hashlib.blake2b(_digest(key) + struct.pack("<q", entry.tokens) + entry.vector, digest_size=8)
    number: int = struct.unpack("<q", sealed.digest())[0]
    return number


def _inode(path: Path) -> int:
    try:
        return path.stat().st_ino
    except OSError:
        return 0
