"""Moves the base to another model, step by step, behind the documents that wait: see aya.knowledge.reembedding."""

from __future__ import annotations

import random
import time
from collections.abc import Sequence

import asyncpg

from aya import db, log
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError, EmbedderError, ModelMismatch, TextTooLong
from aya.knowledge.binding import describe, load
from aya.knowledge.models import Move
from aya_indexer.config import Config
from aya_indexer.move import (
    FEWEST_ROWS,
    FIRST_ROWS,
    Seen,
    Suspect,
    blame,
    decide,
    is_suspect,
    left_over,
    next_size,
    smoothed,
)
from aya_indexer.move_store import Chunk, Embedded, MoveStore
from aya_indexer.outage import Outage

_LOAD_SECONDS = 5.0
_EMBED_SECONDS = 20.0
# A model that cannot embed this one is not well; what it fails at then is no fault of the texts.
_PLAIN_TEXT = "a short text"
# After a try for which the table, or every chunk of a batch, was in somebody else's hands.
_LOCKED_OUT_SECONDS = 0.3
_FATAL = "the embedder does not survive it, or does not answer in time"
# What the indexer itself waits out: the connection is gone, or this server is not the primary any more.
ELSEWHERE = (*db.LOST, asyncpg.ReadOnlySQLTransactionError)
# Below every id.
_BEFORE_ALL = -(2**31) - 1


class Mover:
    """What one worker knows of the move: where it is in the table, and how fast. All of it may be lost."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._outage = Outage("move")
        self._rest_until = 0.0
        self._begin_anew()

    def _begin_anew(self) -> None:
        self._after = _BEFORE_ALL
        self._size = FIRST_ROWS
        self._rate: float | None = None
        self._filled_at: float | None = None
        self._tries = 0
        self._loaded: str | None = None
        self._suspect = Suspect()

    async def step(self, store: MoveStore, embedder: EmbedderClient) -> float:
        """Make one step; return in how many seconds the next is due, 0 for at once.

        An outage of the embedder is waited out here, for the documents must not wait with the move.
        """
        if (rest := self._rest_until - time.monotonic()) > 0:
            return rest
        move = await store.move()
        try:
            return await self._step(store, embedder, move)
        except (asyncpg.PostgresError, AyaError) as error:
            if isinstance(error, ELSEWHERE):
                raise
            return await self._failed(store, error)
        except BaseException:
            # A statement that took too long, say: fewer at once when the move goes on.
            self._size = min(self._size, FEWEST_ROWS)
            raise

    async def _step(self, store: MoveStore, embedder: EmbedderClient, move: Move | None) -> float:
        batch = await self._next_batch(store, move)
        phase = None if move is None else move.phase
        exceptions = move is None and await store.has_exceptions()
        decision = decide(Seen(phase, missing=bool(batch), exceptions=exceptions))
        if decision.step == "queue_exceptions":
            return 0.0 if await store.queue_exceptions() else self._config.poll_seconds
        if move is None or decision.step == "rest" or not await store.claim():
            self._begin_anew()
            return self._config.poll_seconds
        if decision.step == "fill":
            return await self._fill(store, embedder, move, batch)
        return await self._switch(store, move)

    async def _next_batch(self, store: MoveStore, move: Move | None) -> list[Chunk]:
        if move is None or move.phase != "running":
            return []
        batch = await store.batch(move, self._after, self._size)
        if not batch and self._after > _BEFORE_ALL:
            # Once through: what was written meanwhile comes now.
            self._after = _BEFORE_ALL
            batch = await store.batch(move, self._after, self._size)
        return batch

    async def _fill(self, store: MoveStore, embedder: EmbedderClient, move: Move, batch: Sequence[Chunk]) -> float:
        await self._have_loaded(embedder, move)
        started = time.monotonic()
        done = Embedded()
        if self._suspect.convicted and list(batch) == [self._suspect.chunk]:
            await self._check_well(embedder, move)
            _refused(done, batch[0], _FATAL)
        else:
            await self._embed_suspecting(embedder, move, batch, done)
        now = time.monotonic()
        self._rate = smoothed(self._rate, len(batch), now - (self._filled_at or started))
        self._filled_at = now
        kept = await store.store(move, done, self._rate)
        self._size = next_size(self._size, time.monotonic() - started)
        self._after, self._suspect = batch[-1][0], Suspect()
        self._outage.over()
        return 0.0 if kept else _LOCKED_OUT_SECONDS

    async def _have_loaded(self, embedder: EmbedderClient, move: Move) -> None:
        if self._loaded == move.identity.fingerprint:
            return
        offered = await load(embedder, move.source, seconds=_LOAD_SECONDS)
        if offered.fingerprint != move.identity.fingerprint:
            raise ModelMismatch(
                f"the embedder's {move.source} is {describe(offered)} now, and the move goes to"
                f" {describe(move.identity)}",
                hint="bring the model's files back, or aya reembed --cancel",
            )
        self._loaded = offered.fingerprint

    async def _embed_suspecting(
        self, embedder: EmbedderClient, move: Move, batch: Sequence[Chunk], done: Embedded
    ) -> None:
        """Embed a batch; should the embedder die of it, or not end, look for the chunk: fewer next time, at last 1."""
        try:
            await self._embed(embedder, move, batch, done)
        except EmbedderError as error:
            if is_suspect(error):
                self._suspect = self._suspect.failed(batch)
                self._size = max(1, len(batch) // 2)
            raise

    async def _embed(
        self, embedder: EmbedderClient, move: Move, chunks: Sequence[Chunk], done: Embedded, *, truncate: bool = False
    ) -> None:
        """Embed chunks; of a batch that the model refuses, each half by itself, down to the chunk whose fault it is."""
        try:
            vectors = await embedder.embed(
                [text for _, text in chunks],
                prompt="document",
                expect=move.identity.fingerprint,
                truncate=truncate,
                deadline_seconds=_EMBED_SECONDS,
            )
        except EmbedderError as error:
            if (fault := blame(error)) == "system":
                raise
            if fault == "unclear":
                await self._check_well(embedder, move)
            await self._embed_apart(embedder, move, chunks, done, error)
        else:
            done.vectors |= dict(zip(chunks, vectors, strict=True))

    async def _check_well(self, embedder: EmbedderClient, move: Move) -> None:
        """Raise the EmbedderError of a model that fails at any text."""
        await embedder.embed(
            [_PLAIN_TEXT], prompt="document", expect=move.identity.fingerprint, deadline_seconds=_EMBED_SECONDS
        )

    async def _embed_apart(
        self, embedder: EmbedderClient, move: Move, chunks: Sequence[Chunk], done: Embedded, error: EmbedderError
    ) -> None:
        if len(chunks) > 1:
            half = len(chunks) // 2
            await self._embed(embedder, move, chunks[:half], done)
            await self._embed(embedder, move, chunks[half:], done)
        elif isinstance(error, TextTooLong) and chunks[0] not in done.exceptions:
            done.exceptions[chunks[0]] = None
            await self._embed(embedder, move, chunks, done, truncate=True)
        else:
            _refused(done, chunks[0], error.message)

    async def _switch(self, store: MoveStore, move: Move) -> float:
        try:
            switched = await store.switch(left_over(self._tries))
        except (asyncpg.LockNotAvailableError, asyncpg.DeadlockDetectedError):
            return _LOCKED_OUT_SECONDS
        except asyncpg.ObjectNotInPrerequisiteStateError as error:
            return await self._failed(store, AyaError(str(error), hint="aya reembed --cancel"))
        self._tries += 1
        if switched:
            self._outage.over()
            log.get_logger().info("move.switched", model=describe(move.identity), tries=self._tries)
            self._begin_anew()
        return 0.0

    async def _failed(self, store: MoveStore, error: asyncpg.PostgresError | AyaError) -> float:
        self._loaded, self._filled_at = None, None
        self._size = min(self._size, FEWEST_ROWS)
        told = self._explained(error)
        self._outage.failed(told, time.monotonic())
        await self._note(store, told.message)
        delay = self._config.outage.delay_seconds(self._outage.failures, random.uniform)
        self._rest_until = time.monotonic() + delay
        return delay

    def _explained(self, error: asyncpg.PostgresError | AyaError) -> AyaError:
        if isinstance(error, AyaError):
            return error
        if isinstance(error, asyncpg.DependentObjectsStillExistError):
            return _in_the_way(error)
        try:
            with db.translated(self._config.database):
                raise error
        except AyaError as explained:
            return explained

    async def _note(self, store: MoveStore, error: str) -> None:
        """Have `aya reembed --status` say it; a base that cannot even keep that has said it to the log."""
        try:
            await store.note_error(error)
        except asyncpg.PostgresError as unkept:
            if isinstance(unkept, ELSEWHERE):
                raise


def _refused(done: Embedded, chunk: Chunk, error: str) -> None:
    done.exceptions[chunk] = error
    log.get_logger().warning("chunk.refused", chunk_id=chunk[0], error=error)


def _in_the_way(error: asyncpg.DependentObjectsStillExistError) -> AyaError:
    return AyaError(
        f"somebody's own object is in the way of the switch: {error.detail}",
        hint="drop it (psql), and make it again after the move",
    )
