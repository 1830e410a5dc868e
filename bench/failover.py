"""Failover between two real servers: how safe, how fast, and how calm. Needs root on Linux (network namespaces).

    python bench/failover.py rounds [--count 200] [--seed N]   random faults under load; what was acknowledged is there
    python bench/failover.py times [--count 20] [--peer patroni]
                                                               from a fault to the first write of a client, and beside
                                                               Patroni (bench/patroni_peer.py) in the same run
    python bench/failover.py calm [--only WORD]                what must not make anybody leader

Each server and its watchdog are on a host of their own; the clients, with one unchanged DSN, on a third. They connect
as libpq does with connect_timeout=1, and leave a statement that takes two seconds. Exit code 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import math
import random
import shutil
import statistics
import sys
import tempfile
import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import AbstractAsyncContextManager, asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

import patroni_peer
from tests.failover import clients, faults
from tests.failover.clients import Journal, connected, writing
from tests.failover.lab import NODES, Extra, Lab, lab, other
from tests.failover.network import is_possible, network
from tests.failover.patroni_lab import PatroniLab

# What the issue asks for, in seconds: the worst of all tries.
GOALS = {"kill": 2.0, "cut": 5.0, "freeze": 5.0, "isolate": 5.0, "switchover": 0.3}
_GIVE_UP_SECONDS = 30.0
_LOOK_SECONDS = 0.005
_SWITCHOVER_SECONDS = 2.0
_CHUNKS = 50_000


@asynccontextmanager
async def _pair(*extras: Extra) -> AsyncGenerator[Lab]:
    with _directory() as directory, network(*NODES) as hosts:
        async with lab(directory / "home", hosts, extras=extras) as pair:
            await clients.prepare(pair.database())
            yield pair


@contextmanager
def _directory() -> Generator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="aya-failover-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


# Safe


async def rounds(count: int, seed: int) -> int:
    """Go through random faults; print each, and what was counted."""
    began, befell, epochs = time.monotonic(), Counter[str](), 0
    print(f"seed {seed}, {count} rounds", flush=True)

    def told(number: int, done: faults.Round) -> None:
        nonlocal epochs
        befell.update(done.names)
        epochs = done.epoch
        print(
            f"{number:4d}  {done.seconds:5.1f} s  epoch {done.epoch}, {done.leader}: {', '.join(done.names)}",
            flush=True,
        )

    async with _pair("disks", "clocks") as pair:
        try:
            journal = await faults.rounds(pair, seed, count, told=told)
        except AssertionError as error:
            print(error)
            return 1
    print(f"{count} rounds in {(time.monotonic() - began) / 60:.0f} min; {epochs - 1} changes of leader")
    told_so, unknown, refused = len(journal.acknowledged), len(journal.unknown), len(journal.failed)
    print(f"acknowledged {told_so}, lost 0; unknown {unknown}, refused {refused}")
    print("  ".join(f"{name} {times}" for name, times in sorted(befell.items())))
    return 0


# Fast


@dataclass
class Measured:
    """The tries of one kind, in seconds: from the fault to a client's first write since; a switchover's longest gap.

    goal: None for a peer. lost: how often a client's journal and the database disagreed afterwards.
    """

    who: str
    kind: str
    goal: float | None
    seconds: list[float] = field(default_factory=list[float])
    lost: int = 0

    @property
    def met(self) -> bool:
        """Return whether the worst try keeps the goal and nothing was lost; a peer has no goal."""
        return self.goal is None or (not self.lost and max(self.seconds, default=0.0) <= self.goal)

    def row(self) -> str:
        """Return a line of the table."""
        ordered = sorted(self.seconds)
        figures = (ordered[0], statistics.median(ordered), ordered[math.ceil(0.95 * len(ordered)) - 1], ordered[-1])
        told = " |" if self.goal is None else f"≤ {self.goal:g} | {'met' if self.met else 'not met'}"
        return (
            f"| {self.who} | {self.kind} | {len(ordered)} | "
            + " | ".join(f"{one:.2f}" for one in figures)
            + f" | {self.lost} | {told} |"
        )


@dataclass(frozen=True)
class Contestant:
    """Who is measured. pair: lends two servers, in sync. count: of tries of each kind."""

    who: str
    pair: Callable[[], AbstractAsyncContextManager[Lab | PatroniLab]]
    count: int
    goals: dict[str, float]
    give_up_seconds: float = _GIVE_UP_SECONDS


@asynccontextmanager
async def _peer(pace: str) -> AsyncGenerator[PatroniLab]:
    with _directory() as directory:
        async with patroni_peer.pair(directory, pace) as members:
            yield members


def _peers(default: int, aggressive: int) -> list[Contestant]:
    counts = {"default": default, "aggressive": aggressive}
    return [
        Contestant(f"patroni, {pace}", partial(_peer, pace), count, {}, patroni_peer.GIVE_UP_SECONDS)
        for pace, count in counts.items()
    ]


async def _first_write(journal: Journal, moment: float, give_up_seconds: float) -> float:
    while (found := journal.first_after(moment)) is None:
        if time.monotonic() - moment > give_up_seconds:
            return float("inf")
        await asyncio.sleep(_LOOK_SECONDS)
    return found


def _befall(pair: Lab | PatroniLab, kind: str, leader: str) -> None:
    if pair.network is None:
        return
    if kind == "kill":
        pair.kill_host(leader)
    elif kind == "freeze":
        pair.freeze_host(leader)
    elif kind == "cut":
        pair.cut()
    else:
        pair.network.isolate(leader)


async def times(contestants: list[Contestant], kinds: list[str], writers: int, result: Path | None) -> int:
    """Measure one after the other, the kinds interleaved; print the table."""
    found: list[Measured] = []
    for each in contestants:
        measured = {kind: Measured(each.who, kind, each.goals.get(kind)) for kind in kinds}
        found += measured.values()
        whole = Journal()
        async with each.pair() as pair:
            for number in range(each.count):
                for kind in kinds:
                    await _try(pair, measured[kind], number, whole, each.give_up_seconds, writers=writers)
                    print(f"{each.who:20s} {number + 1:3d} {kind:10s} {measured[kind].seconds[-1]:6.2f} s", flush=True)
                    if result:
                        _keep(result, found)
    print("\n| who | fault | n | fastest | median | p95 | slowest | lost | goal | |")
    print("|---|---|---:|---:|---:|---:|---:|---:|---:|---|")
    for one in found:
        print(one.row())
    return 0 if all(one.met for one in found) else 1


async def _try(  # noqa: PLR0913 one try's circumstances
    pair: Lab | PatroniLab, measured: Measured, number: int, whole: Journal, give_up_seconds: float, *, writers: int
) -> None:
    """Have one fault befall the leader under load, and repair it. whole: what the tries before were told, too."""
    kind, journal = measured.kind, Journal()
    leader = await pair.in_sync(seconds=max(60.0, give_up_seconds))
    async with writing(pair.database(), journal, name=f"{kind}{number}-", seed=number, writers=writers):
        await asyncio.sleep(1.0)
        moment = time.monotonic()
        if kind == "switchover":
            await pair.order(leader, "switchover")
            # To look at the pair keeps this process busy, and its clients waiting, for a tenth of a second at a time.
            await asyncio.sleep(_SWITCHOVER_SECONDS)
            await pair.in_sync(other(leader), seconds=max(60.0, give_up_seconds))
            measured.seconds.append(journal.longest_gap(since=moment))
        else:
            _befall(pair, kind, leader)
            measured.seconds.append(await _first_write(journal, moment, give_up_seconds))
        pair.repair()
    # A former leader that wakes lets clients read for a moment: what it has is not what counts.
    await pair.in_sync(seconds=2 * give_up_seconds)
    whole.add(journal)
    try:
        await clients.check(pair.database(), whole)
    except AssertionError as error:
        if measured.goal is not None:
            raise
        measured.lost += 1
        print(error, flush=True)


def _keep(result: Path, found: list[Measured]) -> None:
    kept: dict[str, dict[str, list[float]]] = {}
    for one in found:
        kept.setdefault(one.who, {})[one.kind] = one.seconds
    result.write_text(json.dumps(kept, indent=1), encoding="utf-8")


# Calm


async def _sleeps(pair: Lab) -> None:
    """Have the standby's machine sleep for ten seconds, then both."""
    standby = other(await pair.in_sync())
    pair.freeze_host(standby)
    await asyncio.sleep(10)
    pair.thaw(standby)
    await pair.in_sync()
    for node in NODES:
        pair.freeze_host(node)
    await asyncio.sleep(10)
    for node in NODES:
        pair.thaw(node)


async def _stalls(pair: Lab) -> None:
    """Have the leader stand still for three seconds."""
    leader = await pair.in_sync()
    pair.freeze_host(leader)
    await asyncio.sleep(3)
    pair.thaw(leader)


async def _checkpoints(pair: Lab) -> None:
    """Checkpoints, one after the other, while pages are made dirty."""
    leader = await pair.in_sync()
    await _sql(pair, "CREATE TABLE IF NOT EXISTS lab_pages AS SELECT g AS id, repeat('x', 500) AS text"
               " FROM generate_series(1, 200000) AS g")  # fmt: skip
    for _ in range(10):
        await _sql(pair, "UPDATE lab_pages SET text = text WHERE id % 10 = 0")
        await pair.as_superuser(leader, "CHECKPOINT")


async def _bulk(pair: Lab) -> None:
    """50,000 chunks with vectors, in transactions of a thousand."""
    await _sql(pair, "INSERT INTO documents (content) VALUES ('bulk')")
    chunk = (
        "INSERT INTO chunks (document_id, chunk_text, chunk_index, embedding) SELECT max_id, 'text ' || g, g,"
        " (SELECT array_agg(random()) FROM generate_series(1, 768) WHERE g > 0)::vector"
        " FROM generate_series({first}, {last}) AS g, (SELECT max(id) AS max_id FROM documents) AS d"
    )
    for first in range(0, _CHUNKS, 1000):
        await _sql(pair, chunk.format(first=first + 1, last=first + 1000))


async def _vacuum(pair: Lab) -> None:
    """VACUUM FULL over what the bulk left."""
    await _sql(pair, "VACUUM FULL chunks")


async def _flaps(pair: Lab) -> None:
    """Have the link away for a second, and back for a second, ten times."""
    for _ in range(10):
        pair.cut()
        await asyncio.sleep(1)
        pair.heal()
        await asyncio.sleep(1)


async def _relay(pair: Lab) -> None:
    """Have the second way between the two away for ten seconds; then the first."""
    for direct in (False, True):
        for node in NODES:
            if pair.network:
                pair.network.lose(node, other(node), relayed=not direct, direct=direct)
        await asyncio.sleep(10)
        pair.heal()
        await pair.in_sync()


async def _sql(pair: Lab, statement: str) -> None:
    connection = await connected(pair.database())
    try:
        await connection.execute(statement, timeout=600)
    finally:
        connection.terminate()


CALM: dict[str, Callable[[Lab], Awaitable[None]]] = {
    "machines sleep for 10 s": _sleeps,
    "the leader stalls for 3 s": _stalls,
    "a storm of checkpoints": _checkpoints,
    f"a bulk of {_CHUNKS} chunks": _bulk,
    "VACUUM FULL": _vacuum,
    "the link flaps every second": _flaps,
    "a relay is away": _relay,
}


async def calm(only: str) -> int:
    """Let happen what is no reason for a failover, or what has a word in its name; print how many there were."""
    worst, journal = 0, Journal()
    print("| what happens | seconds | promotions | the longest time without a write |\n|---|---:|---:|---:|")
    async with _pair() as pair:
        for name, happen in ((name, happen) for name, happen in CALM.items() if only in name):
            before, began = await _epoch(pair), time.monotonic()
            async with writing(pair.database(), journal, name=name, seed=1):
                await happen(pair)
                await pair.in_sync(seconds=60)
                took = time.monotonic() - began
                await asyncio.sleep(1)
            await clients.check(pair.database(), journal)
            promoted = await _epoch(pair) - before
            worst = max(worst, promoted)
            print(f"| {name} | {took:.0f} | {promoted} | {journal.longest_gap(since=began):.1f} s |", flush=True)
    return 1 if worst else 0


async def _epoch(pair: Lab) -> int:
    leader = await pair.in_sync(seconds=60)
    status = await pair.status(leader)
    return int(status["epoch"]) if status else 0


def main() -> int:
    """Read the command line and run one of them."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    safe = commands.add_parser("rounds")
    safe.add_argument("--count", type=int, default=200)
    safe.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311 - to be repeated
    fast = commands.add_parser("times")
    fast.add_argument("--count", type=int, default=20)
    fast.add_argument("--kinds", nargs="+", choices=GOALS, default=list(GOALS))
    fast.add_argument("--writers", type=int, default=1, help="clients that write all the time")
    fast.add_argument("--json", type=Path)
    fast.add_argument("--peer", choices=["patroni"])
    fast.add_argument("--peer-counts", type=int, nargs=2, metavar=("DEFAULT", "AGGRESSIVE"), default=[5, 20])
    commands.add_parser("calm").add_argument(
        "--only", default="", metavar="WORD", help="what has this word in its name"
    )
    given = parser.parse_args()
    if not is_possible():
        print("network namespaces cannot be made here: run it as root on Linux")
        return 2
    if given.command == "rounds":
        return asyncio.run(rounds(given.count, given.seed))
    if given.command == "times":
        contestants = [Contestant("aya", _pair, given.count, GOALS)]
        lacking = patroni_peer.lacking() if given.peer else None
        if lacking:
            print(lacking)
            return 2
        if given.peer:
            contestants += _peers(*given.peer_counts)
        return asyncio.run(times([each for each in contestants if each.count], given.kinds, given.writers, given.json))
    return asyncio.run(calm(given.only))


if __name__ == "__main__":
    sys.exit(main())
