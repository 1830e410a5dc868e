"""Waiting longer after each failure, between half the bound and the bound, and never without end."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.backoff import Backoff


def upper(_: float, bound: float) -> float:
    """Draw the longest wait."""
    return bound


def lower(bound: float, _: float) -> float:
    """Draw the shortest wait."""
    return bound


@pytest.mark.parametrize(("attempt", "seconds"), [(1, 0.2), (2, 0.4), (3, 0.8), (8, 25.6), (9, 30.0), (10**9, 30.0)])
def test_the_bound_doubles_up_to_the_cap(attempt: int, seconds: float) -> None:
    """With the defaults: a fifth of a second first, half a minute at last."""
    assert Backoff().delay_seconds(attempt, upper) == pytest.approx(seconds)
    assert Backoff().delay_seconds(attempt, lower) == pytest.approx(seconds / 2)


@given(
    first=st.floats(1e-3, 100), cap=st.floats(1e-3, 1e4), attempt=st.integers(1, 10**6), seed=st.integers(0, 2**32 - 1)
)
def test_no_wait_is_over_the_cap_or_shorter_than_half_its_bound(
    first: float, cap: float, attempt: int, seed: int
) -> None:
    """Whatever is drawn."""
    backoff = Backoff(first, cap)
    seconds = backoff.delay_seconds(attempt, random.Random(seed).uniform)  # noqa: S311 - no secret
    assert backoff.delay_seconds(attempt, lower) <= seconds <= backoff.delay_seconds(attempt, upper) <= cap


@given(attempt=st.integers(1, 100))
def test_a_later_wait_has_no_smaller_bound(attempt: int) -> None:
    """Each failure makes the next wait at least as long."""
    assert Backoff().delay_seconds(attempt, upper) <= Backoff().delay_seconds(attempt + 1, upper)
