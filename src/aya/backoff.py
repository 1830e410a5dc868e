"""Capped exponential backoff with full jitter (Exponential Backoff And Jitter, AWS Architecture Blog, 2015)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait before attempt n.

    first_seconds: the upper bound before the second attempt; it doubles with each further one.
    cap_seconds: the upper bound is never above this.
    """

    first_seconds: float = 0.2
    cap_seconds: float = 30.0

    def delay_seconds(self, attempt: int, uniform: Callable[[float, float], float]) -> float:
        """Return the wait after `attempt` failures (1 or more); uniform is random.uniform or a test's."""
        bound = min(self.cap_seconds, self.first_seconds * 2 ** min(attempt - 1, 30))
        return uniform(bound / 2, bound)
