"""The chunks that hold a query's words, the best first."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aya import queries
from aya.knowledge.documents import filter_arguments
from aya.knowledge.types import Filters

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "lexical.sql")


async def matching_words(connection: Connection, query: str, count: int, filters: Filters) -> list[int]:
    """Return the ids of at most `count` chunks that hold any of the query's words, the best first."""
    rows = await connection.fetch(_SQL["text_search"], query, count, *filter_arguments(filters))
    return [row["id"] for row in rows]
