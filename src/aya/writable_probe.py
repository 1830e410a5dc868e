"""How long nobody could write, as a client sees it: a small transaction again and again on every server.

What it writes is a message to the WAL, which no table holds: its commit waits for the standby as any other does.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from contextlib import suppress
from types import TracebackType
from typing import TYPE_CHECKING, Self, cast

import asyncpg

from aya.dsn import DatabaseSettings

if TYPE_CHECKING:
    from aya.db import Connection

_EVERY_SECONDS = 0.02
_CONNECT_SECONDS = 2.0
# The last is what asyncpg raises when the connection ends while it begins a query.
_LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
# false where nobody may write: on a standby, and on a primary that is closed
_WRITE = """
SELECT current_setting('transaction_read_only') = 'off'
    AND pg_logical_emit_message(true, 'aya.probe', '') IS NOT NULL
"""


class WritableProbe:
    """Used as `async with`. servers: one DatabaseSettings each; all are tried all the time."""

    def __init__(self, servers: Sequence[DatabaseSettings]) -> None:
        self._servers = tuple(servers)
        self._open: set[Connection] = set()
        self._tasks = asyncio.TaskGroup()
        self._running: list[asyncio.Task[None]] = []
        self._last = 0.0
        self._gap = 0.0
        self.has_written = False
        """Whether a write was acknowledged so far."""

    async def __aenter__(self) -> Self:
        """Begin."""
        await self._tasks.__aenter__()
        self._running = [self._tasks.create_task(self._try(server), name="probe") for server in self._servers]
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End at once, also while a server hangs."""
        # First of all: a call that is cancelled on an open connection asks the dead server to stop it, and waits.
        for connection in self._open:
            connection.terminate()
        for task in self._running:
            task.cancel()
        await self._tasks.__aexit__(kind, error, trace)

    def measure(self) -> None:
        """Measure from here on: from the last acknowledged write, or from now when there was none yet."""
        self._gap = 0.0
        if not self.has_written:
            self._last = time.monotonic()

    @property
    def longest_gap(self) -> float | None:
        """The longest time without an acknowledged write, in seconds, up to now; None when there was none at all."""
        return max(self._gap, time.monotonic() - self._last) if self.has_written else None

    async def _try(self, server: DatabaseSettings) -> None:
        while True:
            with suppress(*_LOST):
                await self._write_on(server)
            await asyncio.sleep(_EVERY_SECONDS)

    async def _write_on(self, server: DatabaseSettings) -> None:
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = cast(
                "Connection", await asyncpg.connect(server.dsn(), server_settings={"application_name": "aya-probe"})
            )
        self._open.add(connection)
        try:
            while True:
                if await connection.fetchval(_WRITE):
                    self._wrote(time.monotonic())
                await asyncio.sleep(_EVERY_SECONDS)
        finally:
            self._open.discard(connection)
            connection.terminate()

    def _wrote(self, now: float) -> None:
        if self._last:
            self._gap = max(self._gap, now - self._last)
        self._last, self.has_written = now, True
