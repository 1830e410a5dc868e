"""Leaving: how long running calls may take once the client has gone, or once a signal asks the process to leave."""

from __future__ import annotations

import asyncio
import contextlib
import os
import sys

# The client closed its end: whatever it asked for before that may finish.
PATIENCE_SECONDS = 30.0
# A signal: a commit takes milliseconds, and hosts kill what has not gone after two seconds.
HASTE_SECONDS = 1.2
LAST_SECONDS = 1.7


class Shutdown:
    """Made in the event loop. After `request` the process is gone within LAST_SECONDS, whatever happens."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._deadline: float | None = None
        self._patience_ends: float | None = None
        self._waits: set[asyncio.Timeout] = set()

    @property
    def requested(self) -> bool:
        """Whether a signal has arrived."""
        return self._deadline is not None

    def request(self) -> None:
        """Shorten every wait, those that have begun included; a second call changes nothing."""
        if self._deadline is not None:
            return
        self._deadline = self._loop.time() + HASTE_SECONDS
        for wait in self._waits:
            wait.reschedule(self._deadline)
        self._loop.call_later(LAST_SECONDS, leave, 0)

    async def wait_for(self, event: asyncio.Event) -> None:
        """Wait for `event` as long as there is time: for all waits together, from the first one's beginning."""
        if self._patience_ends is None:
            self._patience_ends = self._loop.time() + PATIENCE_SECONDS
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout_at(self._deadline or self._patience_ends) as wait:
                self._waits.add(wait)
                try:
                    await event.wait()
                finally:
                    self._waits.discard(wait)


def leave(exit_code: int) -> None:
    """End the process now, past threads that are in the middle of an import or of a blocked write."""
    sys.stderr.flush()
    os._exit(exit_code)
