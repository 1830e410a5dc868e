"""Archives of mail in one file (mbox, RFC 4155): one document a message, one message in memory at a time."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path

from aya.readers.formats import MOST_BYTES
from aya.readers.mail import message_part
from aya.readers.parts import Fragments, Missing, Part, Unreadable
from aya.readers.whole import open_regular

LONGEST_LINE = 1024 * 1024
_QUOTED = re.compile(rb"^>(>*From )", re.MULTILINE)


def read_mbox(path: Path) -> Iterator[Part | Missing]:
    """Yield the messages, each named by its Message-ID, or by its content where it has none."""
    names = Fragments()
    most = MOST_BYTES["mail"] or 0
    with open_regular(path) as file:
        lines = iter(lambda: file.readline(LONGEST_LINE), b"")
        for number, (data, size) in enumerate(messages(lines, most), start=1):
            yield _document(data, size, number, names, most)


def messages(lines: Iterable[bytes], most: int) -> Iterator[tuple[bytes, int]]:
    """Yield (content, size in bytes) of each message; of a longer one than `most` only the beginning is kept. Pure.

    A message begins with a line "From …" at the start of the file or below a blank line; "From " inside a message
    was quoted with ">" when it was written, which is taken back. Raises Unreadable where the first line is another.
    """
    kept: list[bytes] | None = None
    size, after_blank = 0, True
    for line in lines:
        if after_blank and line.startswith(b"From "):
            if kept is not None:
                yield _QUOTED.sub(rb"\1", b"".join(kept)), size
            kept, size = [], 0
        elif kept is None:
            if line.strip():
                raise Unreadable('It is no mbox: it does not begin with "From ".')
        else:
            size += len(line)
            if size <= most:
                kept.append(line)
        after_blank = not line.strip()
    if kept is None:
        raise Unreadable("It is empty.")
    yield _QUOTED.sub(rb"\1", b"".join(kept)), size


def _document(data: bytes, size: int, number: int, names: Fragments, most: int) -> Part | Missing:
    if size > most:
        return Missing(names.take(f"message-{number}"), f"Message {number} is too large: {size:,} bytes.")
    try:
        part = message_part(data)
    except Unreadable as error:
        return Missing(names.take(f"message-{number}"), f"Message {number}: {error}")
    identity = str(part.metadata.get("message-id", "")).strip("<> ") or sha256(data).hexdigest()[:32]
    return replace(part, fragment=names.take(identity))
