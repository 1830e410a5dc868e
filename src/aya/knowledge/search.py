"""Search: the nearest vectors and the matching words, joined; and what is like a document."""

from __future__ import annotations

import math
from bisect import bisect_right
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

from aya import queries
from aya.db import Database
from aya.embedder_client import EmbedderClient, Vector
from aya.errors import DatabaseUnavailable, DocumentError, ModelMismatch
from aya.fusion import Fused, fuse, places_of
from aya.identity import ModelIdentity
from aya.knowledge import validation
from aya.knowledge.binding import bound_model, check_same
from aya.knowledge.documents import Documents
from aya.knowledge.lexical import Words
from aya.knowledge.nearest import distances, nearest
from aya.knowledge.types import Filters, Hit, Mode
from aya.passages import Piece, joined
from aya.snippet import snippet

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "search.sql")
_HOLD_MODEL = queries.load("aya.knowledge")["hold_model_to_read"]

_FEWEST_CANDIDATES = 50

Passage = list[Piece[Fused]]


@dataclass(frozen=True, slots=True)
class QueryVector:
    """A query's vector, shape (dimension,), and the model that made it."""

    identity: ModelIdentity
    vector: Vector


def candidates(limit: int) -> int:
    """Return how many rows each side hands to the fusion for `limit` hits; pure."""
    return max(_FEWEST_CANDIDATES, 3 * limit)


class Searcher:
    """Searches one database; reads only, so a standby will do. embedder: who makes the queries' vectors."""

    def __init__(self, database: Database, embedder: EmbedderClient, documents: Documents) -> None:
        self._database = database
        self.embedder = embedder
        self._documents = documents

    async def search(
        self, query: str, *, limit: int = 5, mode: Mode = "hybrid", filters: Filters | None = None
    ) -> list[Hit]:
        """Return the best passages, the best first; chunks that follow each other are one.

        mode: vector (meaning), text (words) or hybrid (both, fused). Raises UsageError, EmbedderError or DatabaseError.
        """
        validation.check_query(query)
        validation.check_limit(limit)
        wanted = filters or Filters()

        async def attempt() -> list[Hit]:
            embedded = None if mode == "text" else await self._embed(query)
            async with self._reading() as connection:
                words = None if mode == "vector" else query
                fused = await _ranked(connection, words, embedded, candidates(limit), wanted)
                return await _hits(connection, fused, limit, query, None if embedded is None else embedded.vector)

        return await self._in_spite_of_changes(attempt)

    async def like(self, document_id: int, *, limit: int = 5, filters: Filters | None = None) -> list[Hit]:
        """Return the passages of other documents that are nearest to the mean of a document's vectors.

        Needs no embedder. Raises DocumentError when there is no such document, or it has no vector yet.
        """
        validation.check_limit(limit)
        wanted = filters or Filters()

        async def attempt() -> list[Hit]:
            async with self._reading() as connection:
                vector, own = await _centre(connection, document_id)
                near = await nearest(connection, vector, candidates(limit) + own, wanted)
                mine = await connection.fetch(_SQL["of_document"], list(near), document_id)
                others = _without(near, {row["id"] for row in mine})
                fused = fuse(_similarities(others), None, places_of({"vector": others}))
                return await _hits(connection, fused, limit, "", vector)

        return await self._in_spite_of_changes(attempt)

    async def _in_spite_of_changes(self, attempt: Callable[[], Awaitable[list[Hit]]]) -> list[Hit]:
        try:
            return await attempt()
        except (ModelMismatch, DatabaseUnavailable):
            # A connection that was lost while it lay idle, or a model that changed since this process asked, is
            # noticed only now; reading again harms nobody.
            self._documents.forget_model()
            return await attempt()

    @asynccontextmanager
    async def _reading(self) -> AsyncGenerator[Connection]:
        async with self._database.transaction(readonly=True) as connection:
            # First of all: the model cannot change under the queries that follow.
            await connection.execute(_HOLD_MODEL)
            await connection.execute(_SQL["plan_for_values"])
            yield connection

    async def _embed(self, query: str) -> QueryVector:
        identity = await self._documents.identity()
        vectors = await self.embedder.embed([query], prompt="query", truncate=True, expect=identity.fingerprint)
        return QueryVector(identity, vectors[0])


async def _ranked(
    connection: Connection, query: str | None, embedded: QueryVector | None, count: int, filters: Filters
) -> list[Fused]:
    """Ask both sides, and each for what only the other found: every score that is compared is the true one.

    query: None to compare no words. embedded: None to compare no vectors.
    """
    near: Mapping[int, float] = {}
    matching: dict[int, float] = {}
    if embedded is not None:
        check_same(await bound_model(connection), embedded.identity)
        near = await nearest(connection, embedded.vector, count, filters)
    words = None if query is None else await Words.read(connection, query)
    if words is not None:
        matching = await words.matching(count, filters)
    places = places_of({name: side for name, side in (("vector", near), ("text", matching)) if side})
    if embedded is not None and words is not None:
        near = {**near, **await distances(connection, embedded.vector, [each for each in matching if each not in near])}
        matching.update(await words.shares([each for each in near if each not in matching]))
    return fuse(None if embedded is None else _similarities(near), None if words is None else matching, places)


def _similarities(near: Mapping[int, float]) -> dict[int, float]:
    # the vector of a text without meaning may be 0, and its distance no number
    return {each: 1.0 - distance for each, distance in near.items() if distance == distance}  # noqa: PLR0124


def _without(near: Mapping[int, float], excluded: set[int]) -> dict[int, float]:
    return {each: distance for each, distance in near.items() if each not in excluded}


async def _centre(connection: Connection, document_id: int) -> tuple[Vector, int]:
    row = await connection.fetchrow(_SQL["centre"], document_id)
    if row is None:
        raise DocumentError(f"there is no document {document_id}", hint="aya list")
    if row["vector"] is None:
        raise DocumentError(f"document {document_id} has no vector yet", hint="aya status")
    return row["vector"].to_numpy(), row["chunk_count"]


async def _hits(
    connection: Connection, fused: Sequence[Fused], limit: int, query: str, vector: Vector | None
) -> list[Hit]:
    ranked = {each.id: each for each in fused}
    rows = await connection.fetch(_SQL["pieces"], list(ranked))
    pieces = (Piece(row["document_id"], row["chunk_index"], row["joinable"], ranked[row["id"]]) for row in rows)
    passages = joined(pieces, limit)
    best = [passage[0].ranked.id for passage in passages]
    first = [min(passage, key=_index).ranked.id for passage in passages]
    last = [max(passage, key=_index).ranked.id for passage in passages]
    found = {row["chunk_id"]: row for row in await connection.fetch(_SQL["hits"], best, first, last)}
    near: Mapping[int, float] = {} if vector is None else await distances(connection, vector, best)
    return [_hit(found[passage[0].ranked.id], passage, query, near) for passage in passages]


def _index(piece: Piece[Fused]) -> int:
    return piece.index


def _hit(row: asyncpg.Record, passage: Passage, query: str, near: Mapping[int, float]) -> Hit:
    fields = dict(row)
    best = passage[0].ranked
    window = snippet(fields["chunk_text"], query)
    pages, fields["metadata"] = pages_of(fields["metadata"])
    begins = None if fields["char_start"] is None else fields["char_start"] + window.at
    distance = near.get(best.id)
    return Hit(
        **fields,
        page=page_of(pages, begins),
        chunk_ids=tuple(piece.ranked.id for piece in sorted(passage, key=_index)),
        snippet=window.text,
        highlights=tuple(window.highlights),
        score=best.score,
        # a vector of zeros has no direction, and so no distance
        distance=None if distance is None or math.isnan(distance) else distance,
        ranks=best.ranks,
    )


def pages_of(metadata: object) -> tuple[list[int], Any]:
    """Return where a document's pages begin, and its metadata without that; pure.

    A reader of PDF notes under "pages" the offset at which each begins, the first at 0. Whatever else somebody keeps
    under that name is theirs: metadata may be any JSON.
    """
    if not isinstance(metadata, dict):
        return [], metadata
    kept = cast("dict[str, Any]", metadata)
    pages = kept.get("pages")
    if not isinstance(pages, list):
        return [], kept
    begins = [each for each in cast("list[object]", pages) if type(each) is int]
    if len(begins) != len(cast("list[object]", pages)) or begins[:1] != [0] or begins != sorted(begins):
        return [], kept
    return begins, {name: value for name, value in kept.items() if name != "pages"}


def page_of(pages: Sequence[int], char_start: int | None) -> int | None:
    """Return the page, 1 for the first, on which a character stands; None where there are no pages; pure."""
    return None if char_start is None else bisect_right(pages, char_start) or None
