"""AYA's own clients while who leads changes: they find the new leader, and know what became of a commit."""

from __future__ import annotations

import asyncio
import os
import signal
import time
import zlib
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import free_port
from tests.failover.lab import NODES, Lab, lab
from tests.failover.network import Network, is_possible, network

from aya import servers
from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseReadOnly, OutcomeUnknown
from aya.home import Home
from aya.knowledge.binding import bind
from aya.knowledge.documents import Documents
from aya.knowledge.insisting import insisted
from aya.knowledge.types import NewDocument
from aya.postgres import binaries, privileges
from aya.postgres.cluster import Cluster
from aya.postgres.config import ClusterConfig, Guard
from aya.postgres.provision import superuser_settings
from aya.settings import Config

pytestmark = [pytest.mark.slow, pytest.mark.timeout(240)]


@pytest.fixture(scope="module")
def hosts() -> Iterator[Network | None]:
    """A network namespace for each node where that is possible."""
    if not is_possible():
        yield None
        return
    with network(*NODES) as made:
        yield made


@pytest.fixture
async def pair(public_directory: Path, hosts: Network | None, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """Two servers in sync, alpha leading."""
    async with lab(public_directory / f"c-{request.node.name[:40]}", hosts) as made:
        yield made


async def test_a_server_that_hangs_costs_nothing(pair: Lab) -> None:
    """The first of the DSN is frozen: the one that leads by then is found at once."""
    pair.freeze_host("alpha")
    await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
    began = time.monotonic()
    connection = await servers.connect(pair.database(), timeout=10)
    took = time.monotonic() - began
    assert servers.is_writable(connection)
    assert took < servers.HOST_SECONDS
    connection.terminate()


async def test_while_nobody_leads_reading_goes_on(pair: Lab) -> None:
    """Without its partner the primary is closed: reads are answered, a write is refused in words."""
    pair.kill_host("beta")
    await pair.until(lambda found: found["alpha"]["condition"] == "FENCED", what="FENCED;")
    async with Database(pair.database(), application_name="test") as database:
        async with database.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM documents") == 0
        with pytest.raises(DatabaseReadOnly):
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO documents (content) VALUES ('refused')")


async def test_a_document_added_through_a_failover_is_there_once(pair: Lab, embedder_url: str) -> None:
    """The plug is pulled while documents are added: each is acknowledged, and each is there exactly once."""
    async with (
        EmbedderClient(embedder_url) as embedder,
        Database(pair.database(), application_name="test") as database,
    ):
        await bind(pair.database(), await embedder.identity())
        documents = Documents(database, embedder)
        adding = asyncio.create_task(added(documents, 60))
        await asyncio.sleep(0.5)
        pair.kill_host("alpha")
        ids = await adding
        async with database.connection() as connection:
            rows = await connection.fetch("SELECT id, content FROM documents ORDER BY id")
        assert len(rows) == len({row["content"] for row in rows}) == len(set(ids)) == 60
        assert {row["id"] for row in rows} == set(ids)
        assert sorted(await documents.remove(ids[:5])) == sorted(ids[:5])
    assert (await pair.status("beta") or {})["role"] == "primary"


async def added(documents: Documents, count: int) -> list[int]:
    """Add so many documents, one after the other."""
    return [(await documents.add(NewDocument(f"document {number}"))).document_id for number in range(count)]


# What became of a commit


@pytest.fixture
async def waiting(public_directory: Path, request: pytest.FixtureRequest) -> AsyncIterator[tuple[Cluster, Database]]:
    """A server whose commits wait for a standby that does not come, and a client of it."""
    home = Home(public_directory / f"w{zlib.crc32(request.node.name.encode()):x}")
    user = privileges.run_as(home.data_directory("alpha"))
    found = binaries.resolve(Config(), home, user)
    config = ClusterConfig(free_port(), home.runtime_directory / "alpha")
    cluster = Cluster(found, home.data_directory("alpha"), config, user)
    cluster.create("secret")
    cluster.start(cluster.data_directory.with_name("log"))
    settings = superuser_settings(cluster, "secret")
    database = Database(settings, application_name="test")
    try:
        connection = await asyncpg.connect(settings.dsn())
        await connection.execute("CREATE EXTENSION vector; CREATE TABLE kept (id integer PRIMARY KEY)")
        await connection.close()
        cluster.guard(Guard(synchronous="absent", read_only=False))
        connection = await asyncpg.connect(settings.dsn())
        await connection.execute("SELECT pg_reload_conf()")
        while await connection.fetchval("SHOW synchronous_standby_names") == "":  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.01)
        await connection.close()
        yield cluster, database
    finally:
        cluster.stop("immediate")


@pytest.mark.parametrize("end", ["pg_cancel_backend", "pg_terminate_backend", "kill -9"])
async def test_a_commit_that_nobody_vouches_for_is_of_unknown_outcome(
    waiting: tuple[Cluster, Database], end: str
) -> None:
    """Neither success nor failure: the row is here, but perhaps only here."""
    cluster, database = waiting
    writing = asyncio.create_task(write(database, 1))
    other = await asyncpg.connect(database.settings.dsn())
    find = "SELECT pid FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    while (pid := await other.fetchval(find)) is None:  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.01)
    if end == "kill -9":
        os.kill(cluster.postmaster_pid() or 0, signal.SIGKILL)
        os.kill(pid, signal.SIGKILL)
    else:
        await other.fetchval(f"SELECT {end}($1)", pid)
    with pytest.raises(OutcomeUnknown):
        await writing
    if end != "kill -9":
        assert await other.fetchval("SELECT count(*) FROM kept") == 1
    other.terminate()


async def test_made_again_by_its_key_it_is_there_once(waiting: tuple[Cluster, Database]) -> None:
    """The first try ends unknown; the second finds that it came about."""
    cluster, database = waiting
    tries = 0

    async def once() -> None:
        nonlocal tries
        tries += 1
        await write(database, 7)

    writing = asyncio.create_task(insisted(database, once))
    other = await asyncpg.connect(database.settings.dsn())
    cancel = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE wait_event = 'SyncRep'"
    while not await other.fetchval(cancel):  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.01)
    cluster.guard(Guard(read_only=False))
    await other.execute("SELECT pg_reload_conf()")
    await writing
    assert tries == 2
    assert await other.fetchval("SELECT array_agg(id) FROM kept") == [7]
    other.terminate()


async def write(database: Database, id_: int) -> None:
    """Write a row by its key: there already, it is left."""
    async with database.transaction() as connection:
        await connection.execute("INSERT INTO kept VALUES ($1) ON CONFLICT DO NOTHING", id_)
