"""The tables' enumeration: no promise is broken in any world that can be reached, and a guard less is found out."""

from __future__ import annotations

from typing import cast

import pytest
from tests.model.explore import Report, examined, explored
from tests.model.invariants import broken
from tests.model.looks import Tables
from tests.model.moves import Bounds
from tests.model.mutants import SPARED, mutants
from tests.model.world import Node, World

from aya_watchdog import decide
from aya_watchdog.decide import PRIMARY, STANDBY
from aya_watchdog.protocol import Armed, State

MUTANTS = {mutant.name: mutant for mutant in mutants()}
WORLDS = 20_000


@pytest.fixture(scope="module")
def walked() -> Report:
    """Return what was seen in the nearest worlds, with any number of faults."""
    return explored(decide, Bounds(), at_most=WORLDS)


def test_no_promise_is_broken(walked: Report) -> None:
    """In the nearest worlds; bench/failover_enumeration.py goes further."""
    assert not walked.found, str(walked)
    assert walked.states >= WORLDS


def test_every_future_is_well() -> None:
    """From the nearest worlds both nodes get back to SYNC; and one of them leads alone, or is closed."""
    report = explored(decide, Bounds(), at_most=2_500, futures=True)
    assert not report.found, str(report)


def test_every_row_decides_somewhere(walked: Report) -> None:
    """None is there for nothing."""
    odd = explored(decide, Bounds(by_hand=True, lost_files=True), at_most=6_000)
    assert not odd.found, str(odd)
    decided = {(role, why) for role, _, why in walked.rows | odd.rows}
    wanted = {("primary", row.why) for row in PRIMARY} | {("standby", row.why) for row in STANDBY}
    assert not wanted - decided


# One of each kind, of those that are found soonest; bench/failover_enumeration.py --mutants tries all.
SOON = [
    "PRIMARY 8 (tighten: the partner may be promoted: nothing is acknowledged without it) is missing",
    "PRIMARY 14 (relax: the partner has given up being promoted: go on alone) without `_alone(v)`",
    "PRIMARY 15 (open: nobody else may be promoted: clients may write) without `_alone(v)`",
    "PRIMARY 17 (consent: the partner has given up being promoted, in writing) is missing",
    "PRIMARY 20 (fence: no word from the partner, which may have been promoted: nobody writes here) is missing",
    "STANDBY 1 (finish: the server is promoted: write the epoch and open) is missing",
    "STANDBY 6 (intend: the stream is still open: close it first) is missing",
    "STANDBY 17 (give_up: a server that stops gives up being promoted until it is armed again) is missing",
    "STANDBY 33 (nothing: its watchdog is gone, its server lets us in) is missing",
    "STANDBY 34 (nothing: its server still sends) is missing",
    "STANDBY 35 (nothing: this node has just woken up) is missing",
    "STANDBY 36 (nothing: this node sees nobody: it may be the one that is cut off) is missing",
    "STANDBY 37 (nothing: the replay is paused: SELECT pg_wal_replay_resume()) is missing",
    "may_acknowledge_alone without `state.consent >= state.arming`",
    "may_be_promoted without `replayed.arming > state.given_up`",
    "_has_caught_up without `seen.follower.flushed >= seen.recovered`",
]


@pytest.mark.parametrize("name", SOON)
def test_a_guard_less_is_found_out(name: str) -> None:
    """Be it by a broken promise, a future that is not well, or a decision that owes something."""
    assert examined(cast("Tables", MUTANTS[name].tables()), Bounds(), at_most=2_500).found


def test_what_is_spared_is_there() -> None:
    """Every mutant that nothing finds is named with its reason, and no other is."""
    assert all(any(name.startswith(beginning) for name in MUTANTS) for beginning in SPARED)


def test_a_broken_promise_is_seen() -> None:
    """Worlds that nobody should get into."""
    alone = Node(State("primary"), runs=True)
    leads = Node(State("primary", epoch=2), runs=True)
    assert broken(World((alone, leads))) == "two nodes can acknowledge at the same time"
    away = Node(State("primary", arming=1), runs=True)
    armed = Node(State("standby"), runs=True, recovery=True)
    assert broken(World((away, armed), Armed(1, 1))).startswith("I2")
    lost = World((leads, Node(State("standby", epoch=2))), acknowledged=(0,))
    assert broken(lost) == "an acknowledged commit is missing on the node that leads"
    twice = World((Node(State("primary")), Node(State("primary"))))
    assert broken(twice) == "I6: two nodes lead the same epoch"
