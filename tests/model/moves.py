"""Everything that may happen next in a world: an agent's step, a message, a commit, a crash, a person's doing.

An act that writes the state file is one step with its decision; what it does to the server afterwards is another, so
that a crash may come between. An agent that is slow or dead is one that does not step: any delay is covered.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import NamedTuple

from tests.model.looks import Decider, sight
from tests.model.world import Node, World, commits, latest, latest_epoch, replace_node, says

from aya_watchdog import protocol
from aya_watchdog.protocol import ProtocolError, State

# What a person orders, and what a look that errs leads to: they count as faults.
FAULTS = frozenset({"intend", "vouch", "force", "restart", "rejoin", "resign"})
# Done once, because somebody asked; or under way.
ORDERED = frozenset({"vouch", "force", "intend", "promote"})
URGENT = frozenset({"fence", "yield", "tighten", "consent", "relax"})


class BrokenError(AssertionError):
    """An invariant does not hold."""


@dataclass(frozen=True)
class Bounds:
    """How far a world may go.

    records: in a log behind what both have; writes: of clients among them, in both logs. faults: crashes, restarts,
    streams that break, suspicions and orders. by_hand: a person may promote a server without the watchdog. lost_files:
    a standby's state file may be gone, and a person has it copied anew.
    """

    records: int = 3
    writes: int = 1
    faults: int = 99
    by_hand: bool = False
    lost_files: bool = False


class Move(NamedTuple):
    """What happened, to whom (0 or 1), and the world after it; broken: which promise it broke by itself."""

    who: int
    what: str
    world: World
    broken: str = ""
    fault: bool = False


def stopped(node: Node) -> Node:
    """Return a node without its server's process."""
    job = node.job if node.job == "copy" else ""
    return node._replace(
        runs=False, synchronous=False, open=False, upstream=False, streams=False, promoting=False, recovered=0, job=job
    )


def forgotten(node: Node) -> Node:
    """Return a node with a new agent."""
    return node._replace(heard=None, resigned=False, job="")


def _alone(state: State) -> bool:
    return protocol.may_acknowledge_alone(state)


def _put(world: World, index: int, node: Node) -> World:
    """Put a node in its place; a server that stopped ends the stream from it."""
    world = replace_node(world, index, node)
    partner = world.nodes[1 - index]
    if partner.streams and not node.runs:
        world = replace_node(world, 1 - index, partner._replace(streams=False))
    return world


def _started(node: Node) -> Node:
    state = node.state
    recovery = node.recovery
    if state.role == "standby" and not state.rejoin and state.intent is None:
        recovery = True
    follows = state.role == "standby" and not state.rejoin and state.intent is None
    synchronous = not recovery and not _alone(state)
    return node._replace(
        runs=True, recovery=recovery, synchronous=synchronous, open=False, upstream=follows and recovery,
        recovered=0 if recovery else len(node.log), resigned=False,
    )  # fmt: skip


def _reloaded(node: Node, *, open_: bool) -> Node:
    return node._replace(open=open_, synchronous=not _alone(node.state))


def _known_arming(world: World, index: int) -> int:
    node = world.nodes[index]
    armed = latest(world.armed, node.log) if node.runs else protocol.Armed()
    heard = node.heard.number if node.heard and node.heard.role == "primary" else 0
    return max(node.state.arming, armed.arming, heard)


def agent_moves(world: World, index: int, decider: Decider, bounds: Bounds) -> Iterator[Move]:
    """Yield what an agent may do next."""
    node = world.nodes[index]
    if node.job:
        yield from job_moves(world, index, bounds)
    if node.job == "close":
        return
    for action, why in decider.actions(sight(world, index)).items():
        if node.job and (action not in URGENT or node.job == action):
            continue
        free = replace_node(world, index, node._replace(job="")) if node.job else world
        try:
            for move in act(free, index, action, why):
                natural = action == "rejoin" and (node.state.rejoin or bool(node.log))
                idle = (
                    f"{action} changes nothing, and is decided again"
                    if move.world == world and action not in ORDERED
                    else ""
                )
                yield move._replace(fault=action in FAULTS and not natural, broken=move.broken or idle)
        except ProtocolError:
            continue


def act(world: World, index: int, action: str, why: str) -> Iterator[Move]:
    """Yield how an act may end. Raises ProtocolError when it is refused."""
    return _ACTS[action](world, index, f"{why} [{action}]")


def job_moves(world: World, index: int, bounds: Bounds) -> Iterator[Move]:
    """Yield how what is under way goes on."""
    node = world.nodes[index]
    partner = world.nodes[1 - index]
    done = node._replace(job="")
    if node.job == "arm":
        armed = _reloaded(done, open_=node.open)._replace(job="row")
        yield Move(index, "the setting names the partner, in every process", _put(world, index, armed))
    elif node.job == "row" and len(node.log) < bounds.records:
        row = ("a", node.state.epoch, node.state.arming)
        yield Move(
            index, "the arming's row is in the log", _put(world, index, done._replace(log=(*node.log, row), job="wait"))
        )
    elif node.job == "wait" and ("a", node.state.epoch, node.state.arming) not in node.log:
        yield Move(index, "the arming's row is committed", _put(world, index, done))
    elif node.job == "close":
        closed = done._replace(upstream=False, streams=False)
        yield Move(index, "the stream is closed", _put(world, index, closed))
    elif node.job == "copy" and partner.runs:
        copied = done._replace(log=partner.log, recovery=True, state=protocol.rejoined(node.state))
        yield Move(index, "the data directory is the partner's", _put(world, index, copied))


Act = Callable[[World, int, str], Iterator[Move]]


def _simply(change: Callable[[Node], Node]) -> Act:
    def act(world: World, index: int, what: str) -> Iterator[Move]:
        yield Move(index, what, _put(world, index, change(world.nodes[index])))

    return act


def _yield(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    if node.heard is None:
        return
    was = node.state.role
    state = protocol.yield_to(node.state, node.heard.epoch, resigned=node.resigned)
    follows = node.upstream or (was == "standby" and node.runs and node.recovery)
    yield Move(index, what, _put(world, index, node._replace(state=state, resigned=False, upstream=follows, job="")))


def _arm(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    state = protocol.begin_arming(node.state, node.heard.number if node.heard and node.heard.role == "standby" else 0)
    yield Move(index, what, _put(world, index, node._replace(state=state, job="arm")))


def _consent(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    if node.heard is not None and node.heard.role == "standby":
        state = protocol.note_consent(node.state, node.heard.number)
        yield Move(index, what, _put(world, index, node._replace(state=state)))


def _vouch(world: World, index: int, what: str) -> Iterator[Move]:
    """A person knows that the partner's machine is off and has not led a later epoch; it may come back at any time."""
    node, partner = world.nodes[index], world.nodes[1 - index]
    if partner.state.epoch > node.state.epoch or partner.state.role == "primary":
        return
    world = _put(world, 1 - index, forgotten(stopped(partner)))
    node = world.nodes[index]
    yield Move(
        index,
        f"{what}; the partner's machine restarts",
        _put(world, index, node._replace(state=protocol.vouch(node.state))),
    )


def _force(world: World, index: int, what: str) -> Iterator[Move]:
    """A person knows that the partner's machine is off, and takes what is lost; it comes back only to hear of it.

    Not tried on a node that knows less of the epochs than its partner, by its file and by its database.
    """
    node, partner = world.nodes[index], world.nodes[1 - index]
    replayed = latest_epoch(world, node.log)
    if partner.off or max(node.state.epoch, replayed) < partner.state.epoch:
        return
    kept = tuple(number for number in world.acknowledged if number in commits(node.log))
    world = _put(world, 1 - index, forgotten(stopped(partner))._replace(off=True))._replace(acknowledged=kept)
    node = world.nodes[index]
    yield Move(index, what, _put(world, index, node._replace(state=protocol.force(node.state, replayed), job="close")))


def _resign(world: World, index: int, what: str) -> Iterator[Move]:
    """A clean stop: all is sent to a partner that takes it; and it may not."""
    ended = stopped(world.nodes[index])._replace(resigned=True)
    yield Move(index, what, _put(world, index, ended))
    partner = world.nodes[1 - index]
    if partner.streams and ended.log:
        sent = replace_node(world, 1 - index, partner._replace(log=ended.log))
        yield Move(index, f"{what}; all is sent", _put(sent, index, ended))


def _begin(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    yield Move(index, what, _put(world, index, node._replace(log=(*node.log, ("e", node.state.epoch)))))


def _intend(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    armed = latest(world.armed, node.log)
    if not (node.runs and protocol.may_be_promoted(node.state, armed)):
        yield Move(index, what, world, "I1: resolved to be promoted without the right to it")
        return
    state = protocol.intend(node.state, armed)
    yield Move(index, what, _put(world, index, node._replace(state=state, job="close")))


def _promote(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    broken = ""
    if node.streams:
        broken = "I4: promoted while the stream from the old primary is open"
    yield Move(index, what, _put(world, index, node._replace(promoting=True)), broken)


def _abandon(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    state = protocol.abandon(node.state)
    yield Move(index, what, _put(world, index, node._replace(state=state, upstream=node.runs and node.recovery)))


def _finish(world: World, index: int, what: str) -> Iterator[Move]:
    node, partner = world.nodes[index], world.nodes[1 - index]
    state = protocol.begin_epoch(node.state, latest(world.armed, node.log), latest_epoch(world, node.log))
    broken = ""
    if partner.state.epoch >= state.epoch:
        broken = "I6: the epoch was there before"
    yield Move(index, what, _put(world, index, node._replace(state=state)), broken)


def _give_up(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    state = protocol.give_up(node.state, _known_arming(world, index))
    yield Move(index, what, _put(world, index, node._replace(state=state)))


def _settle(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    state = protocol.settle(node.state, _known_arming(world, index))
    yield Move(index, what, _put(world, index, node._replace(state=state)))


def _rejoin(world: World, index: int, what: str) -> Iterator[Move]:
    node = world.nodes[index]
    state = protocol.leave(node.state, _known_arming(world, index))
    yield Move(index, what, _put(world, index, stopped(node)._replace(state=state, job="copy")))


_ACTS: dict[str, Act] = {
    "start": _simply(_started),
    "restart": _simply(stopped),
    "export": _simply(stopped),
    "yield": _yield,
    "tighten": _simply(lambda node: _reloaded(node, open_=node.open)._replace(job="")),
    "relax": _simply(lambda node: _reloaded(node, open_=node.open)),
    "open": _simply(lambda node: _reloaded(node, open_=True)),
    "fence": _simply(lambda node: _reloaded(node, open_=False)._replace(job="")),
    "arm": _arm,
    "begin": _begin,
    "vouch": _vouch,
    "consent": _consent,
    "resign": _resign,
    "intend": _intend,
    "force": _force,
    "promote": _promote,
    "abandon": _abandon,
    "finish": _finish,
    "give_up": _give_up,
    "settle": _settle,
    "rejoin": _rejoin,
}  # fmt: skip


def world_moves(world: World, index: int, bounds: Bounds) -> Iterator[Move]:
    """Yield what may happen to the node at `index` without its agent's doing."""
    node, partner = world.nodes[index], world.nodes[1 - index]
    if node.off:
        if partner.state.role == "primary" and partner.state.epoch > node.state.epoch:
            state = node.state
            if state.epoch < partner.state.epoch:
                state = protocol.yield_to(state, partner.state.epoch)
            back = node._replace(off=False, heard=says(partner), state=state)
            yield Move(index, "the machine is back, and follows who leads", _put(world, index, back))
        return
    yield from _messages(world, index)
    yield from _server(world, index, bounds)
    if node.runs:
        yield Move(index, "the server crashes", _put(world, index, stopped(node)), fault=True)
    if bounds.lost_files and not partner.off and node.state.role == "standby":
        oldest = min(node.state.epoch, partner.state.epoch)
        for epoch in (oldest, oldest - 1):
            state = State("standby", epoch=epoch, void=True, rejoin=True)
            lost = forgotten(stopped(node))._replace(state=state)
            yield Move(
                index, "its state file is lost: a person says to copy it anew", _put(world, index, lost), fault=True
            )
    if forgotten(node) != node:
        yield Move(index, "the agent restarts", _put(world, index, forgotten(node)), fault=True)
        if node.runs:
            yield Move(index, "the machine restarts", _put(world, index, forgotten(stopped(node))), fault=True)


def _messages(world: World, index: int) -> Iterator[Move]:
    node, partner = world.nodes[index], world.nodes[1 - index]
    if not partner.off and node.heard != says(partner):
        yield Move(index, "hears its partner", replace_node(world, index, node._replace(heard=says(partner))))


def _server(world: World, index: int, bounds: Bounds) -> Iterator[Move]:
    node, partner = world.nodes[index], world.nodes[1 - index]
    if not node.runs:
        return
    if node.recovery:
        yield from _standby_server(world, index, bounds)
    elif node.state.role == "primary" or node.open:
        taken = commits(node.log) | commits(partner.log) | set(world.acknowledged)
        if len(taken) < bounds.writes and len(node.log) < bounds.records:
            wrote = node._replace(log=(*node.log, ("w", max(taken, default=-1) + 1)))
            yield Move(index, "a client commits", _put(world, index, wrote))


def _standby_server(world: World, index: int, bounds: Bounds) -> Iterator[Move]:
    node, partner = world.nodes[index], world.nodes[1 - index]
    if node.streams:
        yield Move(index, "the stream breaks", _put(world, index, node._replace(streams=False)), fault=True)
        if partner.log:
            got = node._replace(log=partner.log[:1])
            yield Move(index, "flushes a record of its partner's", _put(world, index, got))
    elif node.upstream and partner.runs and not node.log and not node.promoting:
        yield Move(index, "the stream opens", _put(world, index, node._replace(streams=True)))
    if node.promoting and len(node.log) < bounds.records:
        promoted = stopped(node)._replace(
            runs=True,
            recovery=False,
            synchronous=True,
            job=node.job,
            log=(*node.log, ("t", node.state.epoch + 1, index)),
        )
        yield Move(index, "the server is promoted", _put(world, index, promoted))
    if bounds.by_hand and not node.promoting:
        yield Move(index, "a person promotes the server", _put(world, index, node._replace(promoting=True)))
