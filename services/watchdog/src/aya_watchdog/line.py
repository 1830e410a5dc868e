"""One way to the partner's agent: an address, and the connections that are kept open to it.

Every request ends by its deadline, whatever the network does. A connection on which anything went wrong is cut at once:
its state is unknown, and closing it politely would take the time of the partner that does not answer.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import h11

_MOST_IDLE = 2
_LARGEST_ANSWER = 65536
# A deadline that is noticed so late was slept through, with the whole process: the answer may lie there, unread.
_LATE_SECONDS = 0.1
_OK = 200


class HttpStatus(Exception):
    """The agent answered with another status than 200."""

    def __init__(self, status: int) -> None:
        super().__init__(f"http {status}")


class Closed(Exception):
    """The connection ended before the answer did."""


@dataclass(frozen=True, slots=True)
class Target:
    """host, port: where to connect; name: what the certificate there must say."""

    host: str
    port: int
    name: str


@dataclass(slots=True)
class _Connection:
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    http: h11.Connection = field(default_factory=lambda: h11.Connection(h11.CLIENT))

    @property
    def is_open(self) -> bool:
        return not self.writer.transport.is_closing() and not self.reader.at_eof()

    def cut(self) -> None:
        self.writer.transport.abort()

    async def get(self, target: Target, path: str) -> bytes:
        request = h11.Request(method="GET", target=path, headers=[("host", f"{target.name}:{target.port}")])
        self.writer.write((self.http.send(request) or b"") + (self.http.send(h11.EndOfMessage()) or b""))
        status, body = 0, b""
        while True:
            event = self.http.next_event()
            if event is h11.NEED_DATA:
                received = await self.reader.read(_LARGEST_ANSWER)
                if not received and self.http.their_state is h11.SEND_RESPONSE:
                    raise Closed("the connection was closed")
                self.http.receive_data(received)
            elif isinstance(event, h11.Response):
                status = event.status_code
            elif isinstance(event, h11.Data):
                body += event.data
                if len(body) > _LARGEST_ANSWER:
                    raise ValueError(f"the answer is longer than {_LARGEST_ANSWER} bytes")
            elif isinstance(event, h11.EndOfMessage):
                break
            elif isinstance(event, h11.ConnectionClosed):
                raise Closed("the connection was closed")
        if status != _OK:
            raise HttpStatus(status)
        return body


class Line:
    """The connections to one target. No method waits longer than its deadline."""

    def __init__(self, target: Target, context: ssl.SSLContext) -> None:
        self.target = target
        self._context = context
        self._idle: list[_Connection] = []

    async def get(self, path: str, seconds: float) -> bytes:
        """Return the body at `path`. Raises OSError (TimeoutError), Closed, HttpStatus, ValueError, ProtocolError."""
        async with within(seconds):
            kept = self._kept()
            if kept is not None:
                try:
                    return await self._on(kept, path)
                except (ConnectionError, Closed, h11.RemoteProtocolError):
                    # It was being closed, as by an agent that has been restarted: that says nothing of the agent.
                    pass
            return await self._on(await self._connected(), path)

    def close(self) -> None:
        """Cut what is open."""
        while self._idle:
            self._idle.pop().cut()

    def _kept(self) -> _Connection | None:
        while self._idle:
            connection = self._idle.pop()
            if connection.is_open:
                return connection
            connection.cut()
        return None

    async def _connected(self) -> _Connection:
        reader, writer = await asyncio.open_connection(
            self.target.host, self.target.port, ssl=self._context, server_hostname=self.target.name
        )
        return _Connection(reader, writer)

    async def _on(self, connection: _Connection, path: str) -> bytes:
        keep = False
        try:
            body = await connection.get(self.target, path)
            keep = connection.http.our_state is h11.DONE and connection.http.their_state is h11.DONE
        finally:
            if not keep or len(self._idle) >= _MOST_IDLE:
                connection.cut()
        if keep and connection.is_open:
            connection.http.start_next_cycle()
            self._idle.append(connection)
        return body


@asynccontextmanager
async def within(seconds: float) -> AsyncGenerator[None]:
    """End the block by TimeoutError after so many seconds; those that this process slept through do not count."""
    loop = asyncio.get_running_loop()
    due = loop.time() + seconds

    def expire() -> None:
        late = loop.time() - due
        limit.reschedule(loop.time() + (_LATE_SECONDS if late > _LATE_SECONDS else 0.0))

    async with asyncio.timeout(None) as limit:
        timer = loop.call_at(due, expire)
        try:
            yield
        finally:
            timer.cancel()


def said(error: BaseException) -> str:
    """Return why there was no answer, in a few words: refused, timeout, tls, http NNN, or what it was; pure."""
    match error:
        case TimeoutError():
            return "timeout"
        case ConnectionRefusedError():
            return "refused"
        case ssl.SSLError():
            return f"tls: {getattr(error, 'verify_message', '') or error.reason or error}"
        case HttpStatus() | Closed():
            return str(error)
        case OSError():
            return error.strerror or str(error) or type(error).__name__
        case _:
            return f"no answer of an agent: {error}"
