"""How well chunks match a query's words, by BM25, as a share of what a chunk could score at most."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from aya import queries
from aya.knowledge.documents import filter_arguments
from aya.knowledge.terms import MOST_CANDIDATES, Term, best_possible, candidate_queries, query_vector
from aya.knowledge.types import Filters

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "lexical.sql")
# The frequencies are estimates: what is looked at is bounded all the same.
_MOST_LOOKED_AT = 3 * MOST_CANDIDATES


class Words:
    """A query's words and what they weigh; made by `read`, inside a transaction that plans for its values."""

    def __init__(self, connection: Connection, terms: Sequence[Term]) -> None:
        self._connection = connection
        self._terms = terms
        self._vector = query_vector(terms)
        # without a word that is held anywhere nothing is divided by it
        self._most = best_possible(terms) or 1.0

    @classmethod
    async def read(cls, connection: Connection, query: str) -> Words:
        """Ask the database how rare the words of `query` are. Tables are read by their indexes from then on."""
        await connection.execute(_SQL["by_index"])
        return cls(connection, [Term(**dict(row)) for row in await connection.fetch(_SQL["query_terms"], query)])

    async def matching(self, count: int, filters: Filters) -> dict[int, float]:
        """Return the shares (0 to 1) of the `count` chunks that match best, by their id, the best first.

        Empty where no word is found, or the query has none but function words.
        """
        rows: Sequence[asyncpg.Record] = ()
        for wanted in candidate_queries(self._terms):
            rows = await self._connection.fetch(
                _SQL["text_search"], wanted, count, *filter_arguments(filters), _MOST_LOOKED_AT, self._vector
            )
            if len(rows) >= count:
                break
        return {row["id"]: row["score"] / self._most for row in rows}

    async def shares(self, ids: Sequence[int]) -> dict[int, float]:
        """Return the shares of known chunks."""
        if not self._terms or not ids:
            return {}
        rows = await self._connection.fetch(_SQL["score"], list(ids), self._vector)
        return {row["id"]: row["score"] / self._most for row in rows}
