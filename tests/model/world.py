"""Two nodes as a few small values: their state files, their logs, their servers, and what each last heard of the other.

A log is a row of records. What both logs begin with can never be lost again, so it is not kept: only what follows it,
and the latest arming and epoch in it. Epochs and armings are renumbered without changing their order; so no counter
bounds how many there may be in a run. Two worlds that differ only in which node is called alpha are one.
"""

from __future__ import annotations

from functools import cache
from typing import NamedTuple

from aya_watchdog.protocol import Armed, State

# ("w", n): a client's commit. ("a", epoch, arming), ("e", epoch): the rows. ("t", epoch, node): a promotion's record.
Record = tuple[str, int] | tuple[str, int, int]
NODES = ("alpha", "beta")


class Said(NamedTuple):
    """What a node has heard of its partner: the fields of views.Peer that a decision or an act reads.

    number: of a primary, its latest arming; of a standby, what it has given up.
    """

    role: str
    epoch: int
    number: int
    intent: bool
    resigned: bool


class Node(NamedTuple):
    """One node.

    state, log, recovery (standby.signal is there) outlive everything. runs, synchronous, open, upstream, streams,
    promoting: the server's; recovered: how much of the log the partner must have before clients may be let in.
    job, resigned, heard: the agent's, forgotten when it restarts. off: the machine is off, and a person knows it.
    """

    state: State
    log: tuple[Record, ...] = ()
    recovery: bool = False
    runs: bool = False
    synchronous: bool = False
    open: bool = False
    upstream: bool = False
    streams: bool = False
    promoting: bool = False
    recovered: int = 0
    job: str = ""
    resigned: bool = False
    heard: Said | None = None
    off: bool = False


class World(NamedTuple):
    """Both nodes; the latest arming and epoch in both logs; the acknowledged commits that are in one log only."""

    nodes: tuple[Node, Node]
    armed: Armed = Armed()
    began: int = 1
    acknowledged: tuple[int, ...] = ()
    faults: int = 0


def says(node: Node) -> Said:
    """Return what an agent answers its partner."""
    state = node.state
    number = state.arming if state.role == "primary" else state.given_up
    return Said(state.role, state.epoch, number, state.intent is not None, resigned=node.resigned)


def commits(log: tuple[Record, ...]) -> set[int]:
    """Return the clients' commits in a log."""
    return {record[1] for record in log if record[0] == "w"}


def latest(armed: Armed, log: tuple[Record, ...]) -> Armed:
    """Return the latest arming of a log that begins with one that has `armed`."""
    for record in log:
        if record[0] == "a" and record[2] >= armed.arming:  # type: ignore[misc]
            armed = Armed(record[1], record[2])  # type: ignore[misc]
    return armed


def latest_epoch(world: World, log: tuple[Record, ...]) -> int:
    """Return the latest epoch whose row a log has, its beginning included; 0: none that is not over."""
    return max([world.began, *(record[1] for record in log if record[0] == "e")])


def replace_node(world: World, index: int, node: Node) -> World:
    """Return the world with another node at `index`."""
    other = world.nodes[1 - index]
    return world._replace(nodes=(node, other) if index == 0 else (other, node))


def settled(world: World) -> tuple[World, bool]:
    """Return the one world that stands for all that are like this one, and whether alpha and beta changed places."""
    world = shortened(_acknowledged(world))
    first, second = map(_essential, world.nodes)
    turned = _comes_second(first, second)
    nodes = (second, first) if turned else (first, second)
    world = World(nodes, world.armed, world.began, world.acknowledged, world.faults)
    return _renumbered(world, turned=turned), turned


def _essential(node: Node) -> Node:
    """Leave out what no decision and no act can depend on any more.

    A primary reads of its partner's number only whether it reaches the latest arming; a standby, whether it is above
    what was given up. What a primary has given up, and what a standby knew to be armed, is not more than what is kept.
    """
    state, heard = node.state, node.heard
    if state.role == "primary":
        consent = state.arming if state.consent >= state.arming else 0
        if consent != state.consent or state.given_up:
            state = _state(state, state.epoch, state.arming, consent, 0)
        if heard is not None and heard.epoch < state.epoch:
            heard = None
        if heard is not None:
            matters = heard.role == "standby" and heard.number >= state.arming
            heard = Said(heard.role, heard.epoch, heard.number if matters else 0, heard.intent, resigned=False)
    else:
        if state.arming or state.consent:
            state = _state(state, state.epoch, 0, 0, state.given_up)
        if heard is not None and heard.epoch < state.epoch:
            heard = None
        if heard is not None:
            matters = heard.role == "primary" and heard.number > state.given_up
            heard = Said(heard.role, heard.epoch, heard.number if matters else 0, intent=False, resigned=heard.resigned)
    return node if state is node.state and heard == node.heard else node._replace(state=state, heard=heard)


def _comes_second(first: Node, second: Node) -> bool:
    """Return whether the nodes are to change places: a primary comes first, else what is less."""
    roles = first.state.role, second.state.role
    return roles[0] > roles[1] if roles[0] != roles[1] else _order(first) > _order(second)


def _order(node: Node) -> tuple[object, ...]:
    state = node.state
    told = (state.epoch, state.arming, state.consent, state.given_up, state.intent or 0, state.forced, state.rejoin)
    log = tuple(record if record[0] != "t" and record[0] != "w" else record[:1] for record in node.log)
    return (*told, state.void, len(log), log, *node[2:-2], node.heard or (), node.off)


def _acknowledged(world: World) -> World:
    """What a server's log holds while its commits wait for nobody is acknowledged."""
    if not any(node.log for node in world.nodes):
        return world
    acknowledged = set(world.acknowledged)
    for node in world.nodes:
        if node.runs and not node.recovery and not node.synchronous and node.state.role == "primary":
            acknowledged |= commits(node.log)
    return world._replace(acknowledged=tuple(sorted(acknowledged)))


def shortened(world: World) -> World:
    """Return the world without what both logs begin with."""
    first, second = (node.log for node in world.nodes)
    common = 0
    while common < len(first) and common < len(second) and first[common] == second[common]:
        common += 1
    if not common:
        return world
    shared = first[:common]
    began = latest_epoch(world, shared)
    gone = commits(shared)
    nodes = tuple(
        node._replace(log=node.log[common:], recovered=max(0, node.recovered - common)) for node in world.nodes
    )
    return World(
        nodes,  # type: ignore[arg-type]
        latest(world.armed, shared),
        began,
        tuple(number for number in world.acknowledged if number not in gone),
        world.faults,
    )


@cache
def _dense(numbers: frozenset[int], least: int) -> tuple[dict[int, int], bool]:
    """Map numbers to small ones: in the same order, next to each other when they were, and else with one between.

    Returned with whether that changes nothing.
    """
    found: dict[int, int] = {}
    last = mapped = None
    for number in sorted(numbers):
        mapped = least if last is None or mapped is None else mapped + min(2, number - last)
        found[number] = mapped
        last = number
    return found, all(number == small for number, small in found.items())


@cache
def _state(state: State, epoch: int, arming: int, consent: int, given_up: int) -> State:
    intent = None if state.intent is None else epoch + 1
    return State(state.role, epoch, arming, consent, given_up, intent, state.forced, state.rejoin, state.void)


def _has_names(node: Node) -> bool:
    return any(record[0] == "w" and record[1] for record in node.log)


def _numbers(world: World) -> tuple[set[int], set[int]]:
    """Return the epochs and the armings that a world speaks of."""
    epochs: set[int] = set()
    armings = {0, world.armed.arming}
    for node in world.nodes:
        state, heard = node.state, node.heard
        epochs.add(state.epoch)
        armings.add(state.arming if state.role == "primary" else state.given_up)
        if heard is not None:
            epochs.add(heard.epoch)
            armings.add(heard.number)
        for record in node.log:
            if record[0] != "w":
                epochs.add(record[1])
            if record[0] == "a":
                armings.add(record[2])  # type: ignore[misc]
    epochs |= {epoch for epoch in (world.armed.epoch, world.began) if epoch}
    return epochs, armings


def _renumbered(world: World, *, turned: bool) -> World:
    # An epoch that nobody is in any more is one that is over, whichever it was.
    oldest = min(node.state.epoch for node in world.nodes)
    armed, began = world.armed, world.began
    if armed.epoch < oldest or began < oldest:
        armed = Armed(armed.epoch if armed.epoch >= oldest else 0, armed.arming)
        world = world._replace(armed=armed, began=began if began >= oldest else 0)
    epochs, armings = _numbers(world)
    epoch_of, same_epochs = _dense(frozenset(epochs), 1)
    arming_of, same_armings = _dense(frozenset(armings), 0)
    if same_epochs and same_armings and not turned and not any(map(_has_names, world.nodes)):
        return world
    names: dict[int, int] = {}
    nodes = [_renamed(node, epoch_of, arming_of, names, turned=turned) for node in world.nodes]
    return World(
        (nodes[0], nodes[1]),
        Armed(epoch_of.get(world.armed.epoch, 0), arming_of[world.armed.arming]),
        epoch_of.get(world.began, 0),
        # what was acknowledged and is in no log any more keeps a name, so that its loss is seen
        tuple(sorted(names.setdefault(number, len(names)) for number in world.acknowledged)),
        world.faults,
    )


def _renamed(
    node: Node, epoch_of: dict[int, int], arming_of: dict[int, int], names: dict[int, int], *, turned: bool
) -> Node:
    def record_of(record: Record) -> Record:
        kind = record[0]
        if kind == "w":
            return ("w", names.setdefault(record[1], len(names)))
        if kind == "a":
            return ("a", epoch_of[record[1]], arming_of[record[2]])  # type: ignore[misc]
        if kind == "e":
            return ("e", epoch_of[record[1]])
        return ("t", epoch_of[record[1]], record[2] ^ turned)  # type: ignore[misc]

    state, heard = node.state, node.heard
    if state.role == "primary":
        arming = arming_of[state.arming]
        state = _state(state, epoch_of[state.epoch], arming, arming if state.consent >= state.arming else 0, 0)
    else:
        state = _state(state, epoch_of[state.epoch], 0, 0, arming_of[state.given_up])
    if heard is not None:
        heard = Said(heard.role, epoch_of[heard.epoch], arming_of[heard.number], *heard[3:])
    return node._replace(state=state, log=tuple(map(record_of, node.log)), heard=heard)


def beginning() -> World:
    """Return two new nodes before anything has run; beta's is a copy of alpha's."""
    return World((Node(State("primary")), Node(State("standby"), recovery=True)))
