"""How fast a model computes: what tells how long those who wait will wait. Pure."""

from __future__ import annotations

from dataclasses import dataclass

# After some twenty batches little is left of an older one.
_REMEMBERED = 0.95


@dataclass(slots=True)
class Pace:
    """An average of the latest batches, weighted by their tokens."""

    tokens: float = 0.0
    seconds: float = 0.0

    def computed(self, tokens: int, seconds: float) -> None:
        """Take in a batch. seconds: what its own pass took, shared by the streams that have the cores together."""
        self.tokens = _REMEMBERED * self.tokens + tokens
        self.seconds = _REMEMBERED * self.seconds + seconds

    def seconds_for(self, tokens: int) -> float:
        """Return how long so many tokens will take; 0 while nothing is known."""
        return tokens * self.seconds / self.tokens if self.tokens else 0.0
