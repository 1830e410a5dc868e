"""What the words of a query weigh, and which of them choose the passages that are compared; pure.

BM25 as in Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond" (2009), with Lucene's form
of the rarity, which is never negative. The passages' part is computed where they are stored (aya_term_weights).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

MOST_CANDIDATES = 10_000
"""So many passages, about, are compared; whoever holds only more frequent words than make up these is left out."""
MOST_WEIGHT = 2.2
"""k1 + 1: what a word weighs at most in a passage, by BM25 with k1 = 1.2."""
DIMENSIONS = 1_000_000_000
SCALE = 1000.0
"""Passages' weights are kept in thousandths."""


@dataclass(frozen=True, slots=True)
class Term:
    """A word of a query, as the dictionary leaves it.

    quoted: as a literal of tsquery's syntax. term: its place in the passages' vectors, from 1.
    frequency: how many passages hold it, of `total`; both may be estimates.
    """

    lexeme: str
    quoted: str
    term: int
    frequency: int
    total: int

    @property
    def rarity(self) -> float:
        """The inverse document frequency; higher for a rarer word, above 0."""
        total = max(self.total, self.frequency)
        return math.log1p((total - self.frequency + 0.5) / (self.frequency + 0.5))


def query_vector(terms: Sequence[Term]) -> str:
    """Return the query as text of a sparsevec, whose inner product with a passage's weights is its BM25 score."""
    rarities: dict[int, float] = {}
    for each in terms:
        rarities[each.term] = max(rarities.get(each.term, 0.0), each.rarity)
    inside = ",".join(f"{term}:{rarity / SCALE:.9f}" for term, rarity in sorted(rarities.items()))
    return f"{{{inside}}}/{DIMENSIONS}"


def best_possible(terms: Sequence[Term]) -> float:
    """Return what no passage's score can exceed: every word of the query, as often as you like."""
    return MOST_WEIGHT * math.fsum(each.rarity for each in terms)


def candidate_queries(terms: Sequence[Term], most: int = MOST_CANDIDATES) -> tuple[str, ...]:
    """Return the tsqueries of the passages worth comparing, to be asked until one finds enough; () when none can.

    First the rarest words, as many as about `most` passages hold: who holds none of them holds only words that say
    little. Where even the rarest is held by more, passages have to hold the next rarest with it, until they are few
    enough. Last, where filters or such a demand leave too few, whoever holds any word. In a base of at most `most`
    passages that is all there is to ask.
    """
    held = sorted((each for each in terms if each.frequency > 0), key=lambda each: (each.frequency, each.lexeme))
    if not held:
        return ()
    everything = _any(held)
    if held[0].total <= most:
        return (everything,)
    return tuple(dict.fromkeys((_any(_rarest(held, most)) or _together(held, most), everything)))


def _any(terms: Sequence[Term]) -> str:
    return " | ".join(each.quoted for each in terms)


def _rarest(held: Sequence[Term], most: int) -> Sequence[Term]:
    passages = 0
    for chosen, each in enumerate(held):
        passages += each.frequency
        if passages > most:
            return held[:chosen]
    return held


def _together(held: Sequence[Term], most: int) -> str:
    expected = float(held[0].frequency)
    together = 1
    while together < len(held) and expected > most:
        expected *= held[together].frequency / max(held[together].total, held[together].frequency)
        together += 1
    return " & ".join(each.quoted for each in held[:together])
