"""Texts are cut into requests: nothing is lost, nothing is twice, and no request is too large."""

from __future__ import annotations

from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.embedding_batches import BATCH_CHARACTERS, TOKENIZE_BYTES, batches, segments
from aya_embedder.limits import MAX_TEXT_BYTES


@pytest.mark.parametrize(
    ("lengths", "cut"),
    [
        ([], []),
        ([0], [[0]]),
        ([1, 1, 1, 1], [[0, 1, 2], [3]]),
        ([6, 4, 1], [[0, 1], [2]]),
        ([11, 1], [[0], [1]]),
        ([1, 11, 1], [[0], [1], [2]]),
    ],
)
def test_a_request_is_closed_by_its_count_or_its_characters(lengths: list[int], cut: list[list[int]]) -> None:
    """Three texts or ten characters here; what is longer by itself goes alone."""
    assert [list(batch) for batch in batches(lengths, most_texts=3, most_characters=10)] == cut


@given(
    lengths=st.lists(st.integers(0, 300), max_size=60),
    most_texts=st.integers(1, 9),
    most_characters=st.integers(1, 300),
)
def test_every_text_goes_once_in_order_within_the_bounds(
    lengths: list[int], most_texts: int, most_characters: int
) -> None:
    """And no request could have taken the next one's first text."""
    cut = [list(batch) for batch in batches(lengths, most_texts=most_texts, most_characters=most_characters)]
    assert [index for batch in cut for index in batch] == list(range(len(lengths)))
    for batch in cut:
        assert 1 <= len(batch) <= most_texts
        assert len(batch) == 1 or sum(lengths[index] for index in batch) <= most_characters
    for batch, following in pairwise(cut):
        more = [*batch, following[0]]
        assert len(more) > most_texts or sum(lengths[index] for index in more) > most_characters


@given(st.text(st.sampled_from("ab \n\u2003é😀"), max_size=200), st.integers(1, 50))
def test_segments_are_the_text_again(text: str, size: int) -> None:
    """In order, without a gap, each below twice the size; where there are blanks, no word is cut."""
    parts = list(segments(text, size))
    assert "".join(part for _, part in parts) == text
    assert all(text[start:].startswith(part) and part for start, part in parts)
    assert all(len(part) <= 2 * size for _, part in parts)
    for start, _ in parts[1:]:
        long_word = not any(character.isspace() for character in text[start : start + size])
        assert text[start].isspace() or long_word


@pytest.mark.parametrize("letter", ["a", "é", "水", "𠀀", "\ud800"])
def test_a_part_is_bounded_in_bytes_whatever_its_letters(letter: str) -> None:
    """A long run before a blank, or the embedder would refuse the part, and the document for ever."""
    text = letter * 350_000 + " " + "a" * 100_000
    parts = [part for _, part in segments(text)]
    assert "".join(parts) == text
    assert max(len(part.encode(errors="surrogatepass")) for part in parts) <= TOKENIZE_BYTES


def test_the_embedder_takes_what_is_sent() -> None:
    """A part, and a batch of characters of the most bytes, are below its bound."""
    assert max(TOKENIZE_BYTES, 4 * BATCH_CHARACTERS) <= MAX_TEXT_BYTES
