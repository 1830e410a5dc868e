"""A file's bytes, at most so many."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import BinaryIO

from aya.readers.parts import Unreadable


def open_regular(path: Path) -> BinaryIO:
    """Open a regular file; O_NONBLOCK, as a pipe may have taken its place since it was looked at. Raises OSError."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise FileNotFoundError(path)
    return os.fdopen(descriptor, "rb")


def whole_file(path: Path, most: int | None) -> bytes:
    """Return what a file holds; Unreadable where it holds more than `most` bytes (None: no limit)."""
    with open_regular(path) as file:
        data = file.read() if most is None else file.read(most + 1)
    if most is not None and len(data) > most:
        raise Unreadable(f"It is too large: more than {most:,} bytes.")
    return data
