"""The nearest chunks to a query's vector: through the graph where many rows pass the filters, else one by one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Literal

from aya import queries
from aya.embedder_client import Vector
from aya.knowledge.documents import filter_arguments
from aya.knowledge.types import Filters

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "nearest.sql")

Scan = Literal["vector_all", "vector_graph", "vector_exact"]
# Up to here comparing the matching rows one by one beats the graph, and is exact.
MOST_ROWS_EXACT = 5_000
# pgvector's own limit for hnsw.ef_search.
_WIDEST_SEARCH = 1000


def plan_scan(*, filtered: bool, matching: int) -> Scan:
    """Return which query finds the nearest vectors; pure.

    matching: how many chunks pass the filters, counted to MOST_ROWS_EXACT + 1.
    """
    if matching <= MOST_ROWS_EXACT:
        return "vector_exact"
    return "vector_graph" if filtered else "vector_all"


async def nearest(connection: Connection, vector: Vector, count: int, filters: Filters) -> dict[int, float]:
    """Return the cosine distance of the `count` nearest chunks by their id, the nearest first.

    vector: shape (dimension,). Sets the scan's parameters for the rest of the transaction.
    """
    await connection.execute(_SQL["set_scan"], str(min(_WIDEST_SEARCH, 2 * count)))
    arguments = filter_arguments(filters)
    matching = await connection.fetchval(_SQL["count_matching"], *arguments, MOST_ROWS_EXACT + 1)
    scan = plan_scan(filtered=filters != Filters(), matching=matching)
    extra = () if scan == "vector_all" else arguments
    rows = await connection.fetch(_SQL[scan], vector, count, *extra)
    # An iterative scan in relaxed order returns rows slightly out of order.
    return {row["id"]: row["distance"] for row in sorted(rows, key=lambda row: row["distance"])}


async def distances(connection: Connection, vector: Vector, ids: Sequence[int]) -> Mapping[int, float]:
    """Return the cosine distances of known chunks to `vector`; a chunk without a vector has none."""
    return {row["id"]: row["distance"] for row in await connection.fetch(_SQL["distances"], vector, list(ids))}
