"""What a worker says is checked as what a stranger says: a parser may have been taken over."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.readers import wire
from aya.readers.parts import Missing, Part

WORDS = st.text(alphabet=st.characters(exclude_categories=["Cs"]))
PARTS = st.builds(
    Part,
    text=WORDS,
    title=st.none() | WORDS,
    fragment=st.none() | WORDS,
    markdown=st.booleans(),
    metadata=st.dictionaries(WORDS, WORDS | st.lists(st.integers())),
    notes=st.lists(WORDS).map(tuple),
)


@given(PARTS | st.builds(Missing, WORDS, WORDS))
def test_a_document_arrives_as_it_was_sent(document: Part | Missing) -> None:
    """Every field of it."""
    frame = wire.packed(wire.told(document))
    body = frame[wire.HEADER.size :]
    assert wire.length_of(frame[: wire.HEADER.size]) == len(body)
    assert wire.heard(wire.unpacked(body)) == document


@pytest.mark.parametrize(
    "value",
    [{"part": {}}, {"part": {"text": 3}}, {"part": {"text": "a", "title": []}}, {"missing": {"fragment": "a"}}],
)
def test_a_document_that_is_wrong_is_refused(value: dict[str, Any]) -> None:
    """Nothing is made up for what is not there."""
    with pytest.raises(wire.BrokenWire):
        wire.heard(value)


@given(st.binary(max_size=50))
def test_any_bytes_are_a_frame_or_refused(data: bytes) -> None:
    """Nothing else is raised."""
    try:
        wire.heard(wire.unpacked(data))
        wire.length_of(data[:4].ljust(4, b"\xff"))
    except wire.BrokenWire:
        pass
