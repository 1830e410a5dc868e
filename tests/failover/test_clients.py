"""Our own clients while the servers change places: each write has one effect, by a DSN that stays as it was."""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import asyncpg
import pytest
from tests.failover.lab import NODES, Lab, lab
from tests.failover.network import Network

from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseReadOnly
from aya.knowledge.binding import bind
from aya.knowledge.documents import Documents
from aya.knowledge.types import Changes, NewDocument
from aya.mcp_probe import Probe

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
WRITERS = 3


@pytest.fixture
async def pair(
    public_directory: Path, hosts: Network | None, embedder_url: str, request: pytest.FixtureRequest
) -> AsyncIterator[Lab]:
    """Two servers in sync, alpha leading, with a knowledge base that is bound to a model."""
    async with lab(public_directory / f"c-{abs(hash(request.node.name)) % 10**6}", hosts) as made:
        async with EmbedderClient(embedder_url) as embedder:
            await bind(made.database(), await embedder.identity())
        yield made


@dataclass
class Written:
    """What the writers were told. added: contents that were added. edits: how often a document was changed, by id.

    more: set when there is more.
    """

    added: list[str] = field(default_factory=list[str])
    edits: dict[int, int] = field(default_factory=dict[int, int])
    more: asyncio.Event = field(default_factory=asyncio.Event)


@asynccontextmanager
async def writing(pair: Lab, embedder_url: str) -> AsyncGenerator[Written]:
    """Add and change documents without a pause; any error of a writer comes out at the end."""
    written, stop = Written(), asyncio.Event()
    async with (
        Database(pair.database(), application_name="aya-writer") as database,
        EmbedderClient(embedder_url) as embedder,
        asyncio.TaskGroup() as tasks,
    ):
        for number in range(WRITERS):
            tasks.create_task(_write(Documents(database, embedder), str(number), written, stop))
        try:
            yield written
        finally:
            stop.set()


async def _write(documents: Documents, name: str, written: Written, stop: asyncio.Event) -> None:
    own: int | None = None
    for number in itertools.count():
        if stop.is_set():
            return
        content = f"Note {number} of writer {name}."
        added = await documents.add(NewDocument(content, source="test"))
        assert added.outcome == "indexed", added
        written.added.append(content)
        own = own or added.document_id
        await documents.edit(own, Changes(title=f"changed {number}"))
        written.edits[own] = written.edits.get(own, 0) + 1
        written.more.set()


async def check(pair: Lab, written: Written) -> None:
    """Compare with the database: every document once, with one chunk, changed as often as was told."""
    connection = await asyncpg.connect(pair.database().dsn(), timeout=10)
    try:
        rows = await connection.fetch(
            "SELECT id, content, rev, (SELECT count(*) FROM chunks WHERE document_id = d.id) AS chunks FROM documents d"
        )
    finally:
        await connection.close()
    assert sorted(row["content"] for row in rows) == sorted(written.added)
    assert {row["chunks"] for row in rows} == {1}
    first = min(row["rev"] for row in rows)
    assert {row["id"]: row["rev"] - first for row in rows if row["rev"] != first} == written.edits


async def kill(pair: Lab) -> None:
    """Pull alpha's plug."""
    pair.kill_host("alpha")


async def freeze(pair: Lab) -> None:
    """Have alpha stand still."""
    pair.freeze_host("alpha")


async def switch(pair: Lab) -> None:
    """Ask alpha to hand over."""
    await pair.order("alpha", "switchover")


async def separate(pair: Lab) -> None:
    """Cut the link; clients reach both."""
    pair.cut()


@pytest.mark.parametrize("harm", [kill, freeze, switch, separate])
async def test_every_write_has_one_effect(pair: Lab, embedder_url: str, harm: Callable[[Lab], Awaitable[None]]) -> None:
    """Nobody is told of a failure, no document is there twice, and none is missing, whoever led when it was written."""
    async with writing(pair, embedder_url) as written:
        await progress(written, 10)
        await harm(pair)
        await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
        await progress(written, 10)
        pair.repair()
        await pair.in_sync("beta")
        await progress(written, 5)
    await check(pair, written)


async def progress(written: Written, count: int) -> None:
    """Wait until so many more documents were added."""
    wanted = len(written.added) + count
    async with asyncio.timeout(60):
        while len(written.added) < wanted:
            written.more.clear()
            await written.more.wait()


async def test_while_nobody_leads_reading_goes_on(pair: Lab) -> None:
    """Without its partner the primary is closed: reads are answered, a write is refused in words."""
    pair.kill_host("beta")
    # A connection made while it closes was made to a leader, and is given up when that has ceased to be one.
    await pair.until(
        lambda found: found["alpha"]["condition"] == "FENCED" and not found["alpha"]["writable"], what="closed;"
    )
    async with Database(pair.database(), application_name="test") as database:
        async with database.connection() as connection:
            # Longer than a look at the server takes.
            assert await connection.fetchval("SELECT count(*) FROM documents, pg_sleep(2.5)") == 0
        with pytest.raises(DatabaseReadOnly):
            async with database.transaction() as connection:
                await connection.execute("INSERT INTO documents (content) VALUES ('refused')")


async def test_psql_finds_the_leader_by_the_line_that_aya_dsn_prints(pair: Lab) -> None:
    """Before, while the former primary is frozen, and after: the same line."""
    psql = shutil.which("psql")
    if psql is None:
        pytest.skip("no psql here")
    aya = str(Path(sys.executable).with_name("aya"))
    dsn = await ran(aya, "--home", str(pair.home.path), "dsn", "--elsewhere", "--password")
    port = {name: str(pair.home.node(name).postgres_port) for name in NODES}
    asked = (psql, dsn, "-Atc", "SELECT inet_server_port()")
    assert await ran(*asked) == port["alpha"]
    pair.freeze_host("alpha")
    await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
    assert await ran(*asked) == port["beta"]
    pair.repair()
    await pair.in_sync("beta")
    assert await ran(*asked) == port["beta"]


async def ran(*command: str) -> str:
    """Return what a program prints."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("AYA_", "DB_", "PG"))}
    process = await asyncio.create_subprocess_exec(*command, stdout=subprocess.PIPE, env=environment)
    printed, _ = await asyncio.wait_for(process.communicate(), 30)
    assert process.returncode == 0
    return printed.decode().strip()


async def test_the_mcp_server_adds_once_while_the_servers_change_places(pair: Lab, embedder_url: str) -> None:
    """Started before the failover and never restarted; what it added is found on the new leader."""
    environment = {
        **{name: value for name, value in os.environ.items() if not name.startswith("DB_")},
        "AYA_HOME": str(pair.home.path / "elsewhere"),
        "AYA_NODE": "alpha",
        "AYA_DSN": pair.database("aya_mcp").dsn(),
        "EMBEDDING_URL": embedder_url,
    }
    with Probe(environ=environment, stderr=subprocess.DEVNULL) as probe:
        await asyncio.to_thread(probe.initialize, "2025-11-25")
        await add(probe, "Before.")
        pair.freeze_host("alpha")
        await add(probe, "Meanwhile.")
        pair.repair()
        await pair.in_sync("beta")
        await add(probe, "Afterwards.")
        found = await asyncio.to_thread(probe.call, "query_aya_rag", {"query": "Meanwhile."})
        assert found["structuredContent"]["count"] == 3
    connection = await asyncpg.connect(pair.database().dsn(), timeout=10)
    try:
        contents = await connection.fetchval("SELECT array_agg(content ORDER BY content) FROM documents")
    finally:
        await connection.close()
    assert contents == ["Afterwards.", "Before.", "Meanwhile."]


async def add(probe: Probe, content: str) -> None:
    """Add a document by the tool; once."""
    result = await asyncio.to_thread(probe.call, "add_to_aya_rag", {"content": content})
    assert not result.get("isError"), result["content"][0]["text"]
    assert result["structuredContent"]["duplicate_of"] is None
