"""One client's connection: how many there may be, and how long one may take to say what it wants.

uvicorn's protocol over h11, with the bounds that it does not have.
"""

from __future__ import annotations

import asyncio
from typing import cast

from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

MOST_CONNECTIONS = 64
HEAD_SECONDS = 10.0


class Door(H11Protocol):
    """A connection; on top of the most it is cut, and so is one that does not say its request in time."""

    _timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let in, or cut."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the wait."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what comes; a head that has begun must end in time."""
        if not self._is_busy and self._timer is None:
            self._await_head()
        super().data_received(data)
        if self._is_busy:
            self._stop_waiting()

    @property
    def _is_busy(self) -> bool:
        # none before the first request, which uvicorn's types do not say
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
