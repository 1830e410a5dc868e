"""Writes that are made again while who leads the base changes; each has one effect however often it is made."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from typing import TypeVar

from aya.backoff import Backoff
from aya.db import Database
from aya.errors import DatabaseReadOnly, DatabaseUnavailable, OutcomeUnknown

# A failover takes a few seconds; who waits for longer is told.
SECONDS = 20.0
_BACKOFF = Backoff(first_seconds=0.1, cap_seconds=1.0)
Result = TypeVar("Result")


async def insisted(database: Database, write: Callable[[], Awaitable[Result]]) -> Result:
    """Make a write, again after an unknown outcome, and, where another server may take over, after a lost one.

    write: has one effect, however often it is made. Raises what it raises, after SECONDS also what may pass.
    """
    passing = (OutcomeUnknown, DatabaseUnavailable, DatabaseReadOnly)
    worth_it = passing if len(database.settings.hosts) > 1 else (OutcomeUnknown,)
    until, tries = time.monotonic() + SECONDS, 0
    while True:
        try:
            return await write()
        except worth_it:
            tries += 1
            delay = _BACKOFF.delay_seconds(tries, random.uniform)
            if time.monotonic() + delay > until:
                raise
        await asyncio.sleep(delay)
