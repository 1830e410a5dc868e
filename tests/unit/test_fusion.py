"""Meaning and words are joined by what each says absolutely."""

import itertools
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.fusion import fuse, places_of

Scores = dict[int, float]
SIDE = st.dictionaries(st.integers(1, 20), st.floats(0, 1), max_size=12)

ORDERS: list[tuple[str, Scores | None, Scores | None, list[int]]] = [
    ("nothing found", {}, {}, []),
    ("meaning alone keeps its order", {3: 0.9, 1: 0.5, 2: 0.1}, None, [3, 1, 2]),
    ("words alone keep their order", None, {2: 0.4, 1: 0.3}, [2, 1]),
    ("all words in one passage beat a vague likeness", {1: 0.4, 2: 0.3}, {2: 0.9, 1: 0.1}, [2, 1]),
    ("a near passage beats one that shares a word", {1: 0.8, 2: 0.3}, {2: 0.2, 1: 0.0}, [1, 2]),
    ("agreement beats either", {1: 0.6, 2: 0.5}, {3: 0.6, 2: 0.5}, [2, 1, 3]),
    ("equal scores go by the better place", {9: 0.5, 8: 0.25}, {5: 0.3, 8: 0.25}, [9, 8, 5]),
    ("equal scores and places go by id", {9: 0.5}, {4: 0.5}, [4, 9]),
]


def lists(similarities: Scores | None, shares: Scores | None) -> dict[str, Scores]:
    """Return both sides as lists, the best first."""
    sides = {"vector": similarities, "text": shares}
    return {
        name: dict(sorted(side.items(), key=lambda each: -each[1])) for name, side in sides.items() if side is not None
    }


@pytest.mark.parametrize(
    ("similarities", "shares", "order"), [row[1:] for row in ORDERS], ids=[row[0] for row in ORDERS]
)
def test_the_joined_order(similarities: Scores | None, shares: Scores | None, order: list[int]) -> None:
    """The best comes first, and ties are broken the same way every time."""
    places = places_of(lists(similarities, shares))
    assert [each.id for each in fuse(similarities, shares, places)] == order


def test_a_hit_tells_where_it_stood() -> None:
    """The places say by which side a passage was found, the score is the mean of both."""
    similarities, shares = {7: 0.5, 8: 0.4}, {9: 0.9, 7: 0.3}
    found = {each.id: each for each in fuse(similarities, shares, places_of(lists(similarities, shares)))}
    assert found[7].score == pytest.approx(0.4)
    assert found[7].ranks == {"vector": 1, "text": 2}
    assert found[9].ranks == {"text": 1}


@given(similarities=SIDE, shares=SIDE)
def test_more_of_either_never_ranks_a_passage_lower(similarities: Scores, shares: Scores) -> None:
    """Every passage comes once, in falling order of score, and whoever leads on both sides leads."""
    fused = fuse(similarities, shares, places_of(lists(similarities, shares)))
    assert sorted(each.id for each in fused) == sorted(similarities.keys() | shares.keys())
    assert [each.score for each in fused] == sorted((each.score for each in fused), reverse=True)
    scores = [(similarities.get(each.id, 0.0), shares.get(each.id, 0.0)) for each in fused]
    for lower, higher in itertools.combinations(scores, 2):
        assert not all(above > below for above, below in zip(higher, lower, strict=True))


@pytest.mark.parametrize("wrong", [math.nan, math.inf])
def test_a_score_that_is_no_number_is_refused(wrong: float) -> None:
    """Nothing is sorted by what cannot be compared."""
    with pytest.raises(ValueError, match="not finite"):
        fuse({1: wrong}, None, {1: {"vector": 1}})


def test_a_search_of_neither_side_is_refused() -> None:
    """There is nothing to rank by."""
    with pytest.raises(ValueError, match="neither"):
        fuse(None, None, {})
