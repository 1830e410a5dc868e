"""Which texts form the next batch: pure planning, no clock and no I/O.

A batch is padded to its longest text, so its cost is longest × count tokens. The rule:
the oldest text leads, the texts nearest to it in length fill the batch, and the cost stays within a budget.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Collection


@dataclass(frozen=True, slots=True)
class Waiting:
    """One text in the queue. arrival: a number that grows with each arrival; tokens: its length, 1 or more."""

    arrival: int
    tokens: int


@dataclass(frozen=True, slots=True)
class Batch:
    """Texts that are computed together, in order of arrival; longest: in tokens."""

    members: tuple[Waiting, ...]
    longest: int

    @property
    def cost_tokens(self) -> int:
        """What the batch costs once it is padded."""
        return self.longest * len(self.members)


def next_batch(waiting: Collection[Waiting], budget_tokens: int) -> Batch:
    """Return the next batch of a queue that holds one text or more.

    Invariant, checked: the oldest text is in the batch (nobody starves), and the batch costs at most
    `budget_tokens` unless it is a single text. Raises ValueError on an empty queue, AssertionError when broken.
    """
    head = min(waiting, key=lambda one: one.arrival)
    members = [head]
    longest = head.tokens
    for candidate in sorted(waiting, key=lambda one: (abs(one.tokens - head.tokens), one.arrival)):
        if longest * (len(members) + 1) > budget_tokens:
            break
        if candidate != head and max(longest, candidate.tokens) * (len(members) + 1) <= budget_tokens:
            members.append(candidate)
            longest = max(longest, candidate.tokens)
    batch = Batch(tuple(sorted(members, key=lambda one: one.arrival)), longest)
    _check(batch, head, budget_tokens)
    return batch


def _check(batch: Batch, head: Waiting, budget_tokens: int) -> None:
    if batch.members[0] != head:
        raise AssertionError(f"the oldest text {head} is not the first of {batch}")
    if len(batch.members) > 1 and batch.cost_tokens > budget_tokens:
        raise AssertionError(f"{batch} costs {batch.cost_tokens} tokens, over the budget of {budget_tokens}")
