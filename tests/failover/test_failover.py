"""Two real servers and what may befall them: who leads, what is kept, who comes back, and what people are told."""

from __future__ import annotations

import asyncio
import json
import os
import random
from collections.abc import AsyncIterator
from pathlib import Path

import asyncpg
import pytest
from tests.failover import clients, faults
from tests.failover.clients import Journal, writing
from tests.failover.lab import NODES, Lab, lab, other
from tests.failover.network import Network

from aya.backup import archive, create

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
ROUNDS = 6


@pytest.fixture
async def pair(public_directory: Path, hosts: Network | None, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """Two servers in sync, alpha leading."""
    async with lab(
        public_directory / request.node.name[:40].replace("[", "-"), hosts, extras=("disks", "clocks")
    ) as made:
        await clients.prepare(made.database())
        yield made


async def test_faults_at_random_lose_nothing_that_was_acknowledged(pair: Lab) -> None:
    """A short run of `bench/failover.py rounds`; AYA_TEST_SEED repeats one."""
    seed = int(os.environ.get("AYA_TEST_SEED") or random.randrange(10**6))  # noqa: S311 - it is printed
    print(f"seed {seed}")  # noqa: T201
    journal = await faults.rounds(pair, seed, ROUNDS)
    assert len(journal.acknowledged) > 100


async def test_a_standby_that_was_just_copied_is_backed_up(pair: Lab) -> None:
    """Its archive begins where it began: that is no gap, and it goes on archiving when it leads."""
    where = create.place(pair.home, pair.config, "beta")
    made = await create.create(where, lambda _: None)
    await pair.order("alpha", "switchover")
    await pair.in_sync("beta")
    found: list[str] = []
    async with asyncio.timeout(30):
        while not archive.segments(found, made.segment_bytes):
            await pair.as_superuser("beta", "SELECT pg_switch_wal() FROM (SELECT txid_current()) AS written")
            await asyncio.sleep(0.2)
            found = archive.names(where.archive)
    assert made.good
    assert archive.gaps(where.archive, [made], found) == ()


async def test_a_way_that_is_dead_is_left_for_the_other(pair: Lab) -> None:
    """The cable between the two is cut, the tailnet lives: writers wait some seconds, and nobody is promoted."""
    if pair.network is None:
        pytest.skip("network namespaces cannot be made here")
    journal = Journal()
    async with writing(pair.database(), journal):
        await asyncio.sleep(0.5)
        for node in NODES:
            pair.network.lose(node, other(node), relayed=False)
        await asyncio.sleep(1)
        known = len(journal.acknowledged)
        async with asyncio.timeout(20):
            while len(journal.acknowledged) < known + 50:  # noqa: ASYNC110 - clients of other processes
                await asyncio.sleep(0.1)
        assert journal.longest_gap() < 10
        pair.heal()
        await pair.in_sync("alpha")
    await clients.check(pair.database(), journal)
    assert [epoch["epoch"] for epoch in await pair.history("alpha")] == [1]


async def test_the_plug_is_pulled_and_put_back(pair: Lab) -> None:
    """The standby leads within seconds, with every acknowledged row; the former primary comes back by itself."""
    journal = Journal()
    async with writing(pair.database(), journal):
        await asyncio.sleep(0.5)
        pair.kill_host("alpha")
        await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
        await asyncio.sleep(0.5)
        pair.start("alpha")
        await pair.in_sync("beta")
    await clients.check(pair.database(), journal)
    assert [epoch["epoch"] for epoch in await pair.history("alpha")] == [2, 1]


async def test_what_only_the_former_primary_has_is_kept_in_a_file(pair: Lab) -> None:
    """A commit that nobody acknowledged is somebody's work: it is written down before it is given up."""
    leader = await pair.in_sync("alpha")
    pair.cut()
    waiting = asyncio.create_task(insert(pair, leader, "nobody acknowledged this"))
    await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
    with pytest.raises(clients.LOST):
        await waiting
    pair.heal()
    await pair.in_sync("beta")
    kept = list((pair.home.node_directory("alpha") / "only-here").iterdir())
    rows = [json.loads(line) for file in kept for line in file.read_text().splitlines()]
    assert [row["row"]["content"] for row in rows if row["table"] == "public.documents"] == ["nobody acknowledged this"]
    assert await contents(pair) == []


async def test_a_former_primary_is_closed_before_it_can_be_reached(pair: Lab) -> None:
    """Frozen, passed by and thawed it takes no write, and no client of the DSN lands on it."""
    pair.freeze_host("alpha")
    await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
    journal = Journal()
    async with writing(pair.database(), journal):
        await asyncio.sleep(1)
        pair.thaw("alpha")
        await pair.in_sync("beta")
        await asyncio.sleep(0.5)
    await clients.check(pair.database(), journal)


async def test_a_standby_that_was_never_armed_does_not_lead(pair: Lab) -> None:
    """It follows, but may lack rows: it stays the standby, and says how a person can overrule that."""
    pair.stop("beta")
    await pair.until(lambda found: found["alpha"]["condition"] == "SOLO" and found["alpha"]["writable"], what="SOLO;")
    await insert(pair, "alpha", "acknowledged by alpha alone")
    pair.kill_host("alpha")
    pair.start("beta")
    found = await pair.until(lambda found: found["beta"]["condition"] == "STRANDED", what="STRANDED;")
    assert "--force" in found["beta"]["why"]
    assert not found["beta"]["writable"]
    pair.start("alpha")
    await pair.in_sync("alpha")
    assert await contents(pair) == ["acknowledged by alpha alone"]


async def test_what_was_archived_of_a_lost_history_bars_no_later_one(pair: Lab) -> None:
    """A promotion that came to nothing has taken the number that the next leader takes, and is in the archive."""
    kept = pair.home.archive_directory("beta")
    pair.stop("beta")
    await pair.until(lambda found: found["alpha"]["condition"] == "SOLO" and found["alpha"]["writable"], what="SOLO;")
    await insert(pair, "alpha", "acknowledged by alpha alone")
    pair.kill_host("alpha")
    pair.start("beta")
    await pair.until(lambda found: found["beta"]["condition"] == "STRANDED", what="STRANDED;")
    pair.cluster("beta").run_tool("pg_ctl", "promote", f"--pgdata={pair.home.data_directory('beta')}")
    history = await present(kept / "00000002.history")
    pair.start("alpha")
    await pair.until(lambda found: found["alpha"]["writable"], what="alpha leads;")
    await pair.order("beta", "rejoin")
    await pair.in_sync("alpha")
    (lost,) = kept.glob(".lost-*")
    assert (lost / history.name).exists()
    assert not [name for name in archive.names(kept) if name.startswith(("00000002", "lost", "."))]
    assert [name for name in archive.names(kept) if name.startswith("00000001")]
    pair.kill_host("alpha")
    await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
    later = await present(history)
    assert later.read_bytes() != (lost / history.name).read_bytes()
    pair.start("alpha")
    await pair.in_sync("beta")


async def present(file: Path) -> Path:
    """Wait until a file is there."""
    async with asyncio.timeout(20):
        while not await asyncio.to_thread(file.exists):  # noqa: ASYNC110 - another process makes it
            await asyncio.sleep(0.05)
    return file


async def test_a_primary_without_its_standby_waits_for_it_or_for_a_person(pair: Lab) -> None:
    """It cannot know that the other was not promoted: it is locked until a person answers for that."""
    pair.kill_host("beta")
    await pair.until(lambda found: found["alpha"]["condition"] == "FENCED", what="FENCED;")
    with pytest.raises(clients.LOST):
        await insert(pair, "alpha", "refused")
    await pair.order("alpha", "degrade", partner_is_off=True)
    await pair.until(lambda found: found["alpha"]["condition"] == "SOLO" and found["alpha"]["writable"], what="SOLO;")
    await insert(pair, "alpha", "alone")
    pair.start("beta")
    await pair.in_sync("alpha")


async def test_a_standby_whose_log_is_gone_is_copied_anew(pair: Lab) -> None:
    """The primary has recycled what the standby needs: it makes itself a fresh copy."""
    pair.stop("beta")
    await pair.until(lambda found: found["alpha"]["condition"] == "SOLO" and found["alpha"]["writable"], what="SOLO;")
    await pair.as_superuser("alpha", "ALTER SYSTEM SET wal_keep_size = 0")
    await pair.as_superuser("alpha", "SELECT pg_reload_conf()")
    needed = "000000010000000000000003"
    while needed in await pair.as_superuser("alpha", "SELECT array_agg(name) FROM pg_ls_waldir()"):
        # The watchdog makes the slot again: not in the same breath.
        await pair.as_superuser("alpha", "SELECT pg_drop_replication_slot('beta_slot')")
        await pair.as_superuser("alpha", "SELECT pg_logical_emit_message(false, 'filler', ''), pg_switch_wal()")
        await pair.as_superuser("alpha", "CHECKPOINT")
    pair.start("beta")
    await pair.in_sync("alpha", seconds=60)
    assert "cluster.copied" in (pair.home.log_directory("beta") / "watchdog.log").read_text()


async def test_a_person_has_them_change_places(pair: Lab) -> None:
    """There and back, under load; nothing is rewound or copied."""
    journal = Journal()
    async with writing(pair.database(), journal):
        for leader in NODES:
            await pair.in_sync(leader)
            await pair.order(leader, "switchover")
            await pair.in_sync(other(leader))
    await clients.check(pair.database(), journal)
    for node in NODES:
        said = (pair.home.log_directory(node) / "watchdog.log").read_text()
        assert "cluster.rewound" not in said
        assert "cluster.copied" not in said


async def test_paused_nobody_is_promoted(pair: Lab) -> None:
    """A person who works on the servers says so; resumed, what was put off is done."""
    await pair.order("beta", "pause")
    pair.kill_host("alpha")
    await pair.until(lambda found: "otherwise" in found["beta"]["why"], what="put off;")
    await asyncio.sleep(1)
    status = await pair.status("beta")
    assert status is not None
    assert status["role"] == "standby"
    await pair.order("beta", "resume")
    await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")


async def test_a_watchdog_that_crashes_leaves_its_server_alone(pair: Lab) -> None:
    """The next one takes the running server up; nobody else notices."""
    before = (pair.home.data_directory("alpha") / "postmaster.pid").read_text().splitlines()[0]
    pair.kill_watchdog("alpha")
    await asyncio.sleep(3)
    pair.start("alpha")
    await pair.in_sync("alpha")
    assert (pair.home.data_directory("alpha") / "postmaster.pid").read_text().splitlines()[0] == before


async def test_an_impostor_acknowledges_nothing(pair: Lab) -> None:
    """Somebody who streams under the name of the standby, with another role, is not waited for and is sent away."""
    pair.freeze_host("beta")
    journal = Journal()
    async with writing(pair.database(nodes=("alpha",)), journal):
        await asyncio.sleep(0.3)
        told = len(journal.acknowledged)
        await pair.stream_as("alpha", name="beta", role="aya_replica_alpha", seconds=2.0)
        assert len(journal.acknowledged) - told <= 4
    pair.thaw("beta")
    await pair.in_sync()


async def insert(pair: Lab, node: str, content: str) -> None:
    """Add a document on one node."""
    connection = await asyncpg.connect(pair.database(nodes=(node,)).dsn(), timeout=5)
    try:
        await connection.execute("INSERT INTO documents (content) VALUES ($1)", content)
    finally:
        connection.terminate()


async def contents(pair: Lab) -> list[str]:
    """Return all documents."""
    connection = await clients.connected(pair.database())
    try:
        return [row["content"] for row in await connection.fetch("SELECT content FROM documents ORDER BY id")]
    finally:
        connection.terminate()


async def test_a_node_that_lost_its_promises_does_not_start(pair: Lab) -> None:
    """Its file is gone, and with it what it promised: it leads nothing, until a person has it copy the other."""
    pair.kill_host("alpha")
    await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
    directory = pair.home.node_directory("alpha")
    (directory / "watchdog.json").unlink()
    pair.start("alpha")
    assert await pair.ended("alpha") == 1
    assert "is lost" in (pair.home.log_directory("alpha") / "watchdog.log").read_text()
    (directory / "watchdog.new").write_text("copy\n")
    pair.start("alpha")
    await pair.in_sync("beta")
