"""Fuse several rankings into one by reciprocal rank (Cormack, Clarke and Büttcher, SIGIR 2009)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

DEFAULT_K = 60
"""The paper's constant: how little the first ranks stand out from those below them."""


@dataclass(frozen=True, slots=True)
class Fused:
    """One item of the fused ranking.

    score: the sum of weight / (k + rank) over the lists that hold it; higher is better, comparable within one call.
    ranks: its rank, 1 for the first, in each list that holds it, by the list's name.
    """

    id: int
    score: float
    ranks: Mapping[str, int]


def reciprocal_rank_fusion(
    rankings: Mapping[str, Sequence[int]], *, k: int = DEFAULT_K, weights: Mapping[str, float] | None = None
) -> list[Fused]:
    """Return every id of every list once, best first; equal scores by best rank, then by id.

    rankings: ids, best first, by the list's name; where a list repeats an id, its first place counts.
    weights: by the list's name, 1.0 where none is given; a list of weight 0 adds items without raising them.
    The order of the mappings does not matter. Raises ValueError on k < 0, a weight that is negative or not
    finite, and a weight for a list that is not there.
    """
    weights = weights or {}
    _check(rankings, k, weights)
    ranks: dict[int, dict[str, int]] = {}
    for name in sorted(rankings):
        for rank, each in enumerate(rankings[name], start=1):
            ranks.setdefault(each, {}).setdefault(name, rank)
    fused = [Fused(each, _score(places, k, weights), places) for each, places in ranks.items()]
    return sorted(fused, key=lambda item: (-item.score, min(item.ranks.values()), item.id))


def _score(places: Mapping[str, int], k: int, weights: Mapping[str, float]) -> float:
    return math.fsum(weights.get(name, 1.0) / (k + rank) for name, rank in places.items())


def _check(rankings: Mapping[str, Sequence[int]], k: int, weights: Mapping[str, float]) -> None:
    if k < 0:
        raise ValueError(f"k must not be negative, got {k}")
    if unknown := sorted(weights.keys() - rankings.keys()):
        raise ValueError(f"weights for lists that are not there: {', '.join(unknown)}")
    if any(not math.isfinite(weight) or weight < 0 for weight in weights.values()):
        raise ValueError("weights must be finite and not negative")
