"""Files in a directory that PostgreSQL's user owns: root reads and writes there without following a planted link.

Whoever owns a directory can put a link in place of any file in it, at any moment: so every name is looked up from a
descriptor of the directory, and a file is replaced by a new one, never opened for writing.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from secrets import token_hex

from aya.flush import flush
from aya.postgres.privileges import RunAs

_MODE = 0o600


def read_text(file: Path) -> str:
    """Return what a plain file holds, in UTF-8; OSError when a link, a pipe or nothing is in its place."""
    with _directory(file.parent) as directory:
        # Not blocking: a pipe that nobody writes to would hold the reader for ever.
        handle = os.open(file.name, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=directory)
        with os.fdopen(handle, encoding="utf-8") as stream:
            if not stat.S_ISREG(os.fstat(handle).st_mode):
                raise OSError(f"{file} is no plain file")
            return stream.read()


def write_text(file: Path, content: str, user: RunAs) -> None:
    """Write `content` for `user` alone (mode 600), whole or not at all; what was in its place, a link too, is gone."""
    with _directory(file.parent) as directory:
        partial = f".{file.name}.{token_hex(8)}"
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        handle = os.open(partial, flags, _MODE, dir_fd=directory)
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as stream:
                os.fchmod(handle, _MODE)
                user.own(handle)
                stream.write(content)
                stream.flush()
                flush(handle)
            os.replace(partial, file.name, src_dir_fd=directory, dst_dir_fd=directory)
        except BaseException:
            os.unlink(partial, dir_fd=directory)
            raise


@contextmanager
def _directory(path: Path) -> Generator[int]:
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        yield handle
    finally:
        os.close(handle)
