"""A database and its model: bound once, never mixed, made anew on request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import pytest
from tests.conftest import Server
from tests.integration.conftest import Knowledge

from aya import db
from aya.db import Database
from aya.errors import DatabaseError, DatabaseRefused, ModelMismatch, SchemaMismatch
from aya.identity import ModelIdentity
from aya.knowledge import reembedding
from aya.knowledge.binding import bind, bound_model
from aya.knowledge.documents import Documents
from aya.knowledge.types import NewDocument
from aya.postgres.provision import INDEXER_ROLE, MCP_ROLE
from aya.settings import DatabaseSettings
from aya_indexer.config import Config
from aya_indexer.loop import Indexer

pytestmark = pytest.mark.database

MINI = ModelIdentity("a" * 16, "minilm", "r1", 384, "mean", True, "", "", 256)  # noqa: FBT003
BASE = ModelIdentity("b" * 16, "bge-base", "r2", 768, "cls", True, "query: ", "", 512)  # noqa: FBT003


async def ask(settings: DatabaseSettings, query: str, *arguments: object) -> object:
    """Return the first value that a query answers."""
    async with Database(settings, application_name="aya-test") as opened, opened.connection() as connection:
        return await connection.fetchval(query, *arguments)


async def bound(settings: DatabaseSettings) -> ModelIdentity | None:
    """Return the model that a database is bound to."""
    connection = await db.connect(settings, application_name="aya-test")
    try:
        return await bound_model(connection)
    finally:
        await connection.close()


DIMENSION = "SELECT atttypmod FROM pg_attribute WHERE attrelid = 'chunks'::regclass AND attname = 'embedding'"
ADD_VECTOR = (
    "INSERT INTO chunks (chunk_text, embedding) VALUES ('x', (SELECT array_agg(1) FROM generate_series(1, {}))::vector)"
)


async def test_a_fresh_database_is_bound_to_nothing(database: DatabaseSettings) -> None:
    """Its vectors have the production model's dimension until it is."""
    assert await bound(database) is None
    assert await ask(database, DIMENSION) == 768


async def test_the_vectors_dimension_follows_the_model_while_there_are_none(database: DatabaseSettings) -> None:
    """768, 384 and back, with the index in place and in use."""
    for model in (MINI, MINI, BASE, MINI):
        await bind(database, model)
        assert await bound(database) == model
        assert await ask(database, DIMENSION) == model.dimension
        definition = "SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_chunks_embedding'"
        assert "hnsw (embedding vector_cosine_ops)" in str(await ask(database, definition))
    await ask(database, ADD_VECTOR.format(384))
    with pytest.raises(DatabaseError, match="expected 384 dimensions, not 768"):
        await ask(database, ADD_VECTOR.format(768))


async def test_vectors_of_another_model_are_not_joined(database: DatabaseSettings) -> None:
    """The refusal names both models and the way out; the same model is welcome again."""
    await bind(database, MINI)
    await ask(database, ADD_VECTOR.format(384))
    await bind(database, replace(MINI, model="the same under another name"))
    with pytest.raises(ModelMismatch) as caught:
        await bind(database, BASE)
    for words in ("minilm (r1, 384 dimensions, mean pooling)", "bge-base (r2, 768 dimensions, cls pooling)"):
        assert words in caught.value.message
    assert "aya reembed" in (caught.value.hint or "")
    assert await bound(database) == MINI


async def test_two_at_once_bind_one_model(database: DatabaseSettings) -> None:
    """Two `aya up` at once are no error."""
    await asyncio.gather(*(bind(database, MINI) for _ in range(5)))
    assert await bound(database) == MINI


@pytest.mark.parametrize("role", [MCP_ROLE, INDEXER_ROLE])
async def test_only_the_owner_binds(database: DatabaseSettings, server: Server, role: str) -> None:
    """A service cannot rebind the database it works on."""
    with pytest.raises(DatabaseRefused):
        await bind(server.settings(database.database, role), MINI)
    assert await bound(database) is None


async def test_nothing_is_added_with_another_model(knowledge: Knowledge) -> None:
    """An embedder that differs from the database is found out before anything is embedded."""
    await reembedding.start(knowledge.settings, BASE)
    with pytest.raises(ModelMismatch, match=r"bge-base .* but the embedder runs"):
        await Documents(knowledge.database, knowledge.embedder).identity()
    with pytest.raises(ModelMismatch):
        await Documents(knowledge.database, knowledge.embedder).add(NewDocument("words"))
    assert await ask(knowledge.settings, "SELECT count(*) FROM documents") == 0


async def test_a_process_that_runs_on_does_not_mix_either(knowledge: Knowledge) -> None:
    """A server that asked before the database was bound anew may not go on with what it knew."""
    same_size = replace(await knowledge.documents.identity(), fingerprint="c" * 16, model="another")
    await reembedding.start(knowledge.settings, same_size)
    with pytest.raises(ModelMismatch, match="another"):
        await knowledge.documents.add(NewDocument("words"))
    assert await ask(knowledge.settings, "SELECT count(*) FROM documents") == 0
    await reembedding.start(knowledge.settings, await knowledge.embedder.identity())
    assert (await knowledge.documents.add(NewDocument("words"))).outcome == "indexed"


async def test_a_database_without_a_model_takes_no_documents(knowledge: Knowledge) -> None:
    """Migrated but not bound: the next command is said."""
    await ask(knowledge.settings, "DELETE FROM embedding_model")
    with pytest.raises(SchemaMismatch, match="not bound to an embedding model"):
        await Documents(knowledge.database, knowledge.embedder).identity()


@asynccontextmanager
async def indexing(knowledge: Knowledge, server: Server) -> AsyncGenerator[None]:
    """Run the indexer until the block ends."""
    settings = server.settings(knowledge.settings.database, INDEXER_ROLE)
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        config = Config("alpha", settings, knowledge.embedder.url, poll_seconds=0.2)
        group.create_task(Indexer(config).run(stop))
        try:
            yield
        finally:
            stop.set()


async def until(knowledge: Knowledge, condition: str) -> None:
    """Wait until an SQL condition holds; the suite's timeout ends a vain wait."""
    while True:
        async with knowledge.database.connection() as connection:
            if await connection.fetchval(f"SELECT {condition}"):
                return
        await asyncio.sleep(0.05)


NOTES = {
    "The kettle is descaled with vinegar every month.": "how do I clean the kettle",
    "Penguins breed on the Antarctic coast.": "where do penguins live",
    "The lease of the flat ends in September.": "when do we have to move out",
}


async def test_starting_anew_drops_the_vectors_and_queues_the_documents(knowledge: Knowledge) -> None:
    """In one step: no vector of the old model is left, documents and their words stay, and every one of them waits."""
    for text in NOTES:
        await knowledge.documents.add(NewDocument(text))
    await ask(
        knowledge.settings, "INSERT INTO chunks (document_id, chunk_text) SELECT id, 'by hand' FROM documents LIMIT 1"
    )
    assert await reembedding.start(knowledge.settings, BASE) == len(NOTES)
    assert await ask(knowledge.settings, "SELECT count(*) FROM documents") == len(NOTES)
    assert (await knowledge.searcher.search("vinegar", mode="text"))[0].document_content in NOTES
    assert await ask(knowledge.settings, "SELECT count(*) FROM chunks WHERE embedding IS NOT NULL") == 0
    assert await ask(knowledge.settings, "SELECT count(*) FROM index_queue") == len(NOTES)
    assert await ask(knowledge.settings, DIMENSION) == BASE.dimension


async def test_a_start_that_fails_changes_nothing(knowledge: Knowledge, server: Server) -> None:
    """A role that may not bind loses no vector."""
    await knowledge.documents.add(NewDocument("words"))
    with pytest.raises(DatabaseRefused):
        await reembedding.start(server.settings(knowledge.settings.database, MCP_ROLE), BASE)
    assert await ask(knowledge.settings, "SELECT count(*) FROM chunks WHERE embedding IS NOT NULL") == 1


async def test_everything_is_found_again_afterwards(knowledge: Knowledge, server: Server) -> None:
    """The indexer makes all vectors anew, those of chunks typed by hand too, and is not restarted for it."""
    for text in NOTES:
        await knowledge.documents.add(NewDocument(text))
    await ask(
        knowledge.settings,
        "INSERT INTO chunks (document_id, chunk_text) SELECT id, 'A samovar is a kettle too.' FROM documents LIMIT 1",
    )
    identity = await knowledge.embedder.identity()
    async with indexing(knowledge, server):
        await until(knowledge, "NOT EXISTS (SELECT FROM chunks WHERE embedding IS NULL)")
        await reembedding.start(knowledge.settings, BASE)
        await reembedding.start(knowledge.settings, identity)
        await until(knowledge, "NOT EXISTS (SELECT FROM index_queue)")
    assert await ask(knowledge.settings, "SELECT count(*) FROM chunks WHERE embedding IS NOT NULL") == len(NOTES) + 1
    for text, question in NOTES.items():
        hits = await knowledge.searcher.search(question, mode="vector", limit=4)
        assert text in [hit.chunk_text for hit in hits[:2]]
