"""The faults that are drawn at random in test_failover, each at its worst moment: nothing acknowledged is lost."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from decimal import Decimal
from pathlib import Path

import asyncpg
import pytest
from tests.failover import clients, clock
from tests.failover.clients import Journal, writing
from tests.failover.lab import NODES, Lab, lab, other
from tests.failover.network import Network

from aya.dsn import DatabaseSettings

pytestmark = [pytest.mark.slow, pytest.mark.timeout(300)]
HOUR = 3600


@pytest.fixture
async def pair(public_directory: Path, hosts: Network | None, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """Two servers in sync, alpha leading, each on a disk of its own."""
    async with lab(public_directory / f"f-{abs(hash(request.node.name)) % 10**6}", hosts, extras=["disks"]) as made:
        await clients.prepare(made.database())
        yield made


async def epochs(pair: Lab, leader: str) -> list[int]:
    """Return the epochs, the latest first; each but the first was begun by somebody, once."""
    found = [int(epoch["epoch"]) for epoch in await pair.history(leader)]
    assert found == sorted(set(found), reverse=True)
    return found


async def test_both_nodes_end_in_one_moment(pair: Lab) -> None:
    """The mains fail: no epoch is begun, and the same node leads when they are back."""
    journal = Journal()
    async with writing(pair.database(), journal):
        await asyncio.sleep(0.5)
        for node in NODES:
            pair.kill_host(node)
        await asyncio.sleep(0.5)
        for node in NODES:
            pair.start(node)
        await pair.in_sync("alpha")
    await clients.check(pair.database(), journal)
    assert await epochs(pair, "alpha") == [1]


async def test_the_next_leader_ends_as_soon_as_it_leads(pair: Lab) -> None:
    """The first one is back, and does not lead without what the second one has acknowledged."""
    journal = Journal()
    async with writing(pair.database(), journal):
        await asyncio.sleep(0.5)
        pair.kill_host("alpha")
        await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
        await pair.until(lambda _: journal.first_after(0.0) is not None, what="a write;")
        pair.kill_host("beta")
        pair.start("alpha")
        await pair.until(lambda found: found["alpha"]["condition"] == "FENCED", what="alpha is locked;")
        await asyncio.sleep(2)
        assert not (await pair.statuses())["alpha"]["writable"]
        pair.start("beta")
        await pair.in_sync("beta")
    await clients.check(pair.database(), journal)
    assert await epochs(pair, "beta") == [2, 1]


async def test_leaders_end_one_after_the_other(pair: Lab) -> None:
    """Each as soon as the other is armed again: as many epochs as leaders, and every row is there."""
    journal = Journal()
    async with writing(pair.database(), journal):
        for leader in (*NODES, *NODES):
            await pair.in_sync(leader)
            pair.kill_host(leader)
            follower = other(leader)
            await pair.until(lambda found, node=follower: found[node]["writable"], what=f"{follower} leads;")  # type: ignore[misc]
            pair.start(leader)
        await pair.in_sync("alpha")
    await clients.check(pair.database(), journal)
    assert await epochs(pair, "alpha") == [5, 4, 3, 2, 1]


@pytest.mark.parametrize("victim", NODES)
@pytest.mark.parametrize("condition", ["HANDOVER", "FENCING"])
async def test_a_node_ends_while_they_change_places(pair: Lab, victim: str, condition: str) -> None:
    """Under load, the moment that a handover has begun, or the standby takes over."""
    journal = Journal()
    async with writing(pair.database(), journal):
        await asyncio.sleep(0.5)
        await pair.order("alpha", "switchover")
        await seen(pair, condition)
        pair.kill_host(victim)
        await asyncio.sleep(1)
        pair.start(victim)
        await pair.in_sync()
    await clients.check(pair.database(), journal)


async def seen(pair: Lab, condition: str) -> None:
    """Wait until a node is in a condition, or is past it: they are short."""
    await pair.until(
        lambda found: any(one["condition"] == condition or one["epoch"] > 1 for one in found.values()), what=condition
    )


async def test_the_first_process_of_a_server_ends(pair: Lab) -> None:
    """Its others outlive it for a moment; the watchdog starts it again, or the other node takes over."""
    journal = Journal()
    async with writing(pair.database(), journal):
        for node in NODES:
            await asyncio.sleep(0.5)
            pair.kill_postmaster(node)
            await pair.in_sync()
    await clients.check(pair.database(), journal)


@pytest.mark.parametrize("node", NODES)
async def test_a_disk_is_full(pair: Lab, node: str) -> None:
    """For as long as it is nothing is lost, and its watchdog lives; when there is room again, both are well."""
    if node not in pair.disks:
        pytest.skip("no disk can be mounted here")
    journal = Journal()
    async with writing(pair.database(), journal):
        await asyncio.sleep(0.5)
        pair.disks[node].fill()
        await asyncio.sleep(8)
        found = await pair.statuses()
        assert set(found) == set(NODES), "a watchdog has ended for want of room"
        pair.disks[node].empty()
        await pair.in_sync(seconds=60)
    await clients.check(pair.database(), journal)


async def test_a_primary_whose_disk_is_full_is_replaced(pair: Lab) -> None:
    """By a person's order. It cannot write that it is closed, and takes no client for all that."""
    if "alpha" not in pair.disks:
        pytest.skip("no disk can be mounted here")
    journal = Journal()
    async with writing(pair.database(), journal):
        await asyncio.sleep(0.5)
        pair.disks["alpha"].fill()
        await asyncio.sleep(2)
        await pair.order("beta", "failover")
        await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
        moment = time.monotonic()
        await pair.until(lambda _: journal.first_after(moment) is not None, what="clients find beta;")
        pair.disks["alpha"].empty()
        await pair.in_sync("beta", seconds=60)
    await clients.check(pair.database(), journal)


@pytest.mark.parametrize("node", NODES)
async def test_a_clock_jumps(public_directory: Path, hosts: Network | None, node: str) -> None:
    """By an hour, a day, twenty years, there and back: nobody is promoted for it, and a real fault still is one."""
    if not clock.is_possible():
        pytest.skip("no clock can be made here")
    journal = Journal()
    async with lab(public_directory / f"clock-{node}", hosts, extras=["clocks"]) as pair:
        await clients.prepare(pair.database())
        async with writing(pair.database(), journal):
            for seconds in (HOUR, -HOUR, 24 * HOUR, -20 * 365 * 24 * HOUR, 0):
                pair.clocks[node].add(seconds)
                apart = await pair.as_superuser(node, "SELECT extract(epoch FROM clock_timestamp())") - Decimal(
                    time.time()
                )
                assert abs(apart - seconds) < 60, "its server does not see it"
                told = len(journal.acknowledged)
                await asyncio.sleep(4)
                await pair.in_sync("alpha")
                assert len(journal.acknowledged) > told
            assert await epochs(pair, "alpha") == [1]
            pair.clocks[node].add(-HOUR)
            pair.kill_host("alpha")
            await pair.until(lambda found: found["beta"]["writable"], what="beta leads;")
            pair.start("alpha")
            await pair.in_sync("beta")
        await clients.check(pair.database(), journal)


async def test_a_lost_row_and_lost_money_are_seen(database: DatabaseSettings) -> None:
    """The check of these tests can fail: each kind of harm is named."""
    await clients.prepare(database)
    journal = Journal()
    async with writing(database, journal, writers=2):
        while len(journal.acknowledged) < 20:  # noqa: ASYNC110 - of other tasks
            await asyncio.sleep(0.02)
    await clients.check(database, journal)
    connection = await asyncpg.connect(database.dsn())
    transfer = await connection.fetchval("SELECT id FROM lab_transfers WHERE amount <> 0 LIMIT 1")
    harms = [
        ("lost", f"DELETE FROM lab_transfers WHERE id = '{transfer}'"),  # noqa: S608 - ours
        ("never sent", "INSERT INTO lab_entries VALUES ('nobody')"),
        ("add up", "UPDATE lab_accounts SET balance = balance + 1 WHERE id = 1"),
        (
            "not what the transfers say",
            "UPDATE lab_accounts SET balance = balance + CASE id WHEN 1 THEN 1 ELSE -1 END WHERE id <= 2",
        ),
    ]
    for words, harm in harms:
        within = connection.transaction()
        await within.start()
        await connection.execute(harm)
        with pytest.raises(AssertionError, match=words):
            clients.compare(await clients.seen(connection), journal, set(journal.acknowledged))
        await within.rollback()
    await connection.close()
