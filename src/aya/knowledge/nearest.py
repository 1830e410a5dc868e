"""The nearest chunks to a query's vector: through the graph where it finds them, else compared one by one.

The graph (HNSW, of half precision) does not know the filters: it walks outwards from the query and drops what does not
pass. Where few pass, or all that pass are somewhere else (a source is a topic), it walks long and finds little. So what
filters leave is compared one by one up to MOST_ROWS_EXACT; beyond, the graph is asked first, and when it has walked as
far as is worth it without finding enough, one by one after all. Sources: docs/adr/0020, docs/benchmarks.md.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, LiteralString, cast

from aya import queries
from aya.embedder_client import Vector
from aya.knowledge.documents import filter_arguments
from aya.knowledge.types import Filters

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "nearest.sql")

MOST_ROWS_EXACT = 25_000
"""Up to here comparing the matching rows one by one takes no longer than the graph may, and is exact."""
SEARCH_WIDTH = 200
"""hnsw.ef_search: how many candidates the graph keeps in mind; more finds more, and takes longer."""
# pgvector's own limit for it.
_WIDEST_SEARCH = 1000
# How far the graph walks: ten times what it takes when chance decides who passes, in these bounds.
_LEAST_TUPLES, _MOST_TUPLES, _MARGIN = 1000, 20_000, 10
# The queries are written for this dimension; another one takes its place.
_WRITTEN_DIMENSION = 768


@dataclass(frozen=True, slots=True)
class Scan:
    """How the nearest are looked for. max_tuples: hnsw.max_scan_tuples, 0 where the graph is not asked."""

    query: str
    search_width: int = 0
    max_tuples: int = 0


def search_width(count: int) -> int:
    """Return hnsw.ef_search for `count` rows: at least twice as many, or the last ones are poor; pure."""
    return min(_WIDEST_SEARCH, max(SEARCH_WIDTH, 2 * count))


def plan_scan(count: int, *, matching: float | None, total: float) -> Scan:
    """Return how to find the `count` nearest; pure.

    matching: about how many chunks pass the filters, None without any; total: about how many there are.
    """
    if matching is None:
        return Scan("vector_all", search_width(count), _MOST_TUPLES)
    if matching <= MOST_ROWS_EXACT:
        return Scan("vector_exact")
    # The least share that comes here: nobody counts on beyond the limit.
    far = _MARGIN * count * total / MOST_ROWS_EXACT
    return Scan("vector_graph", search_width(count), int(min(_MOST_TUPLES, max(_LEAST_TUPLES, far))))


@cache
def statement(name: str, dimension: int) -> LiteralString:
    """Return one of nearest.sql's queries for vectors of this dimension, which the index's expression names."""
    text = _SQL[name].replace(f"halfvec({_WRITTEN_DIMENSION})", f"halfvec({int(dimension)})")
    return cast("LiteralString", text)


async def nearest(connection: Connection, vector: Vector, count: int, filters: Filters) -> dict[int, float]:
    """Return the cosine distance of the `count` nearest chunks by their id, the nearest first.

    vector: shape (dimension,). Sets the scan's parameters for the rest of the transaction.
    """
    scan = await _planned(connection, count, filters)
    rows = await _scanned(connection, scan, vector, count, filters)
    if scan.query == "vector_graph" and len(rows) < count:
        rows = await _scanned(connection, Scan("vector_exact"), vector, count, filters)
    # An iterative scan in relaxed order returns rows slightly out of order, and its order is of half precision.
    return {row["id"]: row["distance"] for row in sorted(rows, key=lambda row: row["distance"])}


async def _planned(connection: Connection, count: int, filters: Filters) -> Scan:
    if filters == Filters():
        return plan_scan(count, matching=None, total=0)
    row = await connection.fetchrow(_SQL["estimate_matching"], *filter_arguments(filters), MOST_ROWS_EXACT)
    assert row is not None  # noqa: S101 - it counts
    return plan_scan(count, matching=row["matching"], total=row["total"])


async def _scanned(
    connection: Connection, scan: Scan, vector: Vector, count: int, filters: Filters
) -> Sequence[asyncpg.Record]:
    if scan.search_width:
        await connection.execute(_SQL["set_scan"], str(scan.search_width), str(scan.max_tuples))
    extra = () if scan.query == "vector_all" else filter_arguments(filters)
    rows = await connection.fetch(statement(scan.query, len(vector)), vector, count, *extra)
    await connection.execute(_SQL["leave_graph"])
    return rows


async def distances(connection: Connection, vector: Vector, ids: Sequence[int]) -> Mapping[int, float]:
    """Return the cosine distances of known chunks to `vector`; a chunk without a vector has none."""
    return {row["id"]: row["distance"] for row in await connection.fetch(_SQL["distances"], vector, list(ids))}
