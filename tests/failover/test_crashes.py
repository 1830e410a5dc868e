"""An agent ends in the middle of the protocol, at a few of its steps; at all of them: bench/failover_crashes.py."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from tests.failover import clients, crashes
from tests.failover.clients import Journal
from tests.failover.crashes import Crash
from tests.failover.lab import Lab, lab
from tests.failover.network import Network

pytestmark = [pytest.mark.slow, pytest.mark.timeout(400)]

# Of each scenario where most depends on the order: a promise on disk and its effect not yet there, or the other way.
WORST = [
    Crash("failover", leads=False, step="intend: saved"),
    Crash("failover", leads=False, step="promote: ran promote"),
    Crash("failover", leads=True, step="rejoin: saved", server=True),
    Crash("switchover", leads=True, step="resign: stopped"),
    Crash("switchover", leads=False, step="finish: saved", server=True),
    Crash("degrade", leads=True, step="vouch: saved"),
    Crash("leave", leads=True, step="consent: saved"),
    Crash("leave", leads=True, step="arm: saved"),
    Crash("forced", leads=False, step="force: saved"),
]


@pytest.fixture
async def pair(public_directory: Path, hosts: Network | None, request: pytest.FixtureRequest) -> AsyncIterator[Lab]:
    """Two servers in sync whose agents end where they are told to."""
    async with lab(public_directory / request.node.name[:40], hosts, extras=["steps"]) as made:
        await clients.prepare(made.database())
        yield made


async def test_an_agent_ends_at_a_step(pair: Lab) -> None:
    """It is started again, as launchd does: both are well, no acknowledged row is lost, no epoch comes again."""
    journal, epoch = Journal(), 0
    for crash in WORST:
        print(crash)  # noqa: T201 - which one it was
        did, epoch = await crashes.endure(pair, crash, journal, epoch)
        assert did, f"{crash}: nobody came by there"
    assert len(journal.acknowledged) > 100


async def test_a_scenario_passes_the_steps_that_it_is_about(pair: Lab) -> None:
    """What is found by going through one is what bench/failover_crashes.py ends agents at."""
    found = await crashes.steps(pair, "switchover")
    assert {crash.step.split(":")[0] for crash in found} >= crashes.ACTIONS["switchover"]
    assert {"intend: before", "intend: saved", "intend: reloaded", "intend: after"} <= {crash.step for crash in found}
