"""The daemon: send what waits, fetch what changed, sleep until one of both sides has news; and again after any failure."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING

import asyncpg

from aya import db, log, migrations, queries, reach
from aya.errors import AyaError, DatabaseUnavailable, SchemaMismatch
from aya_syncd import pull, push
from aya_syncd.config import Config

if TYPE_CHECKING:
    from aya.reach import Reached

_LOCAL = queries.load("aya_syncd", "local.sql")
_LOOK_SECONDS = 5.0
_LOG_EVERY_SECONDS = 30.0


class Sync:
    """AIR's. It needs nobody's word to be right: notifications only wake it earlier."""

    def __init__(self, config: Config) -> None:
        self._config = config
        self._wake = asyncio.Event()
        self._failures = 0
        self._logged_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; whoever does not answer is waited for."""
        while not stop.is_set():
            try:
                async with self._here() as local:
                    await self._with(local, stop)
            except AyaError as error:
                await self._pause(error, stop)

    async def _with(self, local: Reached, stop: asyncio.Event) -> None:
        """Work with AIR's server, which is there, for as long as it is."""
        while not stop.is_set():
            try:
                async with self._there() as primary:
                    await self._serve(primary, local, stop)
            except (AyaError, pull.Refused) as error:
                if local.is_closed():
                    raise DatabaseUnavailable(f"{self._config.local.display()} went away", hint="aya status") from error
                told = error if isinstance(error, AyaError) else AyaError(str(error), hint="aya status")
                with db.translated(self._config.local):
                    await local.execute(_LOCAL["troubled"], told.message)
                await self._pause(told, stop)

    async def _serve(self, primary: Reached, local: Reached, stop: asyncio.Event) -> None:
        while not stop.is_set():
            self._wake.clear()
            if await pull.is_paused(local):
                await wait_any(stop, self._wake, seconds=self._config.poll_seconds)
                continue
            more = await self._turn(primary, local)
            if not more:
                self._over()
                await wait_any(stop, self._wake, seconds=self._config.poll_seconds)

    async def _turn(self, primary: Reached, local: Reached) -> bool:
        """Send a batch and fetch what changed; return whether there is more to send."""
        known = await pull.cursor(local)
        found = await pull.upstream(primary, known)
        sent = push.Pushed()
        if not found.is_standby and known.snapshot is not None and known.timeline in {None, found.timeline}:
            vectors = known.fingerprint == found.fingerprint
            sent = await push.push(primary, local, node=self._config.node, vectors=vectors)
            if sent.sent:
                log.get_logger().info(
                    "changes.pushed", done=sent.done, rejected=sent.rejected, conflicts=sent.conflicts
                )
        began = time.monotonic()
        rows = await pull.pull(primary, local, compare_seconds=self._config.compare_seconds)
        if rows:
            log.get_logger().info("changes.pulled", rows=rows, seconds=round(time.monotonic() - began, 3))
        return sent.done == push.BATCH

    @asynccontextmanager
    async def _here(self) -> AsyncGenerator[Reached]:
        with db.translated(self._config.local):
            local = await db.connect(self._config.local, application_name="aya-syncd")
            try:
                await migrations.check(local, node=self._config.node)
                await pull.prepare(local)
                await local.add_listener("aya_queue", self._heard)
                yield local
            finally:
                await asyncio.shield(db.close(local))

    @asynccontextmanager
    async def _there(self) -> AsyncGenerator[Reached]:
        """Reach the server that leads, and hear what it notifies of, each on a connection of its own."""
        settings = self._config.primary
        with db.translated(settings):
            primary = await db.connect(settings, application_name="aya-syncd")
            try:
                await migrations.check(primary)
                async with (
                    reach.watched(primary, primary.where, alone=len(settings.hosts) == 1, every_seconds=_LOOK_SECONDS),
                    self._listening(primary),
                ):
                    yield primary
            except asyncpg.UndefinedTableError as error:
                raise SchemaMismatch("the primary has no change log", hint="aya up there, then here") from error
            finally:
                await asyncio.shield(db.close(primary))

    @asynccontextmanager
    async def _listening(self, primary: Reached) -> AsyncGenerator[None]:
        if await primary.fetchval("SELECT pg_is_in_recovery()"):
            yield
            return
        ear = await db.connect(primary.where, application_name="aya-syncd-ear", command_timeout=self._config.beat_limit)
        beat = asyncio.create_task(self._beat(ear, primary), name="beat")
        try:
            await ear.add_listener("aya_changes", self._heard)
            # What came between the last look and this moment was told to nobody.
            self._wake.set()
            yield
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
            reach.abandon(ear)

    async def _beat(self, ear: Reached, primary: Reached) -> None:
        """Leave a server whose connection is dead and does not say so."""
        with suppress(*reach.FAILED):
            while True:
                await asyncio.sleep(self._config.beat_seconds)
                await ear.fetchval("SELECT 1")
        reach.abandon(primary)
        self._wake.set()

    def _heard(self, *_: object) -> None:
        self._wake.set()

    async def _pause(self, error: AyaError, stop: asyncio.Event) -> None:
        self._failures += 1
        now = time.monotonic()
        if self._failures == 1 or now - self._logged_at >= _LOG_EVERY_SECONDS:
            self._logged_at = now
            log.get_logger().warning("sync.interrupted", error=error.message, hint=error.hint, failures=self._failures)
        await wait_any(stop, seconds=self._config.outage.delay_seconds(self._failures, random.uniform))

    def _over(self) -> None:
        if self._failures:
            log.get_logger().info("sync.recovered", failures=self._failures)
        self._failures = 0


async def wait_any(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of `events` is set or the time is up."""
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
