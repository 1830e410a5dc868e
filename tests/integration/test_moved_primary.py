"""The primary moves, by hand: who wrote goes on writing by the DSN it always had, and nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import Server
from tests.integration.two_servers import Two, two_servers

from aya.cli.dsn import libpq_dsn
from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.knowledge.again import until_known
from aya.knowledge.binding import bind
from aya.knowledge.documents import Documents
from aya.knowledge.types import NewDocument
from aya.postgres.provision import INDEXER_ROLE
from aya_indexer.config import Config
from aya_indexer.loop import Indexer

pytestmark = [pytest.mark.database, pytest.mark.slow]
_WRITERS = 4


@pytest.fixture
def two(server: Server, public_directory: Path, request: pytest.FixtureRequest) -> Iterator[Two]:
    """Two servers of this test's own: it uses them up."""
    with two_servers(server, public_directory / f"moved-{abs(hash(request.node.name)) % 10**6}") as made:
        yield made


@dataclass
class Journal:
    """What the writers were told is kept. more: set when there is more."""

    kept: list[str] = field(default_factory=list[str])
    more: asyncio.Event = field(default_factory=asyncio.Event)

    async def grow(self, count: int) -> None:
        """Wait until so many more were kept."""
        wanted = len(self.kept) + count
        async with asyncio.timeout(60):
            while len(self.kept) < wanted:
                self.more.clear()
                await self.more.wait()


@asynccontextmanager
async def writing(database: Database) -> AsyncGenerator[Journal]:
    """Insert rows by their keys without a pause; an error of a writer comes out at the end."""
    journal, stop = Journal(), asyncio.Event()

    async def write(writer: int) -> None:
        for number in itertools.count():
            if stop.is_set():
                return
            key = f"{writer}/{number}"
            await until_known(partial(_insert, database, key), has_choice=database.has_choice)
            journal.kept.append(key)
            journal.more.set()

    async with asyncio.TaskGroup() as tasks:
        for writer in range(_WRITERS):
            tasks.create_task(write(writer))
        try:
            yield journal
        finally:
            stop.set()


async def _insert(database: Database, key: str) -> None:
    """As docs/clients.md has it for every program."""
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO kept VALUES ($1) ON CONFLICT DO NOTHING", key)
        await connection.execute("SELECT pg_logical_emit_message(true, 'test', '')")


async def fetch(two: Two, query: str) -> list[str]:
    """Ask beta by itself."""
    connection = await asyncpg.connect(two.settings(two.beta).dsn())
    try:
        return [row[0] for row in await connection.fetch(query)]
    finally:
        await connection.close()


async def test_nothing_that_was_acknowledged_is_lost_and_nothing_is_there_twice(two: Two) -> None:
    """Four writers on one pool, while alpha is stopped and beta promoted; none of them hears of it."""
    await two.run_in_base("CREATE TABLE kept (key text)", "CREATE UNIQUE INDEX ON kept (key)")
    async with Database(two.settings(), application_name="aya-test") as database:
        async with writing(database) as journal:
            await journal.grow(50)
            await two.move()
            await journal.grow(50)
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT inet_server_port()") == two.beta.config.port
    assert sorted(await fetch(two, "SELECT key FROM kept")) == sorted(journal.kept)


async def test_psql_finds_the_new_primary_by_the_same_line(two: Two) -> None:
    """The line that aya dsn prints."""
    line = libpq_dsn(two.settings())
    asked = ("psql", line, "--no-psqlrc", "-Atc", "SELECT inet_server_port()")
    assert await asyncio.to_thread(two.alpha.run_tool, *asked) == f"{two.alpha.config.port}\n"
    await two.move()
    assert await asyncio.to_thread(two.alpha.run_tool, *asked) == f"{two.beta.config.port}\n"


async def test_documents_and_the_indexer_go_on(two: Two, embedder_url: str) -> None:
    """The indexer was started before the move; what is typed by hand afterwards is indexed all the same, once."""
    indexer = Config("alpha", two.settings(role=INDEXER_ROLE), embedder_url, poll_seconds=0.2)
    stop = asyncio.Event()
    async with (
        EmbedderClient(embedder_url) as embedder,
        Database(two.settings(), application_name="aya-test") as database,
        asyncio.TaskGroup() as tasks,
    ):
        await bind(two.settings(), await embedder.identity())
        tasks.create_task(Indexer(indexer).run(stop))
        documents = Documents(database, embedder)
        await documents.add(NewDocument("Before."))
        await two.move()
        added = await documents.add(NewDocument("Afterwards."))
        assert added.outcome == "indexed"
        async with database.transaction() as connection:
            await connection.execute("INSERT INTO documents (content) VALUES ('By hand.')")
        async with asyncio.timeout(60):
            while await fetch(two, "SELECT document_id::text FROM index_queue"):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
        stop.set()
    indexed = "SELECT chunk_text FROM chunks WHERE embedding IS NOT NULL ORDER BY id"
    assert await fetch(two, indexed) == ["Before.", "Afterwards.", "By hand."]
