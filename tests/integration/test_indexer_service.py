"""The indexer: documents typed by hand get their chunks and vectors, whatever happens in between."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace

import asyncpg
import pytest
from tests.conftest import Server
from tests.integration.conftest import Knowledge

from aya.backoff import Backoff
from aya.knowledge.indexing import prepare
from aya.knowledge.types import NewDocument
from aya.postgres.provision import INDEXER_ROLE
from aya_indexer.config import Config
from aya_indexer.loop import Indexer
from aya_indexer.store import opened

pytestmark = pytest.mark.database

QUICK = Backoff(first_seconds=0.05, cap_seconds=0.1)


@pytest.fixture
def config(knowledge: Knowledge, server: Server) -> Config:
    """An indexer of this test's database, entering with its own role and retrying quickly."""
    settings = server.settings(knowledge.settings.database, INDEXER_ROLE)
    return Config("alpha", settings, knowledge.embedder.url, poll_seconds=0.2, retry=QUICK, outage=QUICK)


@asynccontextmanager
async def running(config: Config) -> AsyncGenerator[None]:
    """Run an indexer until the block ends."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
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


async def execute(knowledge: Knowledge, statement: str, *arguments: object) -> None:
    """Type a statement, as a person does in psql."""
    async with knowledge.database.connection() as connection:
        await connection.execute(statement, *arguments)


EMPTY = "NOT EXISTS (SELECT FROM index_queue)"


async def test_a_document_typed_by_hand_becomes_searchable(knowledge: Knowledge, config: Config) -> None:
    """The contract's plain INSERT is chunked and embedded within seconds."""
    async with running(config):
        await execute(
            knowledge, "INSERT INTO documents (content, category) VALUES ('Penguins live in the south.', 'birds')"
        )
        await until(knowledge, EMPTY)
    hits = await knowledge.searcher.search("where do penguins live", limit=1)
    assert (hits[0].chunk_text, hits[0].category) == ("Penguins live in the south.", "birds")


async def test_what_was_typed_while_it_was_down_is_found_at_the_start(knowledge: Knowledge, config: Config) -> None:
    """The queue is the truth, the notification only a hint."""
    await execute(
        knowledge, "INSERT INTO documents (content) SELECT 'Note number ' || i FROM generate_series(1, 30) AS i"
    )
    async with running(config):
        await until(knowledge, EMPTY)
    async with knowledge.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunks WHERE embedding IS NOT NULL") == 30


async def test_an_update_by_hand_replaces_the_chunks(knowledge: Knowledge, config: Config) -> None:
    """A changed content gets new chunks; the old ones go."""
    async with running(config):
        await execute(knowledge, "INSERT INTO documents (content) VALUES ('first')")
        await until(knowledge, EMPTY)
        await execute(knowledge, "UPDATE documents SET content = 'second'")
        await until(knowledge, EMPTY)
    async with knowledge.database.connection() as connection:
        assert [row["chunk_text"] for row in await connection.fetch("SELECT chunk_text FROM chunks")] == ["second"]


async def test_a_chunk_typed_by_hand_with_its_vector_is_left_alone(knowledge: Knowledge, config: Config) -> None:
    """Whoever types a document with its chunk and vector has indexed it; nothing is added."""
    zeros = "[" + ",".join(["1"] + ["0"] * 383) + "]"
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('mine')")
    await execute(
        knowledge,
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, 'mine', $1::text::vector FROM documents",
        zeros,
    )
    async with running(config):
        await until(knowledge, EMPTY)
    async with knowledge.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunks") == 1


async def test_a_chunk_typed_without_a_vector_gets_one(knowledge: Knowledge, config: Config) -> None:
    """A NULL embedding is filled in, and its author's chunks stay the only ones."""
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('mine')")
    await execute(knowledge, "INSERT INTO chunks (document_id, chunk_text) SELECT id, 'a part of mine' FROM documents")
    async with running(config):
        await until(knowledge, "(SELECT count(*) = 1 AND bool_and(embedding IS NOT NULL) FROM chunks)")


async def test_a_content_that_changed_is_found_beside_chunks_typed_before(knowledge: Knowledge, config: Config) -> None:
    """Chunks typed by hand stay, but do not hide what the document says now."""
    zeros = "[" + ",".join(["1"] + ["0"] * 383) + "]"
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('mine')")
    await execute(
        knowledge,
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, 'mine', $1::text::vector FROM documents",
        zeros,
    )
    async with running(config):
        await until(knowledge, EMPTY)
        await execute(knowledge, "UPDATE documents SET content = 'The neck of the giraffe.'")
        await until(knowledge, EMPTY)
    async with knowledge.database.connection() as connection:
        texts = [row["chunk_text"] for row in await connection.fetch("SELECT chunk_text FROM chunks ORDER BY id")]
    assert texts == ["mine", "The neck of the giraffe."]


async def test_a_chunk_whose_text_is_changed_by_hand_gets_a_new_vector(knowledge: Knowledge, config: Config) -> None:
    """The vector of the former text never stays beside the new one."""
    await knowledge.documents.add(NewDocument("Penguins live in the south."))
    async with running(config):
        await execute(knowledge, "UPDATE chunks SET chunk_text = 'The lease of the flat ends in May.'")
        await until(knowledge, EMPTY)
    hit = (await knowledge.searcher.search("when does the lease end", mode="vector", limit=1))[0]
    assert hit.distance is not None
    assert hit.distance < 0.5


async def test_a_plain_text_file_is_not_read_as_markdown_by_the_indexer(knowledge: Knowledge, config: Config) -> None:
    """A sign that is a heading in Markdown is none in a .txt file, also when the indexer cuts it anew."""
    await knowledge.documents.add(NewDocument("# a comment\n\nvalue = 1", uri="/etc/x.txt", markdown=False))
    await execute(knowledge, "UPDATE documents SET content = content || ' '")
    async with running(config):
        await until(knowledge, EMPTY)
    async with knowledge.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunks WHERE heading IS NOT NULL") == 0


async def test_a_poison_document_is_reported_and_holds_nobody_up(knowledge: Knowledge, config: Config) -> None:
    """A hand-typed chunk over the model's window fails with its reason; the document after it is indexed."""
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('poison'), ('healthy')")
    await execute(
        knowledge,
        "INSERT INTO chunks (document_id, chunk_text) "
        "SELECT id, repeat('word ', 5000) FROM documents WHERE content = 'poison'",
    )
    async with running(config):
        await until(knowledge, "EXISTS (SELECT FROM index_queue WHERE attempts >= 5 AND error LIKE '%token%')")
        await until(knowledge, "EXISTS (SELECT FROM chunks WHERE chunk_text = 'healthy' AND embedding IS NOT NULL)")


async def test_an_empty_document_holds_nobody_up(knowledge: Knowledge, config: Config) -> None:
    """A blank content has no chunks, and that is all there is to do."""
    await execute(knowledge, "INSERT INTO documents (content) VALUES (''), (' '), ('healthy')")
    async with running(config):
        await until(knowledge, EMPTY)
    async with knowledge.database.connection() as connection:
        assert [row["chunk_text"] for row in await connection.fetch("SELECT chunk_text FROM chunks")] == ["healthy"]


async def test_a_document_that_ends_the_worker_comes_after_the_others(knowledge: Knowledge, config: Config) -> None:
    """The attempt is counted before it is made, so a crash is an attempt and gives the others their turn."""
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('deadly'), ('healthy')")
    await until(knowledge, "(SELECT bool_and(retry_at <= now()) FROM index_queue)")
    async with opened(config.database) as store:
        first, *_ = await store.due()
        await store.begin(first, 3600)
    async with running(config):
        await until(knowledge, "EXISTS (SELECT FROM chunks WHERE chunk_text = 'healthy')")
    async with knowledge.database.connection() as connection:
        assert await connection.fetchval("SELECT attempts FROM index_queue WHERE document_id = $1", first) == 1


async def test_chunks_of_a_content_that_is_no_more_are_not_stored(knowledge: Knowledge, config: Config) -> None:
    """A content that changed while it was embedded leaves nothing of the old one behind."""
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('old')")
    await until(knowledge, "(SELECT retry_at <= now() FROM index_queue)")
    identity = await knowledge.documents.identity()
    async with opened(config.database) as store, store.claimed((await store.due())[0]) as queued:
        assert queued is not None
        prepared = await prepare(knowledge.embedder, identity, queued.content, markdown=True)
        await execute(knowledge, "UPDATE documents SET content = 'new'")
        assert not await store.store_chunks(queued, prepared)
    async with knowledge.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunks") == 0
        assert await connection.fetchval("SELECT count(*) FROM index_queue") == 1


async def test_two_indexers_share_the_queue_without_doubling(knowledge: Knowledge, config: Config) -> None:
    """One worker at a time per document."""
    await execute(knowledge, "INSERT INTO documents (content) SELECT 'Text ' || i FROM generate_series(1, 40) AS i")
    async with running(config), running(config):
        await until(knowledge, EMPTY)
    async with knowledge.database.connection() as connection:
        assert await connection.fetchval("SELECT count(*) FROM chunks") == 40
        assert await connection.fetchval("SELECT count(DISTINCT document_id) FROM chunks") == 40


async def test_a_document_changed_while_it_is_embedded_is_embedded_again(knowledge: Knowledge, config: Config) -> None:
    """The ticket of the queue keeps a change from being lost, and stale chunks from being stored."""
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('old')")
    await until(knowledge, "(SELECT retry_at <= now() FROM index_queue)")
    async with opened(config.database) as store, store.claimed((await store.due())[0]) as queued:
        assert queued is not None
        await execute(knowledge, "UPDATE documents SET content = 'new'")
        await store.finish(queued)
    async with running(config):
        await until(knowledge, EMPTY)
    async with knowledge.database.connection() as connection:
        assert [row["chunk_text"] for row in await connection.fetch("SELECT chunk_text FROM chunks")] == ["new"]


async def test_a_claim_dies_with_its_connection(knowledge: Knowledge, config: Config) -> None:
    """A worker that is cut off holds nothing: another one takes the document."""
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('claimed')")
    await until(knowledge, "(SELECT retry_at <= now() FROM index_queue)")
    holder = await asyncpg.connect(config.database.dsn())
    await holder.fetchval("SELECT pg_advisory_lock(4154, id) FROM documents")
    with pytest.raises((asyncpg.AdminShutdownError, asyncpg.ConnectionDoesNotExistError)):
        await holder.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    async with running(config):
        await until(knowledge, EMPTY)


async def test_lost_connections_are_waited_out(knowledge: Knowledge, config: Config, server: Server) -> None:
    """The indexer survives the loss of its connection and goes on with the queue."""
    async with running(config):
        await until(knowledge, "EXISTS (SELECT FROM pg_stat_activity WHERE application_name = 'aya-indexer')")
        await server.run_as_superuser(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aya-indexer'"
        )
        await execute(knowledge, "INSERT INTO documents (content) VALUES ('after the loss')")
        await until(knowledge, EMPTY)


async def test_an_embedder_that_is_down_leaves_the_queue_whole(knowledge: Knowledge, config: Config) -> None:
    """An outage is nobody's poison: attempts stay 0, and the work is done when the embedder is back."""
    await execute(knowledge, "INSERT INTO documents (content) VALUES ('patience')")
    async with running(replace(config, embedder_url="http://127.0.0.1:9")):
        await until(knowledge, "(SELECT retry_at <= now() FROM index_queue)")
    async with knowledge.database.connection() as connection:
        assert await connection.fetchval("SELECT attempts FROM index_queue") == 0
    async with running(config):
        await until(knowledge, EMPTY)
