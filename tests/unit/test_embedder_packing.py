"""Batches without padding: where tokens lie, runs of one length, positions, and the way back to the batch's order."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya_embedder.packing import Packed

BATCHES = st.lists(st.lists(st.integers(0, 9), min_size=1, max_size=12), min_size=1, max_size=8)


def in_order(batch: list[list[int]], packed: Packed) -> list[list[int]]:
    """Return the texts as they are packed."""
    return [batch[number] for number in packed.order]


@given(BATCHES)
def test_every_text_is_packed_once_the_shortest_first(batch: list[list[int]]) -> None:
    """Cut at firsts and lasts, the tokens are the texts of the batch, sorted by length; equals keep their order."""
    packed = Packed.of(batch)
    texts = in_order(batch, packed)
    cut = [list(packed.ids[first : last + 1]) for first, last in zip(packed.firsts, packed.lasts, strict=True)]
    assert cut == texts == sorted(batch, key=len)


@given(BATCHES)
def test_a_run_is_a_rectangle_of_all_texts_of_one_length(batch: list[list[int]]) -> None:
    """The runs cover texts and tokens without a gap, each of a greater length than the one before."""
    packed = Packed.of(batch)
    texts = in_order(batch, packed)
    seen: list[list[int]] = []
    for run in packed.runs:
        rows = packed.ids[run.tokens].reshape(-1, run.length).tolist()
        assert rows == texts[run.texts]
        seen += rows
    assert seen == texts
    lengths = [run.length for run in packed.runs]
    assert lengths == sorted(set(map(len, batch)))


@given(BATCHES)
def test_positions_are_those_of_each_text_alone(batch: list[list[int]]) -> None:
    """BERT counts from 0; RoBERTa from after the padding's id, and gives that id to tokens that equal it."""
    padding_id = 1
    packed = Packed.of(batch)
    roberta: list[int] = []
    for text in in_order(batch, packed):
        seen = 0
        for token in text:
            seen += token != padding_id
            roberta.append(padding_id if token == padding_id else seen + padding_id)
    assert list(packed.positions(None)) == [place for text in in_order(batch, packed) for place in range(len(text))]
    assert list(packed.positions(padding_id)) == roberta


@given(BATCHES)
def test_rows_go_back_to_the_order_of_the_batch(batch: list[list[int]]) -> None:
    """What was computed for a text is handed to who sent it."""
    packed = Packed.of(batch)
    rows = np.array([[len(text), sum(text)] for text in in_order(batch, packed)], dtype=np.float32)
    assert packed.unsorted(rows).tolist() == [[len(text), sum(text)] for text in batch]


def test_a_text_without_tokens_is_refused_by_its_number() -> None:
    """It has no vector."""
    with pytest.raises(ValueError, match="text 1 of the batch"):
        Packed.of([[1, 2], [], [3]])
