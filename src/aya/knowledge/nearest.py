"""The nearest chunks to a query's vector: through the graph where it finds them, else compared one by one.

The graph (HNSW, of half precision) does not know the filters: it walks outwards from the query and drops what does not
pass. Where few pass, or all that pass are somewhere else (a source is a topic), it walks long and finds little. So few
rows are compared one by one. With more, the graph is asked for as many of the nearest of all as would do if chance
decided who passes, and half as many again: when enough of them pass, those are the answer, else the rows that pass are
compared one by one after all. Beyond MOST_ROWS_EXACT the graph walks until it has enough. Sources: docs/adr/0020,
docs/benchmarks.md.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Literal, LiteralString, cast

from aya import queries
from aya.embedder_client import Vector
from aya.knowledge.documents import filter_arguments
from aya.knowledge.types import Filters

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "nearest.sql")

MOST_ROWS_EXACT = 25_000
"""Up to here comparing the matching rows one by one is quick enough to be what the graph is followed by."""
LEAST_ROWS_GRAPH = 5_000
"""Up to here comparing them is quicker than any walk; see `few_rows` for large bases."""
# The graph takes some 13 µs for each of the 50 / share tuples that it walks, comparing 4 µs for each row of the share:
# they are equal at the square root of about so many times the total (docs/benchmarks.md, processor time).
_BREAK_EVEN = 125
SEARCH_WIDTH = 200
"""hnsw.ef_search: how many candidates the graph keeps in mind; more finds more, and takes longer."""
# pgvector's own limit for it.
_WIDEST_SEARCH = 1000
# How many of the nearest of all are looked at, as a multiple of what it takes when chance decides who passes; and how
# far the graph walks at most. A walk that ends there is filled up with what it had passed over.
_MORE, _MOST_TUPLES = 1.5, 20_000
# The queries are written for this dimension; another one takes its place.
_WRITTEN_DIMENSION = 768


Query = Literal["vector_all", "vector_near", "vector_graph", "vector_exact"]


@dataclass(frozen=True, slots=True)
class Scan:
    """One way to look for the nearest. max_tuples: hnsw.max_scan_tuples; both 0 where the graph is not asked.

    near: how many of the nearest of all are looked at, for the query vector_near alone.
    """

    query: Query
    search_width: int = 0
    max_tuples: int = 0
    near: int = 0


def search_width(count: int) -> int:
    """Return hnsw.ef_search for `count` rows: at least twice as many, or the last ones are poor; pure."""
    return min(_WIDEST_SEARCH, max(SEARCH_WIDTH, 2 * count))


def few_rows(total: float) -> float:
    """Return up to how many rows are compared rather than looked for in a graph of `total`; pure."""
    return min(MOST_ROWS_EXACT, max(LEAST_ROWS_GRAPH, math.sqrt(_BREAK_EVEN * total)))


def plan_scans(count: int, *, matching: float | None, total: float) -> tuple[Scan, ...]:
    """Return how to find the `count` nearest: one way after another, until one finds so many; pure.

    matching: about how many chunks pass the filters, None without any; total: about how many there are.
    """
    width, exact = search_width(count), Scan("vector_exact")
    if matching is None:
        return (Scan("vector_all", width, _MOST_TUPLES),)
    total = max(total, matching)  # a base that was not analysed lately says that it has none
    if matching <= few_rows(total):
        return (exact,)
    if matching > MOST_ROWS_EXACT:
        return Scan("vector_graph", width, _MOST_TUPLES), exact
    near = max(count, min(_MOST_TUPLES, int(_MORE * count * total / matching)))
    return Scan("vector_near", width, _MOST_TUPLES, near), exact


@cache
def statement(name: str, dimension: int) -> LiteralString:
    """Return one of nearest.sql's queries for vectors of this dimension, which the index's expression names."""
    text = _SQL[name].replace(f"halfvec({_WRITTEN_DIMENSION})", f"halfvec({int(dimension)})")
    return cast("LiteralString", text)


async def nearest(connection: Connection, vector: Vector, count: int, filters: Filters) -> dict[int, float]:
    """Return the cosine distance of the `count` nearest chunks by their id, the nearest first.

    vector: shape (dimension,). Sets the scan's parameters for the rest of the transaction.
    """
    rows: Sequence[asyncpg.Record] = ()
    for scan in await _planned(connection, count, filters):
        rows = await _scanned(connection, scan, vector, count, filters)
        if len(rows) >= count:
            break
    # An iterative scan in relaxed order returns rows slightly out of order, and its order is of half precision.
    return {row["id"]: row["distance"] for row in sorted(rows, key=lambda row: row["distance"])}


async def _planned(connection: Connection, count: int, filters: Filters) -> tuple[Scan, ...]:
    if filters == Filters():
        return plan_scans(count, matching=None, total=0)
    row = await connection.fetchrow(_SQL["estimate_matching"], *filter_arguments(filters), MOST_ROWS_EXACT)
    assert row is not None  # noqa: S101 - it counts
    return plan_scans(count, matching=row["matching"], total=row["total"])


async def _scanned(
    connection: Connection, scan: Scan, vector: Vector, count: int, filters: Filters
) -> Sequence[asyncpg.Record]:
    extra = () if scan.query == "vector_all" else filter_arguments(filters)
    query = statement(scan.query, len(vector))
    if scan.query == "vector_exact":
        return await connection.fetch(query, vector, count, *extra)
    await connection.execute(_SQL["set_scan"], str(scan.search_width), str(scan.max_tuples))
    rows = await connection.fetch(query, vector, count, *extra, *([scan.near] if scan.query == "vector_near" else []))
    await connection.execute(_SQL["leave_graph"])
    return rows


async def distances(connection: Connection, vector: Vector, ids: Sequence[int]) -> Mapping[int, float]:
    """Return the cosine distances of known chunks to `vector`; a chunk without a vector has none."""
    return {row["id"]: row["distance"] for row in await connection.fetch(_SQL["distances"], vector, list(ids))}
