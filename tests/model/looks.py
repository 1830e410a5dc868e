"""What a node may decide in a world: the real tables, asked with every look that its clocks and its luck may give it.

Safety must not depend on a clock, so every age is what it pleases; a look may find a running server hung or starting; a
standby may not have replayed all that it has (one that is told to be promoted was seen to have). Each person's order
may have been given.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from itertools import product
from math import inf
from typing import Any, NamedTuple, Protocol

from tests.model.manners import fault
from tests.model.world import Said, World, latest

from aya_watchdog.decide import NEAR_BYTES, Decision
from aya_watchdog.protocol import Armed, State
from aya_watchdog.views import Follower, Peer, PrimaryView, StandbyView


class Tables(Protocol):
    """The module aya_watchdog.decide, or a mutant of it."""

    def decide_primary(self, seen: PrimaryView) -> Decision:
        """Return what a primary does."""
        ...

    def decide_standby(self, seen: StandbyView) -> Decision:
        """Return what a standby does."""
        ...


class Sight(NamedTuple):
    """What of a world a node's decision can depend on. armed: what its database may say."""

    state: State
    runs: bool
    recovery: bool
    open: bool
    synchronous: bool
    began: bool
    followed: bool
    caught_up: bool
    streams: bool
    diverged: bool
    complete: bool
    resigned: bool
    heard: Said | None
    armed: tuple[Armed, ...]


def sight(world: World, index: int) -> Sight:
    """Return what the node at `index` can see."""
    node, partner = world.nodes[index], world.nodes[1 - index]
    state = node.state
    began = world.began == state.epoch or ("e", state.epoch) in node.log
    armed = {latest(world.armed, node.log)} if node.runs else {Armed()}
    if node.runs and node.recovery and not node.promoting:
        armed |= {Armed(), world.armed}
        armed |= {latest(world.armed, node.log[:length]) for length in range(len(node.log))}
    elif node.runs and node.synchronous:
        armed.add(world.armed)
    return Sight(
        state, node.runs, node.recovery, node.open, node.synchronous, began,
        followed=partner.streams, caught_up=partner.streams and node.recovered == 0,
        streams=node.streams, diverged=bool(node.log), complete=not partner.log, resigned=node.resigned,
        heard=node.heard, armed=tuple(sorted(armed, key=lambda one: (one.arming, one.epoch))),
    )  # fmt: skip


@cache
def peer(heard: Said | None) -> Peer | None:
    """Return the partner's word as the tables read it."""
    if heard is None:
        return None
    return Peer(
        role="primary" if heard.role == "primary" else "standby",
        epoch=heard.epoch,
        arming=heard.number if heard.role == "primary" else 0,
        given_up=heard.number if heard.role == "standby" else 0,
        intent=heard.epoch + 1 if heard.intent else None,
        resigned=1 if heard.resigned else None,
    )


def _common(seen: Sight) -> Iterator[dict[str, Any]]:
    servers = [("stopped", inf)]
    if seen.runs:
        servers = [("running", inf), ("hung", inf), ("hung", 0.0), ("starting", 0.0)]
    ages = [0.0, inf] if seen.heard else [inf]
    for (server, server_age), age in product(servers, ages):
        running = server == "running"
        for armed in seen.armed if running else (Armed(),):
            yield {
                "state": seen.state, "server": server, "server_age": server_age, "peer": peer(seen.heard),
                "peer_age": age, "in_recovery": seen.recovery if running else None, "armed": armed,
            }  # fmt: skip


def primary_looks(seen: Sight) -> Iterator[PrimaryView]:
    """Yield every look that a primary may have."""
    for common, order in product(_common(seen), (None, "degrade", "switchover")):
        running = common["server"] == "running"
        followers: list[Follower | None] = [None]
        if running and seen.followed:
            followers += [
                Follower(streaming=True, synchronous=seen.synchronous, flushed=flushed, reply_age=age)
                for flushed in ((0, 1) if seen.caught_up else (0,))
                for age in (0.0, inf)
            ]
            if seen.caught_up:
                followers.append(Follower(streaming=False, synchronous=seen.synchronous, flushed=1))
                followers.append(Follower(streaming=True, synchronous=False, flushed=1))
        for follower, resigned_age in product(followers, (0.0, inf) if seen.resigned else (inf,)):
            yield PrimaryView(
                **common, order=order, open=running and seen.open, setting=running and seen.synchronous, recovered=1,
                follower=follower, began=running and seen.began, resigned_age=resigned_age,
            )  # fmt: skip


def odd_looks(seen: Sight) -> Iterator[PrimaryView | StandbyView]:
    """Yield looks that do not fit the world, for what is decided, not for what comes of it.

    A primary's partner says goodbye, is about to be promoted, is in another epoch, or lacks a lot; a standby's does not
    lead its epoch.
    """
    epoch = seen.state.epoch
    said = Peer("standby", epoch)
    if seen.state.role == "primary":
        others = replace(said, leaving=True), replace(said, intent=epoch + 1), Peer("standby", epoch - 1)
        for view, word in product(primary_looks(seen), (*others, Peer("standby", epoch + 1))):
            yield replace(view, peer=word, peer_age=0.0)
        yield from (replace(view, position=view.recovered + NEAR_BYTES + 2) for view in primary_looks(seen))
    else:
        before = Peer("primary", epoch - 1)
        for look, word in product(_plain_standby_looks(seen), (said, before, replace(before, resigned=1))):
            yield replace(look, peer=word, peer_age=0.0)


# Everything speaks for the primary being gone; then, one after another, something that speaks against it.
GONE: dict[str, Any] = {
    "strikes": 4,
    "probe_age": inf,
    "refused": False,
    "stream_age": inf,
    "awake_age": inf,
    "alone": False,
}
DOUBTS: tuple[dict[str, Any], ...] = (
    {"strikes": 0}, {"strikes": 1}, {"probe_age": 0.0}, {"stream_age": 0.0}, {"awake_age": 0.0}, {"alone": True},
    {"replay_paused": True},
)  # fmt: skip
# Its machine refuses where it let us in; this node says goodbye; the primary's agent says that its server is gone.
_ODD: tuple[dict[str, Any], ...] = ({"probe_age": 0.0, "refused": True}, {"strikes": 0, "leaving": True})
_WITHOUT_SERVER: dict[str, Any] = {"strikes": 0}


def standby_looks(seen: Sight) -> Iterator[StandbyView]:
    """Yield every look that a standby may have."""
    orders = (None, "failover", "force", "rejoin")
    for common, order, doubt in product(_common(seen), orders, ({}, *DOUBTS, *_ODD, _WITHOUT_SERVER)):
        running = common["server"] == "running"
        following = running and seen.streams
        facts: dict[str, Any] = {**common, **GONE, **doubt}
        if doubt is _WITHOUT_SERVER:
            facts = {**common, **GONE, "strikes": 0, "peer": _without_server(seen.heard)}
        look = StandbyView(**facts, order=order, following=following, replayed=int(seen.complete))
        for exported in (True, False) if seen.state.rejoin else (False,):
            yield replace(look, exported=exported)
            if running and not following:
                yield replace(look, exported=exported, diverged=True)
                yield replace(look, exported=exported, lost=True)


def _plain_standby_looks(seen: Sight) -> Iterator[StandbyView]:
    for common, doubt in product(_common(seen), ({}, {"strikes": 0})):
        facts: dict[str, Any] = {**common, **GONE, **doubt}
        following = common["server"] == "running" and seen.streams
        yield StandbyView(**facts, following=following, replayed=int(seen.complete), order="rejoin")
        yield StandbyView(**facts, following=following, replayed=int(seen.complete), exported=True)


def _without_server(heard: Said | None) -> Peer | None:
    said = peer(heard)
    return None if said is None else replace(said, server="stopped", server_since=9.0)


class Decider:
    """Remembers what was decided: sights come back often. rows: that decided. fault: of the first bad decision."""

    def __init__(self, tables: Tables) -> None:
        self.tables = tables
        self._known: dict[Sight, dict[str, str]] = {}
        self.rows: set[tuple[str, str, str]] = set()
        self.fault = ""

    def actions(self, seen: Sight) -> dict[str, str]:
        """Return all actions that the node may decide on, each with a row's words."""
        found = self._known.get(seen)
        if found is None:
            found = self._known[seen] = self._asked(seen)
        return found

    def _decided(self, view: PrimaryView | StandbyView) -> Decision:
        if isinstance(view, PrimaryView):
            return self.tables.decide_primary(view)
        return self.tables.decide_standby(view)

    def _asked(self, seen: Sight) -> dict[str, str]:
        found: dict[str, str] = {}
        for view in () if self.fault else odd_looks(seen):
            self.fault = self.fault or fault(view, self._decided(view))
        views = primary_looks(seen) if seen.state.role == "primary" else standby_looks(seen)
        for view in views:
            decision = self._decided(view)
            self.rows.add((seen.state.role, decision.action, decision.why))
            found.setdefault(decision.action, decision.why)
            if not self.fault:
                self.fault = fault(view, decision)
        found.pop("nothing", None)
        return found
