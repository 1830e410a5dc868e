"""Batch planning: nobody starves, the budget holds, lengths are alike."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya_embedder.batch import Waiting, next_batch

LENGTHS = st.lists(st.integers(1, 600), min_size=1, max_size=60)
BUDGETS = st.integers(1, 2000)


def queue(lengths: list[int]) -> list[Waiting]:
    """Return a queue of texts of these lengths, oldest first."""
    return [Waiting(arrival, tokens) for arrival, tokens in enumerate(lengths)]


@given(LENGTHS, BUDGETS)
def test_the_oldest_text_is_always_in_the_next_batch(lengths: list[int], budget: int) -> None:
    """The oldest text leads the next batch, however long it is and however many others wait."""
    waiting = queue(lengths)
    assert next_batch(waiting, budget).members[0] == waiting[0]


@given(LENGTHS, BUDGETS)
def test_a_batch_of_several_texts_stays_within_the_budget(lengths: list[int], budget: int) -> None:
    """Padded to its longest text, a batch costs at most the budget; only a lone text may cost more."""
    batch = next_batch(queue(lengths), budget)
    assert batch.longest == max(one.tokens for one in batch.members)
    assert len(batch.members) == 1 or batch.cost_tokens <= budget


@given(LENGTHS, BUDGETS)
def test_draining_the_queue_computes_each_text_once(lengths: list[int], budget: int) -> None:
    """Batch after batch, every text is computed exactly once."""
    waiting = queue(lengths)
    left = set(waiting)
    done: list[Waiting] = []
    while left:
        members = next_batch(left, budget).members
        done += members
        left -= set(members)
    assert sorted(done, key=lambda one: one.arrival) == waiting


@pytest.mark.parametrize(
    ("lengths", "budget", "chosen"),
    [
        pytest.param([10], 5, [10], id="a lone text over the budget is admitted"),
        pytest.param([10, 500, 11, 480, 9], 40, [10, 11, 9], id="the nearest lengths fill the batch"),
        pytest.param([500, 10, 500], 1000, [500, 500], id="a short text does not ride with long ones"),
        pytest.param([4, 4, 4, 4], 12, [4, 4, 4], id="the budget closes the batch"),
        pytest.param([4, 4, 4, 4], 12, [4, 4, 4], id="of equals the older ones go first"),
    ],
)
def test_what_fills_a_batch(lengths: list[int], budget: int, chosen: list[int]) -> None:
    """The head is the oldest; texts of the nearest length come along."""
    assert [one.tokens for one in next_batch(queue(lengths), budget).members] == chosen


def test_an_empty_queue_has_no_next_batch() -> None:
    """Planning without a text is a mistake of the caller."""
    with pytest.raises(ValueError, match="empty"):
        next_batch([], 100)
