"""A network of one wire, between AIR and the primary: a real TCP proxy that can fail in every way a network does."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress

_HOST = "127.0.0.1"
_PIECE_BYTES = 64 * 1024


class Wire:
    """Passes on what it is given, unless told otherwise.

    delay_seconds: each piece is held so long. passed: bytes so far. Silent: connections are accepted and stay, and
    nothing is passed on.
    """

    def __init__(self, target: int) -> None:
        self.target = target
        self.port = 0
        self.delay_seconds = 0.0
        self.passed = 0
        self._up, self._down = asyncio.Event(), asyncio.Event()
        self._cut = False
        self._joins: set[asyncio.Task[None]] = set()
        self.heal()

    def heal(self) -> None:
        """Pass on everything, what has waited first."""
        self._cut, self.delay_seconds = False, 0.0
        self._up.set()
        self._down.set()

    def cut(self) -> None:
        """End every connection and refuse new ones."""
        self._cut = True
        for join in self._joins:
            join.cancel()

    def silence(self, *, up: bool = True, down: bool = True) -> None:
        """Pass nothing on any more towards the primary (up), towards AIR (down); nobody is told."""
        if up:
            self._up.clear()
        if down:
            self._down.clear()

    async def close(self) -> None:
        """End every connection, to the end."""
        joins = list(self._joins)
        self.cut()
        await asyncio.gather(*joins, return_exceptions=True)

    async def serve(self) -> asyncio.Server:
        """Listen on a port of its own."""
        server = await asyncio.start_server(self._accepted, _HOST, self.port)
        self.port = server.sockets[0].getsockname()[1]
        return server

    async def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._cut:
            writer.transport.abort()
            return
        task = asyncio.current_task()
        assert task is not None
        self._joins.add(task)
        try:
            with suppress(asyncio.CancelledError, OSError):
                await self._join(reader, writer)
        finally:
            self._joins.discard(task)
            writer.transport.abort()

    async def _join(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(_HOST, self.target)
        ways = {
            asyncio.create_task(self._pump(reader, back, self._up)),
            asyncio.create_task(self._pump(there, writer, self._down)),
        }
        try:
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            back.transport.abort()

    async def _pump(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, whole: asyncio.Event) -> None:
        while piece := await reader.read(_PIECE_BYTES):
            if self.delay_seconds:
                await asyncio.sleep(self.delay_seconds)
            await whole.wait()
            self.passed += len(piece)
            writer.write(piece)
            await writer.drain()
        await whole.wait()


@asynccontextmanager
async def wire(target: int) -> AsyncGenerator[Wire]:
    """Lend a wire to a port of this machine."""
    made = Wire(target)
    server = await made.serve()
    try:
        yield made
    finally:
        server.close()
        await made.close()
