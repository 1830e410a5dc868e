"""When a copy has all that was written before a moment; pure.

The daemon sends, then fetches. What it fetches is of a moment on the primary that comes shortly before the one at which
it notes having fetched, so the first fetch after the moment may have missed something, and the second has not.
"""

from __future__ import annotations

from aya.sync.types import Copy


class Goal:
    """Two fetches after a moment, the second after the last thing was sent. begun: the copy as it was at the moment."""

    def __init__(self, begun: Copy) -> None:
        self._after = begun.asked_at
        self._fetches = 0

    def moved(self, copy: Copy) -> bool:
        """Return whether a fetch is seen for the first time: then the daemon is to be woken for the next."""
        if copy.pulled_at is None or copy.pulled_at <= self._after:
            return False
        self._after = copy.pulled_at
        self._fetches += 1
        return True

    def reached(self, copy: Copy) -> bool:
        """Return whether nothing waits that could be sent, and everything is here."""
        if copy.waiting or copy.sending or copy.pulled_at is None or not self._fetches:
            return False
        sent_before = copy.settled_at is None or copy.settled_at < copy.pulled_at
        return sent_before and copy.pulled_at > self._after
