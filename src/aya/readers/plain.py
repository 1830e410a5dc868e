"""A text file's text, for the readers whose formats are text."""

from __future__ import annotations

from pathlib import Path

from aya.readers.parts import Unreadable
from aya.textfile import Refused, read_text_file


def plain_text(path: Path, most: int) -> str:
    """Return a file's text, by the rules of read_text_file; Unreadable with its reason. most: bytes."""
    read = read_text_file(path, max_bytes=most)
    if isinstance(read, Refused):
        raise Unreadable(read.reason)
    return read.text
