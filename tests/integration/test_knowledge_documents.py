"""Documents in, changed and out, on real PostgreSQL with real vectors."""

from __future__ import annotations

import asyncio
from random import Random
from typing import Any

import numpy as np
import pytest
from tests.integration.conftest import Knowledge

from aya.chunking import Chunk
from aya.embedder_client import EmbedderClient
from aya.errors import DocumentError, EmbedderUnavailable
from aya.knowledge.documents import Documents
from aya.knowledge.indexing import Prepared, prepare
from aya.knowledge.types import Changes, Filters, NewDocument
from aya.knowledge.writing import hold_model, lock_chunks, replace_chunks

pytestmark = pytest.mark.database

BREAD = "# Sourdough\n\nFeed the starter twice a day.\n\n## Baking\n\nBake at 230 degrees for forty minutes.\n"


async def rows(knowledge: Knowledge, query: str, *arguments: object) -> list[dict[str, Any]]:
    """Return what a query answers."""
    async with knowledge.database.connection() as connection:
        return [dict(row) for row in await connection.fetch(query, *arguments)]


async def test_a_document_and_its_chunks_arrive_together(knowledge: Knowledge) -> None:
    """Adding stores the text, its chunks with vectors and positions, and leaves nothing for the indexer."""
    added = await knowledge.documents.add(NewDocument(BREAD, category="kitchen", metadata={"tags": ["bread"]}))
    assert added.outcome == "indexed"
    chunks = await rows(
        knowledge, "SELECT * FROM chunks WHERE document_id = $1 ORDER BY chunk_index", added.document_id
    )
    assert tuple(chunk["id"] for chunk in chunks) == added.chunk_ids
    for chunk in chunks:
        assert BREAD[chunk["char_start"] : chunk["char_end"]] == chunk["chunk_text"]
        assert np.linalg.norm(chunk["embedding"].to_numpy()) == pytest.approx(1.0, abs=1e-5)
    assert await rows(knowledge, "SELECT * FROM index_queue") == []


async def test_a_vector_is_what_the_embedder_makes_of_the_chunk(knowledge: Knowledge) -> None:
    """The stored vector belongs to its own text."""
    await knowledge.documents.add(NewDocument(BREAD))
    identity = await knowledge.embedder.identity()
    for chunk in await rows(knowledge, "SELECT chunk_text, embedding FROM chunks"):
        made = await knowledge.embedder.embed([chunk["chunk_text"]], prompt="document", expect=identity.fingerprint)
        assert float(chunk["embedding"].to_numpy() @ made[0]) > 0.99999


async def test_the_same_content_twice_is_one_document(knowledge: Knowledge) -> None:
    """A second add of equal content names the first document."""
    first = await knowledge.documents.add(NewDocument(BREAD))
    second = await knowledge.documents.add(NewDocument(BREAD, category="other"))
    assert (second.outcome, second.document_id, second.chunk_ids) == ("duplicate", first.document_id, first.chunk_ids)


async def test_adding_the_same_at_once_makes_one_document(knowledge: Knowledge) -> None:
    """Eight concurrent adds of one content end in one document."""
    added = await asyncio.gather(*(knowledge.documents.add(NewDocument(BREAD)) for _ in range(8)))
    assert len({each.document_id for each in added}) == 1
    assert [each.outcome for each in added].count("indexed") == 1


async def test_a_file_that_changed_replaces_what_it_was(knowledge: Knowledge) -> None:
    """A known place gets the new content under its old id; an unchanged one is left alone."""
    first = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/bread.md"))
    again = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/bread.md"))
    changed = await knowledge.documents.add(NewDocument(BREAD + "\nMore salt.\n", uri="/notes/bread.md"))
    assert [first.outcome, again.outcome, changed.outcome] == ["indexed", "unchanged", "updated"]
    assert first.document_id == again.document_id == changed.document_id
    document = await knowledge.documents.get(first.document_id)
    assert document.content.endswith("More salt.\n")
    assert document.rev == 2
    assert document.chunk_count == len(changed.chunk_ids)


async def test_a_file_that_becomes_another_documents_twin_is_one_document(knowledge: Knowledge) -> None:
    """Two files with one content are one document, also when the second becomes it later."""
    kept = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/a.md"))
    await knowledge.documents.add(NewDocument("Something else.", uri="/notes/b.md"))
    twin = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/b.md"))
    again = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/b.md"))
    assert (twin.outcome, twin.document_id) == ("duplicate", kept.document_id)
    assert (again.outcome, again.document_id) == ("unchanged", kept.document_id)
    assert len(await knowledge.documents.newest(Filters(), limit=10)) == 1


async def test_a_file_that_shares_its_document_gets_one_of_its_own_when_it_changes(knowledge: Knowledge) -> None:
    """Of two equal files one changes: what the other says stays in the knowledge base."""
    shared = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/a.md"))
    await knowledge.documents.add(NewDocument(BREAD, uri="/notes/b.md"))
    changed = await knowledge.documents.add(NewDocument("Rye only.", uri="/notes/a.md"))
    assert changed.outcome == "indexed"
    assert changed.document_id != shared.document_id
    assert (await knowledge.documents.get(shared.document_id)).content == BREAD
    assert (await knowledge.documents.get(shared.document_id)).uri == "/notes/b.md"


async def test_an_edit_made_here_outlives_the_file_it_came_from(knowledge: Knowledge) -> None:
    """Adding the unchanged file again keeps the edit; a changed file becomes a document of its own beside it."""
    added = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/bread.md"))
    await knowledge.documents.edit(added.document_id, Changes(content="Mine.", category="kitchen"))
    again = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/bread.md"))
    kept = await knowledge.documents.get(added.document_id)
    assert (again.outcome, kept.content, kept.category) == ("unchanged", "Mine.", "kitchen")
    changed = await knowledge.documents.add(NewDocument("Rye only.", uri="/notes/bread.md"))
    assert (changed.outcome, changed.document_id != added.document_id) == ("indexed", True)
    assert (await knowledge.documents.get(added.document_id)).content == "Mine."


async def test_labels_change_only_when_they_are_given(knowledge: Knowledge) -> None:
    """An unchanged file keeps its labels unless new ones were named."""
    added = await knowledge.documents.add(NewDocument(BREAD, category="kitchen", uri="/notes/bread.md"))
    default = await knowledge.documents.add(NewDocument(BREAD, uri="/notes/bread.md"))
    named = await knowledge.documents.add(NewDocument(BREAD, category="baking", uri="/notes/bread.md", relabel=True))
    assert [default.outcome, named.outcome] == ["unchanged", "updated"]
    assert (await knowledge.documents.get(added.document_id)).category == "baking"


async def test_a_title_that_a_file_lost_is_gone(knowledge: Knowledge) -> None:
    """What a file says now replaces what it said, its title included, and then it is settled."""
    await knowledge.documents.add(NewDocument(BREAD, title="Bread", uri="/notes/bread.md"))
    changed = await knowledge.documents.add(NewDocument("Rye.", uri="/notes/bread.md"))
    again = await knowledge.documents.add(NewDocument("Rye.", uri="/notes/bread.md"))
    assert (changed.outcome, again.outcome) == ("updated", "unchanged")
    assert (await knowledge.documents.get(changed.document_id)).title is None


async def test_files_that_change_at_once_lose_nothing(knowledge: Knowledge) -> None:
    """Equal files that change, swap and return at the same time: what each says is kept afterwards, every time."""
    random = Random(20)  # noqa: S311 - a seed, no secret
    names = ["/notes/a.md", "/notes/b.md", "/notes/c.md"]
    texts = ["Feed the starter.", "Oil the chain.", "Sow the tomatoes."]
    for _ in range(12):
        saying = {name: random.choice(texts) for name in names}
        await asyncio.gather(*(knowledge.documents.add(NewDocument(text, uri=name)) for name, text in saying.items()))
        kept = await rows(knowledge, "SELECT content, places FROM documents")
        told = {place: row["content"] for row in kept for place in row["places"]}
        assert told == saying
        assert len({row["content"] for row in kept}) == len(kept)


async def test_edits_adds_and_the_indexer_never_wait_in_a_circle(knowledge: Knowledge) -> None:
    """Writers of one document at the same time end one after the other, without a deadlock."""
    added = await knowledge.documents.add(NewDocument("version 0", uri="/notes/busy.md"))

    async def edit(number: int) -> None:
        await knowledge.documents.edit(added.document_id, Changes(content=f"edited {number}"))

    async def index_as_the_indexer_does(number: int) -> None:
        identity = await knowledge.documents.identity()
        prepared = await prepare(knowledge.embedder, identity, f"edited {number}", markdown=True)
        async with knowledge.database.transaction() as connection:
            await hold_model(connection, identity)
            await lock_chunks(connection, added.document_id)
            await replace_chunks(connection, added.document_id, prepared)
            await connection.execute("DELETE FROM index_queue WHERE document_id = $1", added.document_id)

    await asyncio.gather(*(work(number) for number in range(12) for work in (edit, index_as_the_indexer_does)))
    assert (await knowledge.documents.get(added.document_id)).rev >= 12


async def test_a_document_of_many_chunks_is_stored_in_parts(knowledge: Knowledge) -> None:
    """More chunks than go into one statement end in order, each with its own vector."""
    identity = await knowledge.documents.identity()
    texts = [f"part {number}" for number in range(1201)]
    chunks = [Chunk(number, text, number, number + 1, None, 2) for number, text in enumerate(texts)]
    vectors = np.eye(384, dtype=np.float32)[np.arange(len(texts)) % 384]
    prepared = Prepared(identity, b"x" * 32, chunks, vectors)
    async with knowledge.database.transaction() as connection:
        document_id = await connection.fetchval("INSERT INTO documents (content) VALUES ('big') RETURNING id")
        ids = await replace_chunks(connection, document_id, prepared)
    stored = await rows(knowledge, "SELECT id, chunk_text, embedding FROM chunks ORDER BY chunk_index")
    assert [row["chunk_text"] for row in stored] == texts
    assert tuple(row["id"] for row in stored) == ids
    assert all(row["embedding"].to_list()[number % 384] == 1 for number, row in enumerate(stored))


@pytest.mark.parametrize(
    ("document", "words"),
    [
        (NewDocument(" \n\t"), "empty"),
        (NewDocument("a\x00b"), "NUL byte"),
        (NewDocument("a\ud800b"), "lone surrogate"),
        (NewDocument("a", category="c" * 51), "51 characters"),
        (NewDocument("a", source="s" * 101), "101 characters"),
        (NewDocument("a", metadata={"n": float("nan")}), "no JSON"),
        (NewDocument("a", metadata={"n": "\x00"}), "NUL byte"),
    ],
)
async def test_what_cannot_be_kept_is_refused_in_words(knowledge: Knowledge, document: NewDocument, words: str) -> None:
    """A bad document is refused with its reason, and nothing is written."""
    with pytest.raises(DocumentError, match=words):
        await knowledge.documents.add(document)
    assert await rows(knowledge, "SELECT * FROM documents") == []


async def test_an_embedder_that_is_down_loses_nothing(knowledge: Knowledge) -> None:
    """Without an embedder an add fails in words, and no half of a document stays."""
    async with EmbedderClient("http://127.0.0.1:9") as nobody:
        with pytest.raises(EmbedderUnavailable, match="cannot be reached"):
            await Documents(knowledge.database, nobody).add(NewDocument(BREAD))
    assert await rows(knowledge, "SELECT * FROM documents") == []


async def test_an_edit_moves_the_revision_the_date_and_the_chunks(knowledge: Knowledge) -> None:
    """New content, new chunks; labels alone leave the chunks; updated_at moves."""
    added = await knowledge.documents.add(NewDocument(BREAD))
    before = await knowledge.documents.get(added.document_id)
    labelled = await knowledge.documents.edit(added.document_id, Changes(category="kitchen"))
    edited = await knowledge.documents.edit(added.document_id, Changes(content="Rye needs less water."), expected_rev=2)
    assert (labelled.rev, labelled.category, labelled.chunk_count) == (2, "kitchen", before.chunk_count)
    assert (edited.rev, edited.content, edited.indexed) == (3, "Rye needs less water.", True)
    assert edited.updated_at > before.updated_at
    texts = await rows(knowledge, "SELECT chunk_text FROM chunks")
    assert texts == [{"chunk_text": "Rye needs less water."}]


async def test_an_edit_never_overwrites_somebody_elses(knowledge: Knowledge) -> None:
    """A revision that moved on is refused."""
    added = await knowledge.documents.add(NewDocument(BREAD))
    await knowledge.documents.edit(added.document_id, Changes(title="Bread"))
    with pytest.raises(DocumentError, match="changed meanwhile"):
        await knowledge.documents.edit(added.document_id, Changes(title="Rye"), expected_rev=1)


async def test_a_removed_document_takes_its_chunks_along(knowledge: Knowledge) -> None:
    """Removing says which were there; the chunks go with them."""
    added = await knowledge.documents.add(NewDocument(BREAD))
    assert await knowledge.documents.remove([added.document_id, 4711]) == [added.document_id]
    assert await rows(knowledge, "SELECT * FROM chunks") == []
    with pytest.raises(DocumentError, match="no document"):
        await knowledge.documents.get(added.document_id)


async def test_a_list_shows_the_newest_that_pass_the_filters(knowledge: Knowledge) -> None:
    """Category, source and metadata restrict a list."""
    await knowledge.documents.add(NewDocument("one", category="a", source="x", metadata={"p": 1}))
    await knowledge.documents.add(NewDocument("two", category="b", source="x", metadata={"p": 2}))
    every = await knowledge.documents.newest(Filters(source="x"), limit=10)
    assert [document.content for document in every] == ["two", "one"]
    chosen = await knowledge.documents.newest(Filters(metadata={"p": 1}), limit=10)
    assert [document.content for document in chosen] == ["one"]
