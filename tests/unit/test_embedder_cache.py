"""The vector cache: bounded by memory, least recently used first out."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya_embedder.cache import Entry, Key, VectorCache
from aya_embedder.fake import FakeEmbedder

IDENTITY = FakeEmbedder().identity
ENTRY = Entry(b"\x00" * 512, 3)
ENTRY_BYTES = 1024


def key(text: str) -> Key:
    """Return the key of a document."""
    return Key.of(IDENTITY, "document", text)


def test_the_least_recently_used_leaves_first() -> None:
    """Reading an entry keeps it; the one that nobody read makes room."""
    cache = VectorCache(2 * ENTRY_BYTES)
    cache.put(key("a"), ENTRY)
    cache.put(key("b"), ENTRY)
    assert cache.get(key("a")) == ENTRY
    cache.put(key("c"), ENTRY)
    assert [cache.get(key(text)) for text in "abc"] == [ENTRY, None, ENTRY]


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(0, 4000))), st.integers(0, 20_000))
def test_the_cache_never_takes_more_memory_than_it_may(puts: list[tuple[int, int]], bound: int) -> None:
    """Whatever is put in, in whatever order, the bound holds and the sum is right."""
    cache = VectorCache(bound)
    for text, size in puts:
        cache.put(key(str(text)), Entry(b"\x00" * size, 1))
        assert cache.size_bytes <= bound
    held = [entry for text in range(21) if (entry := cache.get(key(str(text))))]
    assert len(held) == len(cache)
    assert cache.size_bytes == sum(len(entry.vector) + 512 for entry in held)


def test_a_cache_of_no_bytes_keeps_nothing() -> None:
    """AYA_EMBEDDER_CACHE_MB=0 turns the cache off."""
    cache = VectorCache(0)
    cache.put(key("a"), ENTRY)
    assert (len(cache), cache.size_bytes) == (0, 0)


@pytest.mark.parametrize(
    "other",
    [
        pytest.param(Key.of(IDENTITY, "query", "a"), id="another prompt"),
        pytest.param(Key.of(IDENTITY, "document", "b"), id="another text"),
        pytest.param(Key.of(IDENTITY, "document", (97,)), id="a token id"),
        pytest.param(Key.of(replace(IDENTITY, revision="r2"), "document", "a"), id="another model"),
        pytest.param(Key.of(replace(IDENTITY, max_tokens=8), "document", "a"), id="another window"),
    ],
)
def test_what_makes_another_vector_has_another_key(other: Key) -> None:
    """Model, prompt, text and window all decide a vector."""
    assert other != key("a")
