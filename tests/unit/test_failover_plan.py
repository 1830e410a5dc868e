"""What the verbs of failover say before they act, and when they are content."""

from __future__ import annotations

from typing import Any

import pytest
from tests.watchdog_board import standby, status

from aya.errors import AyaError, UsageError, WatchdogError
from aya.failover_plan import Leader, Order, is_done, leader, planned

BOTH = {"alpha": status(), "beta": standby()}
GONE: dict[str, Any] = {"node": "alpha", "error": "timeout", "said": {"role": "primary", "epoch": 2, "open": True}}


@pytest.mark.parametrize(
    ("order", "node", "leads", "loses"),
    [
        ("switchover", "alpha", "beta", False),
        ("failover", "beta", "beta", False),
        ("force", "beta", "beta", True),
        ("degrade", "alpha", "alpha", True),
        ("rejoin", "beta", "alpha", False),
    ],
)
def test_an_order_goes_to_the_node_that_it_is_for(order: Order, node: str, leads: str, loses: bool) -> None:  # noqa: FBT001
    """And the words name both nodes, the epoch, and what may be lost."""
    plan = planned(order, BOTH)
    assert (plan.node, plan.leads, plan.epoch, plan.loses) == (node, leads, 2, loses)
    words = "\n".join(plan.words)
    assert "now: alpha leads epoch 2" in words
    assert "{" not in words
    assert ("epoch 3" in words) == (order in {"switchover", "failover", "force"})
    assert ("ROWS MAY BE LOST" in words) == (order == "force")


@pytest.mark.parametrize(
    ("order", "seen", "node", "kind", "why"),
    [
        ("switchover", {"beta": standby()}, None, WatchdogError, "beta is the standby; this is for the primary"),
        ("failover", {"alpha": status()}, None, WatchdogError, "alpha is the primary; this is for the standby"),
        ("failover", BOTH, "alpha", UsageError, "alpha is the primary; this is for the standby"),
        ("failover", {"alpha": status()}, "beta", WatchdogError, "watchdog of beta does not answer on this machine"),
    ],
)
def test_an_order_for_another_machine_says_which(
    order: Order, seen: dict[str, Any], node: str | None, kind: type[AyaError], why: str
) -> None:
    """With the next command."""
    with pytest.raises(kind, match=why) as refused:
        planned(order, seen, node)
    assert refused.value.hint


def test_the_leader_of_the_latest_epoch_leads() -> None:
    """An old primary that does not know it is none; one that is out of sight does not count as writable."""
    assert leader(BOTH) == Leader("alpha", 2, writable=True)
    promoted = standby(role="primary", epoch=3, writable=True, partner=None)
    assert leader({"alpha": status(), "beta": promoted}) == Leader("beta", 3, writable=True)
    assert leader({"beta": standby(partner=GONE)}) == Leader("alpha", 2, writable=False)
    assert leader({"beta": standby(partner=None)}) is None
    heard = {"node": "beta", "error": None, "said": {"role": "primary", "epoch": 3, "open": True}}
    assert leader({"alpha": status(role="standby", epoch=3, partner=heard)}) == Leader("beta", 3, writable=True)


def test_a_failover_is_done_when_the_new_leader_takes_writes() -> None:
    """Not before, and not when another leads."""
    plan = planned("failover", BOTH)
    assert not is_done(plan, BOTH, {})
    closed = standby(role="primary", epoch=3, writable=False, partner=None)
    assert not is_done(plan, {"beta": closed}, {})
    assert is_done(plan, {"beta": {**closed, "writable": True}}, {})
    assert not is_done(plan, {"alpha": status(epoch=3)}, {})


def test_a_standby_has_rejoined_when_it_follows_again() -> None:
    """That it follows already says nothing."""
    plan = planned("rejoin", BOTH)
    assert not is_done(plan, BOTH, {"beta": {"ARMED"}})
    assert not is_done(plan, {"beta": standby(condition="REJOINING")}, {"beta": {"ARMED", "REJOINING"}})
    assert is_done(plan, BOTH, {"beta": {"ARMED", "REJOINING"}})


def test_a_primary_is_degraded_when_it_takes_writes_alone() -> None:
    """SOLO, and open."""
    plan = planned("degrade", BOTH)
    assert not is_done(plan, {"alpha": status(condition="SOLO", writable=False)}, {})
    assert is_done(plan, {"alpha": status(condition="SOLO")}, {})
