"""POST over plain HTTP/1.1 on kept connections (RFC 9112): a library would take its share of the server's cores.

It also tells apart what a library calls one error: a connection that was refused, reset, or closed without an answer.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

if TYPE_CHECKING:
    from collections.abc import Generator

Fate = Literal["answered", "refused", "reset", "closed"]
_Pair: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)\r\n", re.IGNORECASE)
_RETRY_AFTER = re.compile(rb"\r\nretry-after: *(\d+)\r\n", re.IGNORECASE)
_CLOSES = re.compile(rb"\r\nconnection: *close\r\n", re.IGNORECASE)


@dataclass(frozen=True)
class Answer:
    """What became of a request. Times are of time.perf_counter.

    fate: answered, whatever the status; or without an answer: refused before it was sent, reset, or closed.
    sent_at: when it was handed to the kernel, None when it was not. shape: how an error looks: its type, its fields and
    whether there is a Retry-After.
    """

    fate: Fate
    began_at: float
    ended_at: float
    sent_at: float | None = None
    status: int = 0
    shape: str = ""

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended_at - self.began_at


@dataclass
class Sender:
    """Sends to one server; in_flight requests wait for their answer, each on a connection of its own."""

    host: str
    port: int
    in_flight: int = 0
    _idle: list[_Pair] = field(default_factory=list[_Pair])

    async def embed(self, texts: list[str]) -> Answer:
        """POST /embed: one text as "text", several as "texts"."""
        body: dict[str, Any] = {"text": texts[0]} if len(texts) == 1 else {"texts": texts}
        raw = json.dumps({**body, "encoding": "base64"}).encode()
        head = f"POST /embed HTTP/1.1\r\nHost: {self.host}:{self.port}\r\nContent-Length: {len(raw)}\r\n"
        with self._counted():
            return await self._post(f"{head}Content-Type: application/json\r\n\r\n".encode() + raw)

    async def _post(self, request: bytes) -> Answer:
        began, sent_at = time.perf_counter(), None
        try:
            reader, writer = await self._connection()
            try:
                writer.write(request)
                sent_at = time.perf_counter()
                head = await reader.readuntil(b"\r\n\r\n")
                length = _LENGTH.search(head)
                body = await reader.readexactly(int(length[1]) if length else 0)
            except BaseException:
                writer.close()
                raise
        except asyncio.IncompleteReadError:
            return Answer("closed", began, time.perf_counter(), sent_at)
        except OSError:
            return Answer("reset" if sent_at else "refused", began, time.perf_counter(), sent_at)
        if _CLOSES.search(head):
            writer.close()
        else:
            self._idle.append((reader, writer))
        status = int(head.split(b" ", 2)[1])
        return Answer("answered", began, time.perf_counter(), sent_at, status, _shape(status, head, body))

    async def _connection(self) -> _Pair:
        while self._idle:
            reader, writer = self._idle.pop()
            if not (reader.at_eof() or writer.is_closing()):
                return reader, writer
            writer.close()
        return await asyncio.open_connection(self.host, self.port)

    def close(self) -> None:
        """Close the idle connections."""
        while self._idle:
            self._idle.pop()[1].close()

    @contextmanager
    def _counted(self) -> Generator[None]:
        self.in_flight += 1
        try:
            yield
        finally:
            self.in_flight -= 1


def _shape(status: int, head: bytes, body: bytes) -> str:
    if status == 200:  # noqa: PLR2004 OK
        return ""
    error = json.loads(body).get("error", {})
    return f"{status} {error.get('type')} {sorted(error)} Retry-After: {'yes' if _RETRY_AFTER.search(head) else 'no'}"
