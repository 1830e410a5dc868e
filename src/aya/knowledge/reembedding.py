"""Bind the database to another model and have every vector made anew."""

from __future__ import annotations

from aya import db, queries
from aya.identity import ModelIdentity
from aya.knowledge.binding import binding_arguments
from aya.settings import DatabaseSettings

_SQL = queries.load("aya.knowledge", "reembedding.sql")
_BIND = queries.load("aya.knowledge")["bind_model"]


async def start(settings: DatabaseSettings, identity: ModelIdentity) -> int:
    """Drop the vectors, bind `identity` and queue every document, in one transaction; return how many wait.

    Only the owner may. The indexer does the rest, and goes on after a crash.
    """
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-reembed", command_timeout=None)
        try:
            async with connection.transaction():
                await connection.execute(_SQL["wait_for_writers"])
                await connection.execute(_SQL["drop_vectors"])
                await connection.execute(_BIND, *binding_arguments(identity))
                waiting: int = await connection.fetchval(_SQL["enqueue_all"])
        finally:
            await connection.close()
    return waiting
