"""A primary and AIR's copy: two databases of one server, each with the schema of its node, and the daemon between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg
import pytest
from tests.conftest import Server
from tests.sync.oracle import differences

from aya import migrations
from aya.db import prepare_connection
from aya.dsn import DatabaseSettings
from aya.postgres.config import SYNC_ROLE
from aya_syncd.config import Config
from aya_syncd.loop import Sync

_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 20


@dataclass
class Pair:
    """Both ends, entered as the owner; `syncing` has the daemon run."""

    primary: DatabaseSettings
    air: DatabaseSettings
    # of the daemon's role at both
    passwords: tuple[str, str]

    async def at_primary(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement at the primary."""
        return await _run(self.primary, statement, *arguments)

    async def at_air(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement on AIR."""
        return await _run(self.air, statement, *arguments)

    async def unseen_at_air(self, statement: str) -> None:
        """Change AIR's tables as a fault would: no trigger takes it for anybody's change."""
        connection = await asyncpg.connect(self.air.dsn())
        try:
            await connection.execute("SELECT set_config('aya.applying', 'pull', false)")
            await connection.execute(statement)
        finally:
            await connection.close()

    async def connected_to_primary(self) -> asyncpg.Connection[asyncpg.Record]:
        """Return a connection of one's own."""
        return await asyncpg.connect(self.primary.dsn())

    async def at_primary_alone(self, statement: str) -> None:
        """Have the primary acknowledge without its standby, as one does whose wait was cancelled."""
        connection = await asyncpg.connect(self.primary.dsn())
        try:
            await connection.execute("SET synchronous_commit = local")
            await connection.execute(statement)
        finally:
            await connection.close()

    def config(self) -> Config:
        """Return what the daemon is told."""
        ends = zip((self.primary, self.air), self.passwords, strict=True)
        primary, local = (replace(one, user=SYNC_ROLE, password=password) for one, password in ends)
        return Config("air", local, primary, poll_seconds=0.5)

    @asynccontextmanager
    async def syncing(self, *, port: int | None = None, compare_seconds: float = 1.0) -> AsyncGenerator[None]:
        """Have the daemon run for as long as the block lasts. port: by which it reaches the primary."""
        stop, config = asyncio.Event(), replace(self.config(), compare_seconds=compare_seconds)
        assert config.primary is not None
        primary = config.primary if port is None else replace(config.primary, hosts=(("127.0.0.1", port),))
        task = asyncio.create_task(Sync(config, primary).run(stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 10)

    async def differences(self) -> str:
        """Return how the two differ, in words; empty when they are row for row the same."""
        if not await self.at_air("SELECT FROM sync_state WHERE snapshot IS NOT NULL"):
            return "nothing was copied yet"
        here, there = await asyncpg.connect(self.air.dsn()), await asyncpg.connect(self.primary.dsn())
        try:
            return await differences(here, there)
        finally:
            await here.close()
            await there.close()

    async def until(self, query: str) -> None:
        """Wait until a query on AIR yields a row."""
        async with asyncio.timeout(_PATIENCE_SECONDS):
            while not await self.at_air(query):  # noqa: ASYNC110 - in a database
                await asyncio.sleep(_LOOK_SECONDS)

    async def at_rest(self, *, seconds: float = _PATIENCE_SECONDS) -> None:
        """Wait until nothing waits and both have the same rows."""
        found = "not looked"
        try:
            async with asyncio.timeout(seconds):
                while found := await self.differences():  # noqa: ASYNC110 - in databases
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            pytest.fail(found)


async def _run(settings: DatabaseSettings, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(settings.dsn())
    try:
        await prepare_connection(connection)
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


@pytest.fixture
async def pair(server: Server, database: DatabaseSettings, empty_database: DatabaseSettings) -> Pair:
    """A primary and an empty AIR."""
    await migrations.migrate(empty_database, node="air")
    password = server.secrets[SYNC_ROLE]
    return Pair(database, empty_database, (password, password))
