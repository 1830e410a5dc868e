"""AIR's copy and the primary: what is written on one is on the other, once, whole, and nothing is lost between."""

from __future__ import annotations

import numpy as np
import pytest
from tests.sync.conftest import Pair

pytestmark = pytest.mark.database
CUT = """INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)
SELECT id, content, $1, content_sha256 FROM documents WHERE id < 0"""
VECTOR = np.arange(768, dtype=np.float32) / 768


async def test_a_first_copy_brings_everything(pair: Pair) -> None:
    """What the primary has is on AIR, row for row, vectors included."""
    await pair.at_primary(
        "INSERT INTO documents (content, category) SELECT 'text ' || g, 'notes' FROM generate_series(1, 50) g"
    )
    await pair.at_primary(
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, content, $1 FROM documents", VECTOR
    )
    async with pair.syncing():
        await pair.at_rest()


async def test_changes_at_the_primary_are_on_air(pair: Pair) -> None:
    """Inserts, updates, deletes, cascades and TRUNCATE, by whatever tool."""
    async with pair.syncing():
        await pair.at_rest()
        await pair.at_primary("INSERT INTO documents (content) VALUES ('one'), ('two'), ('three')")
        await pair.at_primary(
            "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, content, $1 FROM documents", VECTOR
        )
        await pair.at_rest()
        await pair.at_primary("UPDATE documents SET content = 'two, changed' WHERE content = 'two'")
        await pair.at_primary("DELETE FROM documents WHERE content = 'one'")
        await pair.at_rest()
        await pair.at_primary("TRUNCATE documents CASCADE")
        await pair.at_rest()
        assert await pair.at_air("SELECT FROM documents") == []


async def test_what_was_written_on_air_arrives_once(pair: Pair) -> None:
    """Offline: add, edit, delete; online: the primary has it, and the ids are the primary's."""
    await pair.at_primary("INSERT INTO documents (content) VALUES ('stays'), ('goes'), ('changes')")
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_air("INSERT INTO documents (content) VALUES ('made on air')")
    await pair.at_air(CUT, VECTOR)
    await pair.at_air("DELETE FROM index_queue")
    await pair.at_air("UPDATE documents SET category = 'edited' WHERE content = 'changes'")
    await pair.at_air("DELETE FROM documents WHERE content = 'goes'")
    await pair.at_air("INSERT INTO documents (content) VALUES ('made and unmade')")
    await pair.at_air("DELETE FROM documents WHERE content = 'made and unmade'")
    async with pair.syncing():
        await pair.at_rest()
    rows = await pair.at_primary("SELECT content, category FROM documents ORDER BY content")
    assert [tuple(row) for row in rows] == [("changes", "edited"), ("made on air", "general"), ("stays", "general")]
    assert len(await pair.at_primary("SELECT FROM chunks")) == 1
    assert await pair.at_primary("SELECT FROM index_queue") == []
    assert len(await pair.at_primary("SELECT FROM receipts")) == 3


async def test_the_contracts_row_typed_by_hand(pair: Pair) -> None:
    """The plan's INSERT into write_queue: the document is here at once, at the primary soon, and marked."""
    async with pair.syncing():
        await pair.at_rest()
        await pair.at_air(
            """INSERT INTO write_queue (operation, table_name, data) VALUES ('INSERT','documents',
            '{"content": "typed offline", "category": "notes", "source": "psql"}')"""
        )
        await pair.at_air("DELETE FROM index_queue")
        await pair.at_air("SELECT pg_notify('aya_queue', '')")
        await pair.at_rest()
        rows = await pair.at_primary("SELECT id, content, category, source FROM documents")
        assert [tuple(row) for row in rows] == [(1, "typed offline", "notes", "psql")]
        assert [tuple(row) for row in await pair.at_air("SELECT synced, status FROM write_queue")] == [(True, "done")]
        await pair.at_primary("DELETE FROM documents")
        await pair.at_rest()
        assert await pair.at_air("SELECT FROM documents") == []


async def test_both_sides_change_one_document(pair: Pair) -> None:
    """The newer is the head on both sides, and the other is in conflicts, whole."""
    await pair.at_primary("INSERT INTO documents (content) VALUES ('first')")
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_air("UPDATE documents SET category = 'on air'")
    await pair.at_primary("UPDATE documents SET category = 'at the primary'")
    async with pair.syncing():
        await pair.at_rest()
    rows = await pair.at_air("SELECT category FROM documents")
    kept = await pair.at_primary("SELECT loser, document ->> 'category' AS category FROM conflicts")
    assert [tuple(row) for row in rows] == [("at the primary",)]
    assert [tuple(row) for row in kept] == [("sender", "on air")]


async def test_an_update_beats_a_deletion(pair: Pair) -> None:
    """Whichever side deleted it."""
    await pair.at_primary("INSERT INTO documents (content) VALUES ('a'), ('b')")
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_air("UPDATE documents SET category = 'kept' WHERE content = 'a'")
    await pair.at_primary("DELETE FROM documents WHERE content = 'a'")
    await pair.at_air("DELETE FROM documents WHERE content = 'b'")
    await pair.at_primary("UPDATE documents SET category = 'kept' WHERE content = 'b'")
    async with pair.syncing():
        await pair.at_rest()
    rows = await pair.at_air("SELECT content, category FROM documents ORDER BY content")
    assert [tuple(row) for row in rows] == [("a", "kept"), ("b", "kept")]
    assert len(await pair.at_primary("SELECT FROM conflicts")) == 2


async def test_air_follows_to_another_model(pair: Pair) -> None:
    """Everything is copied anew, with the other model's vectors; what waits here is sent when it has one of them."""
    bind = "SELECT aya_bind_model($1, 'm', 'r', $2, 'mean', true, '', '', 256)"
    await pair.at_primary(bind, "model-a", 768)
    await pair.at_primary("INSERT INTO documents (content) VALUES ('first')")
    await pair.at_primary(
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, content, $1 FROM documents", VECTOR
    )
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_air("INSERT INTO documents (content) VALUES ('waits')")
    await pair.at_air(CUT, VECTOR)
    await pair.at_air("DELETE FROM index_queue")
    await pair.at_primary("UPDATE chunks SET embedding = NULL")
    await pair.at_primary(bind, "model-b", 384)
    await pair.at_primary("UPDATE chunks SET embedding = $1", VECTOR[:384])
    async with pair.syncing():
        await pair.until("SELECT FROM embedding_model WHERE fingerprint = 'model-b'")
        await pair.until("SELECT FROM index_queue")
        # The indexer's part: its chunk gets a vector of the new model.
        await pair.at_air("UPDATE chunks SET embedding = $1 WHERE embedding IS NULL", VECTOR[:384])
        await pair.at_air("DELETE FROM index_queue")
        await pair.at_air("SELECT pg_notify('aya_queue', '')")
        await pair.at_rest()
    assert len(await pair.at_primary("SELECT FROM chunks WHERE vector_dims(embedding) = 384")) == 2
