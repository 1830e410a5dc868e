"""The daemon as a process between two servers: killed where it hurts, and its wire cut in every way."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from tests.failover import disk
from tests.sync import faults, oracle
from tests.sync.clients import vector
from tests.sync.lab import Lab, lab
from tests.sync.oracle import Journal

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(180)]
ROUNDS = 5
_BIG = 150_000


@pytest.fixture
async def made(public_directory: Path, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """Both servers, the wire, no daemon yet; with the parameter "disk" AIR has one of its own."""
    with_disk = getattr(request, "param", "") == "disk"
    if with_disk and not disk.is_possible(public_directory):
        pytest.skip("no disk can be mounted here")
    directory = Path(tempfile.mkdtemp(prefix="sync-", dir=public_directory))
    directory.chmod(0o755)  # noqa: ASYNC240 - nobody else waits
    async with lab(directory, with_disk=with_disk) as built:
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
            " SELECT id, $1, $2::vector, content_sha256 FROM d UNION ALL SELECT id, $1 || ' typed', $2, NULL FROM d",
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
        except (AssertionError, subprocess.TimeoutExpired) as error:
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
    """The network falls silent while 15 MB are under way, and the daemon does not wait for it for ever."""
    made.start_daemon()
    await made.at_rest()
    made.wire.delay_seconds = 0.02
    before = made.wire.passed
    await made.run(
        side,
        "INSERT INTO documents (content) SELECT g || repeat(md5(g::text), $1 / 32) FROM generate_series(1, 100) AS g",
        _BIG,
    )
    await made.run(side, "DELETE FROM index_queue")
    async with asyncio.timeout(20):
        while made.wire.passed < before + 1_000_000:  # noqa: ASYNC110 - in a database
            await asyncio.sleep(0.01)
    made.wire.silence()
    async with asyncio.timeout(20):
        while not await made.run("air", "SELECT FROM sync_state WHERE error IS NOT NULL"):  # noqa: ASYNC110 - in a database
            await asyncio.sleep(0.05)
    made.wire.heal()
    await made.at_rest()
    made.stop_daemon()


@pytest.mark.parametrize("made", ["disk"], indirect=True)
async def test_airs_disk_is_full(made: Lab) -> None:
    """What was written on AIR before stays, what comes is refused in words, and it goes on when there is room again."""
    assert made.disk is not None
    made.start_daemon()
    await made.at_rest()
    made.wire.cut()
    await made.run("air", "INSERT INTO documents (content) VALUES ('written before')")
    await made.run("air", "DELETE FROM index_queue")
    text = "SELECT string_agg(gen_random_uuid()::text, '') FROM generate_series(1, 250000)"
    much = f"INSERT INTO documents (content) {text}"
    for _ in range(3):
        await made.run("primary", much)
    await made.run("primary", "DELETE FROM index_queue")
    made.disk.fill()
    made.wire.heal()
    before = made.words()
    async with asyncio.timeout(30):
        while "interrupted" not in made.words().removeprefix(before):  # noqa: ASYNC110 - in a file
            await asyncio.sleep(0.1)
    with pytest.raises((asyncpg.PostgresError, OSError)):
        await made.run("air", much)
    made.disk.empty()
    if made.clusters["air"].postmaster_pid() is None:
        # launchd starts it again.
        await asyncio.to_thread(made.start, "air")
    await made.at_rest()
    assert await made.run("primary", "SELECT FROM documents WHERE content = 'written before'")
    assert len(await made.run("air", "SELECT FROM documents")) == 4
