"""One client's connection: how long it may stay silent, and what no request at all is answered.

uvicorn's own protocol over h11, with the waits that it does not have.
"""

from __future__ import annotations

import asyncio
import socket
import sys
import time
from collections.abc import Callable
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import h11
import orjson
from uvicorn.protocols.http.h11_impl import H11Protocol, RequestResponseCycle

if TYPE_CHECKING:
    from aya_embedder.door import Door
    from aya_embedder.limits import Patience

Shed = Callable[[bytes], bytes | None]
_BAD_REQUEST, _TIMEOUT, _HEAD_TOO_LARGE = 400, 408, 431
_KINDS = {_BAD_REQUEST: "bad_http", _TIMEOUT: "request_timeout", _HEAD_TOO_LARGE: "head_too_large"}
# A connection that was just made is about to bring its first request, and gives way to no newer one before that.
_SPARED_SECONDS = 1.0
# A client whose machine is gone is noticed after 60 + 3 × 20 s.
_PROBES = {"TCP_KEEPIDLE": 60, "TCP_KEEPALIVE": 60, "TCP_KEEPINTVL": 20, "TCP_KEEPCNT": 3}


class Connection(H11Protocol):
    """One connection.

    patience: how long to wait for what. door: where all connections come in. shed: the answer to a request that begins
    with some bytes and is to be refused unread; None for any other.
    """

    def __init__(self, *, patience: Patience, door: Door, shed: Shed, **uvicorns: Any) -> None:  # noqa: ANN401
        super().__init__(**uvicorns)
        self._patience = patience
        self._door = door
        self._shed = shed
        self._head_timer: asyncio.TimerHandle | None = None
        self._reader_timer: asyncio.TimerHandle | None = None
        self._reader_seconds = patience.idle
        self._silent_since = time.monotonic()
        self._refused = False

    def idle_seconds(self) -> float | None:
        """Say for how long no request has been coming in or been answered; None while one is."""
        return time.monotonic() - self._silent_since if self in self._door.idle else None

    def is_new(self) -> bool:
        """Say whether it was made a moment ago and has brought nothing yet."""
        return self._last_cycle is None and time.monotonic() - self._silent_since < _SPARED_SECONDS

    @property
    def _last_cycle(self) -> RequestResponseCycle | None:
        # none before the first request, which uvicorn's types do not say
        return cast("RequestResponseCycle | None", self.cycle)

    @property
    def _is_busy(self) -> bool:
        return self._last_cycle is not None and not self._last_cycle.response_complete

    def _is_idle_now(self) -> None:
        self._silent_since = time.monotonic()
        self._door.idle[self] = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Take the connection."""
        super().connection_made(transport)
        self._door.entered(self)
        _probe_peer(transport)
        self._is_idle_now()
        self._await_head()

    def connection_lost(self, exc: Exception | None) -> None:
        """Forget the waits."""
        self._door.left(self)
        self._stop_waiting()
        self._stop_awaiting_reader()
        self._unset_keepalive_if_required()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Take in what the client sends; a head that has begun must end in time."""
        if self._refused:
            return
        self._door.idle.pop(self, None)
        if not self._is_busy and not self.conn.trailing_data[0] and (refusal := self._shed(data)) is not None:
            self.transport.write(refusal)
            self._linger()
            return
        if not self._is_busy and self._head_timer is None:
            self._await_head()
        super().data_received(data)
        if self._is_busy:
            self._stop_waiting()

    def on_response_complete(self) -> None:
        """Note that the connection became idle, unless its next request is there already; its client must read."""
        self._await_reader()
        super().on_response_complete()
        if not self._is_busy and not self.conn.trailing_data[0] and not self.transport.is_closing():
            self._is_idle_now()

    def timeout_keep_alive_handler(self) -> None:
        """End an idle connection; while its client reads the last answer it is not idle."""
        if self.unread_bytes:
            self.timeout_keep_alive_task = self.loop.call_later(
                self.timeout_keep_alive, self.timeout_keep_alive_handler
            )
        else:
            super().timeout_keep_alive_handler()

    def send_400_response(self, msg: str) -> None:
        """Answer what is no HTTP, or has too large a head; called while h11's error is being handled."""
        error = sys.exc_info()[1]
        status = error.error_status_hint if isinstance(error, h11.RemoteProtocolError) else _BAD_REQUEST
        self._refuse(status, str(error) if error else msg)

    def shutdown(self) -> None:
        """End an idle connection now, and any other after its answer."""
        self._stop_waiting()
        super().shutdown()

    @property
    def unread_bytes(self) -> int:
        """How much of what was answered the kernel has not taken yet, because the client does not read it."""
        return self.transport.get_write_buffer_size()

    def hurry_reader(self) -> None:
        """Cut the client off sooner when it does not read: the service is leaving."""
        self._reader_seconds = self._patience.unread
        if self._reader_timer is not None:
            self._await_reader()

    def _await_reader(self) -> None:
        """Cut the client off unless it goes on reading; also when the transport is closing, which has no other end."""
        self._stop_awaiting_reader()
        unread = self.unread_bytes
        if unread:
            self._reader_timer = self.loop.call_later(self._reader_seconds, self._reader_is_late, unread)

    def _stop_awaiting_reader(self) -> None:
        if self._reader_timer is not None:
            self._reader_timer.cancel()
            self._reader_timer = None

    def _reader_is_late(self, unread_before: int) -> None:
        self._reader_timer = None
        if self.unread_bytes < unread_before:
            self._await_reader()
        else:
            self.transport.abort()

    def _close(self) -> None:
        self.transport.close()
        self._await_reader()

    def _await_head(self) -> None:
        self._head_timer = self.loop.call_later(self._patience.head, self._head_is_late)

    def _stop_waiting(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _head_is_late(self) -> None:
        self._head_timer = None
        if self.conn.trailing_data[0]:
            self._refuse(_TIMEOUT, f"the request's head did not come within {self._patience.head:g} s")
        else:
            self._close()

    def _refuse(self, status: int, message: str) -> None:
        """Answer without a request, and close."""
        if self._is_busy:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
        if self.conn.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            shape = {"type": _KINDS.get(status, "bad_http"), "message": message, "hint": "send HTTP/1.1"}
            body = orjson.dumps({"error": shape})
            headers = [
                ("content-type", "application/json"),
                ("content-length", str(len(body))),
                ("connection", "close"),
            ]
            for event in (h11.Response(status_code=status, headers=headers), h11.Data(body), h11.EndOfMessage()):
                self.transport.write(self.conn.send(event) or b"")
        self._linger()

    def _linger(self) -> None:
        """Close for writing now, and for reading when the client has stopped, which may still be writing.

        Bytes that nobody reads would make the kernel reset the connection, and throw our answer away (RFC 9112, 9.6).
        """
        self._refused = True
        self._stop_waiting()
        self._unset_keepalive_if_required()
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.loop.call_later(self._patience.unread, self._close)


def _probe_peer(transport: asyncio.Transport) -> None:
    """Have the kernel notice a peer that is gone (tcp(7)); macOS calls TCP_KEEPIDLE TCP_KEEPALIVE."""
    peer = transport.get_extra_info("socket")
    peer.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, value in _PROBES.items():
        if hasattr(socket, option):
            peer.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), value)


def waiting(patience: Patience, door: Door, shed: Shed) -> type[asyncio.Protocol]:
    """Return what makes the connections, as uvicorn.Config takes it."""
    return cast("type[asyncio.Protocol]", partial(Connection, patience=patience, door=door, shed=shed))
