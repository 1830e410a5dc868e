"""The indexer's side of PostgreSQL: one dedicated connection, whose loss gives back every claim."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import asyncpg

from aya import db, migrations, outcome, queries, reach
from aya.dsn import DatabaseSettings
from aya.embedder_client import Vector
from aya.identity import ModelIdentity
from aya.knowledge.indexing import Prepared
from aya.knowledge.writing import hold_model, lock_chunks, replace_chunks
from aya_indexer.move_store import MoveStore
from aya_indexer.plan import Observed

_SQL = queries.load("aya_indexer")
CHANNEL = "aya_index"
_BATCH = 50
# So long and so much AIR may be away without having to copy everything anew.
_LOG_DAYS, _LOG_ROWS = 30, 1_000_000
# How often it looks whether the server is still the one to write on: its connection is open all the time.
_LOOK_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Queued:
    """A document of the queue. ticket: proves that it was not queued again since it was read."""

    document_id: int
    ticket: datetime
    attempts: int
    content: str
    content_sha256: bytes
    title: str | None
    markdown: bool
    observed: Observed


class Store:
    """The queue and the chunks, over one connection. Use its methods inside `aya.db.translated`.

    moves: the move to another model, over the same connection.
    """

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection
        self.moves = MoveStore(connection)

    async def is_standby(self) -> bool:
        """Return whether this server cannot be written."""
        return bool(await self._connection.fetchval(_SQL["in_recovery"]))

    async def check_schema(self, node: str) -> None:
        """Raise SchemaMismatch unless the schema is the one this version knows."""
        await migrations.check(self._connection, node=node)

    async def shorten_log(self) -> int:
        """Keep the log that AIR reads bounded; return how many entries went. On AIR there is none."""
        if not await self._connection.fetchval(_SQL["has_log"]):
            return 0
        return int(await self._connection.fetchval(_SQL["shorten_log"], _LOG_DAYS, _LOG_ROWS) or 0)

    async def listen(self, wake: asyncio.Event) -> None:
        """Set `wake` at every notification; a hint only, the queue is the truth."""

        def notified(*_: object) -> None:
            wake.set()

        await self._connection.add_listener(CHANNEL, notified)

    async def due(self) -> list[int]:
        """Return the documents whose turn has come."""
        return [row["document_id"] for row in await self._connection.fetch(_SQL["due"], _BATCH)]

    async def seconds_until_next(self) -> float | None:
        """Return how long until the next turn; None when the queue is empty."""
        seconds: float | None = await self._connection.fetchval(_SQL["seconds_until_next"])
        return seconds

    @asynccontextmanager
    async def claimed(self, document_id: int) -> AsyncGenerator[Queued | None]:
        """Work on a document alone; None when another worker has it or it is queued no more."""
        if not await self._connection.fetchval(_SQL["claim"], document_id):
            yield None
            return
        try:
            row = await self._connection.fetchrow(_SQL["observe"], document_id)
            yield _queued(document_id, row) if row else None
        finally:
            if not self._connection.is_closed():
                await self._connection.execute(_SQL["release"], document_id)

    async def store_chunks(self, queued: Queued, prepared: Prepared) -> bool:
        """Store the chunks; False, and nothing written, when the content changed meanwhile."""
        async with outcome.transaction(self._connection):
            await hold_model(self._connection, prepared.identity)
            await lock_chunks(self._connection, queued.document_id)
            now = await self._connection.fetchval(_SQL["content_sha256"], queued.document_id)
            if now != queued.content_sha256:
                return False
            await replace_chunks(self._connection, queued.document_id, prepared)
        return True

    async def chunks_without_vector(self, document_id: int) -> list[tuple[int, str]]:
        """Return (chunk id, text) of the chunks that lack a vector."""
        rows = await self._connection.fetch(_SQL["chunks_without_vector"], document_id)
        return [(row["id"], row["chunk_text"]) for row in rows]

    async def store_vectors(self, chunks: list[tuple[int, str]], vectors: Vector, identity: ModelIdentity) -> None:
        """Give chunks their vectors, made by `identity`; vectors: shape (len(chunks), dimension)."""
        arguments: list[tuple[Any, ...]] = [
            (chunk_id, vector, text) for (chunk_id, text), vector in zip(chunks, vectors, strict=True)
        ]
        async with outcome.transaction(self._connection):
            await hold_model(self._connection, identity)
            await self._connection.executemany(_SQL["set_vector"], arguments)

    async def finish(self, queued: Queued) -> None:
        """Take the document off the queue, unless it was queued again."""
        await self._connection.execute(_SQL["finish"], queued.document_id, queued.ticket)

    async def begin(self, document_id: int, seconds: float) -> None:
        """Count an attempt; should the process end in it, the document's next turn is in `seconds`."""
        await self._connection.execute(_SQL["begin"], document_id, seconds)

    async def give_back(self, document_id: int, seconds: float) -> None:
        """Take an attempt back that an outage ended; the next one is in `seconds`."""
        await self._connection.execute(_SQL["give_back"], document_id, seconds)

    async def postpone(self, document_id: int, error: str, seconds: float) -> None:
        """Remember why the document failed, and try it again after `seconds`."""
        await self._connection.execute(_SQL["postpone"], document_id, error, seconds)


@asynccontextmanager
async def opened(settings: DatabaseSettings) -> AsyncGenerator[Store]:
    """Open the indexer's connection; the driver's errors come out as AyaErrors."""
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-indexer")
        try:
            alone = len(settings.hosts) == 1
            async with reach.watched(connection, connection.where, alone=alone, every_seconds=_LOOK_SECONDS):
                await db.prepare_connection(connection)
                yield Store(connection)
        finally:
            await asyncio.shield(db.close(connection))


def _queued(document_id: int, row: asyncpg.Record) -> Queued:
    return Queued(
        document_id=document_id,
        ticket=row["enqueued_at"],
        attempts=row["attempts"],
        content=row["content"],
        content_sha256=row["content_sha256"],
        title=row["title"],
        markdown=row["markdown"],
        observed=Observed(
            own_is_current=row["own_is_current"],
            has_own=row["has_own"],
            hand_chunks=row["hand_chunks"],
            without_vector=row["without_vector"],
        ),
    )
