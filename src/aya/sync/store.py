"""Asks AIR's server and its primary how far the copy is, and does what a person may: pause, wake, send again."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

from aya import db, migrations, outcome, queries
from aya.dsn import DatabaseSettings
from aya.errors import AyaError, SyncError
from aya.sync.types import Copy, Fetch, Primary, Rejected, SyncStatus

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.sync")
_PATIENCE_SECONDS = 5.0
_MOST_REJECTED = 100


@asynccontextmanager
async def entered(settings: DatabaseSettings) -> AsyncGenerator[Connection]:
    """Lend a connection to AIR's server. Raises SyncError where nothing syncs, and DatabaseError."""
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-cli")
        try:
            await migrations.check(connection)
            if not await connection.fetchval(_SQL["has_copy"]):
                raise SyncError(
                    f"{settings.display()} is no copy: the sync runs on AIR alone", hint="aya sync status --node air"
                )
            yield connection
        finally:
            await db.close(connection)


async def copy(connection: Connection) -> Copy:
    """Return how far the copy is."""
    row = await connection.fetchrow(_SQL["copy"])
    fetching = await connection.fetchrow(_SQL["fetch"])
    return Copy(**dict(row or {}), fetching=Fetch(**dict(fetching)) if fetching else None)


async def rejected(connection: Connection, *, most: int = _MOST_REJECTED) -> tuple[Rejected, ...]:
    """Return what the primary rejected, the oldest first."""
    return tuple(Rejected(**dict(row)) for row in await connection.fetch(_SQL["rejected"], most))


async def status(
    connection: Connection, primary: DatabaseSettings, *, seconds: float = _PATIENCE_SECONDS
) -> SyncStatus:
    """Return what both sides say. seconds: a primary that does not answer for so long is told as such."""
    here = await copy(connection)
    return SyncStatus(here, await other_side(primary, here, seconds), await rejected(connection))


async def other_side(settings: DatabaseSettings, here: Copy, seconds: float) -> Primary:
    """Return what the primary says of the copy; never raises what keeps it from answering."""
    address = settings.display()
    try:
        async with asyncio.timeout(seconds):
            with db.translated(settings):
                return await _asked(settings, here)
    except TimeoutError:
        return Primary(address, error=f"{address} did not answer within {seconds:g} s")
    except AyaError as error:
        return Primary(address, error=error.message)


async def _asked(settings: DatabaseSettings, here: Copy) -> Primary:
    connection = await db.connect(settings, application_name="aya-cli")
    try:
        row = await connection.fetchrow(_SQL["primary"])
        said = Primary(connection.where.display(), **dict(row or {}))
        same = here.system_identifier == said.system_identifier and here.snapshot is not None
        unseen = await connection.fetchval(_SQL["unseen"], here.snapshot) if same else None
    finally:
        # Not close(), which waits for the server: a frozen one would keep us.
        connection.terminate()
    return replace(said, unseen=unseen)


async def pause(connection: Connection, *, paused: bool) -> bool:
    """Pause the sync, or let it go on; return whether it was paused before."""
    async with outcome.transaction(connection):
        before = await connection.fetchval(_SQL["set_paused"], paused)
    return bool(before)


async def wake(connection: Connection) -> None:
    """Have the daemon look at both sides now."""
    async with outcome.transaction(connection):
        await connection.execute(_SQL["wake"])


async def retry(connection: Connection, ids: Sequence[int] | None) -> list[int]:
    """Have rejected operations wait again, and return them. ids: these only; None: all."""
    wanted = None if ids is None else list(ids)
    async with outcome.transaction(connection):
        await connection.execute(_SQL["hold_queue"])
        await connection.execute(_SQL["merge_later"], wanted)
        again = [int(row["id"]) for row in await connection.fetch(_SQL["retry"], wanted)]
        await connection.execute(_SQL["wake"])
    return sorted(again)
