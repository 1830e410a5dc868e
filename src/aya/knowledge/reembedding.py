"""Move the base to another model while everybody goes on searching and adding.

A move is a row in `reembedding` and, beside chunks.embedding, a column embedding_next with its own index. It begins
here, as the owner; the indexer fills the column and exchanges the two when it is full (aya_indexer.mover). Every step
is one transaction or can be repeated, so whoever is killed, at whatever moment, leaves a move that goes on.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import asyncpg

from aya import db, outcome, queries
from aya.dsn import DatabaseSettings
from aya.errors import ConfigError, DatabaseConflict, DatabaseReadOnly
from aya.identity import ModelIdentity
from aya.knowledge.binding import binding_arguments, describe
from aya.knowledge.models import Move, Phase, Progress

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "reembedding.sql")
_HOLD_MODEL = queries.load("aya.knowledge")["hold_model_to_read"]
# pgvector's own limit for an index on the type vector.
MOST_DIMENSIONS = 2000
# Half a minute of short waits for the table, each followed by a pause in which the others have their turn.
_MOST_TRIES = 50
_PAUSE_SECONDS = 0.3


@asynccontextmanager
async def entered(settings: DatabaseSettings) -> AsyncGenerator[Connection]:
    """Open the owner's connection; the driver's errors come out as AyaErrors."""
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-reembed", command_timeout=None)
        try:
            yield connection
        finally:
            await db.close(connection)


async def move_of(connection: Connection) -> Move | None:
    """Return the move under way; None when there is none."""
    row = await connection.fetchrow(_SQL["move"])
    if row is None:
        return None
    phase: Phase = row["state"] if row["prepared"] else "preparing"
    return Move(
        identity=ModelIdentity.from_mapping(dict(row)),
        source=row["source"],
        phase=phase,
        requested_by=row["requested_by"],
        started_at=row["started_at"],
        rows_per_second=row["rows_per_second"],
        error=row["error"],
    )


async def progress(connection: Connection, *, total: int | None = None) -> Progress | None:
    """Return how far the move is, on a standby too; None when there is none.

    total: how many chunks there were a moment ago; None: they are counted.
    """
    async with connection.transaction(readonly=True):
        # Held from here on: the column is there as long as the row says so.
        await connection.execute(_HOLD_MODEL)
        move = await move_of(connection)
        row = await connection.fetchrow(_SQL["progress"], total) if move else None
    if move is None or row is None:
        return None
    done = max(0, row["total"] - row["missing"] + row["refused"])
    return Progress(move, row["total"], done, row["cut"], row["refused"])


async def bytes_needed(connection: Connection, identity: ModelIdentity) -> int:
    """Return about how many bytes of disk a move to `identity` takes while it lasts."""
    return int(await connection.fetchval(_SQL["bytes_needed"], identity.dimension))


async def begin(connection: Connection, identity: ModelIdentity, source: str) -> None:
    """Begin the move to `identity`, or go on with it: what is there already is left as it is.

    source: what AYA_MODEL would say of it. Raises DatabaseReadOnly on a standby, DatabaseConflict when a move to
    another model is under way, or when somebody holds the table for longer than we wait.
    """
    if await connection.fetchval(_SQL["is_standby"]):
        raise DatabaseReadOnly(
            "this server is a standby; it follows its primary to the new model", hint="aya status names the primary"
        )
    if identity.dimension > MOST_DIMENSIONS:
        raise ConfigError(
            f"{identity.model} has {identity.dimension} dimensions; {MOST_DIMENSIONS} can be indexed",
            hint="choose another model",
        )
    if not await _is_under_way(connection, identity):
        try:
            await _briefly(connection, "begin", *binding_arguments(identity), source)
        except asyncpg.UniqueViolationError:
            # Somebody else began one at the same moment.
            await _is_under_way(connection, identity)
    await _prepare(connection)
    await connection.execute(_SQL["wake"])


async def _is_under_way(connection: Connection, identity: ModelIdentity) -> bool:
    move = await move_of(connection)
    if move is not None and move.identity.fingerprint != identity.fingerprint:
        raise DatabaseConflict(
            f"a move to {describe(move.identity)} is under way",
            hint="aya reembed --status, or aya reembed --cancel to give it up",
        )
    return move is not None


async def _prepare(connection: Connection) -> None:
    """Make the indexes while the column is empty. Nobody waits for that; it waits for who has long transactions."""
    while not await connection.fetchval(_SQL["claim_preparation"]):  # noqa: ASYNC110 - in another process
        await asyncio.sleep(_PAUSE_SECONDS)
    try:
        if not await connection.fetchval(_SQL["is_prepared"]):
            for statement in ("drop_broken_graph", "drop_broken_list", "create_list"):
                await connection.execute(_SQL[statement])
            await connection.execute(await connection.fetchval(_SQL["create_graph_statement"]))
    finally:
        await connection.execute(_SQL["release_preparation"])


async def cancel(connection: Connection) -> bool:
    """Give the move up: no column, index or trigger is left. Return False when there was none."""
    return bool(await _briefly(connection, "cancel"))


async def pause(connection: Connection) -> bool:
    """Let the move rest after the batch at hand; return False when there is none."""
    async with outcome.told(connection):
        return await connection.fetchval(_SQL["pause"]) is not None


async def resume(connection: Connection) -> bool:
    """Let the move go on, with its index made if whoever began it was cut short; return False when there is none."""
    async with outcome.told(connection):
        found = await connection.fetchval(_SQL["resume"]) is not None
    if found:
        await _prepare(connection)
        await connection.execute(_SQL["wake"])
    return found


async def _briefly(connection: Connection, query: str, *arguments: object) -> object:
    """Run a query that needs the table for itself, waiting for it only briefly, again and again."""
    for _ in range(_MOST_TRIES):
        try:
            async with outcome.transaction(connection):
                await connection.execute(_SQL["set_lock_timeout"])
                return await connection.fetchval(_SQL[query], *arguments)
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            await asyncio.sleep(_PAUSE_SECONDS)
    raise DatabaseConflict(
        "the table of the chunks was never free for a moment: somebody has a transaction open",
        hint="end it (psql: SELECT * FROM pg_stat_activity), then run the same again",
    )
