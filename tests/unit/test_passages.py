"""Chunks that follow each other are one passage."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.passages import MOST_JOINED, Piece, joined

# what it is for, chunks as (document, index), the limit, the passages as indexes
CASES: list[tuple[str, list[tuple[int | None, int]], int, list[list[int]]]] = [
    ("nothing", [], 5, []),
    ("neighbours are one, the better first", [(1, 4), (1, 3)], 5, [[4, 3]]),
    ("a gap keeps them apart", [(1, 4), (1, 2)], 5, [[4], [2]]),
    ("other documents are others", [(1, 4), (2, 5)], 5, [[4], [5]]),
    ("no document is no neighbour", [(None, 4), (None, 5)], 5, [[4], [5]]),
    ("the place that is free goes to the next", [(1, 4), (1, 5), (2, 0), (3, 0)], 2, [[4, 5], [0]]),
    ("a passage grows on both sides, to three", [(1, 4), (1, 5), (1, 3), (1, 6)], 5, [[4, 5, 3], [6]]),
    ("a chunk joins after the last passage was found", [(1, 4), (2, 0), (1, 5), (3, 0)], 2, [[4, 5], [0]]),
]


@pytest.mark.parametrize(("chunks", "limit", "passages"), [row[1:] for row in CASES], ids=[row[0] for row in CASES])
def test_what_becomes_one_passage(chunks: list[tuple[int | None, int]], limit: int, passages: list[list[int]]) -> None:
    """Neighbours join the better one, and take no place of their own."""
    pieces = [Piece(document, index, joinable=True, ranked=None) for document, index in chunks]
    assert [[each.index for each in passage] for passage in joined(pieces, limit)] == passages


def test_what_was_typed_by_hand_stands_alone() -> None:
    """Its index is nobody's order."""
    pieces = [Piece(1, 0, joinable=True, ranked=None), Piece(1, 1, joinable=False, ranked=None)]
    assert joined(pieces, 5) == [[pieces[0]], [pieces[1]]]


@given(st.lists(st.tuples(st.integers(1, 3), st.integers(0, 9)), unique=True), st.integers(1, 6))
def test_a_passage_is_one_run_and_no_chunk_comes_twice(chunks: list[tuple[int, int]], limit: int) -> None:
    """Whatever is found: passages are runs of one document, bounded in number and length, and begin with their best."""
    pieces = [Piece(document, index, joinable=True, ranked=at) for at, (document, index) in enumerate(chunks)]
    passages = joined(pieces, limit)
    assert len(passages) <= limit
    for passage in passages:
        indexes = sorted(each.index for each in passage)
        assert indexes == list(range(indexes[0], indexes[0] + len(passage)))
        assert len({each.document_id for each in passage}) == 1
        assert len(passage) <= MOST_JOINED
        assert passage[0].ranked == min(each.ranked for each in passage)
    taken = [each.ranked for passage in passages for each in passage]
    assert len(taken) == len(set(taken))
