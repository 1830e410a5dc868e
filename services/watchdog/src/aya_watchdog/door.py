"""One client's connection to a watchdog's server: who may come in, how many may, and how long one may stay silent.

uvicorn's protocol over h11, with the bounds that it does not have: files that are used up by strangers' connections
would keep the watchdog from opening its own.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any, cast

from starlette.responses import JSONResponse
from starlette.types import Receive, Scope, Send
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

from aya.certificates import node_of

MOST_CONNECTIONS = 64
HEAD_SECONDS = 5.0
_FORBIDDEN = 403


class Door(H11Protocol):
    """A connection. only: the node whose certificate must be shown; None where there is no TLS."""

    def __init__(self, *, only: str | None, **uvicorns: Any) -> None:  # noqa: ANN401 uvicorn's own arguments
        super().__init__(**uvicorns)
        self._only = only
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Let in, turn away, or cut."""
        super().connection_made(transport)
        if len(self.connections) > MOST_CONNECTIONS:
            transport.abort()
            return
        if self._only is not None:
            secured = transport.get_extra_info("ssl_object")
            shown = node_of(secured.getpeercert()) if secured else None
            if shown != self._only:
                self.app = partial(_stranger, shown, self._only)
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the wait."""
        self._stop_waiting()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what comes; a head that has begun must end in time."""
        if not self._is_busy and self._head_timer is None:
            self._await_head()
        super().data_received(data)
        if self._is_busy:
            self._stop_waiting()

    def shutdown(self) -> None:
        """End: an idle connection at once, without the farewell of TLS, which waits for the other's."""
        if self._is_busy:
            super().shutdown()
        else:
            self.transport.abort()

    @property
    def _is_busy(self) -> bool:
        # none before the first request, which uvicorn's types do not say
        cycle = cast("RequestResponseCycle | None", self.cycle)
        return cycle is not None and not cycle.response_complete

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(HEAD_SECONDS, self.transport.abort)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None


async def _stranger(shown: str | None, only: str, scope: Scope, receive: Receive, send: Send) -> None:
    message = f"this is for {only}, and the certificate is {shown or 'nobody'}'s"
    answer = JSONResponse({"error": {"message": message}}, _FORBIDDEN, headers={"connection": "close"})
    await answer(scope, receive, send)


def door(only: str | None = None) -> type[asyncio.Protocol]:
    """Return what makes the connections, as uvicorn.Config takes it."""
    return cast("type[asyncio.Protocol]", partial(Door, only=only))
