"""The daemon: two lanes, one that sends what waits and one that fetches what changed; news of either side wake them.

They go their own ways: a primary that lets nobody write, for its standby is away, is read all the same.
"""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import asyncpg

from aya import db, log, migrations, queries, reach
from aya.dsn import DatabaseSettings
from aya.errors import AyaError, DatabaseUnavailable, SchemaMismatch
from aya_syncd import pull, push
from aya_syncd.config import Config
from aya_syncd.state import batch_size

if TYPE_CHECKING:
    from aya.reach import Reached

_LOCAL = queries.load("aya_syncd", "local.sql")
_LOOK_SECONDS = 5.0
_LOG_EVERY_SECONDS = 30.0
_FAREWELL_SECONDS = 2.0
# As if a transaction that failed had taken so long.
_LONG_SECONDS = 4.0
# So long fetching gives way to sending.
_BACKLOG_SECONDS = 10.0

Turn = Callable[["Reached", "Reached"], Awaitable[bool]]


@dataclass
class _Lane:
    """One direction. turn: does what there is to do between primary and AIR, and returns whether there is more."""

    name: str
    turn: Turn
    listens: bool
    wake: asyncio.Event = field(default_factory=asyncio.Event)
    failures: int = 0
    logged_at: float = 0.0


class Sync:
    """AIR's. It needs nobody's word to be right: notifications only wake it earlier."""

    def __init__(self, config: Config, primary: DatabaseSettings) -> None:
        self._config = config
        self._primary = primary
        self._push = _Lane("push", self._send, listens=False)
        self._pull = _Lane("pull", self._fetch, listens=True)
        self._has_backlog = False
        self._batch = push.FIRST_BATCH
        self._fetched_at = 0.0

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; whoever does not answer is waited for."""
        lanes = [asyncio.create_task(self._go(lane, stop), name=lane.name) for lane in (self._push, self._pull)]
        stopped = asyncio.create_task(stop.wait(), name="stop")
        try:
            await asyncio.wait([*lanes, stopped], return_when=asyncio.FIRST_COMPLETED)
            # A commit that waits for a standby may wait for ever: it has its receipt, or is sent again.
            await asyncio.wait(lanes, timeout=_FAREWELL_SECONDS)
        finally:
            for task in (*lanes, stopped):
                task.cancel()
            ended = await asyncio.gather(*lanes, return_exceptions=True)
            await asyncio.gather(stopped, return_exceptions=True)
        for result in ended:
            if isinstance(result, BaseException) and not isinstance(result, asyncio.CancelledError):
                raise result

    async def _go(self, lane: _Lane, stop: asyncio.Event) -> None:
        while not stop.is_set():
            try:
                async with self._here(lane) as local:
                    await self._with(lane, local, stop)
            except AyaError as error:
                await self._pause(lane, error, stop)

    async def _with(self, lane: _Lane, local: Reached, stop: asyncio.Event) -> None:
        """Work with AIR's server, which is there, for as long as it is."""
        while not stop.is_set():
            try:
                async with self._there(lane) as primary:
                    await self._serve(lane, primary, local, stop)
            except (AyaError, pull.Refused) as error:
                if local.is_closed():
                    raise DatabaseUnavailable(f"{self._config.local.display()} went away", hint="aya status") from error
                told = error if isinstance(error, AyaError) else AyaError(str(error), hint="aya status")
                if lane is self._pull:
                    with db.translated(self._config.local):
                        reached = not isinstance(told, DatabaseUnavailable)
                        await local.execute(_LOCAL["troubled"], told.message, reached)
                await self._pause(lane, told, stop)

    async def _serve(self, lane: _Lane, primary: Reached, local: Reached, stop: asyncio.Event) -> None:
        while not stop.is_set():
            lane.wake.clear()
            if await lane.turn(primary, local):
                continue
            if lane.failures:
                log.get_logger().info(f"{lane.name}.recovered", failures=lane.failures)
                lane.failures = 0
            await wait_any(stop, lane.wake, seconds=self._config.poll_seconds)

    async def _send(self, primary: Reached, local: Reached) -> bool:
        if await local.fetchval(_LOCAL["paused"]):
            return False
        known, found = await pull.both(primary, local)
        ours = (known.system_identifier, known.timeline, known.fingerprint)
        same = ours == (found.system_identifier, found.timeline, found.fingerprint)
        if known.snapshot is None or found.is_standby or not same:
            # Whom to send to, and vectors of which model, is found out by who fetches.
            return False
        most, began = self._batch, time.monotonic()
        # One that fails is tried with less: on a way that breaks often a little gets through.
        self._batch = batch_size(most, _LONG_SECONDS)
        sent = await push.push(primary, local, node=self._config.node, most=most)
        full = sent.sent == most
        self._batch = batch_size(most, time.monotonic() - began) if full else most
        if full and not self._has_backlog:
            self._fetched_at = time.monotonic()
        self._has_backlog = full and sent.done > 0
        if sent.sent:
            log.get_logger().info("changes.pushed", done=sent.done, rejected=sent.rejected, conflicts=sent.conflicts)
            if sent.conflicts:
                log.get_logger().warning("conflicts.kept", conflicts=sent.conflicts, hint="aya conflicts")
            if sent.rejected:
                log.get_logger().warning("changes.rejected", changes=sent.rejected, hint="aya sync status")
            self._pull.wake.set()
        return sent.done > 0

    async def _fetch(self, primary: Reached, local: Reached) -> bool:
        began = time.monotonic()
        if self._has_backlog and began - self._fetched_at < _BACKLOG_SECONDS:
            # What is sent comes back, to be numbered and indexed: that would hold up what is still to be sent.
            return False
        self._fetched_at = began
        pulled = await pull.pull(primary, local, compare_seconds=self._config.compare_seconds)
        if pulled.rows:
            log.get_logger().info("changes.pulled", rows=pulled.rows, seconds=round(time.monotonic() - began, 3))
        if pulled.step in {"copy", "rewind"}:
            # Whoever sends could not before.
            self._push.wake.set()
        return False

    @asynccontextmanager
    async def _here(self, lane: _Lane) -> AsyncGenerator[Reached]:
        def heard(*_: object) -> None:
            lane.wake.set()

        with db.translated(self._config.local):
            # No limit of time for a statement: nobody knows how much there is to copy, or by which way.
            name = f"aya-syncd-{lane.name}"
            local = await db.connect(self._config.local, application_name=name, command_timeout=None)
            try:
                await migrations.check(local, node=self._config.node)
                if lane is self._pull:
                    await pull.prepare(local)
                    await pull.mend(local)
                await local.add_listener("aya_queue", heard)
                yield local
            finally:
                await asyncio.shield(db.close(local))

    @asynccontextmanager
    async def _there(self, lane: _Lane) -> AsyncGenerator[Reached]:
        """Reach the server that leads, and hear what it notifies of, each on a connection of its own."""
        settings = self._primary
        with db.translated(settings):
            primary = await db.connect(settings, application_name=f"aya-syncd-{lane.name}", command_timeout=None)
            try:
                await migrations.check(primary)
                await pull.pass_vectors(primary)
                async with (
                    reach.watched(primary, primary.where, alone=len(settings.hosts) == 1, every_seconds=_LOOK_SECONDS),
                    self._beside(lane, primary),
                ):
                    yield primary
            except asyncpg.UndefinedTableError as error:
                raise SchemaMismatch("the primary has no change log", hint="aya up there, then here") from error
            finally:
                await asyncio.shield(db.close(primary))

    @asynccontextmanager
    async def _beside(self, lane: _Lane, primary: Reached) -> AsyncGenerator[None]:
        """Have a second connection to the same server, by which its silence is noticed, and its notifications heard."""
        ear = await db.connect(primary.where, application_name="aya-syncd-ear", command_timeout=self._config.beat_limit)
        beat = asyncio.create_task(self._beat(lane, ear, primary), name="beat")
        try:
            if lane.listens and not await primary.fetchval("SELECT pg_is_in_recovery()"):
                await ear.add_listener("aya_changes", self._heard)
                # What came between the last look and this moment was told to nobody.
                lane.wake.set()
            yield
        finally:
            beat.cancel()
            await asyncio.gather(beat, return_exceptions=True)
            reach.abandon(ear)

    def _heard(self, *_: object) -> None:
        self._pull.wake.set()

    async def _beat(self, lane: _Lane, ear: Reached, primary: Reached) -> None:
        """Leave a server whose connection is dead and does not say so."""
        with suppress(*reach.FAILED):
            while True:
                await asyncio.sleep(self._config.beat_seconds)
                await ear.fetchval("SELECT 1")
        reach.abandon(primary)
        lane.wake.set()

    async def _pause(self, lane: _Lane, error: AyaError, stop: asyncio.Event) -> None:
        if lane is self._push:
            # Fetching gives way to sending, not to trying to.
            self._has_backlog = False
        lane.failures += 1
        now = time.monotonic()
        if lane.failures == 1 or now - lane.logged_at >= _LOG_EVERY_SECONDS:
            lane.logged_at = now
            log.get_logger().warning(
                f"{lane.name}.interrupted", error=error.message, hint=error.hint, failures=lane.failures
            )
        await wait_any(stop, seconds=self._config.outage.delay_seconds(lane.failures, random.uniform))


async def wait_any(*events: asyncio.Event, seconds: float) -> None:
    """Wait until one of `events` is set or the time is up."""
    waiters = [asyncio.ensure_future(event.wait()) for event in events]
    try:
        await asyncio.wait(waiters, timeout=seconds, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for waiter in waiters:
            waiter.cancel()
        await asyncio.gather(*waiters, return_exceptions=True)
