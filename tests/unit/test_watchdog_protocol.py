"""What a forced promotion may not begin: an epoch that the old primary has led, whatever the state file knows of it."""

from __future__ import annotations

import pytest
from tests.model.moves import act
from tests.model.world import Node, World

from aya_watchdog.protocol import Armed, ProtocolError, State, begin_epoch, force

# Its file is an older one than its database: brought back from a backup, or made anew.
BEHIND = State("standby", epoch=1, void=True)


@pytest.mark.parametrize(("known", "replayed", "begun"), [(1, 5, 6), (5, 1, 6), (5, 5, 6), (1, 0, 2)])
def test_a_forced_epoch_is_later_than_all_that_are_known(known: int, replayed: int, begun: int) -> None:
    """By the file and by the database."""
    forced = force(State("standby", epoch=known), replayed)
    assert forced.intent == begun
    assert begin_epoch(forced, Armed(replayed, 7), replayed).epoch == begun


def test_an_epoch_that_was_replayed_after_the_intent_is_passed_by() -> None:
    """What was received before the stream was closed is replayed up to the promotion."""
    assert begin_epoch(force(BEHIND, 2), Armed(4, 7), 5) == State("primary", 6, arming=7, consent=7, given_up=7)


def test_a_primary_is_not_forced() -> None:
    """It leads already."""
    with pytest.raises(ProtocolError):
        force(State("primary"), 1)


def test_in_the_model_the_epoch_was_not_there_before() -> None:
    """A standby whose file is behind its database is forced, and begins an epoch that nobody has led."""
    old = Node(State("primary", epoch=5, arming=3))
    world = World((old, Node(BEHIND, runs=True, recovery=True)), Armed(5, 3), began=5)
    (forced,) = act(world, 1, "force", "a person says so")
    promoted = forced.world.nodes[1]._replace(recovery=False, job="")
    (finished,) = act(forced.world._replace(nodes=(forced.world.nodes[0], promoted)), 1, "finish", "promoted")
    assert not finished.broken
    assert finished.world.nodes[1].state.epoch == 6
