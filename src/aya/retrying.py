"""When a call that failed may be made again, and how soon; pure.

A retry is worth it when the failure may pass and nothing was changed by the first attempt. It does harm when everybody
retries: an overloaded service then gets its load several times over, and stays down. So each client has a budget.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from aya.backoff import Backoff

# gRPC takes more attempts for five (proposal A6, "Retry Policy": maxAttempts).
MOST_ATTEMPTS = 5
BACKOFF = Backoff(first_seconds=0.2, cap_seconds=5.0)
# How much later than Retry-After says, at most: clients that were refused together shall not come back together.
_RETRY_AFTER_SPREAD = 1.25


@dataclass(frozen=True, slots=True)
class Again:
    """The call may be made again after so many seconds."""

    after_seconds: float


@dataclass(frozen=True, slots=True)
class GiveUp:
    """The call failed for good. reason: why it is not made again, in words."""

    reason: str


def decide(
    attempts: int,
    *,
    left_seconds: float,
    uniform: Callable[[float, float], float],
    retry_after_seconds: float | None = None,
    backoff: Backoff = BACKOFF,
) -> Again | GiveUp:
    """Return what follows a failure that may pass, after `attempts` (1 or more) in all.

    left_seconds: until the deadline, which no wait reaches. retry_after_seconds: what the service asked for; it is
    never asked earlier than that (RFC 9110, 10.2.3), and never earlier than the backoff says.
    """
    if left_seconds <= 0:
        return GiveUp("the time is up")
    if attempts >= MOST_ATTEMPTS:
        return GiveUp("that is often enough")
    asked = retry_after_seconds or 0.0
    seconds = max(backoff.delay_seconds(attempts, uniform), uniform(asked, asked * _RETRY_AFTER_SPREAD))
    if seconds >= left_seconds:
        return GiveUp(f"the next attempt would be in {seconds:.1f} s, and {left_seconds:.1f} s are left")
    return Again(seconds)


class RetryBudget:
    """How many retries a client may still make: a token bucket, as Finagle's RetryBudget and gRPC's throttling are.

    Each call puts in a part of a token, time puts in some (so that who asks rarely may retry, too), and each retry
    takes out a whole one. A fleet of clients therefore adds at most `share` to an overload that lasts, and
    `per_second` for each client. Invariant: 0 <= tokens <= capacity.

    Sources: https://finagle.github.io/blog/2016/02/08/retry-budgets (20 % of the calls and a minimum by the second);
    https://github.com/grpc/proposal/blob/master/A6-client-retries.md, "Throttling Retry Attempts".
    """

    def __init__(self, now: float, *, capacity: float = 10.0, share: float = 0.2, per_second: float = 0.5) -> None:
        """now: monotonic seconds, as everywhere here. The bucket starts full."""
        self._capacity = capacity
        self._share = share
        self._per_second = per_second
        self._tokens = capacity
        self._filled_at = now

    def called(self, now: float) -> None:
        """Count a call, its retries left aside."""
        self._fill(now, self._share)

    def take(self, now: float) -> bool:
        """Take a retry out, if one is left, and return whether it was."""
        self._fill(now, 0.0)
        if self._tokens < 1:
            return False
        self._tokens -= 1
        return True

    def _fill(self, now: float, more: float) -> None:
        gained = more + max(0.0, now - self._filled_at) * self._per_second
        self._tokens = min(self._capacity, self._tokens + gained)
        self._filled_at = max(self._filled_at, now)
