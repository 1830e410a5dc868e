"""Whether the embedder can be trusted now: it can when its last forward pass succeeded and none hangs.

"The process is up" says nothing: a server that ran out of memory still answers pings.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["loading", "healthy", "unhealthy"]

_HANGS_AFTER_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Condition:
    """What is known of forward passes; times are of one monotonic clock, in seconds.

    last_success: the end of the last good pass, None before the first (the warm-up).
    failed: whether a pass has failed since.
    running_since: the start of the oldest pass that runs now, None when none does.
    """

    last_success: float | None = None
    failed: bool = False
    running_since: float | None = None

    def state(self, now: float) -> State:
        """Say what /health answers at `now`."""
        if self.last_success is None:
            return "unhealthy" if self.failed else "loading"
        hangs = self.running_since is not None and now - self.running_since > _HANGS_AFTER_SECONDS
        return "unhealthy" if self.failed or hangs else "healthy"

    def age_seconds(self, now: float) -> float | None:
        """Say how long ago the last good pass ended; None before the first."""
        return None if self.last_success is None else now - self.last_success
