"""The indexer and the MCP server behind a connection that is cut: what they do is there once, whatever was cut."""

from __future__ import annotations

import asyncio
import itertools
import os
import subprocess
from collections.abc import AsyncIterator

import pytest
from tests.conftest import Server
from tests.integration.conftest import Knowledge
from tests.integration.cutting import Cut, Moment, Proxy, proxied

from aya.backoff import Backoff
from aya.mcp_probe import Probe
from aya.postgres.provision import INDEXER_ROLE, MCP_ROLE
from aya_indexer.config import Config
from aya_indexer.loop import Indexer

pytestmark = [pytest.mark.database, pytest.mark.slow]
_QUICK = Backoff(first_seconds=0.02, cap_seconds=0.05)
_MOMENTS = pytest.mark.parametrize("moment", ["before", "after", "answer"])


@pytest.fixture
async def proxy(knowledge: Knowledge) -> AsyncIterator[Proxy]:
    """A proxy before the knowledge base."""
    async with proxied(knowledge.settings) as made:
        yield made


async def ask(knowledge: Knowledge, query: str) -> int:
    """Return a number, past the proxy."""
    async with knowledge.database.connection() as connection:
        return int(await connection.fetchval(query))


async def index(config: Config, knowledge: Knowledge) -> None:
    """Run the indexer until its queue is empty."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(Indexer(config).run(stop))
        async with asyncio.timeout(60):
            while await ask(knowledge, "SELECT count(*) FROM index_queue"):  # noqa: ASYNC110
                await asyncio.sleep(0.01)
        stop.set()


@_MOMENTS
async def test_wherever_the_indexer_is_cut_a_document_is_indexed_once(
    knowledge: Knowledge, server: Server, proxy: Proxy, moment: Moment
) -> None:
    """At each of its messages, from the first of the connection to the last of the document."""
    settings = proxy.before(server.settings(knowledge.settings.database, INDEXER_ROLE))
    config = Config("alpha", settings, knowledge.embedder.url, poll_seconds=0.05, retry=_QUICK, outage=_QUICK)
    for skip in itertools.count():
        async with knowledge.database.transaction() as connection:
            await connection.execute("DELETE FROM documents")
            await connection.execute("INSERT INTO documents (content) VALUES ($1)", f"Typed by hand {skip}.")
            await connection.execute("UPDATE index_queue SET retry_at = now()")
        proxy.cut = cut = Cut(moment, skip=skip)
        await index(config, knowledge)
        proxy.cut = None
        counted = "SELECT count(*) FROM chunks WHERE chunk_text LIKE 'Typed%' AND embedding IS NOT NULL"
        assert await ask(knowledge, counted) == await ask(knowledge, "SELECT count(*) FROM chunks") == 1, skip
        if not cut.done:
            assert skip > 30, "it was cut at every message of a document's way"
            return


@_MOMENTS
async def test_the_mcp_server_adds_once_though_its_commit_is_cut(
    knowledge: Knowledge, server: Server, proxy: Proxy, moment: Moment
) -> None:
    """The agent hears of one success, and there is one document with one chunk."""
    settings = proxy.before(server.settings(knowledge.settings.database, MCP_ROLE))
    environment = {
        **os.environ,
        "AYA_DSN": settings.dsn(),
        "AYA_NODE": "alpha",
        "DB_HOST": "",
        "ALPHA_HOST": "",
        "EMBEDDING_URL": knowledge.embedder.url,
    }
    with Probe(environ=environment, stderr=subprocess.DEVNULL) as probe:
        await asyncio.to_thread(probe.initialize, "2025-11-25")
        proxy.cut = cut = Cut(moment, b"COMMIT;")
        result = await asyncio.to_thread(probe.call, "add_to_aya_rag", {"content": "The keeper comes on Fridays."})
    assert cut.done
    assert not result.get("isError"), result
    assert result["structuredContent"]["duplicate_of"] is None
    assert await ask(knowledge, "SELECT count(*) FROM documents") == 1
    assert await ask(knowledge, "SELECT count(*) FROM chunks") == 1
