"""How an outage is told: its first failure, then one line every 30 s, then that it is over."""

from __future__ import annotations

from aya import log
from aya.errors import AyaError

_LOG_EVERY_SECONDS = 30.0


class Outage:
    """The failures in a row of one thing, which is the noun of its events."""

    def __init__(self, noun: str) -> None:
        self._noun = noun
        self.failures = 0
        self._logged_at = 0.0

    def failed(self, error: AyaError, now: float) -> None:
        """Count a failure and log it if it is time. now: monotonic seconds."""
        self.failures += 1
        if self.failures == 1 or now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = now
            log.get_logger().warning(
                f"{self._noun}.interrupted", error=error.message, hint=error.hint, failures=self.failures
            )

    def over(self) -> None:
        """Log the recovery, if there was an outage."""
        if self.failures:
            log.get_logger().info(f"{self._noun}.recovered", failures=self.failures)
        self.failures = 0
