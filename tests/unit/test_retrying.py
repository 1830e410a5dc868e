"""When a failed call is made again, and how a client's budget keeps it from making an overload worse."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.retrying import BACKOFF, MOST_ATTEMPTS, Again, GiveUp, RetryBudget, decide


def upper(_: float, bound: float) -> float:
    """Draw the longest wait."""
    return bound


def lower(bound: float, _: float) -> float:
    """Draw the shortest wait."""
    return bound


@pytest.mark.parametrize(
    ("attempts", "left", "asked", "waits"),
    [
        (1, 10.0, None, 0.2),
        (2, 10.0, None, 0.4),
        (4, 10.0, None, 1.6),
        (1, 10.0, 2.0, 2.5),
        (4, 10.0, 1.0, 1.6),
        (1, 10.0, 0.0, 0.2),
    ],
)
def test_the_wait_grows_and_is_never_shorter_than_asked_for(
    attempts: int, left: float, asked: float | None, waits: float
) -> None:
    """With the longest draw."""
    decision = decide(attempts, left_seconds=left, uniform=upper, retry_after_seconds=asked)
    assert isinstance(decision, Again)
    assert decision.after_seconds == pytest.approx(waits)


@pytest.mark.parametrize(
    ("attempts", "left", "asked", "words"),
    [
        (1, 0.0, None, "the time is up"),
        (MOST_ATTEMPTS, 10.0, None, "often enough"),
        (1, 0.1, None, "next attempt would be in 0.1 s, and 0.1 s are left"),
        (1, 10.0, 30.0, "next attempt would be in 30.0 s, and 10.0 s are left"),
    ],
)
def test_it_is_said_why_a_call_is_given_up(attempts: int, left: float, asked: float | None, words: str) -> None:
    """The deadline wins: a wait that would reach it is not begun."""
    decision = decide(attempts, left_seconds=left, uniform=lower, retry_after_seconds=asked)
    assert isinstance(decision, GiveUp)
    assert words in decision.reason


@given(
    attempts=st.integers(1, 10),
    left=st.floats(-10, 1000),
    asked=st.none() | st.floats(0, 100),
    seed=st.integers(0, 2**32 - 1),
)
def test_no_attempt_is_late_early_or_one_too_many(attempts: int, left: float, asked: float | None, seed: int) -> None:
    """Whatever is drawn: after what the service asked for, before the deadline, and five at most."""
    draw = random.Random(seed).uniform  # noqa: S311 - no secret
    decision = decide(attempts, left_seconds=left, uniform=draw, retry_after_seconds=asked)
    if isinstance(decision, Again):
        assert attempts < MOST_ATTEMPTS
        assert max(BACKOFF.delay_seconds(attempts, lower), asked or 0) <= decision.after_seconds < left


def test_a_budget_is_spent_by_retries_and_filled_by_calls_and_by_time() -> None:
    """Ten at once; then one for five calls, or one for two seconds."""
    budget = RetryBudget(now=100.0)
    assert [budget.take(100.0) for _ in range(11)] == [True] * 10 + [False]
    for _ in range(5):
        assert not budget.take(100.0)
        budget.called(100.0)
    assert [budget.take(100.0) for _ in range(2)] == [True, False]
    assert [budget.take(102.0) for _ in range(2)] == [True, False]


@given(calls=st.integers(0, 2000), per_second=st.floats(1, 1000))
def test_a_client_adds_little_to_an_overload(calls: int, per_second: float) -> None:
    """When all is refused, and each refusal wants a retry: a fifth of the calls, half a one a second, and ten."""
    budget = RetryBudget(now=0.0)
    retries = 0
    for number in range(calls):
        now = number / per_second
        budget.called(now)
        retries += sum(budget.take(now) for _ in range(MOST_ATTEMPTS - 1))
    assert retries <= 10 + 0.2 * calls + 0.5 * calls / per_second


@given(steps=st.lists(st.tuples(st.booleans(), st.floats(-1, 100)), max_size=50))
def test_a_long_silence_saves_no_more_than_the_bucket_holds(steps: list[tuple[bool, float]]) -> None:
    """And a clock that goes back takes nothing away."""
    budget = RetryBudget(now=0.0, capacity=3)
    now = 0.0
    for is_call, seconds in steps:
        now += seconds
        if is_call:
            budget.called(now)
        else:
            budget.take(now)
    assert sum(budget.take(now) for _ in range(5)) <= 3
    assert sum(budget.take(now + 1000) for _ in range(5)) == 3
