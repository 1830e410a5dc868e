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


def candidate_query(terms: Sequence[Term], most: int = MOST_CANDIDATES) -> str | None:
    """Return the tsquery of the passages worth comparing, about `most` of them; None when no word is held anywhere.

    The rarest words first, as many as fit together: a passage that holds none of them holds only words that say little.
    Where even the rarest is held by more, passages have to hold the next rarest with it, until they are few enough.
    """
    held = sorted((each for each in terms if each.frequency > 0), key=lambda each: (each.frequency, each.lexeme))
    if not held:
        return None
    chosen = 0
    passages = 0
    while chosen < len(held) and passages + held[chosen].frequency <= most:
        passages += held[chosen].frequency
        chosen += 1
    if chosen:
        return " | ".join(each.quoted for each in held[:chosen])
    expected = float(held[0].frequency)
    together = 1
    while together < len(held) and expected > most:
        expected *= held[together].frequency / max(held[together].total, held[together].frequency)
        together += 1
    return " & ".join(each.quoted for each in held[:together])
