"""Rows from one server to another as they are: PostgreSQL's own binary COPY, passed on without looking inside."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from typing import TYPE_CHECKING

import asyncpg

if TYPE_CHECKING:
    from aya.reach import Reached

# Pieces under way at once, and their size: the driver hands on every row, and each hop costs.
_DEPTH = 8
_PIECE_BYTES = 256 * 1024


async def passed_on(source: Reached, query: str, *arguments: object, target: Reached, table: str) -> int:
    """Copy what `query` yields on `source` into a temporary table of `target`; return the bytes passed on.

    Both sides are in the caller's transactions. Errors are the driver's; whichever side fails ends the other.
    """
    pieces: asyncio.Queue[bytes | None] = asyncio.Queue(_DEPTH)
    gathered = bytearray()
    size = 0

    async def put(piece: bytes) -> None:
        nonlocal size
        size += len(piece)
        gathered.extend(piece)
        if len(gathered) >= _PIECE_BYTES:
            await pass_on()

    async def pass_on() -> None:
        await pieces.put(bytes(gathered))
        gathered.clear()

    async def read() -> None:
        await source.copy_from_query(query.rstrip().rstrip(";"), *arguments, output=put, format="binary")
        await pass_on()
        await pieces.put(None)

    async def arriving() -> AsyncGenerator[bytes]:
        while (piece := await pieces.get()) is not None:
            yield piece

    async def write(watch: asyncio.Task[None]) -> None:
        await target.copy_to_table(table, source=arriving(), format="binary", schema_name="pg_temp")
        watch.cancel()

    try:
        async with asyncio.TaskGroup() as both:
            watch = both.create_task(_lost(source, target), name="copy.watch")
            both.create_task(read(), name="copy.read")
            both.create_task(write(watch), name="copy.write")
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from group
    return size


async def _lost(*ends: Reached) -> None:
    """Raise when one of the connections ends: the driver waits without end for one to take more that is lost."""
    lost = asyncio.Event()

    def hear(_: object) -> None:
        lost.set()

    for end in ends:
        end.add_termination_listener(hear)
    try:
        await lost.wait()
    finally:
        for end in ends:
            end.remove_termination_listener(hear)
    raise asyncpg.ConnectionDoesNotExistError("the connection was lost while rows were passed on")
