"""The index on the vectors: what state it is in, and building it while everybody searches and writes."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

import asyncpg

from aya import outcome, queries
from aya.errors import DatabaseConflict, DatabaseReadOnly
from aya.knowledge.index_health import RECALL_AT, Build, IndexState, IndexStatus, Sample
from aya.knowledge.nearest import nearest, search_width
from aya.knowledge.types import Filters

if TYPE_CHECKING:
    from aya.db import Connection
    from aya.embedder_client import Vector

_SQL = queries.load("aya.knowledge", "vector_index.sql")
_SEED = 1
_MOST_WORKERS = 7
_LOOK_SECONDS = 0.5
_MOST_TRIES, _PAUSE_SECONDS = 50, 0.3


async def status(connection: Connection, *, queries_wanted: int, seconds: float) -> IndexStatus:
    """Return the index's state, with the recall of at most so many searches, asked within about so many seconds.

    Reads only. connection: with the codecs of `aya.db.prepare_connection`.
    """
    row = await connection.fetchrow(_SQL["state"])
    rows = await connection.fetchrow(_SQL["rows"])
    return IndexStatus(
        state=IndexState(**dict(row)) if row else None,
        build=await building(connection),
        **dict(rows or {}),
        ef_search=search_width(RECALL_AT),
        sample=await _sampled(connection, queries_wanted, seconds),
    )


async def building(connection: Connection) -> Build | None:
    """Return how far a build on this server is; None when none is under way."""
    row = await connection.fetchrow(_SQL["progress"])
    if row is None:
        return None
    done, total = (row[f"tuples_{end}"] or row[f"blocks_{end}"] for end in ("done", "total"))
    return Build(row["phase"], min(1.0, done / total) if total else 0.0)


async def _sampled(connection: Connection, wanted: int, seconds: float) -> Sample:
    until = time.monotonic() + seconds
    took: list[float] = []
    exact_took: list[float] = []
    found = expected = 0
    for row in await connection.fetch(_SQL["sample"], wanted, _SEED):
        if took and time.monotonic() > until:
            break
        vector: Vector = row["embedding"].to_numpy()
        began = time.perf_counter()
        async with connection.transaction(readonly=True):
            near = list(await nearest(connection, vector, RECALL_AT, Filters()))
        between = time.perf_counter()
        exact = {each["id"] for each in await connection.fetch(_SQL["exact"], vector, RECALL_AT)}
        took.append((between - began) * 1000)
        exact_took.append((time.perf_counter() - between) * 1000)
        found += len(exact.intersection(near))
        expected += len(exact)
    if not took:
        return Sample(0, None, None, None, None)
    return Sample(len(took), found / expected, _at(took, 0.5), _at(took, 0.95), _at(exact_took, 0.5))


def _at(values: list[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 2)


async def build(
    connection: Connection, watcher: Connection, tell: Callable[[Build], None], *, rebuild: bool = False
) -> bool:
    """Build the index where there is none that is whole, or anew; the old one serves until the new one is there.

    watcher: a second connection, which looks how far it is and calls `tell`. Returns False when there was nothing to
    do. Safe to repeat: what a build that was cut short left is dropped first. Raises DatabaseReadOnly on a standby,
    DatabaseConflict while somebody else builds, or the base moves to another model.
    """
    if await connection.fetchval(_SQL["is_standby"]):
        raise DatabaseReadOnly("this server is a standby; it gets its primary's index", hint="aya index build there")
    if await connection.fetchval(_SQL["is_moving"]):
        raise DatabaseConflict("the base moves to another model, and gets a new index by that", hint="aya reembed")
    row = await connection.fetchrow(_SQL["state"])
    if row and row["valid"] and row["as_made_now"] and not rebuild:
        return False
    if not await connection.fetchval(_SQL["claim"]):
        raise DatabaseConflict("somebody else builds the index", hint="aya index status")
    try:
        await connection.execute(_SQL["drop_unfinished"])
        await _create(connection, watcher, tell)
        await _exchange(connection)
    finally:
        if not connection.is_closed():
            await connection.execute(_SQL["release"])
    return True


async def _create(connection: Connection, watcher: Connection, tell: Callable[[Build], None]) -> None:
    statement = await connection.fetchval(_SQL["build_statement"])
    for workers in (min(_MOST_WORKERS, (os.cpu_count() or 2) - 1), 0):
        await connection.execute(_SQL["set_memory"], str(workers))
        try:
            async with asyncio.TaskGroup() as group:
                looking = group.create_task(_look(watcher, tell))
                await connection.execute(statement, timeout=None)
                looking.cancel()
        except* (asyncpg.DiskFullError, asyncpg.OutOfMemoryError):
            # Workers share their memory, and a container may have little of that; one alone needs none.
            if not workers:
                raise
            await connection.execute(_SQL["drop_unfinished"])
        else:
            return


async def _look(watcher: Connection, tell: Callable[[Build], None]) -> None:
    while True:
        await asyncio.sleep(_LOOK_SECONDS)
        seen = await building(watcher)
        if seen is not None:
            tell(seen)


async def _exchange(connection: Connection) -> None:
    """Put the new index in the old one's place, waiting for the table only briefly, again and again."""
    for _ in range(_MOST_TRIES):
        try:
            async with outcome.transaction(connection):
                for step in ("set_lock_timeout", "drop_old", "rename_new"):
                    await connection.execute(_SQL[step])
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(_PAUSE_SECONDS)
        else:
            return
    raise DatabaseConflict(
        "the table of the chunks was never free for a moment: somebody has a transaction open",
        hint="end it (psql: SELECT * FROM pg_stat_activity), then aya index build --rebuild",
    )
