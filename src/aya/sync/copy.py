"""What AIR's database says of its sync, and a person's orders to it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from aya import queries
from aya.db import Database
from aya.errors import SyncError
from aya.sync.types import Copy, Rejection

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.sync")
_LOOK_SECONDS = 0.1


async def look(connection: Connection) -> Copy | None:
    """Return what AIR's database says; None before it is set up. Errors are the driver's."""
    row = await connection.fetchrow(_SQL["copy"])
    if row is None:
        return None
    rejected = await connection.fetch(_SQL["rejected"])
    return Copy(**row, rejections=tuple(Rejection(**one) for one in rejected))


async def pause(database: Database, *, paused: bool) -> None:
    """Have the daemon exchange nothing from now on, or go on."""
    async with database.connection() as connection:
        await connection.execute(_SQL["pause"], paused)
        await connection.execute(_SQL["wake"])


async def now(database: Database, seconds: float, told: Callable[[int], None]) -> None:
    """Have everything exchanged, and return when it is. told: is told how many operations wait, as that changes.

    Raises SyncError when that takes longer than `seconds`, saying why.
    """
    deadline, before, last = time.monotonic() + seconds, None, -1
    async with database.connection() as connection:
        while True:
            row = await connection.fetchrow(_SQL["progress"])
            assert row is not None  # noqa: S101 - the migration made it
            if before is None:
                before = (row["pulled_at"],)
                await connection.execute(_SQL["wake"])
            elif row["pulled_at"] != before[0] and not row["waiting"]:
                return
            if row["waiting"] != last:
                last = int(row["waiting"])
                told(last)
            if time.monotonic() > deadline:
                why = row["error"] or f"{row['waiting']} changes still wait to be sent"
                raise SyncError(f"the copy is not up to date after {seconds:.0f} s: {why}", hint="aya sync status")
            await asyncio.sleep(_LOOK_SECONDS)


async def retry(database: Database, operation: int | None) -> list[int]:
    """Send again what was rejected; return the numbers of the operations. operation: only that one."""
    async with database.transaction() as connection:
        later = await connection.fetch(_SQL["superseded"], operation)
        again = await connection.fetch(_SQL["retry"], operation)
        await connection.execute(_SQL["wake"])
    return sorted(row["id"] for row in (*later, *again))
