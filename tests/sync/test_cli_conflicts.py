"""`aya conflicts` as a person types it: conflicts that the daemon made, shown, taken either way, and kept both."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from structlog.testing import capture_logs
from tests.conftest import free_port
from tests.sync.conftest import Pair
from tests.sync.typing_verbs import environment, typed

from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.errors import DocumentError
from aya.knowledge.binding import bind
from aya.knowledge.conflicts import Conflicts
from aya.knowledge.documents import Documents

pytestmark = [pytest.mark.database, pytest.mark.timeout(120)]

Aya = Callable[..., Awaitable[Result]]
WHOLE = """SELECT NOT EXISTS (SELECT FROM documents AS d WHERE NOT EXISTS (
               SELECT FROM chunks AS c WHERE c.document_id = d.id AND c.content_sha256 = d.content_sha256
               AND c.embedding IS NOT NULL)) AND NOT EXISTS (SELECT FROM index_queue) AS whole"""


@pytest.fixture
async def aya(pair: Pair, embedder_url: str, tmp_path: Path) -> AsyncIterator[Aya]:
    """The command line at the primary, whose base is bound to the real embedder's model."""
    async with EmbedderClient(embedder_url) as embedder:
        await bind(pair.primary, await embedder.identity())
    env = environment(pair.primary, EMBEDDING_URL=embedder_url)

    async def run(*arguments: str, expect: int = 0) -> Result:
        done = await typed(tmp_path, env, *arguments)
        assert done.exit_code == expect, done.output
        return done

    # What the daemon logs would come between what the verbs print: here they share a process.
    with capture_logs():
        yield run


async def told(aya: Aya, *arguments: str) -> dict[str, Any]:
    """Run a verb with --json and return its document."""
    document: dict[str, Any] = json.loads((await aya(*arguments, "--json")).stdout)
    return document


async def differ(pair: Pair, at_air: str, at_primary: str) -> None:
    """Have one document, `first`, be changed on both sides while they are apart; the primary's change is the later."""
    await pair.at_primary("INSERT INTO documents (content, title) VALUES ('first', 'A note')")
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_air(at_air)
    await pair.at_air("DELETE FROM index_queue")
    await pair.at_primary(at_primary)
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()


async def contents_differ(pair: Pair) -> None:
    """The sender's version lost: its text, its labels and its title are other ones."""
    await differ(
        pair,
        """UPDATE documents SET content = 'on air', category = 'trip', source = NULL, title = NULL,
           metadata = '{"by": "air"}'""",
        "UPDATE documents SET content = 'at home', source = 'desk'",
    )


async def test_both_versions_are_listed_and_shown(pair: Pair, aya: Aya) -> None:
    """Who lost and why, labels side by side, texts as a diff; and as documents."""
    assert "No open conflicts" in (await aya("conflicts")).stderr
    await contents_differ(pair)
    listed = (await aya("conflicts")).stdout
    assert "sender (air)" in listed
    assert "the one here is newer" in listed
    shown = (await aya("conflicts", "show", "1")).stdout
    assert "-at home\n+on air\n" in shown
    (row,) = [line.split() for line in shown.splitlines() if line.startswith("category")]
    assert row == ["category", "general", "trip"]
    found = (await told(aya, "conflicts"))["conflicts"][0]
    assert (found["loser"], found["here"]["content"], found["sender"]["content"]) == ("sender", "at home", "on air")
    assert found["sender"]["metadata"] == {"by": "air"}
    assert (await told(aya, "conflicts", "show", "1"))["row_id"] == 1


async def test_the_loser_is_taken_as_an_edit_with_its_vectors(pair: Pair, aya: Aya) -> None:
    """All of it is the head on both nodes, nothing waits for the indexer, and the same again changes nothing."""
    await contents_differ(pair)
    done = await aya("conflicts", "take", "1", "sender", "--yes")
    assert "document 1, revision " in done.stderr
    assert "document 1 has the version of air (revision " in done.stdout
    (head,) = await pair.at_primary("SELECT content, category, source, title, metadata, rev FROM documents")
    assert tuple(head)[:5] == ("on air", "trip", None, None, {"by": "air"})
    assert (await pair.at_primary(WHOLE))[0]["whole"]
    (kept,) = await pair.at_primary("SELECT resolved_at, resolution FROM conflicts")
    assert (kept["resolved_at"] is not None, kept["resolution"]) == (True, "sender")
    async with pair.syncing():
        await pair.at_rest()
    assert "resolved like that before" in (await aya("conflicts", "take", "1", "sender", "--yes")).stdout
    assert (await pair.at_primary("SELECT rev FROM documents"))[0]["rev"] == head["rev"]
    assert "resolved before: sender" in (await aya("conflicts", "take", "1", "here", expect=1)).stderr
    assert (await told(aya, "conflicts"))["count"] == 0
    assert (await told(aya, "conflicts", "--all"))["count"] == 1


async def test_the_winner_stays_as_it_is(pair: Pair, aya: Aya) -> None:
    """Nobody is asked: nothing goes."""
    await contents_differ(pair)
    before = await pair.at_primary("SELECT * FROM documents")
    assert "document 1 stays as it is" in (await aya("conflicts", "take", "1", "here")).stdout
    assert await pair.at_primary("SELECT * FROM documents") == before
    assert (await pair.at_primary("SELECT resolution FROM conflicts"))[0]["resolution"] == "here"


async def test_nobody_is_asked_where_nobody_is(pair: Pair, aya: Aya) -> None:
    """A usage error with the command that needs no answer, and nothing was done."""
    await contents_differ(pair)
    assert "next: aya conflicts take 1 sender --yes" in (await aya("conflicts", "take", "1", "sender", expect=2)).stderr
    assert (await told(aya, "conflicts"))["count"] == 1


async def test_both_are_kept(pair: Pair, aya: Aya) -> None:
    """The loser is a document of its own on both nodes, with its vectors and the conflict in its title."""
    await contents_differ(pair)
    assert "is document 2" in (await aya("conflicts", "both", "1")).stdout
    assert "before" in (await aya("conflicts", "both", "1")).stdout
    rows = await pair.at_primary("SELECT content, title, category FROM documents ORDER BY id")
    assert [tuple(row) for row in rows] == [
        ("at home", "A note", "general"),
        ("on air", "on air (conflict 1)", "trip"),
    ]
    assert (await pair.at_primary("SELECT count(*) AS n FROM chunks WHERE document_id = 2"))[0]["n"] == 1
    async with pair.syncing():
        await pair.at_rest()


async def test_both_of_one_text_would_be_the_same_document_twice(pair: Pair, aya: Aya) -> None:
    """It is refused, and stays open."""
    await differ(pair, "UPDATE documents SET category = 'trip'", "UPDATE documents SET category = 'home'")
    assert "differ in their labels only" in (await aya("conflicts", "both", "1", expect=2)).stderr
    done = await aya("conflicts", "take", "1", "sender", "--yes")
    assert "version of air" in done.stdout
    assert [tuple(row) for row in await pair.at_primary("SELECT content, category FROM documents")] == [
        ("first", "trip")
    ]


async def test_a_deletion_that_lost_is_taken(pair: Pair, aya: Aya) -> None:
    """It says that it is one, and deletes; both cannot be kept."""
    await differ(pair, "DELETE FROM documents", "UPDATE documents SET content = 'kept'")
    assert "lost, kept here (deleted)" in (await aya("conflicts", "show", "1")).stdout
    assert "a deletion" in (await aya("conflicts", "both", "1", expect=2)).stderr
    done = await aya("conflicts", "take", "1", "sender", "--yes")
    assert ("will be deleted" in done.stderr, "was deleted" in done.stdout) == (True, True)
    assert await pair.at_primary("SELECT FROM documents") == []
    async with pair.syncing():
        await pair.at_rest()


async def test_the_deletion_here_is_taken_against_the_senders_change(pair: Pair, aya: Aya) -> None:
    """The other way round: the loser is here."""
    await differ(pair, "UPDATE documents SET content = 'kept'", "DELETE FROM documents")
    assert (await told(aya, "conflicts"))["conflicts"][0]["loser"] == "here"
    await aya("conflicts", "take", "1", "here", "--yes")
    assert await pair.at_primary("SELECT FROM documents") == []


async def test_a_version_whose_document_is_gone_is_made_again(pair: Pair, aya: Aya) -> None:
    """It is the same document to AIR, with chunks and vectors."""
    await contents_differ(pair)
    (uid,) = await pair.at_primary("SELECT uid FROM documents")
    await pair.at_primary("DELETE FROM documents")
    async with pair.syncing():
        await pair.at_rest()
        assert "was made again" in (await aya("conflicts", "take", "1", "sender")).stdout
        await pair.at_rest()
    assert await pair.at_air("SELECT uid FROM documents WHERE content = 'on air'") == [uid]
    assert (await pair.at_primary(WHOLE))[0]["whole"]


async def test_a_chunk_typed_by_hand_is_shown_and_taken(pair: Pair, aya: Aya) -> None:
    """Its text comes back; its vector was for another model's base and is left to the indexer."""
    await pair.at_primary("INSERT INTO documents (content) VALUES ('first')")
    await pair.at_primary("INSERT INTO chunks (document_id, chunk_text) SELECT id, 'by hand' FROM documents")
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_air("UPDATE chunks SET chunk_text = 'on air'")
    await pair.at_air("DELETE FROM index_queue")
    await pair.at_primary("UPDATE chunks SET chunk_text = 'at home'")
    async with pair.syncing():
        await pair.at_rest()
    shown = (await aya("conflicts", "show", "1")).stdout
    assert "chunk 1 of document 1" in shown
    assert "-at home\n+on air\n" in shown
    await aya("conflicts", "take", "1", "sender", "--yes")
    assert [tuple(row) for row in await pair.at_primary("SELECT id, chunk_text FROM chunks")] == [(1, "on air")]
    assert [tuple(row) for row in await pair.at_primary("SELECT document_id FROM index_queue")] == [(1,)]


async def test_a_change_since_it_was_looked_at_is_not_overwritten(pair: Pair, aya: Aya, embedder_url: str) -> None:
    """The document moved on between looking and deciding: refused, open, and unchanged."""
    await contents_differ(pair)
    async with (
        Database(pair.primary, application_name="aya-test") as database,
        EmbedderClient(embedder_url) as embedder,
    ):
        conflicts = Conflicts(database, Documents(database, embedder))
        seen = await conflicts.get(1)
        await pair.at_primary("UPDATE documents SET category = 'since'")
        with pytest.raises(DocumentError, match="changed meanwhile"):
            await conflicts.take(seen, "sender")
    (head,) = await pair.at_primary("SELECT content, category FROM documents")
    assert tuple(head) == ("at home", "since")
    assert (await told(aya, "conflicts"))["count"] == 1


@pytest.mark.parametrize("decided", ["take", "both"])
async def test_two_who_decide_at_once(pair: Pair, aya: Aya, embedder_url: str, decided: str) -> None:
    """The second one's change is taken back with its resolution, and it is told so."""
    await contents_differ(pair)
    async with (
        Database(pair.primary, application_name="aya-test") as database,
        EmbedderClient(embedder_url) as embedder,
    ):
        conflicts = Conflicts(database, Documents(database, embedder))
        seen = await conflicts.get(1)
        await aya("conflicts", "take", "1", "here")
        with pytest.raises(DocumentError, match="resolved meanwhile"):
            await (conflicts.both(seen) if decided == "both" else conflicts.take(seen, "sender"))
    assert [tuple(row) for row in await pair.at_primary("SELECT content FROM documents")] == [("at home",)]
    assert [tuple(row) for row in await pair.at_primary("SELECT resolution FROM conflicts")] == [("here",)]


async def test_it_is_decided_at_the_primary(pair: Pair, tmp_path: Path) -> None:
    """On AIR's own base, and where the primary does not answer, the error says what to do."""
    done = await typed(tmp_path, environment(pair.air), "conflicts")
    assert (done.exit_code, "conflicts are kept at the primary" in done.stderr) == (2, True)
    gone = {**environment(pair.primary), "DB_PORT": str(free_port())}
    done = await typed(tmp_path, gone, "conflicts", "take", "1", "here", "--yes")
    assert (done.exit_code, "decided at the primary: connect" in done.stderr) == (1, True)


async def test_there_is_no_such_conflict(aya: Aya) -> None:
    """With the command that lists them."""
    assert "there is no conflict 7" in (await aya("conflicts", "show", "7", expect=1)).stderr
