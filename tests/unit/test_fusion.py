"""Rankings are fused by reciprocal rank."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.fusion import reciprocal_rank_fusion

IDS = st.lists(st.integers(1, 30), unique=True, max_size=20)
RANKINGS = st.dictionaries(st.sampled_from(["vector", "text", "title"]), IDS, max_size=3)

ORDERS: list[tuple[str, dict[str, list[int]], list[int]]] = [
    ("nothing", {}, []),
    ("one list keeps its order", {"vector": [3, 1, 2]}, [3, 1, 2]),
    ("agreement beats a first place", {"vector": [1, 2], "text": [3, 2]}, [2, 1, 3]),
    ("equal scores go by id", {"vector": [9], "text": [4]}, [4, 9]),
    ("equal scores and places go by id", {"vector": [1, 2], "text": [2, 1]}, [1, 2]),
    ("a repeated id counts once, where it is first", {"vector": [5, 5, 5, 6], "text": [6]}, [6, 5]),
]


@pytest.mark.parametrize(("rankings", "order"), [row[1:] for row in ORDERS], ids=[row[0] for row in ORDERS])
def test_the_fused_order(rankings: dict[str, list[int]], order: list[int]) -> None:
    """Ids come best first; ties are broken the same way every time."""
    assert [each.id for each in reciprocal_rank_fusion(rankings)] == order


def test_the_score_is_the_papers() -> None:
    """The score is the sum of 1 / (60 + rank), and the ranks say where it comes from."""
    first = reciprocal_rank_fusion({"vector": [7, 8], "text": [9, 7]})[0]
    assert first.id == 7
    assert first.score == pytest.approx(1 / 61 + 1 / 62)
    assert first.ranks == {"vector": 1, "text": 2}


def test_equal_scores_go_by_the_best_rank() -> None:
    """With weights, a second place can score what a first does; the first place wins."""
    fused = reciprocal_rank_fusion({"a": [1, 5], "b": [9]}, k=0, weights={"a": 2.0, "b": 1.0})
    assert [(each.id, each.score) for each in fused] == [(1, 2.0), (9, 1.0), (5, 1.0)]


def test_a_list_of_weight_nothing_adds_its_items_at_the_end() -> None:
    """What only a worthless list holds is kept, behind everything else."""
    fused = reciprocal_rank_fusion({"a": [1], "b": [2]}, weights={"b": 0.0})
    assert [(each.id, each.score > 0) for each in fused] == [(1, True), (2, False)]


@given(rankings=RANKINGS, k=st.integers(0, 100))
def test_every_id_comes_once_with_its_ranks(rankings: dict[str, list[int]], k: int) -> None:
    """The fused list is exactly the union, in falling order of score, each score explained by its ranks."""
    fused = reciprocal_rank_fusion(rankings, k=k)
    assert sorted(each.id for each in fused) == sorted({each for ids in rankings.values() for each in ids})
    assert [each.score for each in fused] == sorted((each.score for each in fused), reverse=True)
    for each in fused:
        assert each.ranks == {name: ids.index(each.id) + 1 for name, ids in rankings.items() if each.id in ids}
        assert each.score == math.fsum(1 / (k + rank) for rank in each.ranks.values())


@given(rankings=RANKINGS)
def test_the_order_of_the_lists_makes_no_difference(rankings: dict[str, list[int]]) -> None:
    """Equal input gives an equal result, down to the last bit of a score."""
    assert reciprocal_rank_fusion(rankings) == reciprocal_rank_fusion(dict(reversed(rankings.items())))


@given(ids=IDS, other=IDS, weight=st.floats(0.1, 10))
def test_a_better_place_never_lowers_an_item(ids: list[int], other: list[int], weight: float) -> None:
    """Moving an item to the front of one list never makes it worse in the fused one."""
    for each in ids:
        better = [each, *(other_id for other_id in ids if other_id != each)]
        before = [one.id for one in reciprocal_rank_fusion({"a": ids, "b": other}, weights={"a": weight})]
        after = [one.id for one in reciprocal_rank_fusion({"a": better, "b": other}, weights={"a": weight})]
        assert after.index(each) <= before.index(each)


@pytest.mark.parametrize(
    ("k", "weights"), [(-1, None), (60, {"a": -1.0}), (60, {"a": math.nan}), (60, {"a": math.inf}), (60, {"typo": 1.0})]
)
def test_nonsense_is_refused(k: int, weights: dict[str, float] | None) -> None:
    """A negative constant, an impossible weight and a weight for no list are errors of the caller."""
    with pytest.raises(ValueError, match=r"k must|weights"):
        reciprocal_rank_fusion({"a": [1]}, k=k, weights=weights)
