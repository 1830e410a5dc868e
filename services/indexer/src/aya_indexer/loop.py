"""The indexer's loop: wait for a notification, a turn, a tick or the stop; then work the queue off.

Behind the queue comes the move to another model, a step of less than a second at a time: documents hardly wait for it.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Coroutine
from contextlib import suppress
from typing import TypeVar

import asyncpg

from aya import db, log
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError, EmbedderError
from aya.identity import ModelIdentity
from aya.knowledge.indexing import embed_documents, prepare
from aya.knowledge.types import POISON_ATTEMPTS
from aya_indexer.config import Config
from aya_indexer.models import Models
from aya_indexer.mover import Mover
from aya_indexer.outage import Outage
from aya_indexer.plan import decide, fault_of
from aya_indexer.store import Queued, Store, opened

# A queue that never ends gives way to a step of the move so often, or the move would never end either.
_TURN_SECONDS = 2.0
_SHORTEN_SECONDS = 3600.0
Result = TypeVar("Result")


class Indexer:
    """Works the queue of one database off, one document at a time."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._outage = Outage("indexer")
        self._models = Models(config)
        self._mover = Mover(config)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; an outage of the database or the embedder is waited out."""
        async with EmbedderClient(self._config.embedder_url, token=self._config.embedder_token) as embedder:
            while not stop.is_set():
                try:
                    async with opened(self._config.database) as store:
                        await self._serve(store, embedder, stop)
                except AyaError as error:
                    self._outage.failed(error, time.monotonic())
                    delay = self._config.outage.delay_seconds(self._outage.failures, random.uniform)
                    await wait_any(stop, seconds=delay)

    async def _serve(self, store: Store, embedder: EmbedderClient, stop: asyncio.Event) -> None:
        while await store.is_standby():
            self._outage.over()
            log.get_logger().debug("indexer.standing_by")
            await self._models.align(store.moves, embedder)
            if await wait_any(stop, seconds=self._config.poll_seconds):
                return
        await store.check_schema(self._config.node)
        wake = asyncio.Event()
        await store.listen(wake)
        shorten_at = 0.0
        while not stop.is_set():
            wake.clear()
            if time.monotonic() >= shorten_at:
                shorten_at = time.monotonic() + _SHORTEN_SECONDS
                if gone := await store.shorten_log():
                    log.get_logger().info("changes.forgotten", entries=gone)
            try:
                identity = await self._models.ready(store.moves, embedder)
                await self._drain(store, embedder, identity, stop)
            except EmbedderError as error:
                # The move has no turn before that is over, and waits for the same embedder.
                await store.moves.note_error(error.message)
                raise
            self._outage.over()
            due = await unless(stop, self._mover.step(store.moves, embedder))
            if due:
                await wait_any(stop, wake, seconds=min(due, await self._pause(store)))

    async def _pause(self, store: Store) -> float:
        due = await store.seconds_until_next()
        return self._config.poll_seconds if due is None else min(max(due, 0.05), self._config.poll_seconds)

    async def _drain(
        self, store: Store, embedder: EmbedderClient, identity: ModelIdentity, stop: asyncio.Event
    ) -> None:
        give_way_at = time.monotonic() + _TURN_SECONDS
        while not stop.is_set() and (due := await store.due()):
            worked = False
            for document_id in due:
                if stop.is_set() or time.monotonic() >= give_way_at:
                    return
                async with store.claimed(document_id) as queued:
                    if queued is not None:
                        worked = True
                        await self._work(store, embedder, identity, queued)
            if not worked:
                # All of them are in other workers' hands.
                return

    async def _work(self, store: Store, embedder: EmbedderClient, identity: ModelIdentity, queued: Queued) -> None:
        attempts = queued.attempts + 1
        await store.begin(queued.document_id, self._config.retry.delay_seconds(attempts, random.uniform))
        try:
            with db.translated(self._config.database):
                await self._index(store, embedder, identity, queued)
        except AyaError as error:
            if fault_of(error) == "system":
                with suppress(asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError, OSError):
                    await store.give_back(queued.document_id, self._config.outage.cap_seconds)
                raise
            await self._postpone(store, queued, error.message)
        except Exception as error:  # noqa: BLE001 - whatever a document does to us, it happens to that document only
            log.get_logger().exception("document.crashed", document_id=queued.document_id)
            await self._postpone(store, queued, f"{type(error).__name__}: {error}")

    async def _index(self, store: Store, embedder: EmbedderClient, identity: ModelIdentity, queued: Queued) -> None:
        plan = decide(queued.observed)
        started = time.monotonic()
        chunks = 0
        if plan.rechunk:
            prepared = await prepare(embedder, identity, queued.content, markdown=queued.markdown, title=queued.title)
            if not await store.store_chunks(queued, prepared):
                log.get_logger().info("document.changed", document_id=queued.document_id)
                return
            chunks += len(prepared.chunks)
        if plan.embed:
            missing = await store.chunks_without_vector(queued.document_id)
            vectors = await embed_documents(embedder, identity, [text for _, text in missing])
            await store.store_vectors(missing, vectors, identity)
            chunks += len(missing)
        await store.finish(queued)
        log.get_logger().info(
            "document.indexed",
            document_id=queued.document_id,
            chunks=chunks,
            reason=plan.reason,
            seconds=round(time.monotonic() - started, 3),
        )

    async def _postpone(self, store: Store, queued: Queued, error: str) -> None:
        attempts = queued.attempts + 1
        seconds = self._config.retry.delay_seconds(attempts, random.uniform)
        await store.postpone(queued.document_id, error, seconds)
        event = "document.poisoned" if attempts >= POISON_ATTEMPTS else "document.failed"
        log.get_logger().warning(
            event,
            document_id=queued.document_id,
            attempts=attempts,
            error=error,
            hint=f"aya show {queued.document_id}",
            retry_seconds=round(seconds, 1),
        )


async def unless(stop: asyncio.Event, work: Coroutine[None, None, Result]) -> Result | None:
    """Return what `work` returns; None, and the work is given up, when `stop` is set before."""
    task, stopped = asyncio.ensure_future(work), asyncio.ensure_future(stop.wait())
    try:
        await asyncio.wait((task, stopped), return_when=asyncio.FIRST_COMPLETED)
        return task.result() if task.done() else None
    finally:
        for each in (task, stopped):
            each.cancel()
        await asyncio.gather(task, stopped, return_exceptions=True)


async def wait_any(*events: asyncio.Event, seconds: float) -> bool:
    """Wait until one of `events` is set or the time is up; return whether the first of them is set."""
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
    return events[0].is_set()
