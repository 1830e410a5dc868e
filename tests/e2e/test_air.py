"""The local cluster with AIR, by its commands: offline, written to, back online, and both sides changed."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import asyncpg
import pytest

from aya.home import Home
from aya.postgres.config import SYNC_ROLE
from aya.settings import node_settings, primary_settings

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(300)]
AYA = str(Path(sys.executable).with_name("aya"))
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_", "EMBEDDING_"))}


class Cluster:
    """A home with alpha and air, running."""

    def __init__(self, home: Path) -> None:
        self.home = home

    def aya(self, *arguments: str, expect: int = 0) -> str:
        """Run a command and return what it prints."""
        command = [AYA, "--home", str(self.home), *arguments]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, timeout=120, check=False)
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout

    def node(self, name: str) -> dict[str, Any]:
        """Return what `aya status` says of a node, whatever its health."""
        command = [AYA, "--home", str(self.home), "status", "--json", "--node", name]
        done = subprocess.run(command, capture_output=True, text=True, env=ENVIRON, timeout=60, check=False)
        found: dict[str, Any] = json.loads(done.stdout)["nodes"][0]
        return found

    def answer(self, node: str, query: str) -> list[tuple[str, float, float]]:
        """Return the passages that a node finds, with their scores and distances, the best first."""
        found = json.loads(self.aya("search", "--node", node, "--json", query))["results"]
        return [(hit["chunk_text"], round(hit["score"], 6), round(hit["distance"], 6)) for hit in found]

    def texts(self, node: str) -> list[str]:
        """Return the titles on a node."""
        return sorted(one["title"] or "" for one in json.loads(self.aya("list", "--node", node, "--json"))["documents"])

    async def psql(self, node: str, statement: str) -> list[asyncpg.Record]:
        """Do as the owner does who types in psql."""
        connection = await asyncpg.connect(node_settings(Home(self.home), node, environ={}).local.dsn())
        try:
            return await connection.fetch(statement)
        finally:
            await connection.close()


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `check` holds; fail when the time is up."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    """Alpha and air, made anew."""
    directory = Path(tempfile.mkdtemp(prefix="aya-air-"))
    directory.chmod(0o755)
    made = Cluster(directory / "home")
    try:
        made.aya("up", "--detach", "--nodes", "alpha,air")
        yield made
    finally:
        subprocess.run([AYA, "--home", str(made.home), "down"], env=ENVIRON, check=False, timeout=120)
        shutil.rmtree(directory, ignore_errors=True)


def test_what_is_written_offline_is_found_there_and_arrives(cluster: Cluster, tmp_path: Path) -> None:
    """Added, found, edited without a network; at the primary afterwards, with its vectors, and not embedded again."""
    cluster.aya("add", "--text", "Ducks sleep with one eye open.", "--title", "ducks")
    cluster.aya("sync", "now")
    assert cluster.texts("air") == ["ducks"]
    cluster.aya("dev", "offline", "air")
    cluster.aya("add", "--node", "air", "--text", "Otters hold hands while they sleep.", "--title", "otters")
    assert "Otters" in cluster.aya("search", "--node", "air", "-k", "1", "animals holding hands")
    number = next(
        one["id"] for one in json.loads(cluster.aya("list", "--node", "air", "--json"))["documents"] if one["id"] < 0
    )
    cluster.aya("edit", "--node", "air", str(number), "--category", "animals")
    assert cluster.texts("alpha") == ["ducks"]
    assert cluster.node("air")["sync"]["copy"]["waiting"] == 1
    cluster.aya("dev", "online", "air")
    cluster.aya("sync", "now")
    assert cluster.texts("alpha") == cluster.texts("air") == ["ducks", "otters"]
    assert "Otters" in cluster.aya("search", "-k", "1", "animals holding hands")
    for query in ("animals holding hands", "ducks that sleep", "sleep with one hand open"):
        assert cluster.answer("alpha", query) == cluster.answer("air", query)
        assert len(cluster.answer("air", query)) == 2
    assert cluster.node("alpha")["counts"]["waiting"] == 0
    indexed = (cluster.home / "nodes" / "alpha" / "log" / "indexer.log").read_text(encoding="utf-8")
    assert "document.indexed" not in indexed


def test_offline_is_said_and_is_nothing_that_is_wrong(cluster: Cluster) -> None:
    """The daemon notices, says for how long, and the node stays healthy."""
    cluster.aya("dev", "offline", "air")
    try:
        deadline = time.monotonic() + 60
        while cluster.node("air")["sync"]["condition"] != "offline":
            assert time.monotonic() < deadline, cluster.node("air")
            time.sleep(0.5)
        assert cluster.node("air")["health"] == "healthy"
        assert "offline" in cluster.aya("status", "--node", "air")
        assert "offline" in cluster.aya("sync", "status")
    finally:
        cluster.aya("dev", "online", "air")
    cluster.aya("sync", "now")


async def test_a_connection_hangs_while_air_is_offline_and_goes_on(cluster: Cluster) -> None:
    """One that was there before and one that is made meanwhile; whoever reaches alpha by itself notices nothing."""
    through = primary_settings(Home(cluster.home), "air", role=SYNC_ROLE, environ={})
    log = cluster.home / "nodes" / "air" / "log" / "link.log"
    cuts = log.read_text(encoding="utf-8").count("link.cut")
    there = await asyncpg.connect(through.dsn())
    assert await there.fetchval("SELECT 1") == 1
    cluster.aya("dev", "offline", "air")
    try:
        eventually(lambda: log.read_text(encoding="utf-8").count("link.cut") > cuts)
        waiting = asyncio.create_task(there.fetchval("SELECT 2"))
        newcomer = asyncio.create_task(asyncpg.connect(through.dsn()))
        assert not (await asyncio.wait({waiting, newcomer}, timeout=2))[0]
        assert len(await cluster.psql("alpha", "SELECT 3")) == 1
    finally:
        cluster.aya("dev", "online", "air")
    assert await waiting == 2
    await (await newcomer).close()
    await there.close()
    cluster.aya("sync", "now")


async def test_the_owners_steps(cluster: Cluster) -> None:
    """As the plan has them: a row queued by hand, sent, marked, deleted at the primary, gone on AIR, counts equal."""
    cluster.aya("dev", "offline", "air")
    await cluster.psql(
        "air",
        "INSERT INTO write_queue (operation, table_name, data) VALUES ('INSERT','documents',"
        """ '{"content": "queued offline", "category": "test", "source": "air"}')""",
    )
    assert len(await cluster.psql("air", "SELECT FROM write_queue WHERE NOT synced")) == 1
    cluster.aya("dev", "online", "air")
    cluster.aya("sync", "now")
    assert len(await cluster.psql("alpha", "SELECT FROM documents WHERE content = 'queued offline'")) == 1
    marked = await cluster.psql("air", "SELECT synced FROM write_queue WHERE data ->> 'content' = 'queued offline'")
    assert [row["synced"] for row in marked] == [True]
    await cluster.psql("alpha", "DELETE FROM documents WHERE content = 'queued offline'")
    cluster.aya("sync", "now")
    assert await cluster.psql("air", "SELECT FROM documents WHERE content = 'queued offline'") == []
    here, there = [await cluster.psql(node, "SELECT count(*) FROM documents") for node in ("air", "alpha")]
    assert here == there


def test_both_sides_change_one_document_and_a_person_decides(cluster: Cluster) -> None:
    """The newer is the head; the other is listed, shown, taken; both can be kept."""
    documents = json.loads(cluster.aya("list", "--json"))["documents"]
    number = str(next(one["id"] for one in documents if one["title"] == "ducks"))
    cluster.aya("dev", "offline", "air")
    cluster.aya("edit", "--node", "air", number, "--category", "on-air")
    cluster.aya("edit", number, "--category", "on-alpha")
    cluster.aya("dev", "online", "air")
    cluster.aya("sync", "now")
    found = json.loads(cluster.aya("conflicts", "--json"))["conflicts"]
    assert [(one["loser"], one["sender"]["category"]) for one in found] == [("sender", "on-air")]
    shown = cluster.aya("conflicts", "show", str(found[0]["id"]))
    assert ["category", "on-alpha", "on-air"] in [line.split() for line in shown.splitlines()]
    # Typed on AIR it is decided at the primary all the same.
    take = ("conflicts", "take", str(found[0]["id"]))
    cluster.aya(*take, "sender", "--node", "air", "--yes")
    cluster.aya("sync", "now")
    for node in ("alpha", "air"):
        document = json.loads(cluster.aya("show", "--node", node, number, "--json"))
        assert document["category"] == "on-air"
    assert json.loads(cluster.aya("conflicts", "--json"))["conflicts"] == []
    assert "before" in cluster.aya(*take, "sender")
    cluster.aya(*take, "here", expect=1)


def test_a_rejected_change_is_told_and_sent_again(cluster: Cluster) -> None:
    """What the primary cannot take stays here, says why, and goes when it was mended."""
    cluster.aya("sync", "pause")
    cluster.aya("add", "--node", "air", "--text", "Refused at first.", "--title", "refused")
    assert "paused" in cluster.aya("sync", "status")
    cluster.aya("sync", "resume")
    cluster.aya("sync", "now")
    assert "refused" in cluster.texts("alpha")
    cluster.aya("sync", "retry")
    cluster.aya("sync", "retry", "1234", expect=1)
