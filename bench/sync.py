"""AIR's sync beside PostgreSQL's logical replication: the same primary, the same work, in one run.

    python bench/sync.py latency [--seconds 40] [--chunks 0]   from a commit at the primary to where it can be read
    python bench/sync.py copy [--chunks 20000]                 everything, to an empty copy
    python bench/sync.py backlog [--changes 10000]             what changed while both copies were away
    python bench/sync.py push [--documents 2000]               what waits on AIR, to the primary (nobody else does that)
    python bench/sync.py rest [--seconds 30]                   the daemon while nothing happens

Three servers on this machine: the primary, AIR (the daemon between), and a subscriber with the same tables and indexes.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import shutil
import sys
import tempfile
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import asyncpg
import numpy as np
import psutil

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.conftest import free_port

from aya import migrations
from aya.db import prepare_connection
from aya.dsn import DatabaseSettings
from aya.home import Home
from aya.postgres import binaries, privileges
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import SYNC_ROLE, ClusterConfig
from aya.postgres.provision import new_secrets, owner_settings, provision_primary, superuser_settings
from aya.settings import Config, as_role

_CHUNKS = 4
_RATE = 20.0
_LANES = 2
_PERIOD = 1 / _RATE
_DAEMON = """
import asyncio, sys
from aya_syncd.config import Config
from aya_syncd.loop import Sync
from aya.dsn import parse_dsn
local, primary = parse_dsn(sys.argv[1]), parse_dsn(sys.argv[2])
asyncio.run(Sync(Config("air", local, primary), primary).run(asyncio.Event()))
"""


@dataclass
class Bench:
    """Three servers, and the passwords of their roles."""

    clusters: dict[str, Cluster]
    secrets: dict[str, str]

    def owner(self, name: str) -> DatabaseSettings:
        """Return how the owner enters one."""
        return owner_settings(self.clusters[name], self.secrets)

    async def connected(self, name: str, *, superuser: bool = False) -> asyncpg.Connection[Any]:
        """Return a connection."""
        settings = self.owner(name)
        if superuser:
            settings = superuser_settings(self.clusters[name], self.secrets[SUPERUSER], settings.database)
        connection = await asyncpg.connect(settings.dsn())
        await prepare_connection(connection)
        return connection

    async def run(self, name: str, statement: str, *arguments: object) -> Any:  # noqa: ANN401 a value
        """Run one statement and return its first value."""
        connection = await self.connected(name)
        try:
            return await connection.fetchval(statement, *arguments)
        finally:
            await connection.close()

    async def subscribe(self) -> float:
        """Have the subscriber follow by logical replication, binary; return the seconds until it has everything."""
        at_primary = await self.connected("primary", superuser=True)
        await at_primary.execute(
            "CREATE PUBLICATION everything FOR TABLE documents, chunks (id, document_id, chunk_text, embedding,"
            " chunk_index, metadata, created_at, uid, rev, char_start, char_end, heading, content_sha256)"
        )
        await at_primary.close()
        port = self.clusters["primary"].config.port
        word = f"host=127.0.0.1 port={port} user={SUPERUSER} password={self.secrets[SUPERUSER]} dbname=aya_rag"
        there = await self.connected("subscriber", superuser=True)
        began = time.monotonic()
        await there.execute(f"CREATE SUBSCRIPTION everything CONNECTION '{word}' PUBLICATION everything"
                            " WITH (binary = true)")  # fmt: skip
        query = "SELECT count(*) FROM pg_subscription_rel WHERE srsubstate <> 'r'"
        while await there.fetchval(query):  # noqa: ASYNC110 - in a database
            await asyncio.sleep(0.05)
        await there.close()
        return time.monotonic() - began

    async def row(self, name: str, statement: str) -> tuple[Any, ...]:
        """Run one statement and return its first row."""
        connection = await self.connected(name)
        try:
            return tuple(await connection.fetchrow(statement) or ())
        finally:
            await connection.close()

    @asynccontextmanager
    async def daemon(self) -> AsyncGenerator[psutil.Process]:
        """Have the daemon run, in a process of its own."""
        ends = [as_role(self.owner(name), SYNC_ROLE, self.secrets[SYNC_ROLE]).dsn() for name in ("air", "primary")]
        process = await asyncio.create_subprocess_exec(sys.executable, "-c", _DAEMON, *ends,
                                                       stdout=asyncio.subprocess.DEVNULL)  # fmt: skip
        try:
            yield psutil.Process(process.pid)
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.kill()
            await process.wait()

    @asynccontextmanager
    async def unindexed(self, name: str) -> AsyncGenerator[None]:
        """Have no vector index for a while; it is built afterwards, which takes less than row by row."""
        await self.run(name, "DROP INDEX idx_chunks_embedding")
        yield
        await self.run(
            name, await self.run(name, "SELECT aya_vector_index_statement('idx_chunks_embedding', 'embedding')")
        )

    async def follow(self, name: str) -> None:
        """Have one copy follow and the other rest; an empty name: both rest."""
        superuser = await self.connected("subscriber", superuser=True)
        if await superuser.fetchval("SELECT EXISTS (SELECT FROM pg_subscription)"):
            await superuser.execute(f"ALTER SUBSCRIPTION everything {'ENABLE' if name == 'subscriber' else 'DISABLE'}")
        await superuser.close()
        await self.run("air", "UPDATE sync_state SET paused = $1", name != "air")
        await self.run("air", "SELECT pg_notify('aya_queue', '')")

    async def only(self, name: str) -> None:
        """Have one copy follow and the other rest; returns when the one has everything."""
        await self.follow(name)
        wanted = await self.run("primary", "SELECT count(*) FROM chunks")
        while await self.run(name, "SELECT count(*) FROM chunks") < wanted:  # noqa: ASYNC110 - in a database
            await asyncio.sleep(0.1)
        await asyncio.sleep(1)

    async def until_ready(self) -> None:
        """Wait until the daemon has reached both ends."""
        query = "SELECT count(*) FROM pg_stat_activity WHERE application_name LIKE 'aya-syncd-%'"
        for name in ("air", "primary"):
            while await self.run(name, query) < _LANES:  # noqa: ASYNC110 - in a database
                await asyncio.sleep(0.05)
        await asyncio.sleep(1)

    async def until_copied(self) -> tuple[float, float]:
        """Return the seconds until AIR has as many chunks as the primary and their index; and until it has them."""
        began, wanted = time.monotonic(), await self.run("primary", "SELECT count(*) FROM chunks")
        took: list[float] = []
        for query in (
            "SELECT (SELECT count(*) FROM chunks) = $1 AND (SELECT snapshot IS NOT NULL FROM sync_state)",
            "SELECT $1 > -1 AND EXISTS (SELECT FROM pg_indexes WHERE indexname = 'idx_chunks_embedding')",
        ):
            while not await self.run("air", query, wanted):  # noqa: ASYNC110 - in a database
                await asyncio.sleep(0.05)
            took.append(time.monotonic() - began)
        return took[1], took[0]


@asynccontextmanager
async def made() -> AsyncGenerator[Bench]:
    """Make the servers; they go afterwards."""
    directory = Path(tempfile.mkdtemp(prefix="aya-sync-"))
    directory.chmod(0o755)  # noqa: ASYNC240 - nobody else waits
    home, config = Home(directory), Config()
    clusters: dict[str, Cluster] = {}
    try:
        for name in ("primary", "air", "subscriber"):
            data = directory / name / "data"
            user = privileges.run_as(data)
            place = ClusterConfig(port=free_port(), socket_directory=directory / f"run-{name}")
            clusters[name] = Cluster(binaries.resolve(config, home, user), data, place, user)
        bench = Bench(clusters, new_secrets({}))
        for name, cluster in clusters.items():
            cluster.create(bench.secrets[SUPERUSER])
            with (cluster.data_directory / "postgresql.conf").open("a") as settings:
                settings.write("shared_buffers = '512MB'\nmaintenance_work_mem = '512MB'\n")
            if name == "primary":
                cluster.configure()
                with (cluster.data_directory / "aya.watchdog.conf").open("a") as settings:
                    settings.write("wal_level = logical\n")
            cluster.start(directory / f"{name}.log")
            await provision_primary(cluster, bench.secrets)
            await migrations.migrate(bench.owner(name), node="air" if name == "air" else "alpha")
        # A subscriber keeps no log of its own.
        await bench.run("subscriber", "SELECT set_config('aya.x', '', false)")
        for table in ("documents", "chunks"):
            await bench.run("subscriber", f"ALTER TABLE {table} DISABLE TRIGGER USER")
        yield bench
    finally:
        for cluster in clusters.values():
            with contextlib.suppress(Exception):
                cluster.stop("immediate")
        shutil.rmtree(directory, ignore_errors=True)


async def fill(bench: Bench, name: str, chunks: int) -> None:
    """Have so many chunks with vectors, four of a document."""
    connection = await bench.connected(name)
    rng = np.random.default_rng(1)
    for first in range(0, chunks // _CHUNKS, 500):
        count = min(500, chunks // _CHUNKS - first)
        made = await connection.fetch(
            "INSERT INTO documents (content) SELECT 'text ' || g FROM generate_series($1::int, $2::int) AS g"
            " RETURNING id, content_sha256",
            first + 1,
            first + count,
        )
        records = [
            (row["id"], f"chunk {number}", rng.standard_normal(768, dtype=np.float32), number, row["content_sha256"])
            for row in made
            for number in range(_CHUNKS)
        ]
        await connection.copy_records_to_table(
            "chunks",
            records=records,
            columns=["document_id", "chunk_text", "embedding", "chunk_index", "content_sha256"],
        )
    await connection.execute("DELETE FROM index_queue")
    await connection.close()


async def latency(seconds: float, chunks: int, turns: int) -> None:
    """Time a document with four chunks, twenty times a second, from its commit to where it can be read.

    The two take turns: while one follows, the other rests, and catches up before it is its turn.
    """
    took: dict[str, list[float]] = {"subscriber": [], "air": []}
    async with made() as bench:
        async with bench.unindexed("primary"), bench.unindexed("subscriber"):
            await fill(bench, "primary", chunks)
            await bench.subscribe()
        async with bench.daemon():
            await bench.until_copied()
            for turn in range(turns):
                for name in ("subscriber", "air"):
                    await bench.only(name)
                    took[name] += await _turn(bench, name, seconds / turns)
                print(f"turn {turn + 1} of {turns}", file=sys.stderr, flush=True)
    counts = "/".join(str(len(times)) for times in took.values())
    print(f"\n| {chunks} vectors indexed before, {counts} transactions | p50 ms | p95 ms | p99 ms | p50 as a ratio |")
    print("|---|---:|---:|---:|---:|")
    floor = sorted(took["subscriber"])[len(took["subscriber"]) // 2]
    for name, label in (("subscriber", "logical replication, binary"), ("air", "AYA")):
        times = sorted(took[name])
        p50, p95, p99 = (times[int(len(times) * share)] for share in (0.5, 0.95, 0.99))
        print(f"| {label} | {p50:.1f} | {p95:.1f} | {p99:.1f} | {p50 / floor:.2f} |")


async def _turn(bench: Bench, name: str, seconds: float) -> list[float]:
    """Return how long each transaction took to one copy, in milliseconds."""
    committed: dict[int, float] = {}
    seen: dict[int, float] = {}
    stop = asyncio.Event()
    watcher = asyncio.create_task(_watch(bench, name, seen, stop))
    await _write(bench, committed, seconds)
    await asyncio.sleep(2)
    stop.set()
    await watcher
    if not committed.keys() <= seen.keys():
        sys.exit(f"{name} lacks {len(committed.keys() - seen.keys())} documents")
    return [(seen[document] - at) * 1000 for document, at in committed.items()]


async def _write(bench: Bench, committed: dict[int, float], seconds: float) -> None:
    connection = await bench.connected("primary")
    rng, began = np.random.default_rng(2), time.monotonic()
    number = 0
    while (now := time.monotonic()) - began < seconds:
        async with connection.transaction():
            document = await connection.fetchval(
                "INSERT INTO documents (content, category) VALUES ($1, 'latency') RETURNING id", f"{number} {now}"
            )
            await connection.executemany(
                "INSERT INTO chunks (document_id, chunk_text, embedding, chunk_index) VALUES ($1, $2, $3, $4)",
                [(document, "x", rng.standard_normal(768, dtype=np.float32), each) for each in range(_CHUNKS)],
            )
        committed[document] = time.monotonic()
        number += 1
        await asyncio.sleep(max(0.0, began + number * _PERIOD - time.monotonic()))
    await connection.close()


async def _watch(bench: Bench, name: str, seen: dict[int, float], stop: asyncio.Event) -> None:
    """Look every millisecond or two which documents can be read with all their chunks."""
    connection = await bench.connected(name)
    last = await connection.fetchval("SELECT coalesce(max(id), 0) FROM documents")
    query = (
        "SELECT d.id FROM documents AS d WHERE d.id > $1 AND d.category = 'latency'"
        " AND (SELECT count(*) FROM chunks AS c WHERE c.document_id = d.id) = $2 ORDER BY d.id"
    )
    while not stop.is_set():
        rows = await connection.fetch(query, last, _CHUNKS)
        now = time.monotonic()
        for row in rows:
            seen[row["id"]] = now
            last = row["id"]
        await asyncio.sleep(0.001)
    await connection.close()


async def copy(chunks: int) -> None:
    """Time the way of everything to an empty copy: tables with their indexes."""
    async with made() as bench:
        async with bench.unindexed("primary"):
            await fill(bench, "primary", chunks)
        began = time.monotonic()
        async with bench.unindexed("subscriber"):
            bare = await bench.subscribe()
        logical = time.monotonic() - began
        await bench.run("air", "UPDATE sync_state SET paused = true")
        async with bench.daemon():
            await bench.until_ready()
            await bench.run("air", "UPDATE sync_state SET paused = false")
            await bench.run("air", "SELECT pg_notify('aya_queue', '')")
            ours, ours_bare = await bench.until_copied()
    print(
        f"\n| first copy of {chunks} chunks | rows, s | ratio | and their index, s | ratio |\n|---|---:|---:|---:|---:|"
    )
    print(f"| logical replication, binary, indexed by hand afterwards | {bare:.1f} | 1 | {logical:.1f} | 1 |")
    print(f"| AYA | {ours_bare:.1f} | {ours_bare / bare:.2f} | {ours:.1f} | {ours / logical:.2f} |")


async def backlog(changes: int) -> None:
    """Time the way of what changed in an hour offline: documents that were edited, made with chunks, and deleted."""
    tenth = changes // 10
    took: dict[str, float] = {}
    async with made() as bench:
        async with bench.unindexed("primary"), bench.unindexed("subscriber"):
            await fill(bench, "primary", 2 * changes)
            await bench.subscribe()
        async with bench.daemon():
            await bench.until_copied()
            await bench.follow("")
            # 4 of 10 rows are edits, 5 a document with its chunks, 1 a chunk that is deleted.
            await bench.run("primary", "UPDATE documents SET category = 'changed' WHERE id <= $1", 4 * tenth)
            await fill(bench, "primary", _CHUNKS * tenth)
            await bench.run(
                "primary", "DELETE FROM chunks WHERE id IN (SELECT id FROM chunks ORDER BY id LIMIT $1)", tenth
            )
            count = "SELECT (SELECT count(*) FROM chunks), (SELECT count(*) FROM documents WHERE category = 'changed')"
            wanted = await bench.row("primary", count)
            for name in ("subscriber", "air"):
                await bench.follow(name)
                began = time.monotonic()
                while await bench.row(name, count) != wanted:  # noqa: ASYNC110 - in a database
                    await asyncio.sleep(0.02)
                took[name] = time.monotonic() - began
    print(
        f"\n| a backlog of {changes} changed rows, {2 * changes} vectors indexed | seconds | ratio |\n|---|---:|---:|"
    )
    print(f"| logical replication, binary | {took['subscriber']:.1f} | 1 |")
    print(f"| AYA | {took['air']:.1f} | {took['air'] / took['subscriber']:.2f} |")


async def push(documents: int) -> None:
    """Time the way of what waits on AIR, with its chunks and vectors, to the primary; its floor is a COPY there."""
    took: dict[str, tuple[float, float]] = {}
    async with made() as bench, bench.daemon():
        await bench.until_copied()
        async with bench.unindexed("primary"):
            took["without a vector index"] = await _pushed(bench, documents)
        took["indexed as they come"] = await _pushed(bench, documents // 10)
    print(f"\n| documents with {_CHUNKS} chunks, a second | AIR sends | COPY at the primary | ratio |")
    print("|---|---:|---:|---:|")
    for name, (sent, floor) in took.items():
        print(f"| {name} | {sent:.0f} | {floor:.0f} | {sent / floor:.2f} |")


async def _pushed(bench: Bench, documents: int) -> tuple[float, float]:
    """Return the documents a second that AIR sends, and that a COPY at the primary brings in."""
    await bench.follow("")
    await fill(bench, "air", documents * _CHUNKS)
    query = "SELECT count(*) FROM chunks"
    wanted = await bench.run("primary", query) + documents * _CHUNKS
    began = time.monotonic()
    await bench.follow("air")
    while await bench.run("primary", query) < wanted:  # noqa: ASYNC110 - in a database
        await asyncio.sleep(0.02)
    sent = documents / (time.monotonic() - began)
    await bench.follow("")
    began = time.monotonic()
    await fill(bench, "primary", documents * _CHUNKS)
    return sent, documents / (time.monotonic() - began)


async def rest(seconds: float) -> None:
    """Watch the daemon while nothing happens."""
    async with made() as bench, bench.daemon() as process:
        await bench.until_copied()
        await asyncio.sleep(2)
        before = process.cpu_times()
        await asyncio.sleep(seconds)
        after = process.cpu_times()
        used = after.user + after.system - before.user - before.system
        print(
            f"\nat rest: {100 * used / seconds:.2f} % of a core, {process.memory_info().rss / 2**20:.0f} MiB resident"
        )


def main() -> None:
    """Read the command line and run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    one = commands.add_parser("latency")
    one.add_argument("--seconds", type=float, default=40)
    one.add_argument("--chunks", type=int, default=0)
    one.add_argument("--turns", type=int, default=4)
    commands.add_parser("copy").add_argument("--chunks", type=int, default=20_000)
    commands.add_parser("backlog").add_argument("--changes", type=int, default=10_000)
    commands.add_parser("push").add_argument("--documents", type=int, default=2_000)
    commands.add_parser("rest").add_argument("--seconds", type=float, default=30)
    given = vars(parser.parse_args())
    work = {"latency": latency, "copy": copy, "backlog": backlog, "push": push, "rest": rest}[given.pop("command")]
    asyncio.run(work(**given))


if __name__ == "__main__":
    main()
