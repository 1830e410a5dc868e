"""Which texts form the next batch: pure planning, no clock and no I/O.

A batch is padded to its longest text, so its cost is longest × count tokens, lengths rounded up to the backend's step.
Each text has a turn. Those of a request that fits into one batch have turn 0. Those of a larger one, a bulk, have turns
one batch's worth of tokens apart, beginning with the turn that is being served, so that bulks that wait together
advance side by side (start-time fair queueing: Goyal, Vin and Cheng, SIGCOMM 1996). The rule:

- the oldest text of the lowest turn leads: small requests go before bulks, and wait for the batches that run already;
- after three batches in a row without it the oldest text of all leads, so that bulks advance, however many small ones;
- the texts nearest to the leader in length fill the batch, but a leader of turn 0 has only such beside it: a query must
  not wait for the bulk's texts in its own batch either;
- the cost stays within a budget.

Invariants, checked: the leader is in the batch, and the batch costs at most the budget unless it is a single text. So
nobody starves: of four batches in a row, one has the text that has waited longest.
"""

from __future__ import annotations

import itertools
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

_MOST_TIMES_PASSED_OVER = 3
# A batch is padded by an eighth or less, for its texts are of nearly one length.
_PADDING = 8
# Of a full batch: 64 tokens on a CPU.
_SMALLEST_SHARE = 8


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

    def shared(self, waiting_tokens: int, streams: int) -> Budget:
        """Return the budget with which so many idle streams are through with what waits at about the same time.

        Three full batches on two streams would leave one of them idle while the last is computed; four smaller ones do
        not. A batch of few tokens is not worth cutting: reading the weights takes as long as computing it.
        """
        batches = -(-waiting_tokens // (self.tokens * streams)) * streams
        if batches <= 1:
            return self
        share = -(-waiting_tokens * (_PADDING + 1) // (_PADDING * batches))
        return replace(self, tokens=max(min(share, self.tokens), self.tokens // _SMALLEST_SHARE))


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
        return min((next(iter(line)) for line in self.lines.values()), key=lambda one: one.arrival)

    def nearest(self, tokens: int) -> Iterator[tuple[int, dict[Waiting, None]]]:
        """Return the lines, the nearest length first and of two equally near ones the shorter."""
        for length in sorted(self.lines, key=lambda length: (abs(length - tokens), length)):
            yield length, self.lines[length]


class Queue:
    """Texts that wait. What a step costs depends on how many lengths and turns there are, not on how many texts.

    tokens: of all texts that wait; small_tokens: of those with turn 0. turn: of the bulks, the one that is served.
    """

    def __init__(self) -> None:
        self._all = _ByLength()
        self._small = _ByLength()
        self._turns: dict[int, dict[Waiting, None]] = {}
        self._size = 0
        self._passed_over = 0
        self.tokens = 0
        self.small_tokens = 0
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
            self.small_tokens += one.tokens
        self._turns.setdefault(one.turn, {})[one] = None
        self._size += 1
        self.tokens += one.tokens

    def remove(self, one: Waiting) -> None:
        """Let a text go. Raises KeyError when it does not wait."""
        self._all.remove(one)
        if one.turn == 0:
            self._small.remove(one)
            self.small_tokens -= one.tokens
        line = self._turns[one.turn]
        del line[one]
        if not line:
            del self._turns[one.turn]
        self._size -= 1
        self.tokens -= one.tokens

    def next_batch(self, budget: Budget) -> Batch:
        """Return the next batch; its texts go on waiting until they are removed.

        Raises ValueError on an empty queue, AssertionError when an invariant is broken.
        """
        if not self._size:
            raise ValueError("an empty queue has no next batch")
        oldest = self._all.oldest()
        first = next(iter(self._turns[min(self._turns)]))
        leader = oldest if self._passed_over == _MOST_TIMES_PASSED_OVER else first
        batch = self._filled(leader, budget)
        self.turn = max(self.turn, leader.turn)
        self._passed_over = 0 if oldest in batch.members else self._passed_over + 1
        _check(batch, budget.tokens)
        return batch

    def _filled(self, leader: Waiting, budget: Budget) -> Batch:
        members = {leader: None}
        longest = budget.padded(leader.tokens)
        others = self._all if leader.turn else self._small
        for tokens, line in others.nearest(leader.tokens):
            if longest * (len(members) + 1) > budget.tokens:
                break
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
