"""What a reader hands out: the documents of a file, or why there are none."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import quote

LONGEST_TITLE = 300
LONGEST_FRAGMENT = 200
MOST_CHARACTERS = 32 * 1024 * 1024
"""One document is never longer than this, in code points."""

_UNKEEPABLE = re.compile("[\x00-\x08\x0b\x0e-\x1f\x7f\ufffe\uffff]")
_SURROGATE = re.compile("[\ud800-\udfff]")


class Unreadable(Exception):
    """A file, or the rest of it, that cannot be read. Its message is the reason, a sentence for a person."""


@dataclass(frozen=True, slots=True)
class Part:
    """One document in a file.

    title: None where the document does not say; then it is called after the file.
    fragment: what tells it from the other documents of the file; None where a file is one document.
    notes: what of it could not be taken, each a sentence.
    """

    text: str
    title: str | None = None
    fragment: str | None = None
    markdown: bool = True
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Missing:
    """One document in a file that cannot be read, while the others can."""

    fragment: str
    reason: str


Reader = Callable[[Path], Iterator[Part | Missing]]
"""A reader may raise Unreadable at any time: what it handed out before stands."""


def clean(text: str) -> str:
    """Return text that PostgreSQL can keep: control characters go, halves of surrogate pairs become U+FFFD."""
    kept = _UNKEEPABLE.sub("", text)
    try:
        kept.encode()
    except UnicodeEncodeError:
        return _SURROGATE.sub("\ufffd", kept)
    return kept


def one_line(text: str | None, longest: int = LONGEST_TITLE) -> str | None:
    """Return a text cleaned, in one line and shortened; None for None and for what is blank."""
    words = " ".join(clean(text or "").split())
    return (words if len(words) <= longest else words[: longest - 1] + "…") or None


def check_length(text: str) -> str:
    """Return the text; Unreadable where it is longer than MOST_CHARACTERS."""
    if len(text) > MOST_CHARACTERS:
        raise Unreadable(f"It holds more than {MOST_CHARACTERS:,} characters of text.")
    return text


class Fragments:
    """Names for the documents of one file that are fit for a URI; the second with the same identity becomes "…~2"."""

    def __init__(self) -> None:
        self._times: dict[bytes, int] = {}

    def take(self, identity: str) -> str:
        """Return a name for the next document with this identity."""
        name = quote(clean(identity), safe="@.$+-_=!:,;()'*").replace("~", "%7E") or "-"
        if len(name) > LONGEST_FRAGMENT:
            name = sha256(name.encode()).hexdigest()[:32]
        # eight bytes of a hash in place of the name: an archive can hold millions
        key = sha256(name.encode()).digest()[:8]
        times = self._times[key] = self._times.get(key, 0) + 1
        return name if times == 1 else f"{name}~{times}"
