"""Join what is near in meaning and what shares the words into one ranking; pure.

A score is (cosine similarity + share of the words) / 2, where the share is a passage's BM25 score by the most that any
passage could have for this query. Both are absolute: neither is stretched to what happens to be found. A query whose
rare words stand together in a passage is led by its words, one whose words are nowhere together by its meaning.
Reciprocal ranks (Cormack, Clarke and Büttcher, SIGIR 2009) and min-max or z-scores (Bruch, Gai and Ingber, "An Analysis
of Fusion Functions for Hybrid Retrieval", 2023) throw that away; the figures stand in docs/benchmarks.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Fused:
    """One passage of the joined ranking. score: higher is better, 1 at most.

    ranks: its place, 1 for the first, in each list that holds it by itself: "vector" and "text".
    """

    id: int
    score: float
    ranks: Mapping[str, int]


def fuse(
    similarities: Mapping[int, float] | None,
    shares: Mapping[int, float] | None,
    places: Mapping[int, Mapping[str, int]],
) -> list[Fused]:
    """Return every passage of `places`, the best first; equal scores by the better place, then by id.

    similarities: cosine similarity to the query, -1 to 1, by passage; None where meaning was not asked for. shares: of
    the words, 0 to 1; None where words were not. A passage that is missing in one has nothing of it: 0. places: the
    passages, and where each stands in the lists that it was found by.
    Raises ValueError on a score that is no finite number, and when neither side was asked.
    """
    asked = [side for side in (similarities, shares) if side is not None]
    if not asked:
        raise ValueError("neither meaning nor words were asked for")
    if any(not math.isfinite(score) for side in asked for score in side.values()):
        raise ValueError("a score is not finite")
    fused = [Fused(each, sum(side.get(each, 0.0) for side in asked) / len(asked), places[each]) for each in places]
    return sorted(fused, key=lambda item: (-item.score, min(item.ranks.values(), default=0), item.id))


def places_of(lists: Mapping[str, Mapping[int, float]]) -> dict[int, dict[str, int]]:
    """Return where each passage stands in each list (ordered, the best first) that holds it, 1 for the first."""
    places: dict[int, dict[str, int]] = {}
    for name in sorted(lists):
        for place, each in enumerate(lists[name], start=1):
            places.setdefault(each, {})[name] = place
    return places
