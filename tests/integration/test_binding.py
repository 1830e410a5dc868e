"""A database and its model: bound once, never mixed."""

from __future__ import annotations

import asyncio
from dataclasses import replace

import pytest
from tests.conftest import Server
from tests.integration.conftest import Knowledge

from aya import db
from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.errors import DatabaseError, DatabaseRefused, ModelMismatch, SchemaMismatch
from aya.identity import ModelIdentity
from aya.knowledge.binding import bind, bound_model
from aya.knowledge.documents import Documents
from aya.knowledge.types import NewDocument
from aya.postgres.provision import INDEXER_ROLE, MCP_ROLE

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
        expected = f"hnsw (((embedding)::halfvec({model.dimension})) halfvec_cosine_ops)"
        assert expected in str(await ask(database, definition))
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


async def rebind(settings: DatabaseSettings, identity: ModelIdentity, source: str | None = None) -> None:
    """Bind a database that holds no vectors to another model."""
    await bind(settings, identity, source)
    assert await bound(settings) == identity


async def test_nothing_is_added_with_another_model(knowledge: Knowledge) -> None:
    """An embedder that differs from the database is found out before anything is embedded."""
    await rebind(knowledge.settings, BASE)
    with pytest.raises(ModelMismatch, match=r"bge-base .* but the embedder runs"):
        await Documents(knowledge.database, knowledge.embedder).identity()
    with pytest.raises(ModelMismatch):
        await Documents(knowledge.database, knowledge.embedder).add(NewDocument("words"))
    assert await ask(knowledge.settings, "SELECT count(*) FROM documents") == 0


async def test_a_process_that_runs_on_does_not_mix_either(knowledge: Knowledge) -> None:
    """A server that asked before the database was bound anew may not go on with what it knew."""
    same_size = replace(await knowledge.documents.identity(), fingerprint="c" * 16, model="another")
    await rebind(knowledge.settings, same_size)
    with pytest.raises(ModelMismatch, match="another"):
        await knowledge.documents.add(NewDocument("words"))
    assert await ask(knowledge.settings, "SELECT count(*) FROM documents") == 0
    await rebind(knowledge.settings, await knowledge.embedder.identity())
    assert (await knowledge.documents.add(NewDocument("words"))).outcome == "indexed"


async def test_a_database_without_a_model_takes_no_documents(knowledge: Knowledge) -> None:
    """Migrated but not bound: the next command is said."""
    await ask(knowledge.settings, "DELETE FROM embedding_model")
    with pytest.raises(SchemaMismatch, match="not bound to an embedding model"):
        await Documents(knowledge.database, knowledge.embedder).identity()


async def test_the_source_is_kept_beside_the_model(database: DatabaseSettings) -> None:
    """Binding the same model again says where it is to be had; saying nothing forgets nothing."""
    for source, kept in ((None, None), ("minilm", "minilm"), (None, "minilm"), ("/models/mini", "/models/mini")):
        await bind(database, MINI, source)
        assert await ask(database, "SELECT source FROM embedding_model") == kept
