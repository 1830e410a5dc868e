"""The move's side of PostgreSQL, over the indexer's connection."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import asyncpg

from aya import outcome, queries
from aya.embedder_client import Vector
from aya.knowledge.binding import bound
from aya.knowledge.models import Bound, Move
from aya.knowledge.reembedding import move_of
from aya.knowledge.writing import as_array

_SQL = queries.load("aya_indexer", "move.sql")
_MODEL = queries.load("aya.knowledge")
_EXCEPTIONS = 500

Chunk = tuple[int, str]


@dataclass(slots=True)
class Embedded:
    """What became of a batch: vectors by chunk, and the chunks that the model cannot take as they are.

    exceptions: None for a chunk that is longer than the model's window (it has a vector, of its beginning), else why
    it has none.
    """

    vectors: dict[Chunk, Vector] = field(default_factory=dict[Chunk, Vector])
    exceptions: dict[Chunk, str | None] = field(default_factory=dict["Chunk", "str | None"])


class MoveStore:
    """The move and its chunks. Use its methods inside `aya.db.translated`."""

    def __init__(self, connection: asyncpg.Connection[asyncpg.Record]) -> None:
        self._connection = connection
        self._claimed = False

    async def bound(self) -> Bound | None:
        """Return the database's model."""
        return await bound(self._connection)

    async def move(self) -> Move | None:
        """Return the move under way."""
        return await move_of(self._connection)

    async def claim(self) -> bool:
        """Return whether the move is ours; it is until the connection ends."""
        self._claimed = self._claimed or bool(await self._connection.fetchval(_SQL["claim_move"]))
        return self._claimed

    async def has_exceptions(self) -> bool:
        """Return whether the last move left chunks that have to be cut anew."""
        return bool(await self._connection.fetchval(_SQL["has_exceptions"]))

    async def queue_exceptions(self) -> int:
        """Queue the documents of some of these chunks; return of how many."""
        return int(await self._connection.fetchval(_SQL["queue_exceptions"], _EXCEPTIONS))

    async def batch(self, move: Move, after: int, most: int) -> list[Chunk]:
        """Return the next chunks with an id above `after` that lack their next vector; none when the move is over."""
        async with self._connection.transaction(readonly=True):
            await self._connection.execute(_MODEL["hold_model_to_read"])
            if not await self._still_moves(move):
                return []
            rows = await self._connection.fetch(_SQL["batch"], after, most)
        return [(row["id"], row["chunk_text"]) for row in rows]

    async def store(self, move: Move, done: Embedded, rate: float) -> int:
        """Keep what was embedded, in one transaction; return of how many chunks, none when the move is over.

        Chunks whose texts have changed meanwhile, or that somebody else is writing, are left for later.
        rate: rows a second.
        """
        async with outcome.transaction(self._connection):
            await self._connection.execute(_MODEL["hold_model"])
            if not await self._still_moves(move):
                return 0
            kept = int(await self._connection.fetchval(_SQL["store_next"], *_columns(done)))
            await self._connection.execute(_SQL["note_speed"], rate)
        return kept

    async def note_error(self, error: str) -> None:
        """Remember why the move does not advance."""
        await self._connection.execute(_SQL["note_error"], error)

    async def switch(self, most_left: int) -> bool:
        """End the move if at most so many chunks lack their vector; return whether it was ended.

        Raises asyncpg.LockNotAvailableError when the table is not free within a moment.
        """
        async with outcome.transaction(self._connection):
            await self._connection.execute(_SQL["set_lock_timeout"])
            return bool(await self._connection.fetchval(_SQL["switch"], most_left))

    async def _still_moves(self, move: Move) -> bool:
        return bool(await self._connection.fetchval(_SQL["still_moves"], move.identity.fingerprint))


def _columns(done: Embedded) -> tuple[Sequence[object], ...]:
    without = [chunk for chunk in done.exceptions if chunk not in done.vectors]
    chunks = [*done.vectors, *without]
    return (
        [key for key, _ in chunks],
        [text for _, text in chunks],
        [*as_array(done.vectors.values()), *(None for _ in without)],
        [chunk in done.exceptions for chunk in chunks],
        [done.exceptions.get(chunk) for chunk in chunks],
    )
