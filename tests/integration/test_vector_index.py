"""The index on the vectors: what filtered searches find through it, its state, and its build, on real PostgreSQL."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import numpy as np
import pytest
from click.testing import CliRunner, Result
from tests.conftest import Server

from aya.cli import main
from aya.db import prepare_connection
from aya.dsn import DatabaseSettings
from aya.errors import DatabaseConflict
from aya.identity import ModelIdentity
from aya.knowledge import index_health, nearest, reembedding, vector_index
from aya.knowledge.binding import bind
from aya.knowledge.types import Filters
from aya.postgres.cluster import SUPERUSER
from aya.postgres.provision import superuser_settings

if TYPE_CHECKING:
    from aya.db import Connection

pytestmark = pytest.mark.database

DIMENSION, ROWS, COUNT = 24, 2000, 20
SMALL = ModelIdentity("a" * 16, "small", "r1", DIMENSION, "mean", True, "", "", 64)  # noqa: FBT003
IS_VALID = "SELECT indisvalid FROM pg_index WHERE indexrelid = to_regclass('idx_chunks_embedding')"


@dataclass(frozen=True)
class Base:
    """A base of two thousand documents; the vectors lie in memory, too, in the order of the chunks' ids."""

    settings: DatabaseSettings
    connection: Connection
    vectors: np.ndarray[Any, np.dtype[np.float32]]
    sources: np.ndarray[Any, Any]


@pytest.fixture
async def base(database: DatabaseSettings) -> AsyncIterator[Base]:
    """Vectors around a hundred places; a source is what lies on one side, a category is chance."""
    await bind(database, SMALL)
    random = np.random.default_rng(5)
    places = random.normal(size=(100, DIMENSION))[random.integers(0, 100, ROWS)]
    vectors = (places + 0.6 * random.normal(size=(ROWS, DIMENSION))).astype(np.float32)
    sources = np.where(vectors[:, 0] > 0.8, "topic", "rest")
    connection = await asyncpg.connect(database.dsn())
    await prepare_connection(connection)
    await connection.execute("SET plan_cache_mode = force_custom_plan")
    # As a bulk load does it: without the triggers, and the index afterwards.
    await connection.execute(
        "ALTER TABLE documents DISABLE TRIGGER USER; ALTER TABLE chunks DISABLE TRIGGER USER;"
        "DROP INDEX idx_chunks_embedding"
    )
    await connection.copy_records_to_table(
        "documents",
        records=[
            (each + 1, "x", str(source), "even" if each % 2 else "odd", b"") for each, source in enumerate(sources)
        ],
        columns=["id", "content", "source", "category", "content_sha256"],
    )
    await connection.copy_records_to_table(
        "chunks",
        records=[(each + 1, each + 1, "x", vector) for each, vector in enumerate(vectors)],
        columns=["id", "document_id", "chunk_text", "embedding"],
    )
    await connection.execute(
        await connection.fetchval("SELECT aya_vector_index_statement('idx_chunks_embedding', 'embedding')")
    )
    await connection.execute("ANALYZE documents, chunks")
    yield Base(database, connection, vectors, sources)
    await connection.close()


async def recall(base: Base, filters: Filters, passing: np.ndarray[Any, Any]) -> float:
    """Return the share of the nearest that are found, over ten queries; what does not pass is never returned."""
    ids = np.flatnonzero(passing)
    found = 0
    for query in np.random.default_rng(6).normal(size=(10, DIMENSION)).astype(np.float32):
        async with base.connection.transaction(readonly=True):
            got = await nearest.nearest(base.connection, query, COUNT, filters)
        candidates = base.vectors[ids]
        distance = 1 - candidates @ query / (np.linalg.norm(candidates, axis=1) * np.linalg.norm(query))
        best = (ids[np.argsort(distance)[:COUNT]] + 1).tolist()
        assert set(got) <= set((ids + 1).tolist())
        assert list(got.values()) == sorted(got.values())
        np.testing.assert_allclose(min(got.values()), distance.min(), atol=1e-5)
        found += len(set(best).intersection(got))
    return found / (10 * COUNT)


@pytest.mark.parametrize("most_rows_exact", [10, 100_000])
async def test_filtered_searches_find_what_comparing_all_finds(
    base: Base, monkeypatch: pytest.MonkeyPatch, most_rows_exact: int
) -> None:
    """Through the graph or one by one, whether a filter is chance or a topic, and with exact distances."""
    monkeypatch.setattr(nearest, "MOST_ROWS_EXACT", most_rows_exact)
    monkeypatch.setattr(nearest, "LEAST_ROWS_GRAPH", most_rows_exact)
    topic = base.sources == "topic"
    even = np.arange(ROWS) % 2 == 1
    for filters, passing in (
        (Filters(), np.ones(ROWS, dtype=bool)),
        (Filters(category="even"), even),
        (Filters(source="topic"), topic),
        (Filters(source="topic", category="even"), topic & even),
    ):
        assert await recall(base, filters, passing) >= 0.97


async def test_a_graph_that_gives_up_is_followed_by_comparing(base: Base, monkeypatch: pytest.MonkeyPatch) -> None:
    """A topic far from the query: the walk ends before enough pass, and what is returned is exact all the same."""
    monkeypatch.setattr(nearest, "MOST_ROWS_EXACT", 10)
    monkeypatch.setattr(nearest, "SEARCH_WIDTH", 40)
    monkeypatch.setattr(nearest, "_MOST_TUPLES", 1)
    far = -base.vectors[base.sources == "topic"].mean(axis=0)
    ids = np.flatnonzero(base.sources == "topic") + 1
    distance = 1 - base.vectors[ids - 1] @ far / (np.linalg.norm(base.vectors[ids - 1], axis=1) * np.linalg.norm(far))
    async with base.connection.transaction():
        got = await nearest.nearest(base.connection, far, COUNT, Filters(source="topic"))
    assert list(got) == ids[np.argsort(distance)[:COUNT]].tolist()


async def test_the_status_measures_recall_and_only_reads(base: Base) -> None:
    """A standby would do; ten real chunks are asked, and what is well is not complained of."""
    await base.connection.execute("SET default_transaction_read_only = on")
    seen = await vector_index.status(base.connection, queries_wanted=10, seconds=30)
    assert (seen.with_vector, seen.without_vector, seen.dimension) == (ROWS, 0, DIMENSION)
    assert seen.sample.queries == 10
    assert (seen.sample.recall or 0) >= 0.97
    assert seen.sample.p50_ms is not None
    assert 0.5 < (seen.bloat or 0) < 2
    assert list(index_health.problems(seen)) == []


async def test_the_time_for_it_is_bounded(base: Base) -> None:
    """One chunk is asked at least, none after the time is over, none at all when nobody wants to know."""
    assert (await vector_index.status(base.connection, queries_wanted=10, seconds=0)).sample.queries == 1
    assert (await vector_index.status(base.connection, queries_wanted=0, seconds=9)).sample.recall is None


async def spoil(base: Base, server: Server, how: str) -> None:
    """Break the index as the name says."""
    match how:
        case "missing":
            await base.connection.execute("DROP INDEX idx_chunks_embedding")
        case "of another kind":
            await base.connection.execute(
                "DROP INDEX idx_chunks_embedding;"
                "CREATE INDEX idx_chunks_embedding ON chunks USING hnsw (embedding vector_cosine_ops)"
            )
        case _:
            settings = superuser_settings(server.cluster, server.secrets[SUPERUSER], base.settings.database)
            superuser = await asyncpg.connect(settings.dsn())
            await superuser.execute(
                "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_chunks_embedding'::regclass"
            )
            await superuser.close()


@pytest.mark.parametrize("how", ["missing", "of another kind", "broken"])
async def test_a_build_mends_what_the_status_names(base: Base, server: Server, how: str) -> None:
    """The exit code is 3 and the command is named; after it, 0; again, there is nothing to do."""
    await spoil(base, server, how)
    # What a build that was cut short has left.
    await base.connection.execute("CREATE INDEX idx_chunks_embedding_new ON chunks (id)")
    before = await called(base, "index", "status", "--json", "--queries", "2")
    assert before.exit_code == 3
    (problem,) = json.loads(before.stdout)["problems"]
    assert problem["mend"].startswith("aya index build")
    assert (await called(base, *problem["mend"].split()[1:])).stdout == "the index is built\n"
    assert await base.connection.fetchval(IS_VALID)
    assert not await base.connection.fetchval("SELECT to_regclass('idx_chunks_embedding_new')")
    after = await called(base, "index", "status", "--queries", "2")
    assert (after.exit_code, "recall@10 1.000" in after.stdout) == (0, True)
    assert "there and whole" in (await called(base, "index", "build")).stdout


async def called(base: Base, *arguments: str) -> Result:
    """Run aya on the base."""
    runner = CliRunner(env={"AYA_DEBUG": None, "DB_HOST": None, "AYA_NODE": None, "AYA_DSN": base.settings.dsn()})
    return await asyncio.to_thread(runner.invoke, main, ["--home", str(Path("/nowhere")), *arguments])


async def test_a_rebuild_disturbs_nobody(base: Base) -> None:
    """Searches and writes go on while the index is built anew, and the new one has what was written meanwhile."""
    writer = await asyncpg.connect(base.settings.dsn())
    await prepare_connection(writer)
    watcher = await asyncpg.connect(base.settings.dsn())
    stop = asyncio.Event()
    found: list[int] = []

    async def write() -> None:
        number = ROWS
        while not stop.is_set():
            number += 1
            await writer.execute("INSERT INTO chunks (id, chunk_text, embedding) VALUES ($1, 'x', $2)", number,
                                 base.vectors[number % ROWS])  # fmt: skip
            async with writer.transaction():
                found.append(len(await nearest.nearest(writer, base.vectors[0], 5, Filters())))

    writing = asyncio.create_task(write())
    old = await base.connection.fetchval("SELECT 'idx_chunks_embedding'::regclass::oid")
    assert await vector_index.build(base.connection, watcher, lambda _: None, rebuild=True)
    stop.set()
    await writing
    assert set(found) == {5}
    assert await base.connection.fetchval("SELECT 'idx_chunks_embedding'::regclass::oid") != old
    newest = await base.connection.fetchval("SELECT max(id) FROM chunks")
    async with base.connection.transaction():
        assert newest in await nearest.nearest(base.connection, base.vectors[newest % ROWS], 5, Filters())
    await writer.close()
    await watcher.close()


async def test_nobody_builds_while_somebody_else_does_or_the_base_moves(base: Base) -> None:
    """The refusal says who is at it."""
    other = await asyncpg.connect(base.settings.dsn())
    await other.execute("SELECT pg_advisory_lock(4156, 2)")
    with pytest.raises(DatabaseConflict, match="somebody else"):
        await vector_index.build(base.connection, other, lambda _: None, rebuild=True)
    await other.execute("SELECT pg_advisory_unlock(4156, 2)")
    target = ModelIdentity("b" * 16, "other", "r1", 2, "mean", True, "", "", 64)  # noqa: FBT003
    async with reembedding.entered(base.settings) as owner:
        await reembedding.begin(owner, target, "other")
    with pytest.raises(DatabaseConflict, match="moves to another model"):
        await vector_index.build(base.connection, other, lambda _: None, rebuild=True)
    await other.close()
