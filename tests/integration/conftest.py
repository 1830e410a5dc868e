"""A knowledge base of its own for each test: real PostgreSQL, real vectors."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass

import pytest

from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.knowledge.binding import bind
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher
from aya.settings import DatabaseSettings


@dataclass(frozen=True)
class Knowledge:
    """What the document verbs work with."""

    settings: DatabaseSettings
    database: Database
    embedder: EmbedderClient
    documents: Documents
    searcher: Searcher


@pytest.fixture
async def knowledge(database: DatabaseSettings, embedder_url: str) -> AsyncIterator[Knowledge]:
    """A migrated database bound to MiniLM, with its documents and its search."""
    async with Database(database, application_name="aya-test") as pool, EmbedderClient(embedder_url) as embedder:
        await bind(database, await embedder.identity())
        documents = Documents(pool, embedder)
        yield Knowledge(database, pool, embedder, documents, Searcher(pool, embedder, documents))
