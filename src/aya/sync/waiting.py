"""When a copy has all that was written before a moment; pure.

One lane of the daemon sends, the other fetches. What a fetch brings is of a moment on the primary that comes shortly
before the one at which it says so, and it may have begun while something was being sent. The first fetch after a moment
may have missed what came before it; the second has not.
"""

from __future__ import annotations

from datetime import datetime
from typing import Literal

from aya.sync.types import Copy

FETCHES = 2


class Goal:
    """Two fetches after nothing waits any more."""

    def __init__(self) -> None:
        self._after: datetime | None = None
        self._fetches = 0

    def look(self, copy: Copy) -> Literal["wait", "wake", "reached"]:
        """Return what to do next: look again, have the daemon work first, or end."""
        if copy.waiting or copy.sending:
            self._after = None
            return "wait"
        if self._after is None:
            self._after, self._fetches = copy.asked_at, 0
            return "wake"
        if copy.pulled_at is None or copy.pulled_at <= self._after:
            return "wait"
        self._after = copy.pulled_at
        self._fetches += 1
        return "reached" if self._fetches == FETCHES else "wake"
