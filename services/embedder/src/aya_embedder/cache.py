"""A least-recently-used cache of vectors, bounded by the memory it takes."""

from __future__ import annotations

import hashlib
import struct
from collections import OrderedDict
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from aya_embedder.embedder import Given
    from aya_embedder.identity import ModelIdentity, Prompt

_NO_TEXT = b"\xff"  # a byte that UTF-8 never has
# Key, entry, digest and dictionary slot beside the vector itself, on 64-bit CPython.
_OVERHEAD_BYTES = 512


class Key(NamedTuple):
    """What decides a vector: the model as it is used, the prompt, the text, and where the text was cut."""

    fingerprint: str
    prompt: Prompt
    text_sha256: bytes
    limit_tokens: int

    @classmethod
    def of(cls, identity: ModelIdentity, prompt: Prompt, given: Given) -> Key:
        """Return the key of a text or of token ids; they never share one. Raises UnicodeEncodeError on a surrogate."""
        written = given.encode() if isinstance(given, str) else _NO_TEXT + struct.pack(f"<{len(given)}I", *given)
        return cls(identity.fingerprint, prompt, hashlib.sha256(written).digest(), identity.max_tokens)


@dataclass(frozen=True, slots=True)
class Entry:
    """A vector as little-endian float32 bytes, and how many tokens the whole text has."""

    vector: bytes
    tokens: int


class VectorCache:
    """Vectors by key; the least recently used leave first. Not thread-safe: the event loop owns it."""

    def __init__(self, max_bytes: int) -> None:
        """Hold at most `max_bytes`, keys included; 0 holds nothing."""
        self._max_bytes = max_bytes
        self._entries: OrderedDict[Key, Entry] = OrderedDict()
        self._bytes = 0

    def __len__(self) -> int:
        return len(self._entries)

    @property
    def size_bytes(self) -> int:
        """What the entries take, keys included."""
        return self._bytes

    def get(self, key: Key) -> Entry | None:
        """Return the entry and make it the most recently used; None when it is not here."""
        entry = self._entries.get(key)
        if entry is not None:
            self._entries.move_to_end(key)
        return entry

    def put(self, key: Key, entry: Entry) -> None:
        """Keep the entry; older ones leave until the bound holds. An entry over the bound is not kept."""
        replaced = self._entries.pop(key, None)
        self._bytes += _cost(entry) - (_cost(replaced) if replaced else 0)
        self._entries[key] = entry
        while self._bytes > self._max_bytes:
            _, oldest = self._entries.popitem(last=False)
            self._bytes -= _cost(oldest)


def _cost(entry: Entry) -> int:
    return len(entry.vector) + _OVERHEAD_BYTES
