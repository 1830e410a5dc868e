"""How long it is tried to keep what only a former primary has, before the way back goes on without it; pure.

A server may not start at once (another process's lock, a full disk), and the new primary may let nobody in yet.
"""

from __future__ import annotations

from math import inf

STARTS = 2
SECONDS = 10.0


class Patience:
    """Of one way back."""

    def __init__(self) -> None:
        self.begin_anew()

    def begin_anew(self) -> None:
        """Forget what was tried: another way back begins."""
        self._starts = 0
        self._first_start = self._first_try = inf

    def is_over_at_start(self, now: float) -> bool:
        """Count a start of the server; return whether that is often and long enough. now: seconds."""
        self._starts += 1
        self._first_start = min(self._first_start, now)
        return self._starts > STARTS and now - self._first_start >= SECONDS

    def is_over_at_try(self, now: float) -> bool:
        """Note a try to read the rows; return whether the first one was long enough ago. now: seconds."""
        self._first_try = min(self._first_try, now)
        return now - self._first_try >= SECONDS
