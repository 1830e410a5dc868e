"""Faults that befall two servers, at random but repeatable from a seed, and what must hold after each of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from dataclasses import dataclass
from typing import Any

from tests.failover import clients
from tests.failover.clients import Journal
from tests.failover.lab import NODES, Lab, other

Fault = Callable[[Lab, random.Random], Awaitable[None]]
_LONGEST_SECONDS = 6.0
_CANCEL = "SELECT pg_cancel_backend(pid) FROM pg_stat_activity WHERE usename = 'aya_user'"
_TERMINATE = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = 'aya_user'"


def _victim(lab: Lab, choice: random.Random) -> str:
    return choice.choice(NODES)


async def _primary(lab: Lab) -> str | None:
    """Return who says that it takes writes; None: nobody."""
    said = await lab.statuses()
    return next((node for node, one in said.items() if one["writable"]), None)


async def _soon(lab: Lab, holds: Callable[[dict[str, dict[str, Any]]], bool]) -> None:
    """Wait until something holds, but not for ever: with another fault before, it may not come to that."""
    until = time.monotonic() + _LONGEST_SECONDS
    while not holds(await lab.statuses()) and time.monotonic() < until:  # noqa: ASYNC110 - of other processes
        await asyncio.sleep(0.02)


async def kill_host(lab: Lab, choice: random.Random) -> None:
    """One node's watchdog and server end in the same moment."""
    lab.kill_host(_victim(lab, choice))


async def kill_server(lab: Lab, choice: random.Random) -> None:
    """One server ends; its watchdog lives."""
    lab.kill_server(_victim(lab, choice))


async def kill_watchdog(lab: Lab, choice: random.Random) -> None:
    """One watchdog ends; its server lives."""
    lab.kill_watchdog(_victim(lab, choice))


async def freeze_host(lab: Lab, choice: random.Random) -> None:
    """A node stands still, and goes on later as if nothing had happened (a zombie)."""
    node = _victim(lab, choice)
    lab.freeze_host(node)
    await asyncio.sleep(choice.uniform(0.5, _LONGEST_SECONDS))
    lab.thaw(node)


async def freeze_server(lab: Lab, choice: random.Random) -> None:
    """A server stands still; its watchdog lives."""
    node = _victim(lab, choice)
    lab.freeze_server(node)
    await asyncio.sleep(choice.uniform(0.5, _LONGEST_SECONDS))
    lab.thaw(node)


async def freeze_watchdog(lab: Lab, choice: random.Random) -> None:
    """A watchdog stands still; its server lives."""
    node = _victim(lab, choice)
    lab.freeze_watchdog(node)
    await asyncio.sleep(choice.uniform(0.5, _LONGEST_SECONDS))
    lab.thaw(node)


async def cut(lab: Lab, choice: random.Random) -> None:
    """The link between the two breaks; clients still reach both."""
    lab.cut()


async def cut_one_way(lab: Lab, choice: random.Random) -> None:
    """What one of them sends does not arrive at the other."""
    lab.cut(_victim(lab, choice))


async def isolate(lab: Lab, choice: random.Random) -> None:
    """One node reaches nobody; without a network of its own, not its partner."""
    node = _victim(lab, choice)
    lab.cut()
    if lab.network:
        lab.network.isolate(node)


async def kill_postmaster(lab: Lab, choice: random.Random) -> None:
    """A server's first process ends; its others find out by themselves."""
    lab.kill_postmaster(_victim(lab, choice))


async def freeze_postmaster(lab: Lab, choice: random.Random) -> None:
    """A server's first process stands still: who is connected stays so, and nobody else gets in."""
    node = _victim(lab, choice)
    lab.freeze_postmaster(node)
    await asyncio.sleep(choice.uniform(0.5, _LONGEST_SECONDS))
    lab.thaw(node)


async def kill_both(lab: Lab, choice: random.Random) -> None:
    """The mains fail: both nodes end in the same moment."""
    for node in NODES:
        lab.kill_host(node)


async def kill_twice(lab: Lab, choice: random.Random) -> None:
    """The primary ends, and the other one as soon as it leads; the first may be back by then."""
    first = await _primary(lab)
    if first is None:
        return
    lab.kill_host(first)
    if choice.random() < 0.5:
        lab.start(first)
    await _soon(lab, lambda said: bool(said.get(other(first), {}).get("writable")))
    lab.kill_host(other(first))


async def full_disk(lab: Lab, choice: random.Random) -> None:
    """There is no room any more on one node's disk: for data, the log of changes, or its watchdog's promises."""
    node = _victim(lab, choice)
    if node in lab.disks:
        lab.disks[node].fill()


async def clock_jump(lab: Lab, choice: random.Random) -> None:
    """One node's time of day is wrong from one moment to the next, by seconds or by years, ahead or behind."""
    node = _victim(lab, choice)
    if node in lab.clocks:
        lab.clocks[node].add(int(choice.choice((-1, 1)) * 10 ** choice.uniform(0.5, 8.5)))


async def impostor(lab: Lab, choice: random.Random) -> None:
    """While the standby stands still, somebody with another role streams from the primary under its name."""
    primary = await _primary(lab)
    if primary is None:
        return
    lab.freeze_host(other(primary))
    await lab.stream_as(primary, name=other(primary), role=f"aya_replica_{primary}", seconds=choice.uniform(0.5, 3.0))
    lab.thaw(other(primary))


async def flap(lab: Lab, choice: random.Random) -> None:
    """The link between the two breaks and heals, again and again."""
    for _ in range(3):
        lab.cut()
        await asyncio.sleep(choice.uniform(0.2, 1.5))
        lab.heal()
        await asyncio.sleep(choice.uniform(0.2, 1.0))


async def switchover(lab: Lab, choice: random.Random) -> None:
    """A person asks the primary to hand over, whatever else goes on."""
    for node in NODES:
        status = await lab.status(node)
        if status and status["condition"] == "SYNC":
            await lab.order(node, "switchover")
            return


async def switchover_killed(lab: Lab, choice: random.Random) -> None:
    """A person asks the primary to hand over, and on the way one of the two ends."""
    await switchover(lab, choice)
    await asyncio.sleep(choice.uniform(0.0, 1.0))
    lab.kill_host(_victim(lab, choice))


async def cancel_storm(lab: Lab, choice: random.Random) -> None:
    """Every client's statement is cancelled, and then every client is ended, again and again, on both servers."""
    for _ in range(5):
        for node in NODES:
            await lab.as_superuser(node, _CANCEL)
        await asyncio.sleep(choice.uniform(0.01, 0.2))
    for node in NODES:
        await lab.as_superuser(node, _TERMINATE)


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        kill_host, kill_server, kill_watchdog, freeze_host, freeze_server, freeze_watchdog,
        cut, cut_one_way, isolate, flap, switchover, cancel_storm,
        kill_postmaster, freeze_postmaster, kill_both, kill_twice, full_disk, clock_jump, impostor, switchover_killed,
    )
}  # fmt: skip


@dataclass(frozen=True)
class Round:
    """What one round was. epoch: at its end."""

    names: tuple[str, ...]
    seconds: float
    epoch: int
    leader: str


async def one_round(lab: Lab, choice: random.Random, names: tuple[str, ...]) -> Round:
    """Let one or two faults befall, undo them, and wait until the two are in sync again."""
    began = time.monotonic()
    for name in names:
        await FAULTS[name](lab, choice)
        await asyncio.sleep(choice.uniform(0.0, 2.0))
    held = time.monotonic() + choice.uniform(0.0, _LONGEST_SECONDS)
    while time.monotonic() < held:
        lab.keep_alive()
        await asyncio.sleep(0.1)
    lab.repair()
    leader = await lab.in_sync(seconds=60)
    status = await lab.status(leader)
    assert status is not None
    return Round(names, time.monotonic() - began, int(status["epoch"]), leader)


def drawn(choice: random.Random) -> tuple[str, ...]:
    """Draw one fault, or two of which the second comes into the first."""
    return tuple(choice.choice(list(FAULTS)) for _ in range(choice.choice((1, 1, 2))))


async def rounds(
    lab: Lab, seed: int, count: int, *, told: Callable[[int, Round], None] = lambda _number, _round: None
) -> Journal:
    """Go through `count` rounds under load, checking after each; return the journal. Raises AssertionError.

    The load: clients by the DSN, and on each server one that writes there whoever leads and overrides the read-only
    default, as only somebody who wants to do harm would.
    """
    choice = random.Random(seed)  # noqa: S311 - repeatable
    journal, epoch = Journal(), 0
    await clients.prepare(lab.database())
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(clients.writing(lab.database(), journal, seed=seed))
        for node in NODES:
            pinned = lab.database(nodes=(node,), target_session_attrs="any", default_transaction_read_only="off")
            await stack.enter_async_context(clients.writing(pinned, journal, writers=1, name=node, seed=seed))
        for number in range(1, count + 1):
            names = drawn(choice)
            try:
                done = await one_round(lab, choice, names)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, round {number}, {names}: {error}") from error
            assert done.epoch >= epoch, f"seed {seed}, round {number}, {names}: epoch {epoch} went back to {done.epoch}"
            epoch = done.epoch
            try:
                await clients.check(lab.database(), journal)
            except AssertionError as error:
                raise AssertionError(f"seed {seed}, round {number}, {names}: {error}") from error
            told(number, done)
    return journal
