"""Batches without padding: where tokens lie, their positions, and the means."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya_embedder.packing import Packed

BATCHES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=8)


@given(BATCHES)
def test_a_rectangle_holds_each_text_and_repeats_its_first_token(batch: list[list[int]]) -> None:
    """Read through `present` the rectangle is the batch; its padding is the text's own first token."""
    packed = Packed.of(batch)
    rectangle = packed.ids[packed.rectangle()]
    assert [list(row[seen]) for row, seen in zip(rectangle, packed.present, strict=True)] == batch
    assert all((row[~seen] == text[0]).all() for row, seen, text in zip(rectangle, packed.present, batch, strict=True))
    assert packed.is_rectangle == packed.present.all()
    assert [list(packed.ids[[first, last]]) for first, last in zip(packed.firsts, packed.lasts, strict=True)] == [
        [text[0], text[-1]] for text in batch
    ]


@given(BATCHES)
def test_positions_are_those_of_each_text_alone(batch: list[list[int]]) -> None:
    """BERT counts from 0; RoBERTa from after the padding's id, and gives that id to tokens that equal it."""
    padding_id = 1
    roberta: list[int] = []
    for text in batch:
        seen = 0
        for token in text:
            seen += token != padding_id
            roberta.append(padding_id if token == padding_id else seen + padding_id)
    packed = Packed.of(batch)
    assert list(packed.positions(None)) == [place for text in batch for place in range(len(text))]
    assert list(packed.positions(padding_id)) == roberta


@given(BATCHES, st.booleans())
def test_averages_are_a_matrix_product(batch: list[list[int]], square_root: bool) -> None:  # noqa: FBT001
    """The product with one number a token is each text's sum over its length, or over its root."""
    packed = Packed.of(batch)
    found = packed.averages(square_root=square_root) @ packed.ids.astype(np.float32)
    expected = [sum(text) / len(text) ** (0.5 if square_root else 1.0) for text in batch]
    assert found == pytest.approx(expected, rel=1e-5)


def test_a_text_without_tokens_is_refused_by_its_number() -> None:
    """It has no vector."""
    with pytest.raises(ValueError, match="text 1 of the batch"):
        Packed.of([[1, 2], [], [3]])
