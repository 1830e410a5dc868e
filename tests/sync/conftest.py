"""A primary and AIR's copy: two databases of one server, each with the schema of its node, and the daemon between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import asyncpg
import pytest
from aya_syncd.config import Config
from aya_syncd.loop import Sync
from tests.conftest import Server

from aya import migrations
from aya.db import prepare_connection
from aya.postgres.cluster import SUPERUSER
from aya.postgres.provision import SYNC_ROLE, superuser_settings
from aya.settings import DatabaseSettings

_LOOK_SECONDS = 0.02
_PATIENCE_SECONDS = 20
_SAME = {
    "documents": (
        "SELECT id, uid, rev, content, metadata, category, source, created_at, updated_at, title, places,"
        " content_sha256, content_changed_at FROM documents ORDER BY id"
    ),
    "chunks": (
        "SELECT id, document_id, uid, rev, chunk_text, embedding::text, chunk_index, metadata, created_at, char_start,"
        " char_end, heading, content_sha256 FROM chunks ORDER BY id"
    ),
}


@dataclass
class Pair:
    """Both ends, entered as the owner; `syncing` has the daemon run."""

    server: Server
    primary: DatabaseSettings
    air: DatabaseSettings

    def superuser(self) -> DatabaseSettings:
        """Return how the superuser reaches the primary's database."""
        cluster, password = self.server.cluster, self.server.secrets[SUPERUSER]
        return superuser_settings(cluster, password, self.primary.database)

    async def at_primary(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement at the primary."""
        return await _run(self.primary, statement, *arguments)

    async def at_air(self, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run a statement on AIR."""
        return await _run(self.air, statement, *arguments)

    def config(self) -> Config:
        """Return what the daemon is told."""
        password = self.server.secrets[SYNC_ROLE]
        local, primary = (replace(one, user=SYNC_ROLE, password=password) for one in (self.air, self.primary))
        return Config("air", local, primary, poll_seconds=0.5)

    @asynccontextmanager
    async def syncing(self) -> AsyncGenerator[None]:
        """Have the daemon run for as long as the block lasts."""
        stop = asyncio.Event()
        task = asyncio.create_task(Sync(self.config()).run(stop))
        try:
            yield
        finally:
            stop.set()
            await asyncio.wait_for(task, 10)

    async def differences(self) -> str:
        """Return how the two differ, in words; empty when they are row for row the same."""
        for table, query in _SAME.items():
            here, there = await self.at_air(query), await self.at_primary(query)
            if here != there:
                return f"{table}: air {_odd(here, there)}, primary {_odd(there, here)}"
        waiting = await self.at_air("SELECT id, operation, status, error FROM write_queue WHERE status <> 'done'")
        return f"waiting: {[tuple(row) for row in waiting]}" if waiting else ""

    async def at_rest(self) -> None:
        """Wait until nothing waits and both have the same rows."""
        found = "not looked"
        try:
            async with asyncio.timeout(_PATIENCE_SECONDS):
                while found := await self.differences():
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            pytest.fail(found)


def _odd(rows: list[asyncpg.Record], others: list[asyncpg.Record]) -> list[tuple[object, ...]]:
    return [tuple(row)[:5] for row in rows if row not in others][:3]


async def _run(settings: DatabaseSettings, statement: str, *arguments: object) -> list[asyncpg.Record]:
    connection = await asyncpg.connect(settings.dsn())
    try:
        await prepare_connection(connection)
        return await connection.fetch(statement, *arguments)
    finally:
        await connection.close()


@pytest.fixture
async def pair(server: Server, database: DatabaseSettings, empty_database: DatabaseSettings) -> AsyncIterator[Pair]:
    """A primary and an empty AIR."""
    await migrations.migrate(empty_database, node="air")
    yield Pair(server, database, empty_database)
