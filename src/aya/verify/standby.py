"""Phase 2: the standby, by itself and as its primary sees it."""

from __future__ import annotations

import asyncio
import statistics
import time
from functools import partial
from typing import TYPE_CHECKING
from uuid import UUID

import asyncpg

from aya.verify.marks import CATEGORY, SQL
from aya.verify.places import Place
from aya.verify.primary import embedder
from aya.verify.scene import Measure, Scene
from aya.verify.types import Measured
from aya.verify.waiting import until

if TYPE_CHECKING:
    from aya.db import Connection

BULK = 100
_ROUNDS = 5
_REPLAY_SECONDS = 10.0
_LOOK_SECONDS = 0.005


async def recovery(scene: Scene, place: Place) -> Measured:
    """Ask whether it follows."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["version"])
    if row is None:
        return Measured(None)
    return Measured("in recovery" if row["in_recovery"] else "not in recovery", f"PostgreSQL {row['version']}")


async def lag(scene: Scene, place: Place) -> Measured:
    """Write on the primary, and wait until the standby has replayed that."""
    async with scene.entered(scene.places.primary) as primary, scene.entered(place) as standby:
        began = time.monotonic()
        await primary.execute(SQL["write_wal"])
        return Measured(await _replayed(primary, standby, began))


async def _replayed(primary: Connection, standby: Connection, since: float) -> float:
    position = await primary.fetchval(SQL["position"])

    async def holds() -> bool:
        return bool(await standby.fetchval(SQL["replayed"], position))

    words = f"the standby has not replayed {position}"
    return await until(holds, since=since, seconds=_REPLAY_SECONDS, otherwise=words, every_seconds=_LOOK_SECONDS)


async def bulk_lag(scene: Scene, place: Place) -> Measured:
    """Insert 100 documents on the primary, each in its own commit, and measure the lag again and again meanwhile."""
    texts = [scene.marks.text(f"bulk {number}") for number in range(BULK)]
    over = asyncio.Event()
    async with (
        scene.entered(scene.places.primary) as writing,
        scene.entered(scene.places.primary) as primary,
        scene.entered(place) as standby,
    ):

        async def inserted() -> list[UUID]:
            try:
                return await scene.marks.insert(writing, texts)
            finally:
                over.set()

        async def measured() -> list[float]:
            lags = [await _replayed(primary, standby, time.monotonic())]
            while not over.is_set():
                lags.append(await _replayed(primary, standby, time.monotonic()))
            return lags

        began = time.monotonic()
        made, lags = await asyncio.gather(inserted(), measured())
        took = time.monotonic() - began
        # Now, not at the end: within the second's grace, so that the indexer has nothing to do with them.
        await scene.marks.remove(writing, made)
    return Measured(max(lags), f"{len(made)} inserted in {took:.2f} s, the lag measured {len(lags)} times")


async def read_only(scene: Scene, place: Place) -> Measured:
    """Try to write; what a server takes nevertheless is rolled back."""
    async with scene.entered(place) as connection:
        transaction = connection.transaction()
        await transaction.start()
        try:
            await connection.fetchval(SQL["insert_document"], "refused", CATEGORY, scene.marks.metadata)
        except asyncpg.ReadOnlySQLTransactionError as refused:
            return Measured(str(refused))
        finally:
            await transaction.rollback()
    return Measured("the write was taken")


async def follower(column: str, scene: Scene, place: Place) -> Measured:
    """Ask the primary for one column of its standby in pg_stat_replication."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["follower"], scene.places.standby.node)
    return Measured(row[column], f"from {row['address']}") if row else Measured("not connected")


async def slot_active(scene: Scene, place: Place) -> Measured:
    """Ask the primary whether the slot is in use."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["slot"], scene.slot)
    return Measured(("active" if row["active"] else "inactive") if row else "missing")


async def replication_lag(scene: Scene, place: Place) -> Measured:
    """Commit, and wait until the standby has told its primary that it replayed that."""
    name = scene.places.standby.node
    lags: list[float] = []
    async with scene.entered(place) as connection:
        for _ in range(_ROUNDS):
            began = time.monotonic()
            await connection.execute(SQL["write_wal"])
            position = await connection.fetchval(SQL["position"])

            async def holds(position: str = position) -> bool:
                return bool(await connection.fetchval(SQL["follower_replayed"], name, position))

            words = f"{name} has not told that it replayed {position}"
            lags.append(
                await until(holds, since=began, seconds=_REPLAY_SECONDS, otherwise=words, every_seconds=_LOOK_SECONDS)
            )
    return Measured(round(statistics.median(lags) * 1000, 1), f"the longest {max(lags) * 1000:.1f} ms")


MEASURES: dict[str, Measure] = {
    "2.recovery": recovery,
    "2.lag": lag,
    "2.bulk_lag": bulk_lag,
    "2.read_only": read_only,
    "2.embedder": embedder,
    "2.name": partial(follower, "application_name"),
    "2.state": partial(follower, "state"),
    "2.sync_state": partial(follower, "sync_state"),
    "2.slot_active": slot_active,
    "2.replication_lag": replication_lag,
}
