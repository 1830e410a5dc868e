"""What the document verbs share: the node they speak to, its database, its embedder."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import TypeVar

import click

from aya import migrations
from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.home import Home
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher
from aya.reach import base_settings
from aya.settings import NodeSettings, node_settings

Result = TypeVar("Result")
node_option = click.option("--node", metavar="NODE", help="Which node to speak to (default: AYA_NODE, else the first).")
json_option = click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")


@dataclass(frozen=True, slots=True)
class Session:
    """One verb's way to the knowledge base."""

    settings: NodeSettings
    database: Database
    documents: Documents
    searcher: Searcher


def chosen_node(home: Home, node: str | None) -> str:
    """Return --node, else AYA_NODE, else the first node of the home, else alpha."""
    return node or os.environ.get("AYA_NODE") or next(iter(home.nodes()), "alpha")


@asynccontextmanager
async def opened(home: Home, node: str | None) -> AsyncGenerator[Session]:
    """Open a session; connections are made when they are first used."""
    # A node that a person names is that one alone.
    settings = node_settings(home, node) if node else base_settings(home, chosen_node(home, None))
    async with (
        Database(settings.database, application_name="aya-cli", check=migrations.check) as database,
        EmbedderClient(settings.embedder_url, token=settings.embedder_token) as embedder,
    ):
        documents = Documents(database, embedder)
        yield Session(settings, database, documents, Searcher(database, embedder, documents))


def run(home: Home, node: str | None, work: Callable[[Session], Awaitable[Result]]) -> Result:
    """Open a session, run `work` in it, and return its result."""

    async def inside() -> Result:
        async with opened(home, node) as session:
            return await work(session)

    return asyncio.run(inside())
