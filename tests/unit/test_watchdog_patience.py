"""When what only a former primary has is given up."""

from __future__ import annotations

from aya_watchdog.patience import SECONDS, STARTS, Patience


def test_a_start_is_given_up_when_it_failed_often_and_for_long() -> None:
    """Neither a burst nor two starts far apart are enough; another way back begins anew."""
    patience = Patience()
    assert not any(patience.is_over_at_start(0.1 * number) for number in range(20))
    assert patience.is_over_at_start(SECONDS)
    patience.begin_anew()
    assert not any(patience.is_over_at_start(100.0 + SECONDS * number) for number in range(STARTS))
    assert patience.is_over_at_start(100.0 + SECONDS * STARTS)


def test_a_try_is_given_up_when_the_first_is_long_ago() -> None:
    """However often it was."""
    patience = Patience()
    assert [patience.is_over_at_try(now) for now in (5.0, 5.1, 4.9 + SECONDS, 5.0 + SECONDS)] == [False] * 3 + [True]
    patience.begin_anew()
    assert not patience.is_over_at_try(1000.0)
