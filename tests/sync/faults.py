"""Faults that befall the sync, at random but repeatable from a seed, and what must hold after each of them."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from tests.sync import oracle
from tests.sync.clients import LOST, writing
from tests.sync.lab import Lab
from tests.sync.oracle import Journal

Fault = Callable[[Lab, random.Random], Awaitable[None]]
POINTS = (
    "after:take", "in:incoming", "before:accept", "after:accept", "before:settle", "after:settle",
    "after:renumber_documents", "after:pushed", "in:staged_documents", "in:staged_chunks", "before:merge",
    "after:merge", "after:advance", "before:take_few", "after:take_few",
)  # fmt: skip
COPY_POINTS = (
    "in:staged_chunks", "after:drop_vector_index", "after:take_model", "after:merge",
    "before:build_vector_index", "after:build_vector_index",
)  # fmt: skip
_OFFLINE_SECONDS = 1.5
# A copy that is begun anew, whatever the log says.
_FORGET = "UPDATE change_log_floor SET xid = pg_current_xact_id()"


async def offline(lab: Lab, choice: random.Random) -> None:
    """AIR is away, and knows it."""
    lab.wire.cut()
    await asyncio.sleep(choice.uniform(0.3, _OFFLINE_SECONDS))


async def half_open(lab: Lab, choice: random.Random) -> None:
    """Connections are accepted and stay, and nothing arrives."""
    lab.wire.silence()
    await asyncio.sleep(choice.uniform(0.3, 2 * _OFFLINE_SECONDS))


async def one_way_up(lab: Lab, choice: random.Random) -> None:
    """What AIR sends does not arrive."""
    lab.wire.silence(down=False)
    await asyncio.sleep(choice.uniform(0.3, 2 * _OFFLINE_SECONDS))


async def one_way_down(lab: Lab, choice: random.Random) -> None:
    """What AIR sends is done, and it is not told."""
    lab.wire.silence(up=False)
    await asyncio.sleep(choice.uniform(0.3, 2 * _OFFLINE_SECONDS))


async def slow(lab: Lab, choice: random.Random) -> None:
    """Everything takes long."""
    lab.wire.delay_seconds = choice.uniform(0.02, 0.15)
    await asyncio.sleep(_OFFLINE_SECONDS)


async def flap(lab: Lab, choice: random.Random) -> None:
    """The wire breaks and heals, again and again."""
    for _ in range(4):
        lab.wire.cut()
        await asyncio.sleep(choice.uniform(0.05, 0.3))
        lab.wire.heal()
        await asyncio.sleep(choice.uniform(0.05, 0.4))


async def kill(lab: Lab, choice: random.Random) -> None:
    """The daemon ends at any moment."""
    await asyncio.sleep(choice.uniform(0.0, 0.5))
    lab.kill_daemon()
    await asyncio.sleep(choice.uniform(0.0, _OFFLINE_SECONDS))


async def die(lab: Lab, choice: random.Random) -> None:
    """The daemon ends where it hurts, twice."""
    for _ in range(2):
        await _die_at(lab, choice.choice(POINTS))


async def _die_at(lab: Lab, point: str, seconds: float = 4.0) -> None:
    lab.kill_daemon()
    lab.start_daemon(point)
    began = time.monotonic()
    while time.monotonic() - began < seconds and not lab.is_dead():  # noqa: ASYNC110 - in a database
        await asyncio.sleep(0.05)
    lab.keep_alive()


async def primary_restarts(lab: Lab, choice: random.Random) -> None:
    """The primary's processes end at once; it comes back."""
    await asyncio.to_thread(lab.restart, "primary")


async def air_restarts(lab: Lab, choice: random.Random) -> None:
    """AIR's server ends at once; it comes back."""
    await asyncio.to_thread(lab.restart, "air")


async def log_shortened(lab: Lab, choice: random.Random) -> None:
    """AIR was away for longer than the log goes back: the copy is made anew, with what waits on AIR."""
    lab.wire.cut()
    await asyncio.sleep(choice.uniform(0.3, _OFFLINE_SECONDS))
    await lab.run("primary", "SELECT aya_shorten_change_log(0, 0)")
    lab.wire.heal()


async def copy_dies(lab: Lab, choice: random.Random) -> None:
    """The daemon ends within a copy that is made anew."""
    lab.kill_daemon()
    await lab.run("primary", _FORGET)
    await _die_at(lab, choice.choice(COPY_POINTS))


FAULTS: dict[str, Fault] = {
    fault.__name__: fault
    for fault in (
        offline, half_open, one_way_up, one_way_down, slow, flap, kill, die, primary_restarts, air_restarts,
        log_shortened, copy_dies,
    )
}  # fmt: skip
_WEIGHTS = [3 if name == "die" else 1 for name in FAULTS]


@dataclass(frozen=True)
class Round:
    """What one round was."""

    names: tuple[str, ...]
    seconds: float
    kept: int
    conflicts: int


async def one_round(lab: Lab, choice: random.Random, names: tuple[str, ...], journal: Journal) -> Round:
    """Let one or two faults befall while both sides are written, undo them, wait for rest, and compare."""
    began = time.monotonic()
    async with writing(lab, journal, seed=choice.randrange(10**6)):
        for name in names:
            await FAULTS[name](lab, choice)
            await asyncio.sleep(choice.uniform(0.0, 0.5))
        lab.wire.heal()
        lab.keep_alive()
        await asyncio.sleep(choice.uniform(0.0, 0.5))
    await lab.at_rest()
    here, there = await lab.connect("air"), await lab.connect("primary")
    try:
        await oracle.check(here, there, journal)
        conflicts = await there.fetchval("SELECT count(*) FROM conflicts")
    finally:
        here.terminate()
        there.terminate()
    return Round(names, time.monotonic() - began, journal.count("kept"), conflicts)


def drawn(choice: random.Random) -> tuple[str, ...]:
    """Draw one fault, or two of which the second comes into the first."""
    return tuple(choice.choices(list(FAULTS), _WEIGHTS)[0] for _ in range(choice.choice((1, 1, 2))))


async def rounds(
    lab: Lab, seed: int, count: int, *, told: Callable[[int, Round], None] = lambda _number, _round: None
) -> Journal:
    """Go through `count` rounds, checking after each; return the journal. Raises AssertionError."""
    choice = random.Random(seed)  # noqa: S311 - repeatable
    journal = Journal()
    lab.start_daemon()
    for number in range(1, count + 1):
        names = drawn(choice)
        try:
            done = await one_round(lab, choice, names, journal)
        except (AssertionError, *LOST) as error:
            raise AssertionError(f"seed {seed}, round {number}, {names}: {error!r}") from error
        told(number, done)
    return journal
