"""The daemon is killed at every step that something hangs on: nothing is lost, and nothing is done twice."""

from __future__ import annotations

import asyncio
import json
import sys
from pathlib import Path

import numpy as np
import pytest
from tests.sync.conftest import Pair

pytestmark = [pytest.mark.database, pytest.mark.slow]
CODE = 9
ENTRY = Path(__file__).with_name("crashing.py")
VECTOR = np.arange(768, dtype=np.float32) / 768


async def crashed(pair: Pair, point: str) -> None:
    """Run the daemon until it ends itself there."""
    config = pair.config()
    assert config.primary is not None
    ends = json.dumps({"air": config.local.dsn(), "primary": config.primary.dsn()}).encode()
    process = await asyncio.create_subprocess_exec(
        sys.executable, str(ENTRY), point, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.DEVNULL
    )
    await asyncio.wait_for(process.communicate(ends), 40)
    assert process.returncode == CODE, f"it never came to {point}"


async def filled(pair: Pair) -> None:
    """Have something at the primary, with vectors."""
    await pair.at_primary("INSERT INTO documents (content) SELECT 'text ' || g FROM generate_series(1, 20) AS g")
    await pair.at_primary(
        "INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)"
        " SELECT id, content, $1, content_sha256 FROM documents",
        VECTOR,
    )
    await pair.at_primary("DELETE FROM index_queue")


async def written_on_air(pair: Pair) -> None:
    """Write each kind of operation."""
    await pair.at_air("INSERT INTO documents (content) SELECT 'air ' || g FROM generate_series(1, 5) AS g")
    await pair.at_air(
        "INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)"
        " SELECT id, content, $1, content_sha256 FROM documents WHERE id < 0",
        VECTOR,
    )
    await pair.at_air("INSERT INTO chunks (document_id, chunk_text) SELECT id, 'by hand' FROM documents WHERE id = 7")
    await pair.at_air("UPDATE documents SET category = 'edited' WHERE id IN (3, 4)")
    await pair.at_air("DELETE FROM documents WHERE id IN (5, 6)")
    await pair.at_air("DELETE FROM index_queue")


@pytest.mark.parametrize("point", ["taken", "accepted", "settled", "merged"])
async def test_a_kill_loses_nothing_and_doubles_nothing(pair: Pair, point: str) -> None:
    """Before it is sent, after it was taken, before that is noted, in the middle of what is fetched."""
    await filled(pair)
    async with pair.syncing():
        await pair.at_rest()
    await written_on_air(pair)
    await pair.at_primary("UPDATE documents SET category = 'at the primary' WHERE id = 10")
    await crashed(pair, point)
    async with pair.syncing():
        await pair.at_rest()
    found = [
        tuple(row)
        for row in await pair.at_primary("SELECT content, count(*) FROM documents GROUP BY 1 HAVING count(*) > 1")
    ]
    assert found == []
    assert len(await pair.at_primary("SELECT FROM documents")) == 23
    assert len(await pair.at_primary("SELECT FROM chunks")) == 24
    assert len(await pair.at_primary("SELECT FROM receipts")) == 10
    assert await pair.at_primary("SELECT FROM conflicts") == []


@pytest.mark.parametrize("point", ["copied", "unindexed"])
async def test_a_kill_in_the_middle_of_a_copy(pair: Pair, point: str) -> None:
    """The next one brings everything, and the index of the vectors is there."""
    await filled(pair)
    await pair.at_air("INSERT INTO documents (content) VALUES ('made before the copy')")
    await pair.at_air("DELETE FROM index_queue")
    await crashed(pair, point)
    async with pair.syncing():
        await pair.at_rest()
    assert len(await pair.at_primary("SELECT FROM documents")) == 21
    assert await pair.at_air("SELECT FROM pg_indexes WHERE indexname = 'idx_chunks_embedding'")


async def test_a_poison_operation_holds_up_nobody_but_its_own(pair: Pair) -> None:
    """A text with a category that only AIR could take: told with the reason, and sent when it was mended."""
    await filled(pair)
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_primary("ALTER TABLE documents ADD CONSTRAINT no_poison CHECK (content <> 'poison')")
    await pair.at_air("INSERT INTO documents (content) VALUES ('before'), ('poison'), ('after')")
    await pair.at_air("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.until("SELECT FROM write_queue WHERE status = 'rejected'")
        await pair.until("SELECT FROM (SELECT count(*) AS n FROM write_queue WHERE status = 'done') AS d WHERE n = 2")
        assert len(await pair.at_primary("SELECT FROM documents WHERE content IN ('before', 'after', 'poison')")) == 2
        said = await pair.at_air("SELECT error FROM write_queue WHERE status = 'rejected'")
        assert "no_poison" in said[0]["error"]
        assert await pair.at_air("SELECT FROM documents WHERE content = 'poison'")


async def test_a_log_that_was_shortened_is_copied_past(pair: Pair) -> None:
    """What waits to be sent stays, what was deleted meanwhile goes."""
    await filled(pair)
    async with pair.syncing():
        await pair.at_rest()
    await pair.at_primary("DELETE FROM documents WHERE id = 1")
    await pair.at_primary("UPDATE documents SET category = 'later' WHERE id = 2")
    await pair.at_air("INSERT INTO documents (content) VALUES ('waits')")
    await pair.at_air("DELETE FROM index_queue")
    await pair.at_primary("SELECT aya_shorten_change_log(30, 0)")
    async with pair.syncing():
        await pair.at_rest()
    assert len(await pair.at_air("SELECT FROM documents")) == 20


async def test_it_is_right_without_notifications(pair: Pair) -> None:
    """They wake it earlier, and nothing else."""
    await filled(pair)
    await pair.at_primary(
        "CREATE OR REPLACE FUNCTION aya_notify_changes(action text, document_ids integer[])"
        " RETURNS void LANGUAGE sql AS ''"
    )
    async with pair.syncing():
        await pair.at_rest()
        await pair.at_primary("UPDATE documents SET category = 'silent' WHERE id = 2")
        await pair.at_rest()


async def test_writers_of_every_kind_are_caught(pair: Pair) -> None:
    """As a replica, by COPY, in transactions that commit out of order, and in one that is rolled back."""
    await filled(pair)
    async with pair.syncing():
        await pair.at_rest()
        slow, fast = await pair.connected_to_primary(), await pair.connected_to_primary()
        try:
            await slow.execute("BEGIN; INSERT INTO documents (content) VALUES ('begun first')")
            await fast.execute("INSERT INTO documents (content) VALUES ('committed first')")
            await pair.until("SELECT FROM documents WHERE content = 'committed first'")
            await slow.execute("COMMIT")
            await pair.until("SELECT FROM documents WHERE content = 'begun first'")
            await fast.execute("BEGIN; DELETE FROM documents; ROLLBACK")
            await fast.copy_records_to_table("documents", records=[("by COPY",)], columns=["content"])
            await pair.at_rest()
        finally:
            await slow.close()
            await fast.close()
    assert len(await pair.at_air("SELECT FROM documents")) == 23
