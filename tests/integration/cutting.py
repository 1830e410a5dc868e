"""A TCP proxy before a real server that cuts one connection at one message: before it went on, after, or its answer."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field, replace
from typing import Literal

from aya.dsn import DatabaseSettings

Moment = Literal["before", "after", "answer", "silence"]
MOMENTS: tuple[Moment, ...] = ("before", "after", "answer", "silence")
_PIECE_BYTES = 256 * 1024


@dataclass
class Cut:
    """Where to cut, once.

    moment: before the message goes on to the server; just after it has; when its answer is on its way back; or then,
    but without a word to the client either ("silence"). text: what the message holds; None: any. skip: how many such
    messages pass before it. done: set when it was cut.
    """

    moment: Moment
    text: bytes | None = None
    skip: int = 0
    done: bool = False

    def meets(self, piece: bytes) -> bool:
        """Return whether this is the message."""
        if self.done or (self.text is not None and self.text not in piece):
            return False
        self.skip -= 1
        self.done = self.skip < 0
        return self.done


@dataclass
class _Join:
    """One client and its server."""

    client: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    server: tuple[asyncio.StreamReader, asyncio.StreamWriter]
    silent: bool = False
    answered: asyncio.Event = field(default_factory=asyncio.Event)

    async def run(self, proxy: Proxy) -> None:
        """Pass on both ways until either leaves, or the cut comes."""
        answers = asyncio.create_task(self._answers())
        try:
            with suppress(OSError):
                await self._requests(proxy, answers)
        finally:
            answers.cancel()
            await asyncio.gather(answers, return_exceptions=True)
            for _, writer in (self.client, self.server):
                writer.transport.abort()

    async def _answers(self) -> None:
        with suppress(OSError):
            while piece := await self.server[0].read(_PIECE_BYTES):
                self.answered.set()
                if not self.silent:
                    self.client[1].write(piece)
                    await self.client[1].drain()
        self.answered.set()
        if not self.silent:
            self.client[1].transport.abort()

    async def _requests(self, proxy: Proxy, answers: asyncio.Task[None]) -> None:
        while piece := await self.client[0].read(_PIECE_BYTES):
            proxy.seen += 1
            if proxy.cut is not None and proxy.cut.meets(piece):
                await self._cut(proxy.cut.moment, piece, answers)
                return
            self.server[1].write(piece)
            await self.server[1].drain()

    async def _cut(self, moment: Moment, piece: bytes, answers: asyncio.Task[None]) -> None:
        if moment == "before":
            return
        self.silent = True
        self.answered.clear()
        if moment == "after":
            self.client[1].transport.abort()
        self.server[1].write(piece)
        await self.server[1].drain()
        if moment == "after":
            self.server[1].write_eof()
            await answers  # until the server has done what it was sent, and left
        elif moment == "answer":
            await self.answered.wait()
        else:
            while await self.client[0].read(_PIECE_BYTES):
                pass  # until the client gives up by itself


class Proxy:
    """Passes on to one server. cut: where to cut next; None: nowhere. seen: how many messages came so far."""

    def __init__(self, target: tuple[str, int]) -> None:
        self._target = target
        self._joins: set[asyncio.Task[None]] = set()
        self.cut: Cut | None = None
        self.seen = 0
        self.port = 0

    def before(self, settings: DatabaseSettings) -> DatabaseSettings:
        """Return the same database, reached through this proxy."""
        return replace(settings, hosts=(("127.0.0.1", self.port),))

    def accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Join a client with the server."""
        join = asyncio.create_task(self._join(reader, writer))
        self._joins.add(join)
        join.add_done_callback(self._joins.discard)

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            server = await asyncio.open_connection(*self._target)
        except OSError:
            writer.transport.abort()
            return
        await _Join((reader, writer), server).run(self)

    async def close(self) -> None:
        """End every connection."""
        for join in self._joins:
            join.cancel()
        await asyncio.gather(*self._joins, return_exceptions=True)


@asynccontextmanager
async def proxied(settings: DatabaseSettings) -> AsyncGenerator[Proxy]:
    """Run a proxy before the only host of the settings."""
    (target,) = settings.hosts
    proxy = Proxy(target)
    server = await asyncio.start_server(proxy.accept, "127.0.0.1", 0)
    proxy.port = server.sockets[0].getsockname()[1]
    try:
        yield proxy
    finally:
        server.close()
        await proxy.close()
