"""Breadth first through all worlds that can be reached; what breaks a promise comes with the shortest way to it."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field

from tests.model.calm import Calm
from tests.model.invariants import broken
from tests.model.looks import Decider, Tables
from tests.model.moves import Bounds, Move, agent_moves, world_moves
from tests.model.world import NODES, World, beginning, settled

from aya_watchdog import decide

Check = Callable[[World], str]


@dataclass
class Report:
    """What an exploration saw. found: the first promise broken, and the way to it in words."""

    states: int = 0
    transitions: int = 0
    depth: int = 0
    seconds: float = 0.0
    complete: bool = True
    found: str = ""
    trace: list[str] = field(default_factory=list[str])
    rows: set[tuple[str, str, str]] = field(default_factory=set[tuple[str, str, str]])

    def __str__(self) -> str:
        ended = "all" if self.complete else "the first"
        words = (
            f"{ended} {self.states} states, {self.transitions} transitions, depth {self.depth}, {self.seconds:.1f} s"
        )
        return words if not self.found else "\n".join([words, f"BROKEN: {self.found}", *self.trace])


def moves(world: World, decider: Decider, bounds: Bounds) -> Iterator[Move]:
    """Yield everything that may happen next."""
    for index in (0, 1):
        if not world.nodes[index].off:
            yield from agent_moves(world, index, decider, bounds)
        yield from world_moves(world, index, bounds)


class Explorer:
    """Keeps, of every world, where it was reached from."""

    def __init__(self, decider: Decider, bounds: Bounds, *, start: Iterable[World]) -> None:
        self.decider = decider
        self.bounds = bounds
        self._reached: dict[World, tuple[World, int, str, bool] | None] = {}
        self._ahead: deque[World] = deque()
        self._turned: dict[World, bool] = {}
        for one in start:
            world, turned = settled(one)
            self._reached[world] = None
            self._turned[world] = turned
            self._ahead.append(world)

    @property
    def worlds(self) -> Iterable[World]:
        """Return the worlds that were reached, the nearest first."""
        return self._reached

    def run(self, *, at_most: int = 10**9, check: Check | None = None) -> Report:
        """Explore until all is seen, something is broken, or so many worlds were reached."""
        report, began = Report(), time.monotonic()
        reached, ahead = self._reached, self._ahead
        level = len(ahead)
        while ahead and not report.found and len(reached) < at_most:
            if not level:
                report.depth += 1
                level = len(ahead)
            level -= 1
            world = ahead.popleft()
            for move in moves(world, self.decider, self.bounds):
                if move.fault and world.faults >= self.bounds.faults:
                    continue
                report.transitions += 1
                went = move.world._replace(faults=world.faults + 1) if move.fault else move.world
                after, turned = settled(went)
                if after in reached and not move.broken:
                    continue
                if after not in reached:
                    reached[after] = (world, move.who, move.what, turned)
                    ahead.append(after)
                found = self.decider.fault or move.broken or broken(after) or (check(after) if check else "")
                if found:
                    report.found = found
                    report.trace = [*self.trace(world), *self._last(world, move)]
                    break
        report.complete = not ahead
        report.states, report.seconds = len(reached), time.monotonic() - began
        report.rows = self.decider.rows
        return report

    def _way(self, world: World) -> list[tuple[World, int, str, bool]]:
        way: list[tuple[World, int, str, bool]] = []
        step = self._reached[world]
        while step is not None:
            way.append(step)
            step = self._reached[step[0]]
        return way[::-1]

    def trace(self, world: World) -> list[str]:
        """Return the shortest way to a world, in words."""
        return self._words(world)[0]

    def _words(self, world: World) -> tuple[list[str], bool]:
        way = self._way(world)
        turned, words = self._turned[way[0][0] if way else world], list[str]()
        for _, who, what, turns in way:
            words.append(f"{NODES[who ^ turned]}: {what}")
            turned ^= turns
        return words, turned

    def _last(self, world: World, move: Move) -> list[str]:
        return [f"{NODES[move.who ^ self._words(world)[1]]}: {move.what}"]


_FAILED_OVER = ("the primary is gone", "the stream is closed", "promote [promote]", "is promoted", "[finish]")


def walked(world: World, words: Iterable[str], decider: Decider) -> World:
    """Return the world after moves, each the first that has these words in what happened."""
    for word in words:
        world = settled(next(move.world for move in moves(world, decider, Bounds()) if word in move.what))[0]
    return world


def starts() -> list[World]:
    """Return two new nodes; two after a failover of which the old primary knows nothing; all on their way to SYNC."""
    calm = Calm(decide)
    new = calm.way(beginning())
    zombie = walked(new[-1], _FAILED_OVER, Decider(decide))
    return list(dict.fromkeys([*new, *calm.way(zombie)]))


def explored(tables: Tables, bounds: Bounds, *, at_most: int = 10**9, futures: bool = False) -> Report:
    """Explore from all starts. futures: look at what becomes of each world, too."""
    explorer = Explorer(Decider(tables), bounds, start=starts())
    check = Calm(tables, files_lost=bounds.lost_files).check
    return explorer.run(at_most=at_most, check=check if futures else None)


def examined(tables: Tables, bounds: Bounds, *, at_most: int) -> Report:
    """Explore tables that may be no tables at all: one that raises is broken, too."""
    try:
        return explored(tables, bounds, at_most=at_most, futures=True)
    except (AttributeError, TypeError) as error:
        return Report(found=f"the table raises {error!r}")
