"""Which texts form the next batch: pure planning, no clock and no I/O.

A batch is padded to its longest text, so its cost is longest × count tokens, lengths rounded up to the backend's step.
Each text has a turn. Those of a request that fits into one batch have turn 0. Those of a larger one, a bulk, have turns
one batch's worth of tokens apart, beginning with the turn that is being served, so that bulks that wait together
advance side by side (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996). The rule:

- the oldest text of the lowest turn leads: small requests go before bulks, and wait for the batches that run already;
- in one batch of four the oldest text of all leads, whatever its turn, so that bulks advance, however many small ones;
- the texts nearest to the leader in length fill the batch: beside one of turn 0 others of turn 0 first, then any;
- the cost stays within a budget.

Invariants, checked: the leader is in the batch, and the batch costs at most the budget unless it is a single text. So
nobody starves: of four batches in a row, one has the text that has waited longest.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_OLDEST_LEADS_ONE_IN = 4


@dataclass(frozen=True, slots=True, order=True)
class Waiting:
    """One text in the queue. arrival: a number that grows with each; tokens: its length, 1 or more; turn: see above."""

    arrival: int
    tokens: int
    turn: int = 0


@dataclass(frozen=True, slots=True)
class Budget:
    """What a batch may cost. length_step: the backend pads lengths to a multiple of it."""

    tokens: int
    length_step: int = 1

    def padded(self, tokens: int) -> int:
        """Return a length as the backend computes it."""
        return -(-tokens // self.length_step) * self.length_step


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that are computed together, in order of arrival; leader: one of them; longest: in tokens, rounded up."""

    members: tuple[Waiting, ...]
    leader: Waiting
    longest: int

    @property
    def cost_tokens(self) -> int:
        """What the batch costs once it is padded."""
        return self.longest * len(self.members)


@dataclass(slots=True)
class _ByLength:
    """Texts by length; those of one length in the order of arrival."""

    lines: dict[int, dict[Waiting, None]] = field(default_factory=dict[int, dict[Waiting, None]])

    def add(self, one: Waiting) -> None:
        self.lines.setdefault(one.tokens, {})[one] = None

    def remove(self, one: Waiting) -> None:
        line = self.lines[one.tokens]
        del line[one]
        if not line:
            del self.lines[one.tokens]

    def oldest(self) -> Waiting:
        return min(next(iter(line)) for line in self.lines.values())

    def nearest(self, tokens: int) -> Iterator[tuple[int, dict[Waiting, None]]]:
        """Return the lines, the nearest length first and of two equally near ones the shorter."""
        return iter(sorted(self.lines.items(), key=lambda line: (abs(line[0] - tokens), line[0])))


class Queue:
    """Texts that wait. What a step costs depends on how many lengths and turns there are, not on how many texts.

    tokens: of all texts that wait. turn: of the bulks, the one that is being served.
    """

    def __init__(self) -> None:
        self._all = _ByLength()
        self._small = _ByLength()
        self._turns: dict[int, dict[Waiting, None]] = {}
        self._size = 0
        self.tokens = 0
        self.turn = 1

    def __len__(self) -> int:
        return self._size

    def turns(self, lengths: Sequence[int], budget: Budget) -> list[int]:
        """Return the turn of each text of a request that arrives now; lengths: in tokens."""
        *before, total = itertools.accumulate(map(budget.padded, lengths), initial=0)
        if total <= budget.tokens or not before[1:]:
            return [0] * len(lengths)
        return [self.turn + tokens // budget.tokens for tokens in before]

    def add(self, one: Waiting) -> None:
        """Let a text wait that does not yet. Texts must be added in the order of their arrivals."""
        self._all.add(one)
        if one.turn == 0:
            self._small.add(one)
        self._turns.setdefault(one.turn, {})[one] = None
        self._size += 1
        self.tokens += one.tokens

    def remove(self, one: Waiting) -> None:
        """Let a text go. Raises KeyError when it does not wait."""
        self._all.remove(one)
        if one.turn == 0:
            self._small.remove(one)
        line = self._turns[one.turn]
        del line[one]
        if not line:
            del self._turns[one.turn]
        self._size -= 1
        self.tokens -= one.tokens

    def next_batch(self, budget: Budget, number: int = 0) -> Batch:
        """Return the next batch; its texts go on waiting until they are removed. number: of the batch, counted up.

        Raises ValueError on an empty queue, AssertionError when an invariant is broken.
        """
        if not self._size:
            raise ValueError("an empty queue has no next batch")
        patient = number % _OLDEST_LEADS_ONE_IN == _OLDEST_LEADS_ONE_IN - 1
        leader = self._all.oldest() if patient else next(iter(self._turns[min(self._turns)]))
        self.turn = max(self.turn, leader.turn)
        batch = self._filled(leader, budget)
        _check(batch, budget.tokens)
        return batch

    def _filled(self, leader: Waiting, budget: Budget) -> Batch:
        members = {leader: None}
        longest = budget.padded(leader.tokens)
        first = self._small.nearest(leader.tokens) if leader.turn == 0 else ()
        for tokens, line in itertools.chain(first, self._all.nearest(leader.tokens)):
            wider = max(longest, budget.padded(tokens))
            for candidate in line:
                if wider * (len(members) + 1) > budget.tokens:
                    break
                if candidate not in members:
                    members[candidate] = None
                    longest = wider
        return Batch(tuple(sorted(members)), leader, longest)


def _check(batch: Batch, budget_tokens: int) -> None:
    if batch.leader not in batch.members:
        raise AssertionError(f"the leader is not in {batch}")
    if len(batch.members) > 1 and batch.cost_tokens > budget_tokens:
        raise AssertionError(f"{batch} costs {batch.cost_tokens} tokens, over the budget of {budget_tokens}")
