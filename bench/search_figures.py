"""How good a ranking is; pure. Järvelin and Kekäläinen, "Cumulated gain-based evaluation of IR techniques" (2002).

Gains are linear, as trec_eval and BEIR have them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

AT = 10


@dataclass(frozen=True)
class Quality:
    """The mean over queries, each 0 to 1."""

    ndcg: float
    mrr: float
    recall: float


def quality(rankings: Sequence[Sequence[int]], wanted: Sequence[Mapping[int, int]]) -> Quality:
    """Return the figures at 10 of rankings of documents, the best first, each beside what its query wants."""
    pairs = list(zip(rankings, wanted, strict=True))
    return Quality(
        ndcg=math.fsum(_ndcg(ranking[:AT], gains) for ranking, gains in pairs) / len(pairs),
        mrr=math.fsum(_reciprocal(ranking[:AT], gains) for ranking, gains in pairs) / len(pairs),
        recall=math.fsum(len(gains.keys() & set(ranking[:AT])) / len(gains) for ranking, gains in pairs) / len(pairs),
    )


def _ndcg(ranking: Sequence[int], gains: Mapping[int, int]) -> float:
    best = sorted(gains.values(), reverse=True)[:AT]
    return _gain([gains.get(each, 0) for each in ranking]) / _gain(best)


def _gain(gains: Sequence[int]) -> float:
    return math.fsum(gain / math.log2(place + 1) for place, gain in enumerate(gains, start=1))


def _reciprocal(ranking: Sequence[int], gains: Mapping[int, int]) -> float:
    return next((1 / place for place, each in enumerate(ranking, start=1) if each in gains), 0.0)
