"""The server before a pair of clusters of its own: restarts, a standby, and what "replicated" means."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import Server, free_port

from aya import migrations
from aya.embedder_client import EmbedderClient
from aya.knowledge.binding import bind
from aya.mcp_probe import Probe
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.provision import new_secrets, owner_settings, provision_primary, superuser_settings

pytestmark = [pytest.mark.database, pytest.mark.slow]

_NOTE = "The lighthouse keeper comes on Fridays."


@dataclass(frozen=True)
class Pair:
    """A primary and the standby that follows it, both running; started again after each test."""

    primary: Cluster
    standby: Cluster
    secrets: dict[str, str]
    log_file: Path

    def on_primary(self, *statements: str) -> None:
        """Run statements as superuser, one by one."""

        async def run() -> None:
            connection = await asyncpg.connect(superuser_settings(self.primary, self.secrets[SUPERUSER]).dsn())
            try:
                for statement in statements:
                    await connection.execute(statement)
            finally:
                await connection.close()

        asyncio.run(run())

    def wait_for_synchronous(self, names: str) -> None:
        """Set synchronous_standby_names and wait until the standby is (or is no longer) synchronous."""
        self.on_primary(f"ALTER SYSTEM SET synchronous_standby_names = '{names}'", "SELECT pg_reload_conf()")
        wanted = "sync" if names else "async"
        counted = f"SELECT count(*) FROM pg_stat_replication WHERE sync_state = '{wanted}' AND state = 'streaming'"  # noqa: S608
        self.wait_until(self.primary, counted)

    def wait_until(self, cluster: Cluster, query: str, database: str = "postgres") -> None:
        """Wait until `query` returns something that is true."""
        settings = superuser_settings(cluster, self.secrets[SUPERUSER], database)

        async def wait() -> None:
            connection = await asyncpg.connect(settings.dsn())
            try:
                async with asyncio.timeout(30):
                    while not await connection.fetchval(query):
                        await connection.execute("SELECT pg_sleep(0.02)")
            finally:
                await connection.close()

        asyncio.run(wait())


@pytest.fixture(scope="module")
def _pair(server: Server, public_directory: Path, embedder_url: str) -> Iterator[Pair]:
    directory = public_directory / "mcp-pair"

    def cluster(name: str) -> Cluster:
        config = replace(server.cluster.config, port=free_port())
        return replace(server.cluster, data_directory=directory / name / "data", config=config)

    pair = Pair(cluster("alpha"), cluster("beta"), new_secrets({}), directory / "postgres.log")
    pair.primary.create(pair.secrets[SUPERUSER])
    pair.primary.start(pair.log_file)
    try:
        asyncio.run(_fill(pair, embedder_url))
        pair.standby.create_standby(pair.primary.config, pair.secrets["aya_replica_beta"], "beta")
        pair.standby.start(pair.log_file)
        yield pair
    finally:
        pair.standby.stop("immediate")
        pair.primary.stop("immediate")


async def _fill(pair: Pair, embedder_url: str) -> None:
    await provision_primary(pair.primary, pair.secrets)
    owner = owner_settings(pair.primary, pair.secrets)
    await migrations.migrate(owner, node="alpha")
    async with EmbedderClient(embedder_url) as embedder:
        await bind(owner, await embedder.identity())


@pytest.fixture
def pair(_pair: Pair) -> Iterator[Pair]:
    """The pair, whole again after each test."""
    yield _pair
    for cluster in (_pair.primary, _pair.standby):
        if cluster.postmaster_pid() is None:
            cluster.start(_pair.log_file)
    _pair.wait_for_synchronous("")


@pytest.fixture
def start(pair: Pair, embedder_url: str) -> Iterator[Callable[[str], Probe]]:
    """Start a server for a node of the pair."""
    with ExitStack() as stack:

        def start(node: str) -> Probe:
            cluster = pair.standby if node == "beta" else pair.primary
            environment = {
                **os.environ,
                "AYA_NODE": node,
                "DB_HOST": "127.0.0.1",
                "DB_PORT": str(cluster.config.port),
                "DB_USER": "aya_mcp",
                "DB_PASSWORD": pair.secrets["aya_mcp"],
                "EMBEDDING_URL": embedder_url,
            }
            probe = stack.enter_context(Probe(environ=environment, stderr=subprocess.DEVNULL))
            probe.initialize("2025-11-25")
            return probe

        yield start


Started = Callable[[str], Probe]
_QUERY = ("query_aya_rag", {"query": "Who comes on Fridays?"})


def _content(result: dict[str, Any]) -> dict[str, Any]:
    assert not result.get("isError"), result["content"][0]["text"]
    content: dict[str, Any] = result["structuredContent"]
    return content


def test_a_restarted_database_is_found_again(pair: Pair, start: Started) -> None:
    """While it is down every call says so; once it is back, the next call works: the server is never restarted."""
    probe = start("alpha")
    _content(probe.call("add_to_aya_rag", {"content": _NOTE}))
    pair.primary.stop()
    for _ in range(2):
        result = probe.call(*_QUERY)
        assert result["isError"]
        assert "cannot be reached" in result["content"][0]["text"]
        assert "Next: aya status" in result["content"][0]["text"]
    pair.primary.start(pair.log_file)
    assert _content(probe.call(*_QUERY))["count"] >= 1


def test_a_standby_answers_says_how_old_it_is_and_refuses_to_write(pair: Pair, start: Started) -> None:
    """Up to date while it streams; once the primary is gone, as old as its last transaction."""
    _content(start("alpha").call("add_to_aya_rag", {"content": _NOTE}))
    pair.wait_until(pair.standby, "SELECT count(*) FROM documents", "aya_rag")
    probe = start("beta")
    found = _content(probe.call(*_QUERY))
    assert (found["node"], found["role"], found["stale_seconds"]) == ("beta", "standby", 0)
    assert found["results"][0]["document_content"] == _NOTE
    refused = probe.call("add_to_aya_rag", {"content": "another note"})
    assert refused["isError"]
    assert "read-only (a standby)" in refused["content"][0]["text"]
    number = found["results"][0]["document_id"]
    assert _content(probe.call("show_aya_document", {"document_id": number}))["role"] == "standby"
    assert _content(probe.call("list_aya_documents", {}))["documents"][0]["document_id"] == number
    for tool, arguments in (
        ("update_aya_document", {"document_id": number, "title": "Friday"}),
        ("delete_aya_documents", {"document_ids": [number]}),
    ):
        said = probe.call(tool, arguments)
        assert said["isError"]
        assert "read-only (a standby)" in said["content"][0]["text"]
    pair.primary.stop()
    ages = [_content(probe.call(*_QUERY))["stale_seconds"] for _ in range(2)]
    assert 0 < ages[0] < ages[1]


def test_replicated_means_that_a_synchronous_standby_has_it(pair: Pair, start: Started) -> None:
    """The word is given only while a synchronous standby streams."""
    probe = start("alpha")
    assert _content(probe.call("add_to_aya_rag", {"content": "On one node."}))["durability"] == "primary"
    pair.wait_for_synchronous("beta")
    added = _content(probe.call("add_to_aya_rag", {"content": "On two nodes."}))
    assert added["durability"] == "replicated"
    changed = _content(probe.call("update_aya_document", {"document_id": added["document_id"], "title": "Two"}))
    assert changed["durability"] == "replicated"
    assert _content(probe.call("add_to_aya_rag", {"content": "On one node."}))["durability"] == "replicated"


def test_a_commit_that_waits_for_its_standby_does_not_hold_up_a_signal(pair: Pair, start: Started) -> None:
    """The standby is gone, so the commit waits for ever: the process leaves in time, and a retry finds the one row."""
    probe = start("alpha")
    _content(probe.call("add_to_aya_rag", {"content": _NOTE}))
    pair.wait_for_synchronous("beta")
    pair.standby.stop()
    probe.start("tools/call", {"name": "add_to_aya_rag", "arguments": {"content": "Waiting for beta."}})
    pair.wait_until(pair.primary, "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep'")
    started = time.monotonic()
    probe.process.send_signal(signal.SIGTERM)
    assert probe.process.wait(10) == 0
    assert time.monotonic() - started < 2
    pair.on_primary("ALTER SYSTEM SET synchronous_standby_names = ''", "SELECT pg_reload_conf()")
    again = _content(start("alpha").call("add_to_aya_rag", {"content": "Waiting for beta."}))
    assert again["duplicate_of"] == again["document_id"]
