"""What must hold in every world that can be reached."""

from __future__ import annotations

from tests.model.world import Node, World, commits, latest

from aya_watchdog import protocol


def can_acknowledge(node: Node, partner: Node) -> bool:
    """Return whether a commit on this node's server may be acknowledged, closed to clients or not."""
    if not node.runs or node.recovery or not (node.state.role == "primary" or node.open):
        return False
    return not node.synchronous or partner.streams


def broken(world: World) -> str:
    """Return which invariant this world breaks; empty when none."""
    first, second = world.nodes
    able = [can_acknowledge(first, second), can_acknowledge(second, first)]
    if all(able):
        return "two nodes can acknowledge at the same time"
    if first.state.role == second.state.role == "primary" and first.state.epoch == second.state.epoch:
        return "I6: two nodes lead the same epoch"
    for index, node in enumerate(world.nodes):
        partner = world.nodes[1 - index]
        leads = node.state.role == "primary" and node.state.epoch >= partner.state.epoch
        if (able[index] or leads) and not commits(node.log) >= set(world.acknowledged):
            return "an acknowledged commit is missing on the node that leads"
        if _acknowledges_alone(node) and _may_be_promoted_by(world, node, partner):
            return "I2: commits wait for nobody while the partner may be promoted"
        if node.open and node.state.role == "primary" and not _has_begun(world, node):
            return "I6: open to clients before the epoch's own row"
    return ""


def _acknowledges_alone(node: Node) -> bool:
    return node.runs and not node.recovery and not node.synchronous and node.state.role == "primary"


def _may_be_promoted_by(world: World, node: Node, partner: Node) -> bool:
    """Return whether the partner may be promoted by what it has, or will have when it has this node's log."""
    right = protocol.may_be_promoted(partner.state, latest(world.armed, node.log))
    return partner.runs and right and not partner.state.rejoin


def _has_begun(world: World, node: Node) -> bool:
    return world.began == node.state.epoch or ("e", node.state.epoch) in node.log
