"""In front of the application: who may call, whether the service is leaving, and answers that reach slow writers.

An ASGI application over another (https://asgi.readthedocs.io/en/latest/specs/www.html).
"""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING

from aya.access import call_of
from aya_embedder.engine import leaving
from aya_embedder.limits import MAX_BODIES_BYTES
from aya_embedder.problems import Busy, Forbidden, Misdirected, Problem, Unauthorized
from aya_embedder.refusals import refusal

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from starlette.types import ASGIApp, Message, Receive, Scope, Send

    from aya.access import Access, Reason

_PROBLEMS: dict[Reason, Problem] = {
    "host": Misdirected(
        "the embedder is not known by the name in the Host header",
        hint="call it by its address, or export AYA_EMBEDDER_ALLOWED_HOSTS=… for it",
    ),
    "origin": Forbidden(
        "a web page from elsewhere may not call the embedder", hint="export AYA_EMBEDDER_ALLOWED_HOSTS=… to allow it"
    ),
    "local_only": Forbidden(
        "only a client on the embedder's machine may load models", hint="call it there, by 127.0.0.1"
    ),
    "token": Unauthorized(
        "from another machine the embedder asks for its token",
        hint="send Authorization: Bearer …, with what AYA_EMBEDDER_TOKEN_FILE of the embedder holds",
    ),
}


class Gate:
    """Lets requests through, and counts them until they are answered."""

    def __init__(self, app: ASGIApp, access: Access, unread_seconds: float) -> None:
        """unread_seconds: how long to take in, and throw away, what a client sends after it was answered."""
        self._app = app
        self._access = access
        self._unread_seconds = unread_seconds
        self._answered = asyncio.Event()
        self._leaving = False
        self._exchanges: set[_Exchange] = set()

    @property
    def in_flight(self) -> int:
        """How many requests are being read or answered."""
        return len(self._exchanges)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request."""
        headers: dict[bytes, bytes] = dict(scope["headers"])
        exchange = _Exchange(
            receive, send, closing=self._closes, has_body=_has_body(headers), make_room=self._make_room
        )
        problem = self._problem(scope, headers)
        if problem is not None:
            await refusal(problem, scope["path"])(scope, exchange.receive, exchange.send)
        else:
            await self._pass(scope, exchange)
        if not exchange.whole:
            await exchange.end(self._unread_seconds)

    def leave(self) -> None:
        """Refuse every later request, and say with every later answer that the connection ends."""
        self._leaving = True

    def stop_reading(self) -> None:
        """Refuse the requests whose body has not come to its end."""
        for exchange in self._exchanges:
            exchange.stop_reading()

    async def until_answered(self) -> None:
        """Wait until no request is in flight."""
        while self._exchanges:
            self._answered.clear()
            await self._answered.wait()

    async def _pass(self, scope: Scope, exchange: _Exchange) -> None:
        self._exchanges.add(exchange)
        try:
            await self._app(scope, exchange.receive, exchange.send)
        finally:
            self._exchanges.discard(exchange)
            self._answered.set()

    def _make_room(self) -> None:
        held = sum(exchange.held_bytes for exchange in self._exchanges)
        if held > MAX_BODIES_BYTES:
            raise Busy(
                f"the requests that are being read or answered have {held} bytes",
                hint="try again in 1 s, or send less at once",
                retry_after_seconds=1,
            )

    def _closes(self) -> bool:
        return self._leaving

    def _problem(self, scope: Scope, headers: Mapping[bytes, bytes]) -> Problem | None:
        if self._leaving:
            return leaving()
        reason = self._access.refusal(call_of(scope, headers))
        return _PROBLEMS[reason] if reason else None


class _Exchange:
    """One request and its answer, which may come before the request's end.

    Then the connection must be closed, but not before the client has stopped writing: what it had sent and we had not
    read would make the kernel reset the connection, and throw our answer away (RFC 9112, 9.6).
    """

    def __init__(
        self,
        receive: Receive,
        send: Send,
        *,
        closing: Callable[[], bool],
        has_body: bool,
        make_room: Callable[[], None],
    ) -> None:
        """See the class; closing: whether the connection is to end anyway; has_body: whether a body is announced.

        make_room: raises Busy when the bodies of all requests are too large together.
        """
        self.held_bytes = 0
        self._make_room = make_room
        self._receive = receive
        self._send = send
        self._closing = closing
        self._last: Message | None = None
        self._body_ended = not has_body
        self._reading: asyncio.Timeout | None = None
        self._stopped = False

    @property
    def whole(self) -> bool:
        """Whether the answer has been sent to its end."""
        return self._last is None

    async def receive(self) -> Message:
        """Pass on what the client sends, and see its end. Raises NotReady after `stop_reading`, and Busy."""
        if self._body_ended:
            return await self._receive()
        try:
            async with asyncio.timeout(0 if self._stopped else None) as self._reading:
                message = await self._taken()
        except TimeoutError as error:
            raise leaving() from error
        finally:
            self._reading = None
        self.held_bytes += len(message.get("body", b""))
        self._make_room()
        return message

    def stop_reading(self) -> None:
        """Have `receive` raise NotReady, unless the body has been read."""
        self._stopped = True
        if self._reading is not None:
            self._reading.reschedule(0)

    async def _taken(self) -> Message:
        message = await self._receive()
        if message["type"] == "http.disconnect" or not message.get("more_body", False):
            self._body_ended = True
        return message

    async def send(self, message: Message) -> None:
        """Pass on an answer; its end is held back while the request has not ended."""
        if message["type"] == "http.response.start":
            closes = self._closing() or not self._body_ended
            headers = [*message["headers"], *([(b"connection", b"close")] if closes else [])]
            await self._send({**message, "headers": headers})
        elif self._body_ended or message.get("more_body", False):
            await self._send(message)
        else:
            await self._send({**message, "more_body": True})
            self._last = {"type": "http.response.body", "body": b"", "more_body": False}

    async def end(self, seconds: float) -> None:
        """Throw away what still comes, for so long; then end the answer, which ends the connection."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                while not self._body_ended:
                    await self._taken()
        if self._last is not None:
            await self._send(self._last)


def _has_body(headers: Mapping[bytes, bytes]) -> bool:
    return b"transfer-encoding" in headers or headers.get(b"content-length", b"0") != b"0"
