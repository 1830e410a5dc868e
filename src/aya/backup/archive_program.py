"""PostgreSQL's archive_command and restore_command: one small program, copied beside the data directory.

    archive.py put DIRECTORY PATH NAME            keep the file PATH as NAME
    archive.py get DIRECTORY NAME PATH [LIVE]     bring NAME back; LIVE: a pg_wal that may have what is not archived yet

It is started for every segment, by the server's user, who need not be able to read our packages: it imports the
standard library alone, little of it, and runs on Python 3.9 as macOS has it. What is kept is a plain file and, beside
it, NAME.sha256 as `sha256sum -c` reads it. A name that can be seen is whole, on disk, and has its checksum.

Exit codes of get: 0 there; 1 the archive does not have it, which ends a recovery well; 126 it is damaged, on which
PostgreSQL gives the recovery up (a code above 125, see the documentation of restore_command) instead of ending early.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import stat
import struct
import sys

SUFFIX = ".sha256"
PARTIAL = ".partial-copy"
SEGMENT = re.compile(r"[0-9A-F]{24}\Z")
_NAME = re.compile(r"[0-9A-F]{24}(\.partial|\.[0-9A-F]{8}\.backup)?\Z|[0-9A-F]{8}\.history\Z")
_BLOCK_BYTES = 1 << 20
_ABSENT = 1
_DAMAGED = 126
# XLogLongPageHeaderData: magic, info, timeline, address of the page, …, size of a segment.
_HEADER = struct.Struct("=HHIQI4xQI")
_LONG_HEADER = 0x0002


class Refused(Exception):
    """What was asked for cannot be done; the message says why."""


def put(directory: str, source: str, name: str) -> None:
    """Keep `source` as `name`. The same content again is good; another content under that name is refused.

    Raises Refused and OSError; then nothing of it can be seen under that name.
    """
    if not _NAME.match(name):
        raise Refused(f"{name} is no name of PostgreSQL's")
    kept = os.path.join(directory, name)
    if os.path.lexists(kept):
        _require_same(directory, source, name)
        return
    with contextlib.ExitStack() as cleaning:
        partial = os.path.join(directory, f".{name}.{os.getpid()}{PARTIAL}")
        cleaning.callback(_remove, partial)
        digest = _copy(source, partial)
        if wrong := header_problem(partial, name):
            raise Refused(f"{source} {wrong}")
        if file_digest(partial, from_disk=True) != digest:
            raise Refused(f"what was written of {name} is not what was read")
        # The checksum first: whoever sees the segment finds it.
        _write_checksum(directory, name, digest)
        try:
            os.link(partial, kept)
        except FileExistsError:
            _require_same(directory, source, name)
    _sync_directory(directory)


def _require_same(directory: str, source: str, name: str) -> None:
    """Return when `name` is kept with this content and its checksum, all on disk."""
    digest = file_digest(source)
    kept = os.path.join(directory, name)
    if file_digest(kept) != digest:
        raise Refused(f"{kept} is there with another content, and nothing is ever overwritten")
    if stored_digest(directory, name) != digest:
        _write_checksum(directory, name, digest)
    handle = os.open(kept, os.O_RDONLY)
    try:
        _flush(handle)
    finally:
        os.close(handle)
    _sync_directory(directory)


def get(directory: str, name: str, target: str, live: str | None = None) -> int:
    """Copy `name` to `target`, and return the exit code."""
    kept = os.path.join(directory, name)
    if os.path.lexists(kept):
        digest = _copied(kept, target)
        stored = stored_digest(directory, name)
        if digest != stored:
            _remove(target)
            sys.stderr.write(f"aya: {kept} is damaged: {'its checksum is missing' if stored is None else 'checksum'}\n")
            return _DAMAGED
        return 0
    if live is not None and _NAME.match(name):
        return _get_live(os.path.join(live, name), target, name)
    return _ABSENT


def _get_live(source: str, target: str, name: str) -> int:
    """Copy a segment that the server may be writing; a recycled one, whose content is another's, is passed over."""
    try:
        _copied(source, target)
    except FileNotFoundError:
        return _ABSENT
    if header_problem(target, name):
        _remove(target)
        return _ABSENT
    return 0


def header_problem(path: str, name: str) -> str | None:
    """Return why the file is not the segment of that name, None when it is, or is no segment."""
    if not SEGMENT.match(name):
        return None
    with open(os.open(path, os.O_RDONLY | os.O_NOFOLLOW), "rb") as file:
        first = file.read(_HEADER.size)
        size = os.fstat(file.fileno()).st_size
    if len(first) < _HEADER.size:
        return "is shorter than a page's header"
    _, info, _, address, _, _, segment_bytes = _HEADER.unpack(first)
    if not info & _LONG_HEADER or segment_bytes == 0 or segment_bytes & (segment_bytes - 1):
        return "does not begin with a segment's header"
    if size != segment_bytes:
        return f"has {size} bytes, not {segment_bytes}"
    if address != int(name[8:16], 16) * (1 << 32) + int(name[16:24], 16) * segment_bytes:
        return "holds another segment"
    return None


def stored_digest(directory: str, name: str) -> str | None:
    """Return the kept checksum in hexadecimal, None when there is none that can be read."""
    try:
        with open(os.path.join(directory, name + SUFFIX), encoding="ascii") as file:
            return file.read().split(" ", 1)[0]
    except (OSError, ValueError):
        return None


def file_digest(path: str, *, from_disk: bool = False) -> str:
    """Return the SHA-256 of a plain file. from_disk: not of what the system still has in memory, where it can."""
    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW)
    with open(handle, "rb", buffering=0) as file:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise Refused(f"{path} is no plain file")
        if from_disk:
            _forget(handle)
        digest = hashlib.sha256()
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
    return digest.hexdigest()


def _forget(handle: int) -> None:
    if hasattr(os, "posix_fadvise"):
        os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
    elif sys.platform == "darwin":
        import fcntl  # noqa: PLC0415 - of no use elsewhere

        fcntl.fcntl(handle, fcntl.F_NOCACHE, 1)


def _copy(source: str, target: str) -> str:
    """Copy into a new file that is on disk when this returns, and return the SHA-256."""
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o600)
    return _filled(source, handle, durable=True)


def _copied(source: str, target: str) -> str:
    """Copy to where the server wants it, and return the SHA-256."""
    with open(source, "rb"):  # before anything is made
        pass
    handle = os.open(target, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    return _filled(source, handle, durable=False)


def _filled(source: str, handle: int, *, durable: bool) -> str:
    digest = hashlib.sha256()
    with open(handle, "wb", buffering=0) as written, open(source, "rb", buffering=0) as file:
        while block := file.read(_BLOCK_BYTES):
            digest.update(block)
            rest = memoryview(block)
            while rest:
                rest = rest[written.write(rest) :]
        if durable:
            _flush(handle)
    return digest.hexdigest()


def _write_checksum(directory: str, name: str, digest: str) -> None:
    partial = os.path.join(directory, f".{name}{SUFFIX}.{os.getpid()}{PARTIAL}")
    handle = os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW, 0o600)
    try:
        with open(handle, "w", encoding="ascii") as file:
            file.write(f"{digest}  {name}\n")
            file.flush()
            _flush(handle)
        os.replace(partial, os.path.join(directory, name + SUFFIX))
    except BaseException:
        _remove(partial)
        raise


def _flush(handle: int) -> None:
    if sys.platform == "darwin":
        # fsync does not reach the disk there (fsync(2)).
        import fcntl  # noqa: PLC0415 - of no use elsewhere

        with contextlib.suppress(OSError):
            fcntl.fcntl(handle, fcntl.F_FULLFSYNC)
            return
    os.fsync(handle)


def _sync_directory(directory: str) -> None:
    handle = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _flush(handle)
    finally:
        os.close(handle)


def _remove(path: str) -> None:
    with contextlib.suppress(FileNotFoundError):
        os.unlink(path)


def main(arguments: list[str]) -> int:
    """Do what the arguments say, and return the exit code; what went wrong goes into the server's log."""
    try:
        if arguments[:1] == ["put"] and len(arguments[1:]) == 3:  # noqa: PLR2004 - see above
            put(*arguments[1:])
            return 0
        if arguments[:1] == ["get"] and len(arguments[1:]) in {3, 4}:
            return get(*arguments[1:])
    except (Refused, OSError) as error:
        sys.stderr.write(f"aya: {arguments[-1 if arguments[0] == 'put' else 2]}: {error}\n")
        # Of a recovery: what is there and cannot be read must not pass for the end of the archive.
        return 1 if arguments[0] == "put" else _DAMAGED
    sys.stderr.write("usage: put DIRECTORY PATH NAME | get DIRECTORY NAME PATH [LIVE]\n")
    return 2


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
