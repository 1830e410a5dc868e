"""Batch planning: nobody starves, the budget holds, lengths are alike."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterable
from random import Random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya_embedder.batch import Budget, Queue, Waiting

LENGTHS = st.lists(st.integers(1, 600), min_size=1, max_size=60)
BUDGETS = st.integers(1, 2000)
STEPS = st.sampled_from([1, 8])
# lengths and turns of texts
TURNS = st.lists(st.tuples(st.integers(1, 600), st.integers(0, 5)), min_size=1, max_size=60)


def texts(lengths: list[int], turns: list[int] | None = None) -> list[Waiting]:
    """Return texts of these lengths, oldest first."""
    return [
        Waiting(arrival, tokens, turn)
        for arrival, (tokens, turn) in enumerate(zip(lengths, turns or [0] * len(lengths), strict=True))
    ]


def queue(waiting: Iterable[Waiting]) -> Queue:
    """Return a queue in which these wait."""
    made = Queue()
    for one in waiting:
        made.add(one)
    return made


@given(LENGTHS, BUDGETS)
def test_the_oldest_text_is_always_in_the_next_batch(lengths: list[int], budget: int) -> None:
    """Among texts of one turn the oldest leads the next batch, however long it is and however many others wait."""
    waiting = texts(lengths)
    batch = queue(waiting).next_batch(Budget(budget))
    assert batch.members[0] == batch.leader == waiting[0]


@given(LENGTHS, BUDGETS, STEPS)
def test_a_batch_of_several_texts_stays_within_the_budget(lengths: list[int], budget: int, step: int) -> None:
    """Padded to its longest text, in steps, a batch costs at most the budget; only a lone text may cost more."""
    batch = queue(texts(lengths)).next_batch(Budget(budget, step))
    assert batch.longest == -(-max(one.tokens for one in batch.members) // step) * step
    assert len(batch.members) == 1 or batch.cost_tokens <= budget


@given(TURNS, BUDGETS)
def test_a_batch_is_full(lengths: list[tuple[int, int]], budget: int) -> None:
    """No text is left out that would have been computed in the same rectangle, but a bulk's beside a small one."""
    waiting = texts(*map(list, zip(*lengths, strict=True)))
    batch = queue(waiting).next_batch(Budget(budget))
    if batch.longest * (len(batch.members) + 1) <= budget:
        left = [one for one in waiting if one not in batch.members and (one.turn == 0 or batch.leader.turn)]
        assert all(one.tokens > batch.longest for one in left)


@given(TURNS, BUDGETS)
def test_draining_the_queue_computes_each_text_once(lengths: list[tuple[int, int]], budget: int) -> None:
    """Batch after batch, every text is computed exactly once, and the counts are right."""
    waiting = texts(*map(list, zip(*lengths, strict=True)))
    line = queue(waiting)
    done: list[Waiting] = []
    while line:
        for one in line.next_batch(Budget(budget)).members:
            line.remove(one)
            done.append(one)
        left = set(waiting) - set(done)
        assert (len(line), line.tokens) == (len(left), sum(one.tokens for one in left))
    assert sorted(done) == waiting


@given(TURNS, BUDGETS)
def test_nobody_starves(lengths: list[tuple[int, int]], budget: int) -> None:
    """Of four batches in a row one has the text that has waited longest, also while new small ones keep coming."""
    waiting = texts(*map(list, zip(*lengths, strict=True)))
    line = queue(waiting)
    arrivals = itertools.count(len(waiting))
    for _ in range(3):
        before = {*waiting}
        oldest = min(before)
        for _ in range(4):
            newcomer = Waiting(next(arrivals), budget)
            line.add(newcomer)
            waiting.append(newcomer)
            for one in line.next_batch(Budget(budget)).members:
                line.remove(one)
                waiting.remove(one)
        assert oldest not in waiting


@given(LENGTHS, BUDGETS)
def test_small_requests_go_before_bulks(lengths: list[int], budget: int) -> None:
    """However much of a bulk waits, a small text that comes after it leads the next batch."""
    line = queue(texts(lengths, [number + 1 for number in range(len(lengths))]))
    small = Waiting(len(lengths), 3)
    line.add(small)
    assert line.next_batch(Budget(budget)).leader == small


def test_the_turns_of_a_request() -> None:
    """What fits into a batch, or is a single text, has turn 0; the rest has a turn for each batch's worth."""
    line, budget = Queue(), Budget(100, 8)
    assert line.turns([8] * 12, budget) == [0] * 12
    assert line.turns([500], budget) == [0]
    assert line.turns([8] * 13, budget) == [1] * 13
    assert line.turns([50, 50, 50, 50], budget) == [1, 1, 2, 2]


def test_bulks_advance_side_by_side() -> None:
    """A bulk that comes later starts at the turn that is being served: they lead by turns, not one after the other."""
    line, budget, arrivals = Queue(), Budget(10), itertools.count()
    leaders: list[str] = []
    names: dict[Waiting, str] = {}

    def arrive(name: str, count: int) -> None:
        for turn in line.turns([10] * count, budget):
            one = Waiting(next(arrivals), 10, turn)
            names[one] = name
            line.add(one)

    def serve(batches: int) -> None:
        for _ in range(batches):
            leader = line.next_batch(budget).leader
            line.remove(leader)
            leaders.append(names[leader])

    arrive("a", 20)
    serve(10)
    arrive("b", 20)
    serve(10)
    assert "".join(leaders[10:]) == "bababababa"


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
    assert [one.tokens for one in queue(texts(lengths)).next_batch(Budget(budget)).members] == chosen


def test_beside_a_small_text_are_only_small_ones() -> None:
    """Queries of many clients are computed together, and do not wait for a bulk's texts in their batch."""
    waiting = texts([10, 10, 10, 4, 12], [1, 1, 2, 0, 0])
    assert queue(waiting).next_batch(Budget(100)).members == (waiting[3], waiting[4])


def test_beside_a_bulks_text_is_whatever_fits() -> None:
    """When a bulk's text leads, because it has waited longest, small ones of its length come along."""
    waiting = texts([10, 10, 10, 4, 12], [1, 1, 2, 0, 0])
    line = queue(waiting)
    assert [line.next_batch(Budget(4)).leader for _ in range(3)] == [waiting[3]] * 3
    assert line.next_batch(Budget(60)).members == tuple(waiting)


def test_an_empty_queue_has_no_next_batch() -> None:
    """Planning without a text is a mistake of the caller."""
    with pytest.raises(ValueError, match="empty"):
        Queue().next_batch(Budget(100))


def test_a_text_that_does_not_wait_cannot_leave() -> None:
    """Removing it twice is a mistake of the caller."""
    line = queue(texts([3]))
    line.remove(Waiting(0, 3))
    with pytest.raises(KeyError):
        line.remove(Waiting(0, 3))


def test_planning_is_quick_with_a_full_queue() -> None:
    """With 4,096 texts of 500 lengths waiting, a batch is planned in under a millisecond (the best of many)."""
    random = Random(7)  # noqa: S311 lengths, not secrets
    line = queue(texts([random.randint(3, 512) for _ in range(4096)], [number // 9 for number in range(4096)]))
    took: list[float] = []
    for _ in range(100):
        started = time.perf_counter()
        batch = line.next_batch(Budget(512))
        for one in batch.members:
            line.remove(one)
        took.append(time.perf_counter() - started)
    assert min(took) < 0.001


@pytest.mark.parametrize(
    ("waiting", "streams", "expected"),
    [
        pytest.param(0, 2, 512, id="nothing known to wait leaves the budget"),
        pytest.param(512, 1, 512, id="one batch for one stream"),
        pytest.param(500, 2, 282, id="one batch for two streams is halved, with room for padding"),
        pytest.param(1488, 2, 419, id="three batches become four"),
        pytest.param(1488, 1, 512, id="three batches for one stream stay three"),
        pytest.param(100_000, 2, 512, id="of many, all are full"),
        pytest.param(20, 2, 64, id="few tokens are not cut"),
    ],
)
def test_idle_streams_share_what_waits(waiting: int, streams: int, expected: int) -> None:
    """No stream is idle while another computes what it could have taken."""
    assert Budget(512).shared(waiting, streams).tokens == expected


@given(st.integers(0, 10**7), st.integers(1, 8), st.integers(8, 10**5))
def test_a_share_is_within_the_budget_and_worth_computing(waiting: int, streams: int, tokens: int) -> None:
    """Never more than a batch may cost, and never less than an eighth of it."""
    assert tokens // 8 <= Budget(tokens).shared(waiting, streams).tokens <= tokens
