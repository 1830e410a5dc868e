"""What becomes of a world when nothing more goes wrong: both hear each other, and clocks are patient; or one is off.

One fair run of the real tables, not some run: each round every stream and message arrives, then every agent takes one
step. It ends where nothing changes any more, or goes round in a circle, which is a fault of its own.
"""

from __future__ import annotations

from contextlib import suppress
from dataclasses import replace
from math import inf
from typing import Any

from tests.model.looks import DOUBTS, GONE, Sight, Tables, peer, sight
from tests.model.moves import Bounds, act, forgotten, job_moves, stopped, world_moves
from tests.model.world import Node, World, latest, replace_node, says, settled, shortened

from aya_watchdog import protocol
from aya_watchdog.decide import Decision
from aya_watchdog.protocol import ProtocolError
from aya_watchdog.views import Follower, PrimaryView, StandbyView

_WIDE = Bounds(records=99, writes=0)
_ROUNDS = 60


class Calm:
    """Follows worlds to their ends, and remembers them."""

    def __init__(self, tables: Tables, *, files_lost: bool = False) -> None:
        self._tables = tables
        self._files_lost = files_lost
        self._ends: dict[World, World | None] = {}
        self._decided: dict[tuple[Any, ...], Decision] = {}

    def check(self, world: World) -> str:
        """Return what is wrong with the world's future; empty when nothing."""
        if not any(node.off for node in world.nodes):
            for index in (0, 1):
                wrong = self._doubted(world, index) or self._left_alone(world, index)
                if wrong:
                    return wrong
        end = self._end(world)
        if end is not None and any(map(_is_stray, end.nodes)):
            return ""
        if self._files_lost and end is not None and all(node.state.role == "standby" for node in end.nodes):
            # Who led has lost its file, and its partner was not armed: a person says who is to lead.
            return ""
        return (
            "" if end is not None and in_sync(end) else f"both nodes are well, and they do not get back to SYNC: {end}"
        )

    def end(self, world: World) -> World | None:
        """Return what becomes of a world when both nodes are well; None when it goes round in a circle."""
        return self._end(settled(world)[0])

    def way(self, world: World) -> list[World]:
        """Return the worlds that this one passes when both nodes are well, the last one included."""
        way = [settled(world)[0]]
        for _ in range(_ROUNDS):
            after = settled(self._round(way[-1]))[0]
            if after == way[-1]:
                break
            way.append(after)
        return way

    def _doubted(self, world: World, index: int) -> str:
        """Look for a standby that leads unasked though something speaks against it, or a primary closed for nothing."""
        node, partner = world.nodes[index], world.nodes[1 - index]
        seen = sight(world, index)
        if node.state.role == "standby":
            if node.state.intent is not None or not (node.runs and node.recovery):
                return ""
            key = ("doubts", seen)
            if key not in self._decided:
                self._decided[key] = self._tables.decide_standby(_standby(seen, alone=True))
                for doubt in DOUBTS:
                    if "stream_age" in doubt and not seen.streams:
                        continue
                    look = replace(_standby(seen, alone=True), replayed=0, **doubt)
                    decision = self._tables.decide_standby(look)
                    if decision.action == "intend" and not seen.resigned:
                        return f"false failover in spite of {doubt}: {decision.why}"
            return ""
        heard = says(partner)
        if heard.epoch <= node.state.epoch and not heard.intent and node.runs and node.open:
            decision = self._tables.decide_primary(_primary(seen._replace(heard=heard), world, index, alone=False))
            if decision.action == "fence":
                return f"closed while the partner is there: {decision.why}"
        return ""

    def _left_alone(self, world: World, index: int) -> str:
        """The partner's machine is off: who may lead alone does, and who may not is closed."""
        world = replace_node(world, 1 - index, forgotten(stopped(world.nodes[1 - index])))
        node = world.nodes[index]
        if node.streams:
            world = replace_node(world, index, node._replace(streams=False))
        before = world.nodes[index]
        end = self._end_alone(world, index)
        if end is None:
            return "goes round in a circle while its partner is off"
        after = end.nodes[index]
        leads = after.state.role == "primary" and after.runs and after.open
        alone = leads and not after.synchronous
        unbound = after.runs and after.state.role == "primary" and not after.recovery and not after.synchronous
        if unbound and not protocol.may_acknowledge_alone(after.state):
            return "I2: commits wait for nobody, and the token is away"
        if after.open and after.state.role == "standby":
            return "open to clients, and it does not lead"
        if leads and not alone:
            return "open to clients, whose commits wait for a partner that is off"
        if _is_to_lead(world, before) and not alone:
            return f"does not lead though it may, and its partner is off: {after}"
        return ""

    def _end(self, world: World) -> World | None:
        way: list[World] = []
        known = self._ends
        while world not in known:
            known[world] = None
            way.append(world)
            after, _ = settled(self._round(world))
            if after == world:
                known[world] = world
                break
            world = after
        end = known[world]
        for passed in way:
            known[passed] = end
        return end

    def _round(self, world: World) -> World:
        for index in (0, 1):
            world = _served(world, index)
        for index in (0, 1):
            node, partner = world.nodes[index], world.nodes[1 - index]
            if not node.off and not partner.off:
                world = replace_node(world, index, node._replace(heard=says(partner)))
        for index in (0, 1):
            if not world.nodes[index].off:
                world = self._acted(world, index, alone=False)
        return world

    def _end_alone(self, world: World, index: int) -> World | None:
        for _ in range(_ROUNDS):
            after = self._acted(_served(world, index, alone=True), index, alone=True)
            if after == world:
                return world
            world = after
        return None

    def _acted(self, world: World, index: int, *, alone: bool) -> World:
        node = world.nodes[index]
        seen = sight(world, index)
        if node.state.role == "primary":
            decision = self._tables.decide_primary(_primary(seen, world, index, alone=alone))
        else:
            decision = self._tables.decide_standby(_standby(seen, alone=alone))
        if decision.action == "nothing":
            return world
        with suppress(ProtocolError):
            for move in act(world, index, decision.action, decision.why):
                return move.world
        return world


def in_sync(world: World) -> bool:
    """Return whether one node leads, open, and the other has everything and may be promoted."""
    for index, node in enumerate(world.nodes):
        partner = world.nodes[1 - index]
        leads = node.state.role == "primary" and node.runs and node.open and node.synchronous and not node.recovery
        follows = partner.runs and partner.recovery and partner.streams and not partner.log and not node.log
        if leads and follows and protocol.may_be_promoted(partner.state, latest(world.armed, partner.log)):
            return True
    return False


def _is_stray(node: Node) -> bool:
    """Return whether a person has promoted the server by hand, without the right to it: a person says what then."""
    return node.state.role == "standby" and node.runs and not node.recovery and not node.state.rejoin


def _is_to_lead(world: World, node: Node) -> bool:
    """Return whether a node whose partner is off has all that it needs to lead."""
    state = node.state
    if state.role == "primary":
        gave_up = node.heard is not None and node.heard.role == "standby" and node.heard.epoch == state.epoch
        consents = gave_up and node.heard is not None and node.heard.number >= state.arming
        superseded = node.heard is not None and node.heard.role == "primary" and node.heard.epoch > state.epoch
        return not superseded and not node.resigned and (protocol.may_acknowledge_alone(state) or consents)
    may = protocol.may_be_promoted(state, latest(world.armed, node.log)) and not state.rejoin
    stands = node.runs and node.recovery and not node.job
    newer = node.heard is not None and node.heard.epoch > state.epoch
    return may and stands and not newer and not (node.heard and node.heard.role == "standby" and node.heard.resigned)


def _served(world: World, index: int, *, alone: bool = False) -> World:
    """What the server, the stream and the job under way come to by themselves."""
    for _ in range(_ROUNDS):
        node, partner = world.nodes[index], world.nodes[1 - index]
        wanted = (
            {"the server is promoted", "the stream opens", "flushes a record of its partner's"}
            if not alone
            else {"the server is promoted"}
        )
        steps = [move for move in world_moves(world, index, _WIDE) if move.what in wanted or node.off]
        steps += list(job_moves(world, index, _WIDE))
        if not steps:
            break
        world = steps[0].world
        if (node, partner) == world.nodes:
            break
    return shortened(world)


def _primary(seen: Sight, world: World, index: int, *, alone: bool) -> PrimaryView:
    partner = world.nodes[1 - index]
    takes_over = partner.state.intent is not None or (
        partner.runs and protocol.may_be_promoted(partner.state, latest(world.armed, partner.log))
    )
    follower = Follower(streaming=True, synchronous=seen.synchronous, flushed=int(seen.caught_up))
    return PrimaryView(
        state=seen.state, server="running" if seen.runs else "stopped",
        in_recovery=seen.recovery if seen.runs else None,
        peer=peer(seen.heard), peer_age=inf if alone else 0.0, armed=seen.armed[-1], open=seen.open,
        setting=seen.synchronous, recovered=1, follower=follower if seen.followed and not alone else None,
        began=seen.began and seen.runs, resigned_age=0.0 if seen.resigned and takes_over and not alone else inf,
    )  # fmt: skip


def _standby(seen: Sight, *, alone: bool) -> StandbyView:
    gone: dict[str, Any] = GONE if alone else {"stream_age": 0.0 if seen.streams else inf}
    return StandbyView(
        state=seen.state, server="running" if seen.runs else "stopped",
        in_recovery=seen.recovery if seen.runs else None,
        peer=peer(seen.heard), peer_age=inf if alone else 0.0, armed=seen.armed[-1], following=seen.streams,
        diverged=seen.runs and not seen.streams and seen.diverged, exported=not seen.runs, replayed=int(seen.complete),
        **gone,
    )  # fmt: skip
