"""The tables' enumeration: no promise is broken in any world that can be reached, and a guard less is found out."""

from __future__ import annotations

import pytest
from tests.model.explore import Report, explored
from tests.model.invariants import broken
from tests.model.moves import Bounds
from tests.model.world import Node, World

from aya_watchdog import decide
from aya_watchdog.decide import PRIMARY, STANDBY
from aya_watchdog.protocol import Armed, State

WORLDS = 30_000


@pytest.fixture(scope="module")
def walked() -> Report:
    """Return what was seen in the nearest worlds, with any number of faults."""
    return explored(decide, Bounds(), at_most=WORLDS)


def test_no_promise_is_broken(walked: Report) -> None:
    """In the nearest worlds; bench/failover_enumeration.py goes further."""
    assert not walked.found, str(walked)
    assert walked.states >= WORLDS


def test_no_promise_is_broken_for_want_of_luck() -> None:
    """All worlds without a fault: there are so many because clocks and messages are what they please."""
    report = explored(decide, Bounds(faults=0, records=2))
    assert not report.found, str(report)
    assert report.complete


def test_every_future_is_well() -> None:
    """From the nearest worlds both nodes get back to SYNC; and one of them leads alone, or is closed."""
    report = explored(decide, Bounds(), at_most=6_000, futures=True)
    assert not report.found, str(report)


def test_every_row_decides_somewhere(walked: Report) -> None:
    """None is there for nothing."""
    odd = explored(decide, Bounds(by_hand=True, lost_files=True), at_most=10_000)
    assert not odd.found, str(odd)
    decided = {(role, why) for role, _, why in walked.rows | odd.rows}
    wanted = {("primary", row.why) for row in PRIMARY} | {("standby", row.why) for row in STANDBY}
    assert not wanted - decided


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
