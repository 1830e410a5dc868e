"""The daemon as a process between two servers: killed where it hurts, and its wire cut in every way."""

from __future__ import annotations

import asyncio
import os
import random
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.sync import faults, oracle
from tests.sync.clients import vector
from tests.sync.lab import Lab, lab
from tests.sync.oracle import Journal

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(180)]
ROUNDS = 5
_BIG = 150_000


@pytest.fixture
async def made(public_directory: Path) -> AsyncIterator[Lab]:
    """Both servers, the wire, no daemon yet."""
    directory = Path(tempfile.mkdtemp(prefix="sync-", dir=public_directory))
    directory.chmod(0o755)
    async with lab(directory) as built:
        yield built


async def test_faults_at_random_lose_and_double_nothing(made: Lab) -> None:
    """A short run of `bench/sync_rounds.py rounds`; AYA_TEST_SEED repeats one."""
    seed = int(os.environ.get("AYA_TEST_SEED") or random.randrange(10**6))  # noqa: S311 - it is printed
    print(f"seed {seed}")  # noqa: T201
    journal = await faults.rounds(made, seed, ROUNDS)
    assert journal.count("kept") > 50


async def _change_both(made: Lab, name: str) -> None:
    """Have something of every kind to send and to fetch: new, edited, deleted, with chunks, conflicts."""
    for side in ("primary", "air"):
        text = f"{name}, {side}"
        await made.run(side, "DELETE FROM documents WHERE content LIKE '%, ' || $1 AND category = 'old'", side)
        await made.run(side, "UPDATE documents SET category = 'old', title = $1", text)
        await made.run(
            side,
            "WITH d AS (INSERT INTO documents (content) SELECT $1 || ', ' || $3 FROM generate_series(1, 3)"
            " RETURNING id, content_sha256)"
            " INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)"
            " SELECT id, $1, $2, content_sha256 FROM d UNION ALL SELECT id, $1 || ' typed', $2, NULL FROM d",
            text, vector(text), side,
        )  # fmt: skip
        await made.run(side, "DELETE FROM index_queue")


async def test_killed_at_every_point(made: Lab) -> None:
    """Wherever it ends, it goes on where it was: nothing is lost, nothing is done twice."""
    made.start_daemon()
    await made.at_rest()
    for point in (*faults.POINTS, *faults.COPY_POINTS):
        made.stop_daemon()
        if point in faults.COPY_POINTS:
            await made.run("primary", "UPDATE change_log_floor SET xid = pg_current_xact_id()")
        await _change_both(made, point)
        made.start_daemon(point)
        try:
            await made.died()
        except AssertionError as error:
            raise AssertionError(f"{point}: {error}") from error
        made.start_daemon()
        await made.at_rest()
    here, there = await made.connect("air"), await made.connect("primary")
    try:
        await oracle.check(here, there, Journal())
    finally:
        await here.close()
        await there.close()
    assert await made.run("air", "SELECT FROM pg_indexes WHERE indexname = 'idx_chunks_embedding'")


@pytest.mark.parametrize("side", ["air", "primary"])
async def test_silence_in_the_middle_of_much(made: Lab, side: str) -> None:
    """The network falls silent while 15 MB are under way, and the daemon does not wait for it to the end of its days."""
    made.start_daemon()
    await made.at_rest()
    made.wire.delay_seconds = 0.02
    before = made.wire.passed
    await made.run(
        side, "INSERT INTO documents (content) SELECT g || repeat(md5(g::text), $1 / 32) FROM generate_series(1, 100) g",
        _BIG,
    )  # fmt: skip
    await made.run(side, "DELETE FROM index_queue")
    async with asyncio.timeout(20):
        while made.wire.passed < before + 1_000_000:
            await asyncio.sleep(0.01)
    made.wire.silence()
    async with asyncio.timeout(20):
        while not await made.run("air", "SELECT FROM sync_state WHERE error IS NOT NULL"):
            await asyncio.sleep(0.05)
    made.wire.heal()
    await made.at_rest()
    made.stop_daemon()
