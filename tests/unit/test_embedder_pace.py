"""How fast a model computes, and that nobody is let in who would wait for too long."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya_embedder.batch import Budget
from aya_embedder.cache import Key
from aya_embedder.embedder import Encoded
from aya_embedder.fake import FakeEmbedder
from aya_embedder.flights import Flights, Limits
from aya_embedder.pace import Pace
from aya_embedder.problems import Busy

IDENTITY = FakeEmbedder().identity
BUDGET = Budget(100)


def texts(count: int, tokens: int, first: int = 0) -> dict[Key, Encoded]:
    """Return different texts of one length."""
    return {
        Key.of(IDENTITY, "document", f"{first + number}"): Encoded((7,) * tokens, tokens) for number in range(count)
    }


@given(st.floats(10, 1e6), st.lists(st.integers(1, 8192), min_size=1, max_size=50))
def test_a_steady_pace_is_found_whatever_the_batches(speed: float, batches: list[int]) -> None:
    """Batches of any size at one speed give that speed."""
    pace = Pace()
    for tokens in batches:
        pace.computed(tokens, tokens / speed)
    assert pace.seconds_for(1000) == pytest.approx(1000 / speed)


def test_a_slow_beginning_is_forgotten() -> None:
    """The first batches compile and warm up; a hundred later they count for little."""
    pace = Pace()
    pace.computed(512, 10.0)
    for _ in range(100):
        pace.computed(512, 0.1)
    assert pace.seconds_for(5120) == pytest.approx(1.0, rel=0.05)


def test_nothing_is_known_before_the_first_batch() -> None:
    """Then nobody is sent away for it."""
    assert Pace().seconds_for(10**9) == 0.0


async def test_a_small_request_that_would_wait_too_long_is_sent_away_and_told_for_how_long() -> None:
    """At 10 tokens a second and 5 s of patience 50 tokens may wait; the next request hears of it, in whole seconds."""
    flights = Flights(Limits(small_seconds=5), Pace(tokens=10, seconds=1))
    new_outcome = asyncio.get_running_loop().create_future
    for number in range(6):
        flights.board(texts(1, 10, number), new_outcome, BUDGET)
    with pytest.raises(Busy, match="will take 6 s") as refused:
        flights.board(texts(1, 10, 99), new_outcome, BUDGET)
    assert refused.value.retry_after_seconds == 6
    assert flights.waiting_texts == 6


async def test_a_bulk_neither_waits_for_that_nor_makes_small_ones_wait() -> None:
    """A bulk is bounded by texts and tokens alone, and what waits of it stands in nobody's way."""
    flights = Flights(Limits(small_seconds=5), Pace(tokens=10, seconds=1))
    new_outcome = asyncio.get_running_loop().create_future
    flights.board(texts(30, 10), new_outcome, BUDGET)
    assert len(flights.board(texts(1, 10, 500), new_outcome, BUDGET)) == 1
    for number in range(5):
        flights.board(texts(1, 10, 600 + number), new_outcome, BUDGET)
    assert len(flights.board(texts(30, 10, 1000), new_outcome, BUDGET)) == 30


async def test_the_tokenizers_wait_and_the_models_count_together() -> None:
    """3 s of either are little, and both are over 5 s; what is tokenised only does not wait for the model."""
    flights = Flights(Limits(small_seconds=5), Pace(tokens=10, seconds=1))
    flights.board(texts(1, 30), asyncio.get_running_loop().create_future, BUDGET)
    flights.refuse_late()
    flights.refuse_late(3.0, flies=False)
    with pytest.raises(Busy, match="will take 6 s") as refused:
        flights.refuse_late(3.0)
    assert refused.value.retry_after_seconds == 6
