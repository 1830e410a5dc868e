"""Search: the nearest vectors and the matching words, fused by reciprocal rank."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aya import queries
from aya.db import Database
from aya.embedder_client import EmbedderClient, Vector
from aya.errors import DatabaseUnavailable, ModelMismatch
from aya.fusion import Fused, reciprocal_rank_fusion
from aya.identity import ModelIdentity
from aya.knowledge import validation
from aya.knowledge.binding import bound_model, check_same
from aya.knowledge.documents import Documents
from aya.knowledge.lexical import matching_words
from aya.knowledge.nearest import distances, nearest
from aya.knowledge.types import Filters, Hit, Mode
from aya.snippet import snippet

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "search.sql")
_HOLD_MODEL = queries.load("aya.knowledge")["hold_model_to_read"]

_FEWEST_CANDIDATES = 50


@dataclass(frozen=True, slots=True)
class QueryVector:
    """A query's vector, shape (dimension,), and the model that made it."""

    identity: ModelIdentity
    vector: Vector


def candidates(limit: int) -> int:
    """Return how many rows each side hands to the fusion for `limit` hits; pure."""
    return max(_FEWEST_CANDIDATES, 3 * limit)


class Searcher:
    """Searches one database; reads only, so a standby will do."""

    def __init__(self, database: Database, embedder: EmbedderClient, documents: Documents) -> None:
        self._database = database
        self._embedder = embedder
        self._documents = documents

    async def search(
        self, query: str, *, limit: int = 5, mode: Mode = "hybrid", filters: Filters | None = None
    ) -> list[Hit]:
        """Return the best passages, the best first.

        mode: vector (meaning), text (words) or hybrid (both, fused). Raises UsageError, EmbedderError or DatabaseError.
        """
        validation.check_query(query)
        validation.check_limit(limit)
        wanted = filters or Filters()
        try:
            return await self._search(query, limit, mode, wanted)
        except (ModelMismatch, DatabaseUnavailable):
            # A connection that was lost while it lay idle, or a model that changed since this process asked, is
            # noticed only now; reading again harms nobody.
            self._documents.forget_model()
            return await self._search(query, limit, mode, wanted)

    async def _search(self, query: str, limit: int, mode: Mode, filters: Filters) -> list[Hit]:
        embedded = None if mode == "text" else await self._embed(query)
        return await self._find(query, embedded, limit, mode, filters)

    async def _embed(self, query: str) -> QueryVector:
        identity = await self._documents.identity()
        vectors = await self._embedder.embed([query], prompt="query", truncate=True, expect=identity.fingerprint)
        return QueryVector(identity, vectors[0])

    async def _find(
        self, query: str, embedded: QueryVector | None, limit: int, mode: Mode, filters: Filters
    ) -> list[Hit]:
        count = candidates(limit)
        async with self._database.transaction(readonly=True) as connection:
            # First of all: the model cannot change under the queries that follow.
            await connection.execute(_HOLD_MODEL)
            await connection.execute(_SQL["plan_for_values"])
            rankings: dict[str, Sequence[int]] = {}
            if embedded is not None:
                check_same(await bound_model(connection), embedded.identity)
                rankings["vector"] = list(await nearest(connection, embedded.vector, count, filters))
            if mode != "vector":
                rankings["text"] = await matching_words(connection, query, count, filters)
            best = reciprocal_rank_fusion(rankings)[:limit]
            return await _hits(connection, best, query, None if embedded is None else embedded.vector)


async def _hits(connection: Connection, best: Sequence[Fused], query: str, vector: Vector | None) -> list[Hit]:
    ids = [fused.id for fused in best]
    rows = {row["chunk_id"]: row for row in await connection.fetch(_SQL["hits"], ids)}
    near = {} if vector is None else await distances(connection, vector, ids)
    return [_hit(rows[fused.id], fused, query, near.get(fused.id)) for fused in best]


def _hit(row: asyncpg.Record, fused: Fused, query: str, distance: float | None) -> Hit:
    window = snippet(row["chunk_text"], query)
    return Hit(
        **dict(row),
        snippet=window.text,
        highlights=tuple(window.highlights),
        score=fused.score,
        distance=distance,
        ranks=fused.ranks,
    )
