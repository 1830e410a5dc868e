"""`aya sync` as a person types it on AIR, with the real daemon between two real bases."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import Result
from structlog.testing import capture_logs
from tests.conftest import free_port
from tests.sync.conftest import Pair
from tests.sync.typing_verbs import environment, typed
from tests.sync.wires import wire

from aya.postgres.config import SYNC_ROLE
from aya_syncd.loop import Sync

pytestmark = [pytest.mark.database, pytest.mark.timeout(120)]

Aya = Callable[..., Awaitable[Result]]
LOOK_SECONDS = 0.02
PATIENCE_SECONDS = 20


@pytest.fixture
def aya(pair: Pair, tmp_path: Path) -> Iterator[Aya]:
    """The command line on AIR."""

    async def run(*arguments: str, expect: int = 0, primary: str | None = None) -> Result:
        env = environment(pair.air, AYA_DSN=primary or pair.primary.dsn())
        done = await typed(tmp_path, env, *arguments)
        assert done.exit_code == expect, done.output
        return done

    # What the daemon logs would come between what the verbs print: here they share a process.
    with capture_logs():
        yield run


async def told(aya: Aya, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """Run a verb with --json and return its document."""
    document: dict[str, Any] = json.loads((await aya(*arguments, "--json", expect=expect)).stdout)
    return document


async def until(pair: Pair, query: str) -> None:
    """Wait until AIR answers a question with true."""
    try:
        async with asyncio.timeout(PATIENCE_SECONDS):
            while not (await pair.at_air(query))[0][0]:  # noqa: ASYNC110 - in a database
                await asyncio.sleep(LOOK_SECONDS)
    except TimeoutError:
        pytest.fail(query)


async def reject_poison(pair: Pair) -> None:
    """Have the primary take no document with a certain content."""
    await pair.at_primary("ALTER TABLE documents ADD CONSTRAINT no_poison CHECK (content NOT LIKE 'poison%')")


async def write_at_air(pair: Pair, statement: str) -> None:
    """Write on AIR, where no indexer runs here."""
    await pair.at_air(statement)
    await pair.at_air("DELETE FROM index_queue")


async def test_a_copy_that_follows(pair: Pair, aya: Aya) -> None:
    """Which primary, which timeline, nothing waits; as words and as a document."""
    async with pair.syncing():
        await pair.at_rest()
        shown = (await aya("sync", "status")).stdout
        assert shown.startswith("air is following: postgresql://")
        assert "queue:     nothing waits" in shown
        assert "conflicts: 0" in shown
        seen = await told(aya, "sync", "status")
        assert (seen["condition"], seen["copy"]["daemon"], seen["primary"]["unseen"]) == ("following", True, 0)
        assert seen["copy"]["timeline"] == seen["primary"]["timeline"] == 1
        assert str(pair.primary.password) not in json.dumps(seen)


async def test_how_far_a_copy_is(pair: Pair, aya: Aya) -> None:
    """Rows, bytes and the time left, while they arrive by a slow way; nothing of it afterwards."""
    await pair.at_primary(
        "INSERT INTO documents (content) SELECT g || repeat('x', 5000) FROM generate_series(1, 3000) AS g"
    )
    await pair.at_primary("DELETE FROM index_queue")
    async with wire(pair.primary.hosts[0][1]) as slow:
        slow.delay_seconds = 0.02
        async with pair.syncing(port=slow.port):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while (seen := (await told(aya, "sync", "status"))["copy"]["fetching"]) is None or not seen["done"]:  # noqa: ASYNC110 - in a database
                    await asyncio.sleep(LOOK_SECONDS)
            slow.delay_seconds = 0.0
            await pair.at_rest()
            after = await told(aya, "sync", "status")
    assert (seen["phase"], seen["table_name"], seen["total"]) == ("reading", "documents", 3000)
    assert 0 < seen["done"] < 3000
    assert seen["size"] > 5000
    assert seen["seconds_left"] > 0
    assert after["copy"]["fetching"] is None


async def test_how_far_it_is_behind_in_changes(pair: Pair, aya: Aya) -> None:
    """With the daemon gone, the log tells how much it has not seen."""
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_primary("INSERT INTO documents (content) VALUES ('one'), ('two'), ('three')")
    await write_at_air(pair, "INSERT INTO documents (content) VALUES ('here')")
    seen = await told(aya, "sync", "status")
    assert (seen["condition"], seen["primary"]["unseen"], seen["copy"]["waiting"]) == ("stopped", 3, 1)
    assert "3 changes not seen yet" in (await aya("sync", "status")).stdout


async def test_before_anything_was_copied(aya: Aya) -> None:
    """It says so, and is no error."""
    assert "behind:    nothing was copied yet" in (await aya("sync", "status")).stdout


@asynccontextmanager
async def syncing_with_nobody(pair: Pair) -> AsyncGenerator[None]:
    """Have the daemon run, for whom no primary answers."""
    stop = asyncio.Event()
    lost = replace(pair.primary, hosts=(("127.0.0.1", free_port()),))
    as_daemon = replace(lost, user=SYNC_ROLE, password=pair.passwords[0])
    task = asyncio.create_task(Sync(pair.config(), as_daemon).run(stop))
    try:
        yield
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def test_offline_is_said_and_is_no_fault(pair: Pair, aya: Aya) -> None:
    """Since when, and why; what waits is counted all the same."""
    async with pair.syncing():
        await pair.at_rest()
    await write_at_air(pair, "INSERT INTO documents (content) VALUES ('here')")
    lost = replace(pair.primary, hosts=(("127.0.0.1", free_port()),)).dsn()
    async with syncing_with_nobody(pair):
        await until(pair, "SELECT error IS NOT NULL FROM sync_state")
        shown = (await aya("sync", "status", primary=lost)).stdout
        assert shown.startswith("air is offline: postgresql://")
        assert "\nsince 2" in shown
        assert "1 waiting" in shown
        failed = await aya("sync", "now", "--timeout", "0.5", primary=lost, expect=1)
        assert "not in sync after 0.5 s: 1 waiting" in failed.stderr
        assert "cannot be reached" in failed.stderr


async def test_sync_now_ends_when_both_have_the_same(pair: Pair, aya: Aya) -> None:
    """With the daemon looking by itself only once a minute."""
    slow = replace(pair.config(), poll_seconds=60)
    assert slow.primary is not None
    stop = asyncio.Event()
    task = asyncio.create_task(Sync(slow, slow.primary).run(stop))
    try:
        await pair.at_rest()
        for _ in range(3):
            await write_at_air(pair, "INSERT INTO documents (content) VALUES (gen_random_uuid())")
            await pair.at_primary("INSERT INTO documents (content) VALUES (gen_random_uuid())")
            await pair.at_primary("DELETE FROM index_queue")
            done = await aya("sync", "now", "--timeout", "30")
            assert await pair.differences() == ""
            assert done.stdout.startswith("air is in sync after ")
            assert "fetched 2" in done.stderr
    finally:
        stop.set()
        await asyncio.wait_for(task, 10)


async def test_sync_now_without_a_daemon_says_so(aya: Aya) -> None:
    """When the time is up."""
    failed = await aya("sync", "now", "--timeout", "0.3", expect=1)
    assert "the daemon is not connected" in failed.stderr
    assert "next: aya sync status" in failed.stderr


async def test_pause_and_resume_say_before_and_after(pair: Pair, aya: Aya) -> None:
    """Meanwhile nothing is sent or fetched, and sync now says why; then both arrive."""
    async with pair.syncing():
        await pair.at_rest()
        assert "the sync of air is paused; before, it was going on" in (await aya("sync", "pause")).stdout
        assert "is paused; before, it was paused" in (await aya("sync", "pause")).stdout
        await until(pair, "SELECT paused FROM sync_state")
        await pair.at_air("SELECT pg_notify('aya_queue', '')")
        await asyncio.sleep(0.3)  # a turn that was under way ends
        await pair.at_primary("INSERT INTO documents (content) VALUES ('home')")
        await write_at_air(pair, "INSERT INTO documents (content) VALUES ('air')")
        assert "next: aya sync resume" in (await aya("sync", "now", expect=1)).stderr
        seen = await told(aya, "sync", "status")
        assert (seen["condition"], seen["copy"]["waiting"], seen["primary"]["unseen"]) == ("paused", 1, 1)
        assert await told(aya, "sync", "resume") == {"node": "air", "before": True, "paused": False}
        await pair.at_rest()


async def test_what_was_rejected_is_named_mended_and_sent_again(pair: Pair, aya: Aya) -> None:
    """Its text is changed on AIR, which waits behind it; sent again, both are one operation."""
    await reject_poison(pair)
    async with pair.syncing():
        await pair.at_rest()
        await write_at_air(pair, "INSERT INTO documents (content, title) VALUES ('poison', 'A bad note')")
        await until(pair, "SELECT count(*) = 1 FROM write_queue WHERE status = 'rejected'")
        await write_at_air(pair, "UPDATE documents SET content = 'cured' WHERE content = 'poison'")
        await pair.at_air("INSERT INTO chunks (document_id, chunk_text) SELECT id, 'typed by hand' FROM documents")
        await pair.at_air("DELETE FROM index_queue")
        seen = await told(aya, "sync", "status", expect=3)
        assert (seen["copy"]["rejected"], seen["copy"]["held"], seen["copy"]["waiting"]) == (1, 2, 0)
        assert (seen["rejected"][0]["title"], "no_poison" in seen["rejected"][0]["error"]) == ("A bad note", True)
        shown = (await aya("sync", "status", expect=3)).stdout
        assert "INSERT document -1" in shown
        assert "aya sync status, then aya sync retry" in shown
        ended = await aya("sync", "now", "--timeout", "20", expect=3)
        assert "2 held back by a rejected one, 1 rejected" in ended.stdout
        (before,) = await pair.at_air("SELECT id, op_uid FROM write_queue WHERE status = 'rejected'")
        assert (await told(aya, "sync", "retry"))["waiting"] == [before["id"]]
        await pair.at_rest()
        (after,) = await pair.at_air("SELECT op_uid, outcome FROM write_queue WHERE id = $1", before["id"])
        assert (after["op_uid"] != before["op_uid"], after["outcome"]) == (True, "applied")
    assert [tuple(row) for row in await pair.at_primary("SELECT content FROM documents")] == [("cured",)]
    assert [tuple(row) for row in await pair.at_primary("SELECT chunk_text FROM chunks")] == [("typed by hand",)]
    assert "nothing was rejected" in (await aya("sync", "retry")).stderr


async def test_a_rejected_change_of_an_old_document_keeps_its_base(pair: Pair, aya: Aya) -> None:
    """Changed again after the rejection, it is still an edit of what the primary has: no conflict."""
    await reject_poison(pair)
    await pair.at_primary("INSERT INTO documents (content) VALUES ('first')")
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()
        await write_at_air(pair, "UPDATE documents SET content = 'poison'")
        await until(pair, "SELECT count(*) = 1 FROM write_queue WHERE status = 'rejected'")
        await write_at_air(pair, "UPDATE documents SET content = 'cured', category = 'c'")
        await aya("sync", "retry")
        await pair.at_rest()
    assert [tuple(row) for row in await pair.at_primary("SELECT content, category FROM documents")] == [("cured", "c")]
    assert await pair.at_primary("SELECT FROM conflicts") == []


async def test_what_was_rejected_and_deleted_leaves_nothing(pair: Pair, aya: Aya) -> None:
    """The primary never had it, and nothing has to be sent any more."""
    await reject_poison(pair)
    async with pair.syncing():
        await pair.at_rest()
        await write_at_air(pair, "INSERT INTO documents (content) VALUES ('poison')")
        await until(pair, "SELECT count(*) = 1 FROM write_queue WHERE status = 'rejected'")
        await pair.at_air("DELETE FROM documents")
        assert (await told(aya, "sync", "retry"))["waiting"] == []
        await pair.at_rest()
    assert await pair.at_primary("SELECT FROM documents") == []


async def test_only_the_operations_that_were_named(pair: Pair, aya: Aya) -> None:
    """The others stay rejected; a number that is none is said."""
    await reject_poison(pair)
    async with pair.syncing():
        await pair.at_rest()
        await write_at_air(pair, "INSERT INTO documents (content) VALUES ('poison 1')")
        await write_at_air(pair, "INSERT INTO documents (content) VALUES ('poison 2')")
        await until(pair, "SELECT count(*) = 2 FROM write_queue WHERE status = 'rejected'")
        await pair.at_primary("ALTER TABLE documents DROP CONSTRAINT no_poison")
        (first, _) = await pair.at_air("SELECT id FROM write_queue ORDER BY id")
        done = await aya("sync", "retry", str(first["id"]), "77", expect=1)
        assert done.stdout == f"waits again  operation {first['id']}\n"
        assert "operation 77 is not a rejected one" in done.stderr
        await until(pair, "SELECT count(*) = 1 FROM write_queue WHERE status = 'done'")
        assert len(await pair.at_air("SELECT FROM write_queue WHERE status = 'rejected'")) == 1


async def test_a_base_that_is_no_copy(pair: Pair, tmp_path: Path) -> None:
    """The primary itself has nothing to sync."""
    done = await typed(tmp_path, environment(pair.primary, AYA_DSN=pair.primary.dsn()), "sync", "status")
    assert (done.exit_code, "is no copy" in done.stderr) == (1, True)


async def test_a_rejected_change_and_then_a_deletion_are_a_deletion(pair: Pair, aya: Aya) -> None:
    """Of the document that the primary has."""
    await reject_poison(pair)
    await pair.at_primary("INSERT INTO documents (content) VALUES ('first')")
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()
        await write_at_air(pair, "UPDATE documents SET content = 'poison'")
        await until(pair, "SELECT count(*) = 1 FROM write_queue WHERE status = 'rejected'")
        await pair.at_air("DELETE FROM documents")
        assert len(await pair.at_air("SELECT FROM write_queue")) == 2
        await aya("sync", "retry")
        await pair.at_rest()
    assert await pair.at_primary("SELECT FROM documents") == []
    assert await pair.at_primary("SELECT FROM conflicts") == []
