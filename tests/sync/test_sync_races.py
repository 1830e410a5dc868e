"""What happens between two steps: an answer that is lost or late, and what somebody has open on either side."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import Any

import asyncpg
import numpy as np
import pytest
from tests.sync.conftest import Pair
from tests.sync.test_sync_faults import filled, send, stepping, synced, values

from aya import outcome, queries
from aya.reach import Reached
from aya_syncd import pull, push
from aya_syncd.wire import passed_on

pytestmark = pytest.mark.database
VECTOR = np.arange(768, dtype=np.float32) / 768
LOCAL, PRIMARY = (queries.load("aya_syncd", name) for name in ("local.sql", "primary.sql"))
CUT = (
    "INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)"
    " SELECT id, $2, $1, content_sha256 FROM documents"
)


@asynccontextmanager
async def opened(dsn: str, statement: str) -> AsyncGenerator[asyncpg.Connection[Any]]:
    """Have somebody's transaction open, in which a statement was run; it is committed at the end of the block."""
    person = await asyncpg.connect(dsn)
    try:
        async with person.transaction():
            await person.execute(statement)
            yield person
    finally:
        await person.close()


async def test_a_typed_chunk_of_a_document_that_only_air_has(pair: Pair) -> None:
    """A failover lost both: the document is sent, and its chunk after it, on its own."""
    await filled(pair, "a")
    await pair.unseen_at_air("INSERT INTO documents (id, content, content_sha256) VALUES (5000, 'only here', 'x')")
    await pair.unseen_at_air("INSERT INTO chunks (id, document_id, chunk_text) VALUES (7000, 5000, 'typed')")
    async with stepping(pair) as (primary, local):
        await pull.pull(primary, local, compare_seconds=0)
        await send(primary, local)
        await pull.pull(primary, local)
        await pull.pull(primary, local, compare_seconds=0)
    await synced(pair)
    assert "typed" in await values(await pair.at_primary("SELECT chunk_text FROM chunks"))
    assert "typed" in await values(await pair.at_air("SELECT chunk_text FROM chunks"))


async def test_what_a_failover_lost_leaves_no_chunk(pair: Pair) -> None:
    """The number of one that was cut is given to another: the text it was cut from is here, and it is not needed."""
    await filled(pair, "a")
    await pair.unseen_at_air(
        "INSERT INTO chunks (id, document_id, chunk_text, content_sha256)"
        " SELECT 2, id, 'of the lost commit', content_sha256 FROM documents"
    )
    await pair.at_primary("SELECT setval('chunks_id_seq', 1)")
    await pair.at_primary(CUT, VECTOR, "cut anew")
    await pair.at_primary("DELETE FROM index_queue")
    await synced(pair)
    assert await values(await pair.at_air("SELECT chunk_text FROM chunks ORDER BY id")) == ["a", "cut anew"]


async def test_an_answer_is_noted_while_the_primary_is_looked_at(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """AIR's version lost. The look began before that was noted and is merged after it: the loser's chunks go, too."""
    await filled(pair, "a")
    async with stepping(pair) as (primary, local):
        await pull.pull(primary, local, compare_seconds=0)
    await pair.at_air("UPDATE documents SET content = 'air text', updated_at = '2001-01-01'")
    await pair.at_air("DELETE FROM chunks")
    await pair.at_air(CUT, VECTOR, "cut on air")
    await pair.at_air("DELETE FROM index_queue")
    await pair.at_primary("UPDATE documents SET category = 'there'")
    execute, noting, go_on = Reached.execute, asyncio.Event(), asyncio.Event()

    async def slowly(self: Reached, query: str, *arguments: object, **options: Any) -> str:  # noqa: ANN401 - handed on
        done = await execute(self, query, *arguments, **options)
        if query == LOCAL["tidy"]:
            noting.set()
            await go_on.wait()
        return done

    async with stepping(pair) as ends, stepping(pair) as others:
        monkeypatch.setattr(Reached, "execute", slowly)
        sending = asyncio.create_task(send(*ends))
        await noting.wait()
        looking = asyncio.create_task(pull.pull(*others))
        await asyncio.sleep(0.5)
        go_on.set()
        assert (await sending).conflicts == 1
        await looking
        monkeypatch.undo()
    await synced(pair)
    assert await values(await pair.at_air("SELECT chunk_text FROM chunks")) == ["a"]


@pytest.mark.parametrize("first", ["UPDATE", "INSERT"])
async def test_an_earlier_session_is_about_to_commit(pair: Pair, first: str) -> None:
    """What it was sent is not taken for unsent: the deletion that follows is made on top of it."""
    await filled(pair, "a")
    change, gone = {
        "UPDATE": ("UPDATE documents SET category = 'first'", "a"),
        "INSERT": ("INSERT INTO documents (content) VALUES ('new')", "new"),
    }[first]
    await pair.at_air(change)
    await pair.at_air("DELETE FROM index_queue")
    async with stepping(pair) as (primary, local), stepping(pair) as ends:
        await local.execute(LOCAL["take"], 200, 60.0)
        await primary.execute("BEGIN")
        await primary.execute(PRIMARY["receive"])
        async with outcome.transaction(local, isolation="repeatable_read", readonly=True):
            await passed_on(local, LOCAL["outgoing"], 200, target=primary, table="incoming")
            await passed_on(local, LOCAL["outgoing_chunks"], 200, target=primary, table="incoming_chunks")
        await primary.fetch(PRIMARY["accept"], "air")
        await pair.at_air("DELETE FROM documents WHERE content = $1", gone)
        with pytest.raises(asyncpg.LockNotAvailableError):
            await send(*ends)
        await primary.execute("COMMIT")
    await synced(pair)
    assert gone not in await values(await pair.at_primary("SELECT content FROM documents"))
    assert await pair.at_primary("SELECT FROM conflicts") == []


async def test_an_answer_that_was_lost_is_the_same_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A rejected document holds back its chunk the second time, too."""
    await filled(pair, "known")
    await pair.at_primary("ALTER TABLE documents ADD CONSTRAINT no_poison CHECK (category <> 'poison')")
    await pair.at_air("INSERT INTO documents (content, category) VALUES ('p', 'poison')")
    await pair.at_air("INSERT INTO chunks (document_id, chunk_text) SELECT id, 'of it' FROM documents WHERE id < 0")
    await pair.at_air("DELETE FROM index_queue")

    async def lost(*_: object) -> push.Pushed:
        raise ConnectionError

    async with stepping(pair) as ends:
        monkeypatch.setattr(push, "_settle", lost)
        with pytest.raises(ConnectionError):
            await send(*ends)
        monkeypatch.undo()
        await send(*ends)
    rows = await pair.at_air("SELECT unit, status FROM write_queue ORDER BY id")
    assert [tuple(row) for row in rows] == [("document", "rejected"), ("chunk", "waiting")]
    await pair.at_primary("ALTER TABLE documents DROP CONSTRAINT no_poison")
    await pair.at_air("UPDATE write_queue SET status = 'waiting', op_uid = aya_new_uid() WHERE status = 'rejected'")
    await synced(pair)
    assert "of it" in await values(await pair.at_primary("SELECT chunk_text FROM chunks"))


async def test_whatever_the_server_says_of_one_the_others_go_on(pair: Pair) -> None:
    """An owner's trigger refuses with an error of its own kind."""
    await filled(pair, "a")
    await pair.at_primary(
        "CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN IF NEW.category = 'poison' THEN"
        " RAISE EXCEPTION 'not here' USING ERRCODE = 'insufficient_privilege'; END IF; RETURN NEW; END $$"
    )
    await pair.at_primary("CREATE TRIGGER refuse BEFORE INSERT ON documents FOR EACH ROW EXECUTE FUNCTION refuse()")
    await pair.at_air("INSERT INTO documents (content, category) VALUES ('p', 'poison'), ('good', 'general')")
    await pair.at_air("DELETE FROM index_queue")
    async with stepping(pair) as ends:
        sent = await send(*ends)
    assert (sent.done, sent.rejected) == (1, 1)
    assert "good" in await values(await pair.at_primary("SELECT content FROM documents"))


async def test_nobody_on_air_is_waited_for(pair: Pair) -> None:
    """Somebody changes what is being answered: neither lane waits for that."""
    await filled(pair, "a", "b")
    await pair.at_air("UPDATE documents SET category = 'x' WHERE content = 'a'")
    async with stepping(pair) as (primary, local), stepping(pair) as others:
        await local.execute(LOCAL["take"], 200, 60.0)
        async with opened(pair.air.dsn(), "UPDATE documents SET title = 'open' WHERE content = 'a'"):
            assert (await asyncio.wait_for(send(primary, local), 5)).sent == 0
            await pair.at_primary("UPDATE documents SET title = 'there' WHERE content = 'b'")
            assert (await asyncio.wait_for(pull.pull(*others), 5)).rows == 1
    await synced(pair)
    rows = await pair.at_primary("SELECT category, title FROM documents ORDER BY content")
    assert [tuple(row) for row in rows] == [("x", "open"), ("general", "there")]


async def test_a_new_chunk_of_a_document_that_is_being_deleted_here(pair: Pair) -> None:
    """It waits, and the rest arrives."""
    await filled(pair, "a", "b")
    async with stepping(pair) as ends:
        await pull.pull(*ends)
        async with opened(pair.air.dsn(), "DELETE FROM documents WHERE content = 'a'"):
            await pair.at_primary(
                "INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)"
                " SELECT id, 'more', $1, content_sha256 FROM documents WHERE content = 'a'", VECTOR,
            )  # fmt: skip
            await pair.at_primary("DELETE FROM index_queue")
            await pair.at_primary("UPDATE documents SET title = 'there' WHERE content = 'b'")
            assert (await asyncio.wait_for(pull.pull(*ends), 5)).rows == 1
    await synced(pair)


async def test_a_number_that_is_written_otherwise(pair: Pair) -> None:
    """1 and 1.0 are equal to jsonb and not the same text: what is compared is what is merged."""
    await filled(pair, "a")
    for text in ("1", "1.0"):
        await pair.at_primary("UPDATE documents SET metadata = $1::text::jsonb", f'{{"v": {text}}}')
        await synced(pair)
    async with stepping(pair) as ends:
        await pull.pull(*ends, compare_seconds=0)
    assert await pair.at_air("SELECT FROM sync_parked") == []
    assert await values(await pair.at_air("SELECT metadata::text FROM documents")) == ['{"v": 1.0}']


async def test_a_chunk_typed_for_a_document_that_is_gone_before_it_has_its_number(pair: Pair) -> None:
    """It was deleted at the primary before AIR fetched it: the chunk is kept whole, and nothing waits for ever."""
    await filled(pair, "a")
    await pair.at_air("INSERT INTO documents (content) VALUES ('new')")
    await pair.at_air(f"{CUT} WHERE content = 'new'", VECTOR, "cut")
    await pair.at_air("DELETE FROM index_queue")
    async with stepping(pair) as ends:
        await send(*ends)
    await pair.at_air(
        "INSERT INTO chunks (document_id, chunk_text) SELECT id, 'typed' FROM documents WHERE content = 'new'"
    )
    await pair.at_primary("DELETE FROM documents WHERE content = 'new'")
    await synced(pair)
    assert await values(await pair.at_air("SELECT content FROM documents")) == ["a"]
    assert await values(await pair.at_primary("SELECT chunk_text FROM conflict_chunks")) == ["typed"]
