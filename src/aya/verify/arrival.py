"""Phase 5: what is inserted on the primary is on every node, and is found there."""

from __future__ import annotations

import asyncio
import time

from aya.errors import AyaError
from aya.processes.supervisor import Supervisor
from aya.verify.copy import ARRIVAL_SECONDS, require_following
from aya.verify.marks import SQL
from aya.verify.places import Place
from aya.verify.primary import found, inserted_with_vector
from aya.verify.scene import Measure, Scene
from aya.verify.types import Measured
from aya.verify.waiting import until

_STANDBY_SECONDS = 10.0
_INDEXED_SECONDS = 45.0
_LOOK_SECONDS = 0.005


async def insert(scene: Scene, place: Place) -> Measured:
    """Insert a document with its vector."""
    scene.inserted_text = scene.marks.text("end to end")
    scene.inserted_at, scene.inserted = await inserted_with_vector(scene, place, scene.inserted_text)
    return Measured(1, f"in {time.monotonic() - scene.inserted_at:.3f} s")


async def on_standby(scene: Scene, place: Place) -> Measured:
    """Wait until the standby has it."""
    return Measured(await _arrived(scene, place, _STANDBY_SECONDS))


async def on_copy(scene: Scene, place: Place) -> Measured:
    """Wait until the copy has it."""
    await require_following(scene, place)
    return Measured(await _arrived(scene, place, ARRIVAL_SECONDS))


async def _arrived(scene: Scene, place: Place, seconds: float) -> float:
    async with scene.entered(place) as connection:

        async def holds() -> bool:
            return bool(await connection.fetchval(SQL["has_document"], scene.inserted))

        words = f"the document is not on {place.node}"
        since = scene.inserted_at
        return await until(holds, since=since, seconds=seconds, otherwise=words, every_seconds=_LOOK_SECONDS)


async def indexed(scene: Scene, place: Place) -> Measured:
    """Type a text alone, and wait until the indexer has cut it and made its vectors."""
    await asyncio.to_thread(_require_indexer, scene, place)
    async with scene.entered(place) as connection:
        began = time.monotonic()
        (uid,) = await scene.marks.insert(connection, [scene.marks.text("a text alone")])

        async def holds() -> bool:
            return bool(await connection.fetchval(SQL["indexed"], uid))

        words = "the document has no vectors"
        return Measured(await until(holds, since=began, seconds=_INDEXED_SECONDS, otherwise=words))


def _require_indexer(scene: Scene, place: Place) -> None:
    """Say at once, not after a minute, that the indexer does not run; where `aya up` does not run it, nobody knows."""
    running = Supervisor(scene.home).processes().get(f"com.aya.{place.node}.indexer") if place.here else None
    if running is not None and not running.alive:
        raise AyaError(f"the indexer of {place.node} is {running.state}", hint="aya up")


async def search(scene: Scene, place: Place) -> Measured:
    """Look for the document by its meaning."""
    return await found(scene, place, scene.inserted_text)


MEASURES: dict[str, Measure] = {
    "5.insert": insert,
    "5.standby": on_standby,
    "5.copy": on_copy,
    "5.indexed": indexed,
    "5.search": search,
}
