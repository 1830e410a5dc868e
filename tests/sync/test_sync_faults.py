"""What goes wrong between AIR and the primary, step by step: each fault, and that nothing is lost or doubled by it."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import numpy as np
import pytest
from tests.conftest import Server
from tests.sync.conftest import Pair

from aya import db, queries
from aya.postgres.cluster import SUPERUSER
from aya.postgres.provision import superuser_settings
from aya.reach import Reached
from aya_syncd import pull, push
from aya_syncd.config import Config
from aya_syncd.reconcile import reconcile

pytestmark = pytest.mark.database
VECTOR = np.arange(768, dtype=np.float32) / 768


@asynccontextmanager
async def stepping(pair: Pair) -> AsyncGenerator[tuple[Reached, Reached]]:
    """Lend the daemon's two connections, to take its steps one by one: (primary, AIR)."""
    config: Config = pair.config()
    assert config.primary is not None
    primary = await db.connect(config.primary, application_name="test")
    local = await db.connect(config.local, application_name="test")
    try:
        await pull.prepare(local)
        await pull.pass_vectors(primary)
        yield primary, local
    finally:
        primary.terminate()
        local.terminate()


@asynccontextmanager
async def as_replica(server: Server, pair: Pair) -> AsyncGenerator[asyncpg.Connection[Any]]:
    """Lend a connection to the primary for which no trigger of the usual kind runs."""
    settings = superuser_settings(server.cluster, server.secrets[SUPERUSER], pair.primary.database)
    person = await asyncpg.connect(settings.dsn())
    try:
        await person.execute("SET session_replication_role = replica")
        yield person
    finally:
        await person.close()


async def send(primary: Reached, local: Reached) -> push.Pushed:
    """Send what waits."""
    return await push.push(primary, local, node="air")


async def filled(pair: Pair, *contents: str, typed: bool = False) -> None:
    """Have documents with a chunk each on both sides; typed: by hand."""
    for content in contents:
        await pair.at_primary("INSERT INTO documents (content) VALUES ($1)", content)
    sha = "NULL" if typed else "content_sha256"
    await pair.at_primary(
        f"INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256) SELECT id, content, $1, {sha}"  # noqa: S608
        " FROM documents", VECTOR,
    )  # fmt: skip
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()


async def synced(pair: Pair) -> None:
    """Have the daemon bring both to rest."""
    await pair.at_air("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()


async def values(rows: list[asyncpg.Record]) -> list[Any]:
    """Return the first column."""
    return [row[0] for row in rows]


async def test_a_poisonous_operation_holds_up_nobody_else(pair: Pair) -> None:
    """It keeps its reason, and holds back only what was built on it."""
    await filled(pair, "known")
    await pair.at_primary("ALTER TABLE documents ADD CONSTRAINT no_poison CHECK (category <> 'poison')")
    for name in ("before", "poison", "after"):
        await pair.at_air(
            "INSERT INTO documents (content, category) VALUES ($1, CASE $1 WHEN 'poison' THEN 'poison' END)", name
        )
    await pair.at_air("INSERT INTO chunks (document_id, chunk_text) SELECT id, 'of it' FROM documents WHERE id = -2")
    await pair.at_air("DELETE FROM index_queue")
    async with pair.syncing():
        async with asyncio.timeout(20):
            while len(await pair.at_primary("SELECT FROM documents")) < 3:  # noqa: ASYNC110 - in a database
                await asyncio.sleep(0.02)
        async with asyncio.timeout(20):
            while not await pair.at_air("SELECT FROM write_queue WHERE status = 'rejected'"):  # noqa: ASYNC110 - in a database
                await asyncio.sleep(0.02)
        await pair.at_air("UPDATE documents SET title = 'later' WHERE content = 'poison'")
        await pair.at_air("INSERT INTO documents (content) VALUES ('last')")
        await pair.at_air("DELETE FROM index_queue")
        async with asyncio.timeout(20):
            while not await pair.at_primary("SELECT FROM documents WHERE content = 'last'"):  # noqa: ASYNC110 - in a database
                await asyncio.sleep(0.02)
    rows = await pair.at_air("SELECT unit, status, error FROM write_queue WHERE status <> 'done' ORDER BY id")
    assert [(row["unit"], row["status"]) for row in rows] == [
        ("document", "rejected"), ("chunk", "waiting"), ("document", "waiting"),
    ]  # fmt: skip
    assert "no_poison" in rows[0]["error"]
    assert await pair.at_air("SELECT FROM documents WHERE title = 'later'")


async def test_the_same_operation_twice_has_one_effect(pair: Pair) -> None:
    """What was sent and is sent again returns what it came to the first time."""
    await filled(pair, "known")
    await pair.at_air("INSERT INTO documents (content) VALUES ('once')")
    await pair.at_air("UPDATE documents SET category = 'b' WHERE content = 'known'")
    await pair.at_air("DELETE FROM index_queue")
    async with stepping(pair) as (primary, local):
        assert (await send(primary, local)).done == 2
        await pair.at_primary("UPDATE documents SET title = 'since'")
        await pair.at_air("UPDATE write_queue SET status = 'sending'")
        assert (await send(primary, local)).done == 2
    assert len(await pair.at_primary("SELECT FROM documents WHERE title = 'since'")) == 2
    assert len(await pair.at_primary("SELECT FROM receipts")) == 2
    assert await pair.at_primary("SELECT FROM conflicts") == []
    await synced(pair)


async def test_both_change_a_document_with_its_chunks(pair: Pair) -> None:
    """The loser is kept with its vectors, and the winner's chunks are the only ones on both sides."""
    await filled(pair, "first")
    for at, word, when in ((pair.at_air, "air", "1 hour"), (pair.at_primary, "primary", "2 hours")):
        await at(f"UPDATE documents SET content = '{word}', updated_at = now() + interval '{when}'")  # noqa: S608 - ours
        await at("DELETE FROM chunks")
        await at(
            "INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)"
            " SELECT id, content, $1, content_sha256 FROM documents", VECTOR,
        )  # fmt: skip
        await at("DELETE FROM index_queue")
    await synced(pair)
    assert await values(await pair.at_air("SELECT chunk_text FROM chunks")) == ["primary"]
    kept = await pair.at_primary(
        "SELECT c.document ->> 'content' AS content, k.chunk_text, k.embedding IS NOT NULL AS has_vector"
        " FROM conflicts AS c INNER JOIN conflict_chunks AS k ON k.conflict_id = c.id"
    )
    assert [tuple(row) for row in kept] == [("air", "air", True)]


async def test_a_clock_an_hour_ahead_loses_nothing(pair: Pair) -> None:
    """Whose clock is ahead wins; what loses is in conflicts."""
    await filled(pair, "first")
    await pair.at_air("UPDATE documents SET title = 'on air', updated_at = now() + interval '1 hour'")
    await pair.at_primary("UPDATE documents SET title = 'at the primary'")
    await synced(pair)
    assert await values(await pair.at_primary("SELECT title FROM documents")) == ["on air"]
    assert await values(await pair.at_primary("SELECT document ->> 'title' FROM conflicts")) == ["at the primary"]


@pytest.mark.parametrize("typed", [False, True], ids=["cut", "typed"])
async def test_deleted_on_air_changed_at_the_primary(pair: Pair, *, typed: bool) -> None:
    """The change is kept, and it is on AIR again with the chunks that the primary has."""
    await filled(pair, "a", typed=typed)
    await pair.at_air("DELETE FROM documents")
    await pair.at_primary("UPDATE documents SET category = 'kept'")
    await synced(pair)
    assert await values(await pair.at_air("SELECT category FROM documents")) == ["kept"]
    assert await values(await pair.at_primary("SELECT loser FROM conflicts")) == ["sender"]
    assert typed or len(await pair.at_air("SELECT FROM chunks")) == 1


@pytest.mark.parametrize("typed", [False, True], ids=["cut", "typed"])
async def test_deleted_at_the_primary_changed_on_air(pair: Pair, *, typed: bool) -> None:
    """The change is kept."""
    await filled(pair, "a", typed=typed)
    await pair.at_primary("DELETE FROM documents")
    await pair.at_air("UPDATE documents SET category = 'kept'")
    await synced(pair)
    assert await values(await pair.at_primary("SELECT category FROM documents")) == ["kept"]
    assert await values(await pair.at_primary("SELECT loser FROM conflicts")) == ["here"]


async def test_a_chunk_typed_at_the_primary_saves_its_document(pair: Pair) -> None:
    """Who deleted the document on AIR has not seen it."""
    await filled(pair, "a")
    await pair.at_air("DELETE FROM documents")
    await pair.at_primary(
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, 'unseen', $1 FROM documents", VECTOR
    )
    await synced(pair)
    assert await pair.at_air("SELECT FROM chunks WHERE chunk_text = 'unseen'")


@pytest.mark.parametrize("by_hand", [False, True], ids=["captured", "queued by hand"])
async def test_a_document_is_deleted_with_the_chunks_that_were_typed(pair: Pair, *, by_hand: bool) -> None:
    """No conflict: AIR had seen all of it."""
    await filled(pair, "a", typed=True)
    await pair.at_air("UPDATE documents SET category = 'first changed'")
    if by_hand:
        await pair.at_air(
            "INSERT INTO write_queue (operation, table_name, data)"
            " SELECT 'DELETE', 'documents', json_build_object('id', id) FROM documents"
        )
    else:
        await pair.at_air("DELETE FROM documents")
    await synced(pair)
    assert await pair.at_primary("SELECT FROM documents") == []
    assert await pair.at_primary("SELECT FROM conflicts") == []


async def test_a_chunk_typed_on_air_outlives_its_document_in_conflicts(pair: Pair) -> None:
    """Its document was deleted at the primary meanwhile: it is kept whole, and gone on both sides."""
    await filled(pair, "a")
    await pair.at_air(
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, 'typed', $1 FROM documents", VECTOR
    )
    await pair.at_primary("DELETE FROM documents")
    async with stepping(pair) as (primary, local):
        await pull.pull(primary, local)
    assert await pair.at_air("SELECT FROM chunks WHERE chunk_text = 'typed'"), "not before it is sent"
    await synced(pair)
    kept = await pair.at_primary("SELECT chunk_text, embedding IS NOT NULL FROM conflict_chunks")
    assert [tuple(row) for row in kept] == [("typed", True)]


async def test_a_change_while_its_earlier_version_is_being_sent(pair: Pair) -> None:
    """It is an operation of its own, on top of the first."""
    await filled(pair, "a", "b", "c")
    await pair.at_air("UPDATE documents SET category = 'first'")
    await pair.at_air("INSERT INTO documents (content) VALUES ('d')")
    await pair.at_air("DELETE FROM index_queue")
    await pair.at_air("UPDATE write_queue SET status = 'sending'")
    await pair.at_air("UPDATE documents SET category = 'second' WHERE content IN ('a', 'd')")
    await pair.at_air("DELETE FROM documents WHERE content = 'b'")
    await synced(pair)
    rows = await pair.at_primary("SELECT content, category FROM documents ORDER BY content")
    assert [tuple(row) for row in rows] == [("a", "second"), ("c", "first"), ("d", "second")]
    assert await pair.at_primary("SELECT FROM conflicts") == []


@pytest.mark.parametrize("content", ["a", "new"])
async def test_a_change_between_the_answer_and_the_next_pull(pair: Pair, content: str) -> None:
    """It is made on top of what the primary has now."""
    await filled(pair, "a")
    await pair.at_air("INSERT INTO documents (content) VALUES ('new')")
    await pair.at_air("DELETE FROM index_queue")
    for title in ("one", "two", "three"):
        await pair.at_air("UPDATE documents SET title = $1 WHERE content = 'a'", title)
    async with stepping(pair) as (primary, local):
        await send(primary, local)
        await pair.at_air("UPDATE documents SET category = 'after' WHERE content = $1", content)
        await pull.pull(primary, local)
    await synced(pair)
    rows = await pair.at_primary("SELECT category FROM documents WHERE content = $1", content)
    assert await values(rows) == ["after"]
    assert await pair.at_primary("SELECT FROM conflicts") == []


@pytest.mark.parametrize("unit", ["document", "chunk"])
async def test_a_change_on_top_of_what_lost(pair: Pair, unit: str) -> None:
    """The revision of what lost may be the winner's by chance; who writes on top of it has not seen the winner."""
    await filled(pair, "a", typed=True)
    table = f"{unit}s"
    await pair.at_air(f"UPDATE {table} SET metadata = '\"on air\"'")  # noqa: S608 - ours
    await pair.at_primary(f"UPDATE {table} SET metadata = '\"at the primary\"'")  # noqa: S608 - ours
    async with stepping(pair) as (primary, local):
        assert (await send(primary, local)).conflicts == 1
        await pair.at_air(f"UPDATE {table} SET metadata = '\"on air, again\"'")  # noqa: S608 - ours
    await synced(pair)
    heads = await values(await pair.at_primary(f"SELECT metadata FROM {table}"))  # noqa: S608 - ours
    kept = "document -> 'metadata' FROM conflicts" if unit == "document" else "metadata FROM conflict_chunks"
    assert {"on air, again", "at the primary"} <= {*heads, *await values(await pair.at_primary(f"SELECT {kept}"))}


async def test_a_change_under_way_on_air_is_not_written_over(pair: Pair) -> None:
    """Somebody edits a document in a transaction that stays open while the primary's change of it arrives."""
    await filled(pair, "a", "b")
    person = await asyncpg.connect(pair.air.dsn())
    try:
        async with stepping(pair) as (primary, local), person.transaction():
            await person.execute("UPDATE documents SET title = 'on air' WHERE content = 'a'")
            await pair.at_primary("UPDATE documents SET category = 'changed'")
            await asyncio.wait_for(pull.pull(primary, local), 5)
            rows = await pair.at_air("SELECT category FROM documents ORDER BY content")
            assert await values(rows) == ["general", "changed"]
    finally:
        await person.close()
    await synced(pair)
    heads = await values(await pair.at_primary("SELECT title FROM documents WHERE content = 'a'"))
    kept = await values(await pair.at_primary("SELECT document ->> 'title' FROM conflicts"))
    assert "on air" in heads + kept


async def test_a_transaction_open_on_air_holds_up_nobody(pair: Pair) -> None:
    """What it adds to waits for it; everything else is sent."""
    await filled(pair, "a")
    await pair.at_air("UPDATE documents SET category = 'b'")
    person = await asyncpg.connect(pair.air.dsn())
    try:
        async with stepping(pair) as (primary, local), person.transaction():
            await person.execute("UPDATE documents SET title = 'on air'")
            await pair.at_air("INSERT INTO documents (content) VALUES ('b')")
            await pair.at_air("DELETE FROM index_queue")
            assert (await asyncio.wait_for(send(primary, local), 5)).done == 1
    finally:
        await person.close()
    await synced(pair)


async def test_a_transaction_open_at_the_primary_holds_up_nobody(pair: Pair) -> None:
    """An operation on a row that somebody has locked there is sent again later."""
    await filled(pair, "a")
    person = await asyncpg.connect(pair.primary.dsn())
    try:
        async with stepping(pair) as (primary, local), person.transaction():
            await person.execute("UPDATE documents SET title = 'there'")
            await pair.at_air("UPDATE documents SET category = 'b'")
            await pair.at_air("INSERT INTO documents (content) VALUES ('b')")
            await pair.at_air("DELETE FROM index_queue")
            assert (await asyncio.wait_for(send(primary, local), 10)).done == 1
    finally:
        await person.close()
    await synced(pair)


async def test_a_log_that_does_not_go_back_far_enough(pair: Pair) -> None:
    """Everything is copied anew; what waits here stays, is sent, and conflicts are found as ever."""
    await filled(pair, "a", "b", "c")
    await pair.at_air("UPDATE documents SET category = 'on air' WHERE content IN ('a', 'b')")
    await pair.at_air("INSERT INTO documents (content) VALUES ('new')")
    await pair.at_primary("DELETE FROM documents WHERE content = 'c'")
    await pair.at_primary("UPDATE documents SET title = 'there' WHERE content = 'b'")
    assert (await pair.at_primary("SELECT aya_shorten_change_log(0, 0)"))[0][0] > 0
    async with stepping(pair) as (primary, local):
        before = await pull.cursor(local)
        await pull.pull(primary, local)
        assert (await pull.cursor(local)).snapshot != before.snapshot
    rows = await pair.at_air("SELECT content, category FROM documents ORDER BY content")
    assert [tuple(row) for row in rows] == [("a", "on air"), ("b", "on air"), ("new", "general")]
    await synced(pair)
    assert len(await pair.at_primary("SELECT FROM conflicts")) == 1


async def test_a_log_shortened_between_two_looks(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was judged before the transaction is judged again in it."""
    await filled(pair, "a")
    await pair.at_primary("UPDATE documents SET title = 'there'")
    fetchrow, look = Reached.fetchrow, queries.load("aya_syncd", "primary.sql")["look"]

    async def and_shortened(self: Reached, query: str, *arguments: object) -> asyncpg.Record | None:
        row = await fetchrow(self, query, *arguments)
        if query == look:
            await pair.at_primary("SELECT aya_shorten_change_log(0, 0)")
        return row

    async with stepping(pair) as (primary, local):
        monkeypatch.setattr(Reached, "fetchrow", and_shortened)
        with pytest.raises(pull.Refused):
            await pull.pull(primary, local, compare_seconds=0)
        monkeypatch.undo()
    await synced(pair)


@pytest.mark.parametrize(
    "statement", ["TRUNCATE documents CASCADE", "TRUNCATE chunks", "TRUNCATE chunks, documents CASCADE"]
)
async def test_truncate_on_air(pair: Pair, statement: str) -> None:
    """It deletes at the primary what AIR had, and nothing else."""
    await filled(pair, "a", "b")
    await pair.at_air(
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, 'typed', $1 FROM documents", VECTOR
    )
    await pair.at_air("UPDATE documents SET category = 'edited before' WHERE content = 'a'")
    await synced(pair)
    await pair.at_primary("INSERT INTO documents (content) VALUES ('unseen')")
    await pair.at_primary("DELETE FROM index_queue")
    await pair.at_air("UPDATE documents SET category = 'edited' WHERE content = 'a'")
    await pair.at_air(statement)
    await synced(pair)
    assert await pair.at_primary("SELECT FROM chunks") == []
    left = ["unseen"] if "documents" in statement else ["a", "b", "unseen"]
    assert await values(await pair.at_primary("SELECT content FROM documents ORDER BY content")) == left
    assert await pair.at_primary("SELECT FROM conflicts") == []


@pytest.mark.parametrize(
    "statement", ["TRUNCATE documents CASCADE", "ALTER TABLE chunks ALTER COLUMN embedding TYPE vector(768)"]
)
async def test_a_table_that_is_emptied_or_rewritten_while_it_is_read(
    pair: Pair, statement: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To an older snapshot it would be empty, and what was deleted would come back from AIR."""
    await filled(pair, "a", "b")
    compare = reconcile

    async def slowly(primary: Reached, local: Reached) -> None:
        person = await asyncpg.connect(pair.primary.dsn())
        try:
            await person.execute("SET lock_timeout = '300ms'")
            with pytest.raises(asyncpg.LockNotAvailableError):
                await person.execute(statement)
        finally:
            await person.close()
        await compare(primary, local)

    monkeypatch.setattr(pull, "reconcile", slowly)
    async with stepping(pair) as (primary, local):
        await pull.pull(primary, local, compare_seconds=0)
    monkeypatch.setattr(pull, "reconcile", compare)
    await pair.at_primary(statement)
    await synced(pair)
    assert len(await pair.at_primary("SELECT FROM documents")) == (0 if "TRUNCATE" in statement else 2)
    assert await pair.at_air("SELECT FROM write_queue") == []


async def test_what_is_answered_while_the_primary_is_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was read is older than the answer, and nothing goes back to it, or is taken for deleted."""
    await filled(pair, "a", "b")
    await pair.at_primary("UPDATE documents SET category = 'there'")
    await pair.at_air(
        "UPDATE documents SET title = 'on air', updated_at = now() + interval '1 hour' WHERE content = 'a'"
    )
    await pair.at_air("INSERT INTO documents (content) VALUES ('new')")
    await pair.at_air("DELETE FROM index_queue")
    fetch, changed = Reached.fetch, queries.load("aya_syncd", "primary.sql")["changed"]
    async with stepping(pair) as (primary, local), stepping(pair) as other:

        async def and_answered(self: Reached, query: str, *arguments: object) -> list[asyncpg.Record]:
            rows = await fetch(self, query, *arguments)
            if query == changed:
                assert (await send(*other)).done == 2
            return rows

        monkeypatch.setattr(Reached, "fetch", and_answered)
        await pull.pull(primary, local, compare_seconds=0)
        monkeypatch.undo()
    rows = await pair.at_air("SELECT content, title, category FROM documents ORDER BY content")
    assert [tuple(row) for row in rows] == [
        ("a", "on air", "general"), ("b", None, "there"), ("new", None, "general"),
    ]  # fmt: skip
    await synced(pair)


async def test_chunks_of_an_earlier_text_are_not_taken(pair: Pair) -> None:
    """AIR's text has won, and its chunks are still those of the other: the primary makes its own."""
    await filled(pair, "a")
    cut = (
        "INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)"
        " SELECT id, content, $1, content_sha256 FROM documents"
    )
    await pair.at_primary("UPDATE documents SET content = 'theirs'")
    await pair.at_primary("DELETE FROM chunks")
    await pair.at_primary(cut, VECTOR)
    await pair.at_primary("DELETE FROM index_queue")
    await pair.at_air("UPDATE documents SET title = 'on air', updated_at = now() + interval '1 hour'")
    await synced(pair)
    assert await values(await pair.at_air("SELECT chunk_text FROM chunks")) == ["theirs"], "until they are made anew"
    await pair.at_air("UPDATE chunks SET heading = 'changed'")
    await pair.at_primary("DELETE FROM chunks")
    await pair.at_primary(cut, VECTOR)
    await pair.at_primary("DELETE FROM index_queue")
    await synced(pair)
    assert await values(await pair.at_primary("SELECT chunk_text FROM chunks")) == ["a"]


async def test_what_was_held_is_taken_up_by_a_later_change(pair: Pair) -> None:
    """Somebody has the row locked at the primary, and AIR changes it once more: it is sent once, when it can be."""
    await filled(pair, "a")
    await pair.at_air("UPDATE documents SET category = 'first'")
    await pair.at_air("UPDATE write_queue SET status = 'sending'")
    await pair.at_air("UPDATE documents SET category = 'second'")
    person = await asyncpg.connect(pair.primary.dsn())
    try:
        async with stepping(pair) as (primary, local):
            async with person.transaction():
                await person.execute("SELECT FROM documents FOR UPDATE")
                assert (await send(primary, local)).done == 0
            assert (await send(primary, local)).done == 1
    finally:
        await person.close()
    assert await values(await pair.at_primary("SELECT category FROM documents")) == ["second"]
    await synced(pair)
    assert await pair.at_primary("SELECT FROM conflicts") == []


async def test_numbers_that_are_given_again(pair: Pair) -> None:
    """TRUNCATE … RESTART IDENTITY at the primary, while AIR has changes of what had the same numbers."""
    await filled(pair, "a", "b")
    await pair.at_air("UPDATE documents SET title = 'on air'")
    await pair.at_primary("TRUNCATE documents RESTART IDENTITY CASCADE")
    await pair.at_primary("INSERT INTO documents (content) VALUES ('c'), ('d')")
    await pair.at_primary("DELETE FROM index_queue")
    async with stepping(pair) as (primary, local):
        await pull.pull(primary, local)
    await synced(pair)
    rows = await pair.at_primary("SELECT content FROM documents ORDER BY content")
    assert await values(rows) == ["a", "b", "c", "d"]


async def test_nobody_is_notified(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Everything arrives all the same, by looking."""

    async def deaf(*_: object) -> None:
        return None

    monkeypatch.setattr(Reached, "add_listener", deaf)
    async with pair.syncing():
        await pair.at_rest()
        await pair.at_primary("INSERT INTO documents (content) VALUES ('there')")
        await pair.at_air("INSERT INTO documents (content) VALUES ('here')")
        await pair.at_air("DELETE FROM index_queue")
        await pair.at_rest()
        assert len(await pair.at_air("SELECT FROM documents")) == 2


async def test_who_writes_as_a_replica_is_seen(server: Server, pair: Pair) -> None:
    """No trigger of the usual kind runs, and yet the change is fetched, and wins or loses like any other."""
    await filled(pair, "a")
    async with as_replica(server, pair) as person:
        await person.execute("UPDATE documents SET title = 'as a replica'")
        await person.execute("INSERT INTO documents (content) VALUES ('inserted')")
    await pair.at_air("UPDATE documents SET title = 'on air', updated_at = now() + interval '1 hour'")
    await synced(pair)
    assert await values(await pair.at_primary("SELECT document ->> 'title' FROM conflicts")) == ["as a replica"]
    assert len(await pair.at_air("SELECT FROM documents")) == 2


async def test_a_chunk_whose_document_was_deleted_as_a_replica(server: Server, pair: Pair) -> None:
    """The primary is not consistent any more, and everything else is fetched all the same."""
    await filled(pair, "a")
    async with as_replica(server, pair) as person:
        await person.execute("DELETE FROM documents")
        await person.execute("UPDATE chunks SET metadata = '{}', chunk_index = 7")
    await pair.at_primary("INSERT INTO documents (content) VALUES ('b')")
    async with stepping(pair) as (primary, local):
        await pull.pull(primary, local)
    assert await values(await pair.at_air("SELECT content FROM documents")) == ["b"]
    assert await values(await pair.at_air("SELECT chunk_index FROM chunks")) == [7]


async def test_what_people_set_beside_the_text(pair: Pair) -> None:
    """Times, positions and places of rows that AIR changes are the primary's afterwards, not the other way round."""
    await filled(pair, "a", "b", typed=True)
    await pair.at_air("UPDATE documents SET created_at = '2001-01-01' WHERE content = 'a'")
    await pair.at_air("UPDATE documents SET updated_at = '2002-01-01' WHERE content = 'b'")
    await pair.at_air(
        "UPDATE chunks SET document_id = (SELECT id FROM documents WHERE content = 'b'), created_at = '2003-01-01',"
        " char_start = 1, char_end = 2 WHERE chunk_text = 'a'"
    )
    await synced(pair)
    rows = await pair.at_primary(
        "SELECT created_at::date::text, updated_at::date::text FROM documents ORDER BY content"
    )
    assert rows[0][0] == "2001-01-01"
    assert rows[1][1] == "2002-01-01"
    moved = await pair.at_primary(
        "SELECT d.content, c.created_at::date::text, c.char_start, c.char_end FROM chunks AS c"
        " INNER JOIN documents AS d ON c.document_id = d.id WHERE c.chunk_text = 'a'"
    )
    assert [tuple(row) for row in moved] == [("b", "2003-01-01", 1, 2)]


async def test_a_chunk_that_was_cut_is_taken_over_by_hand(pair: Pair) -> None:
    """Its author's text and vector are at the primary, and no indexer replaces them there."""
    await filled(pair, "a")
    await pair.at_air("UPDATE chunks SET chunk_text = 'by hand'")
    await pair.at_air("UPDATE chunks SET embedding = $1", VECTOR)
    await synced(pair)
    rows = await pair.at_primary("SELECT chunk_text, content_sha256 FROM chunks")
    assert [tuple(row) for row in rows] == [("by hand", None)]
    assert await pair.at_primary("SELECT FROM conflicts") == []


async def test_a_vector_index_that_was_left_out_is_built(pair: Pair) -> None:
    """The daemon was killed after the copy and before its index was there."""
    await filled(pair, "a")
    await pair.at_air("DROP INDEX idx_chunks_embedding")
    async with pair.syncing():
        await pair.at_rest()
    assert await pair.at_air("SELECT FROM pg_indexes WHERE indexname = 'idx_chunks_embedding'")


async def test_air_has_another_model(pair: Pair) -> None:
    """It is bound to the primary's, and what waits here is embedded anew before it is sent."""
    await filled(pair, "a", "b")
    bind = "SELECT aya_bind_model($1, 'm', 'r', $2, 'mean', true, '', '', 512)"
    await pair.at_air("UPDATE documents SET content = 'a, edited' WHERE content = 'a'")
    await pair.at_air(
        "UPDATE chunks SET content_sha256 = d.content_sha256 FROM documents AS d WHERE document_id = d.id"
    )
    await pair.at_air("INSERT INTO documents (content) VALUES ('new')")
    await pair.at_air(
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, 'typed', $1 FROM documents WHERE id < 0",
        VECTOR,
    )
    await pair.at_air("DELETE FROM index_queue")
    await pair.at_primary("UPDATE chunks SET embedding = NULL")
    await pair.at_primary(bind, "theirs", 3)
    await pair.at_primary("UPDATE chunks SET embedding = '[1,2,3]'")
    await pair.at_primary("DELETE FROM index_queue")
    async with stepping(pair) as (primary, local):
        await pull.pull(primary, local)
    queued = await pair.at_air(
        "SELECT d.content FROM index_queue AS q INNER JOIN documents AS d ON q.document_id = d.id ORDER BY 1"
    )
    assert await values(queued) == ["a, edited", "new"]
    await synced(pair)
    unindexed = await pair.at_primary(
        "SELECT chunk_text FROM chunks AS c WHERE embedding IS NULL"
        " AND NOT EXISTS (SELECT FROM index_queue AS q WHERE q.document_id = c.document_id)"
    )
    assert await values(unindexed) == []


async def test_a_first_copy_leaves_the_tables_as_they_were(server: Server, pair: Pair) -> None:
    """Filled without triggers and keys, which are back afterwards; one chunk has lost its document at the primary."""
    shape = (
        "SELECT tgrelid::regclass::text, tgname, tgenabled::text, tgisinternal FROM pg_trigger WHERE NOT tgisinternal"
        " UNION ALL SELECT conrelid::regclass::text, pg_get_constraintdef(oid), convalidated::text, true"
        " FROM pg_constraint WHERE conrelid IN ('documents'::regclass, 'chunks'::regclass)"
        " UNION ALL SELECT tablename, indexdef, '', true FROM pg_indexes WHERE schemaname = 'public' ORDER BY 1, 2"
    )
    before = [tuple(row) for row in await pair.at_air(shape)]
    await pair.at_primary("INSERT INTO documents (content) VALUES ('a'), ('b')")
    await pair.at_primary("INSERT INTO chunks (document_id, chunk_text) SELECT id, content FROM documents")
    async with as_replica(server, pair) as person:
        await person.execute("DELETE FROM documents WHERE content = 'b'")
    async with stepping(pair) as (primary, local):
        await pull.pull(primary, local)
    assert [tuple(row) for row in await pair.at_air(shape)] == before
    rows = await pair.at_air("SELECT chunk_text, document_id IS NULL FROM chunks ORDER BY 1")
    assert [tuple(row) for row in rows] == [("a", False), ("b", True)]
    await pair.at_air("INSERT INTO documents (content) VALUES ('caught')")
    assert len(await pair.at_air("SELECT FROM write_queue")) == 1
