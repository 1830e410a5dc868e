"""The hot queries take the paths they were written for, on a table large enough for the planner to care."""

from __future__ import annotations

import numpy as np
import pytest
from pgvector import Vector
from tests.integration.conftest import Knowledge

from aya import queries
from aya.dsn import DatabaseSettings
from aya.identity import ModelIdentity
from aya.knowledge import reembedding
from aya.knowledge.documents import filter_arguments
from aya.knowledge.nearest import statement
from aya.knowledge.types import Filters

pytestmark = pytest.mark.database

SEARCH = queries.load("aya.knowledge", "search.sql")
NEAREST = queries.load("aya.knowledge", "nearest.sql")
LEXICAL = queries.load("aya.knowledge", "lexical.sql")
STORE = queries.load("aya.knowledge")
INDEXER = queries.load("aya_indexer")
MCP = queries.load("aya_mcp")
MOVE = queries.load("aya_indexer", "move.sql")
QUERY = Vector([1.0] + [0.0] * 383)


@pytest.fixture
async def large(knowledge: Knowledge) -> Knowledge:
    """Six thousand documents, a chunk each; one in a hundred is "rare", a handful is due."""
    count = 6000
    vectors = np.random.default_rng(3).normal(size=(count, 384)).astype(np.float32)
    async with knowledge.database.transaction() as connection:
        await connection.execute(
            "INSERT INTO documents (content, category, source, places, created_at) "
            "SELECT 'text ' || i, CASE WHEN i % 100 = 0 THEN 'rare' ELSE 'general' END, 's', "
            "jsonb_build_object('/notes/' || i, 'x'), "
            "now() - make_interval(mins => i) FROM generate_series(1, $1::integer) AS i",
            count,
        )
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM documents ORDER BY id")]
        await connection.copy_records_to_table(
            "chunks",
            records=[(each, f"word{each} common", vector) for each, vector in zip(ids, vectors, strict=True)],
            columns=["document_id", "chunk_text", "embedding"],
        )
        await connection.execute("UPDATE index_queue SET retry_at = now() + interval '1 hour' WHERE document_id > 5")
    async with knowledge.database.connection() as connection:
        await connection.execute("ANALYZE documents; ANALYZE chunks; ANALYZE index_queue")
    return knowledge


async def plan(knowledge: Knowledge, query: str, *arguments: object) -> str:
    """Return the plan that the query gets in a search's transaction."""
    async with knowledge.database.transaction(readonly=True) as connection:
        await connection.execute(SEARCH["plan_for_values"])
        if "halfvec" in query:
            await connection.execute(NEAREST["set_scan"], "200", "4000")
        rows = await connection.fetch(f"EXPLAIN {query}", *arguments)
    return "\n".join(row[0] for row in rows)


ALL = filter_arguments(Filters())
FEW = filter_arguments(Filters(category="rare"))
MANY = filter_arguments(Filters(source="s"))
# what it is for, the query, its arguments, the index it must use
CASES: list[tuple[str, str, tuple[object, ...], str]] = [
    ("the nearest of all", statement("vector_all", 384), (QUERY, 50), "idx_chunks_embedding"),
    ("the nearest of many", statement("vector_graph", 384), (QUERY, 10, *MANY), "idx_chunks_embedding"),
    ("the nearest, and who passes", statement("vector_near", 384), (QUERY, 10, *MANY, 600), "idx_chunks_embedding"),
    ("the nearest of few", NEAREST["vector_exact"], (QUERY, 10, *FEW), "idx_documents_category"),
    ("how many match", NEAREST["estimate_matching"], (*FEW, 25_000), "idx_documents_category"),
    ("a rare word", LEXICAL["text_search"], ("'word77'", 10, *ALL, 30_000, "{1:1}/1000000000"), "idx_chunks_tsv"),
    ("a file", STORE["find_place"], ("/notes/7",), "idx_documents_places"),
    ("a content", STORE["find_by_content"], (b"x" * 32,), "idx_documents_content_sha256"),
    ("a document's chunks", STORE["chunk_ids"], (7,), "idx_chunks_document_id"),
    ("the newest", STORE["list_documents"], (*ALL, 20, 0), "idx_documents_created_at"),
    ("the next ones by MCP", MCP["list_after"], (*ALL, 20, None, None), "idx_documents_created_at"),
    ("whether these are queued", MCP["list_after"], (*ALL, 20, None, None), "index_queue_pkey"),
    ("what is due", INDEXER["due"], (50,), "idx_index_queue_retry_at"),
    ("a queued document", INDEXER["observe"], (7,), "idx_chunks_document_id"),
]


async def test_every_hot_query_uses_the_index_that_was_made_for_it(large: Knowledge) -> None:
    """No query of the daily life reads a table that grows, and a selective filter stays off the graph."""
    plans = {name: await plan(large, query, *arguments) for name, query, arguments, _ in CASES}
    wrong = {name: plans[name] for name, _, _, index in CASES if index not in plans[name]}
    assert wrong == {}
    assert "idx_chunks_embedding" not in plans["the nearest of few"]


async def test_a_move_finds_what_is_left_without_reading_what_is_done(database: DatabaseSettings) -> None:
    """The next chunks, and how many are left, come from the index of those that have no next vector yet."""
    target = ModelIdentity("f" * 16, "another", "r", 2, "mean", True, "", "", 64)  # noqa: FBT003
    async with reembedding.entered(database) as owner:
        await owner.execute("INSERT INTO chunks (chunk_text) SELECT 'word' || i FROM generate_series(1, 2000) AS i")
        await reembedding.begin(owner, target, "another")
        await owner.execute("UPDATE chunks SET embedding_next = '[1,2]' WHERE id % 50 > 0")
        await owner.execute("VACUUM (ANALYZE) chunks")
        batch = await owner.fetch(f"EXPLAIN {MOVE['batch']}", 100, 16)
        left = await owner.fetch("EXPLAIN SELECT count(*) FROM chunks WHERE embedding_next IS NULL")
    for rows in (batch, left):
        assert "idx_chunks_without_next" in "\n".join(row[0] for row in rows)
