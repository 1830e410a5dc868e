"""Phase 3: AIR's copy, and its way to the primary and back."""

from __future__ import annotations

import time
from collections.abc import Awaitable, Callable
from functools import partial
from typing import TYPE_CHECKING

from aya import db
from aya.errors import AyaError, DatabaseUnavailable, SyncError
from aya.postgres.config import SYNC_ROLE
from aya.settings import primary_settings
from aya.sync import judge, store
from aya.sync.types import SyncStatus
from aya.verify.marks import SQL
from aya.verify.places import Place
from aya.verify.primary import embedder, table
from aya.verify.scene import NAME, Measure, Scene
from aya.verify.types import Measured
from aya.verify.waiting import until

if TYPE_CHECKING:
    from aya.db import Connection

_ANSWER_SECONDS = 3.0
_COUNT_SECONDS = 30.0
# Beyond the limit of a minute, so that a figure can be told that is too large.
ARRIVAL_SECONDS = 75.0
# The daemon runs in all of these.
_RUNNING = frozenset({"following", "new", "offline", "leaderless"})
_HINTS = {"paused": "aya sync resume", "stopped": "aya up", "offline": "aya sync status"}


async def postgresql(scene: Scene, place: Place) -> Measured:
    """Ask the copy's own server for its version."""
    async with scene.entered(place) as connection:
        row = await connection.fetchrow(SQL["version"])
    return Measured(row["version"] if row else None, place.entrance.display())


async def primary(scene: Scene, place: Place) -> Measured:
    """Reach the primary by the copy's own way and as its daemon does: connect, ask, hear the answer."""
    settings = primary_settings(scene.home, place.node, role=SYNC_ROLE, environ={"AYA_DSN": scene.config.dsn or ""})
    began = time.monotonic()
    try:
        with db.translated(settings):
            connection = await db.connect(settings, application_name=NAME, command_timeout=_ANSWER_SECONDS)
            try:
                await connection.fetchval(SQL["read_alone"])
            finally:
                connection.terminate()
    except DatabaseUnavailable as error:
        raise SyncError(error.message, hint="aya sync status, then docs/operations/sync.md") from error
    return Measured(round((time.monotonic() - began) * 1000, 1), f"as {connection.where.display()}")


async def daemon(scene: Scene, place: Place) -> Measured:
    """Ask the copy whether its daemon is at work."""
    word, why = judge.condition(await _status(scene, place))
    return Measured("running" if word in _RUNNING else word, f"{word}: {why}", hint=_HINTS.get(word))


async def last_sync(scene: Scene, place: Place) -> Measured:
    """Ask how long ago the copy had all that the primary has."""
    seen = await _status(scene, place)
    if seen.copy.seconds_behind is None:
        raise SyncError("nothing was copied yet", hint="aya sync status")
    return Measured(round(seen.copy.seconds_behind, 3), f"{seen.copy.waiting} changes wait to be sent")


async def _status(scene: Scene, place: Place) -> SyncStatus:
    settings = primary_settings(scene.home, place.node, environ={"AYA_DSN": scene.config.dsn or ""})
    async with store.entered(place.entrance) as connection:
        return await store.status(connection, settings, seconds=_ANSWER_SECONDS)


async def require_following(scene: Scene, place: Place) -> None:
    """Raise SyncError, with the next command, while the daemon brings nothing here."""
    word, why = judge.condition(await _status(scene, place))
    if word not in {"following", "new"}:
        raise SyncError(f"the sync is {word}: {why}", hint=_HINTS.get(word, "aya sync status"))


async def count(scene: Scene, place: Place) -> Measured:
    """Count the documents on both sides until the numbers are the same; others may be writing."""
    async with scene.entered(place) as here, scene.entered(scene.places.primary) as there:
        began = time.monotonic()
        while True:
            numbers = [await side.fetchval(SQL["count_documents"]) for side in (here, there)]
            if numbers[0] == numbers[1] or time.monotonic() - began > _COUNT_SECONDS:
                return Measured(numbers[0] - numbers[1], f"{numbers[0]} here, {numbers[1]} there")


async def pushed(scene: Scene, place: Place) -> Measured:
    """Type a row into the queue, and wait until its document is on the primary."""
    if scene.places.leader is None:
        raise SyncError("nobody takes writes, so nothing can be sent", hint="aya status")
    async with scene.entered(place) as here, scene.entered(scene.places.primary) as there:
        began = time.monotonic()
        scene.queued, scene.pushed = await scene.marks.queue(here, scene.marks.text("a queued row"))
        arrived = partial(_has, there, scene.pushed)
        return Measured(await _waited(arrived, began, "the queued row is not on the primary"))


async def marked(scene: Scene, place: Place) -> Measured:
    """Wait until the queue says that it is sent, and nothing of it is on its way any more, such as its vectors."""
    async with scene.entered(place) as here:

        async def holds() -> bool:
            return bool(await here.fetchval(SQL["synced"], scene.queued, scene.pushed))

        took = await _waited(holds, time.monotonic(), f"operation {scene.queued} is not marked")
    return Measured("synced", f"operation {scene.queued}, {took:.2f} s later")


async def deleted(scene: Scene, place: Place) -> Measured:
    """Delete the document on the primary, and wait until the copy has it no more."""
    if scene.pushed is None:
        raise AyaError("no row was queued", hint="aya verify --phase 3")
    async with scene.entered(place) as here, scene.entered(scene.places.primary) as there:
        began = time.monotonic()
        await scene.marks.remove(there, [scene.pushed])

        async def gone() -> bool:
            return not await _has(here, scene.pushed)

        return Measured(await _waited(gone, began, "the deleted document is still here"))


async def _has(connection: Connection, uid: object) -> bool:
    return bool(await connection.fetchval(SQL["has_document"], uid))


async def _waited(holds: Callable[[], Awaitable[bool]], since: float, otherwise: str) -> float:
    return await until(holds, since=since, seconds=ARRIVAL_SECONDS, otherwise=otherwise)


MEASURES: dict[str, Measure] = {
    "3.postgresql": postgresql,
    "3.documents": partial(table, "documents"),
    "3.chunks": partial(table, "chunks"),
    "3.write_queue": partial(table, "write_queue"),
    "3.primary": primary,
    "3.embedder": embedder,
    "3.daemon": daemon,
    "3.last_sync": last_sync,
    "3.count": count,
    "3.pushed": pushed,
    "3.marked": marked,
    "3.deleted": deleted,
}
