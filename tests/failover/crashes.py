"""An agent that ends at a step of the protocol, and is started again: both nodes are well, and nothing is lost.

Which steps there are is not listed, but seen: each scenario is gone through once, and every step that an agent passed
on the way is one to end at, alone or with its server. See tests.failover.stepping_agent.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

from tests.failover import clients
from tests.failover.clients import Journal, writing
from tests.failover.lab import NODES, Lab, other
from tests.failover.stepping_agent import BOTH, CHOSEN, PASSED

from aya.errors import AyaError

_REST_SECONDS = 60.0
# A primary whose agent has ended just before an order was carried out is asked again.
_AGAIN_SECONDS = 4.0


@dataclass(frozen=True)
class Crash:
    """Where an agent ends. leads: of the node that leads at the beginning, else of the other. server: it ends, too."""

    scenario: str
    leads: bool
    step: str
    server: bool = False

    def __str__(self) -> str:
        """Return it in words."""
        whose = "the leader's" if self.leads else "the standby's"
        return f"{self.scenario}, {whose} {self.step}{BOTH if self.server else ''}"


async def failover(lab: Lab, leader: str) -> None:
    """The leader's machine ends; the other takes over; the machine is back.

    A standby whose server ends, too, before it has resolved to lead is not armed any more, and waits.
    """
    lab.kill_host(leader)
    await lab.until(
        lambda found: found[other(leader)]["writable"] or found[other(leader)]["condition"] == "STRANDED",
        seconds=_REST_SECONDS,
        what="a failover;",
    )
    lab.start(leader)


async def switchover(lab: Lab, leader: str) -> None:
    """A person has the two change places."""
    await _insisted(lab, leader, "switchover", lambda node: node == other(leader))


async def degrade(lab: Lab, leader: str) -> None:
    """The standby's machine ends; a person has the leader go on alone; the machine is back."""
    lab.kill_host(other(leader))
    await lab.until(lambda found: found[leader]["condition"] == "FENCED", seconds=_REST_SECONDS, what="FENCED;")
    await _insisted(lab, leader, "degrade", lambda node: node == leader, partner_is_off=True)
    lab.start(other(leader))


async def leave(lab: Lab, leader: str) -> None:
    """The standby is stopped in an orderly way, and started again."""
    lab.stop(other(leader))
    lab.kill_server(other(leader))
    lab.start(other(leader))


async def forced(lab: Lab, leader: str) -> None:
    """Both machines end, the standby alone is back: not armed, it leads on a person's word; the other follows.

    Nothing was acknowledged meanwhile that it lacks.
    """
    for node in NODES:
        lab.kill_host(node)
    lab.start(other(leader))
    found = other(leader)
    await lab.until(lambda said: said[found]["condition"] == "STRANDED", seconds=_REST_SECONDS, what="STRANDED;")
    await _insisted(lab, found, "failover", lambda node: node == found, force=True)
    lab.start(leader)


async def _insisted(lab: Lab, node: str, order: str, done: Callable[[str | None], bool], **more: bool) -> None:
    """Give an order until somebody leads as it says."""
    began = time.monotonic()
    while time.monotonic() - began < _REST_SECONDS:
        with suppress(AyaError):
            await lab.order(node, order, **more)
        again = time.monotonic() + _AGAIN_SECONDS
        while time.monotonic() < again:
            if done(await _writable(lab)):
                return
            lab.keep_alive()
            await asyncio.sleep(0.05)
    raise AssertionError(f"{order} of {node} did not come about: {await lab.statuses()}")


async def _writable(lab: Lab) -> str | None:
    return next((node for node, said in (await lab.statuses()).items() if said["writable"]), None)


Scenario = Callable[[Lab, str], Awaitable[None]]
SCENARIOS: dict[str, Scenario] = {each.__name__: each for each in (failover, switchover, degrade, leave, forced)}
# What must be among the steps of a scenario, for both nodes together.
ACTIONS = {
    "failover": {"intend", "promote", "finish", "yield", "start", "rejoin", "settle", "arm"},
    "switchover": {"resign", "intend", "promote", "finish", "yield", "start", "settle", "arm"},
    "degrade": {"fence", "vouch", "relax", "open", "give_up", "start", "settle", "arm"},
    "leave": {"give_up", "consent", "relax", "start", "settle", "arm"},
    "forced": {"give_up", "start", "force", "promote", "finish", "yield", "rejoin", "arm"},
}


async def steps(lab: Lab, scenario: str) -> list[Crash]:
    """Go through a scenario and return where its agents can end, in the order of their first time."""
    leader = await lab.in_sync(seconds=_REST_SECONDS)
    for node in NODES:
        (lab.home.node_directory(node) / PASSED).write_text("", encoding="utf-8")
    await SCENARIOS[scenario](lab, leader)
    await lab.in_sync(seconds=_REST_SECONDS)
    found: list[Crash] = []
    for node in (leader, other(leader)):
        file = lab.home.node_directory(node) / PASSED
        passed = dict.fromkeys(file.read_text(encoding="utf-8").splitlines())
        found += [Crash(scenario, node == leader, step) for step in passed]
        file.unlink()
    return found


async def endure(lab: Lab, crash: Crash, journal: Journal, epoch: int) -> tuple[bool, int]:
    """Go through a scenario under load with an agent that ends on the way; return whether it did, and the epoch then.

    epoch: of before. Raises AssertionError when a promise was broken, or the two are not well after it.
    """
    leader = await lab.in_sync(seconds=_REST_SECONDS)
    chosen = lab.home.node_directory(leader if crash.leads else other(leader)) / CHOSEN
    async with writing(lab.database(), journal, name=f"{len(journal.sent)}-", seed=len(journal.sent)):
        chosen.write_text(crash.step + (BOTH if crash.server else ""), encoding="utf-8")
        await SCENARIOS[crash.scenario](lab, leader)
        leader = await lab.in_sync(seconds=_REST_SECONDS)
    did = not chosen.exists()
    chosen.unlink(missing_ok=True)
    status = await lab.status(leader)
    assert status is not None
    assert status["epoch"] >= epoch, f"epoch {epoch} went back to {status['epoch']}"
    await clients.check(lab.database(), journal)
    begun = [int(one["epoch"]) for one in await lab.history(leader)]
    assert begun == sorted(set(begun), reverse=True), begun
    return did, int(status["epoch"])
