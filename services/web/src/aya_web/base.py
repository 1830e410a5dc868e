"""The knowledge base as the page sees it: read on this node, in sessions that cannot write."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from typing import Self

from aya import log, migrations, queries
from aya.db import Database
from aya.dsn import TARGET, DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import ConfigError, DatabaseUnavailable
from aya.home import Home
from aya.knowledge.conflicts import Conflict, Conflicts
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher
from aya.knowledge.types import Document, Filters, Hit, Mode
from aya.settings import NodeSettings, node_settings, primary_reader

MOST_AT_ONCE = 4
ANSWER_SECONDS = 15.0
_SQL = queries.load("aya_web")
# A session's default, which no statement of ours changes.
_READ_ONLY = ("default_transaction_read_only", "on")


@dataclass(frozen=True, slots=True)
class Figures:
    """What the database says beside the status. queue_age_seconds: 0: none waits. conflicts: None: not kept here."""

    queue_age_seconds: float
    conflicts: int | None


class Base:
    """One node's knowledge base. Connections are opened when they are first used, and again after a loss.

    At most four calls are at work at once, and each for 15 s at most: more wait. Everything raises AyaError.
    """

    def __init__(self, settings: NodeSettings, primary: DatabaseSettings | None) -> None:
        """primary: where conflicts are kept, None: nobody says where that is."""
        self._near = _opened(settings.near)
        self._primary = _opened(primary) if primary else None
        self._embedder = EmbedderClient(settings.embedder_url, token=settings.embedder_token)
        self._documents = Documents(self._near, self._embedder)
        self._searcher = Searcher(self._near, self._embedder, self._documents)
        self._turns = asyncio.Semaphore(MOST_AT_ONCE)

    @classmethod
    def of(cls, home: Home, node: str) -> Self:
        """Return the base of a node. Raises ConfigError when the home does not say how it is entered.

        A copy whose home does not say how the primary is entered shows everything but the conflicts.
        """
        near = node_settings(home, node)
        try:
            return cls(near, primary_reader(home, node))
        except ConfigError as error:
            log.get_logger().warning("primary.unknown", error=error.message, hint=error.hint)
            return cls(near, None)

    async def search(self, query: str, *, limit: int, mode: Mode, filters: Filters) -> list[Hit]:
        """Return the best passages."""
        async with self._turn():
            return await self._searcher.search(query, limit=limit, mode=mode, filters=filters)

    async def document(self, document_id: int) -> Document:
        """Return one document, or raise DocumentError."""
        async with self._turn():
            return await self._documents.get(document_id)

    async def conflicts(self) -> list[Conflict]:
        """Return the open conflicts, their texts cut; DatabaseUnavailable when the primary is not known or silent."""
        if self._primary is None:
            raise DatabaseUnavailable("nothing here says where the primary is", hint="aya sync status")
        async with self._turn():
            return await Conflicts(self._primary, Documents(self._primary, self._embedder)).all(resolved=False)

    async def figures(self) -> Figures:
        """Return what is measured in the database."""
        async with asyncio.timeout(ANSWER_SECONDS), self._near.connection() as connection:
            age = await connection.fetchval(_SQL["queue_age"])
            keeps = await connection.fetchval(_SQL["keeps_conflicts"])
            conflicts = int(await connection.fetchval(_SQL["open_conflicts"])) if keeps else None
        return Figures(max(0.0, float(age or 0)), conflicts)

    @asynccontextmanager
    async def _turn(self) -> AsyncGenerator[None]:
        try:
            async with asyncio.timeout(ANSWER_SECONDS), self._turns:
                yield
        except TimeoutError as error:
            raise DatabaseUnavailable(
                f"there was no answer within {ANSWER_SECONDS:.0f} s", hint="aya status, then the same again"
            ) from error

    async def close(self) -> None:
        """Close the connections."""
        await self._embedder.close()
        for each in (self._near, self._primary):
            if each is not None:
                await each.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


def _opened(settings: DatabaseSettings) -> Database:
    # What such a session says of itself would not do for "read-write": whoever is no standby will.
    options = ((key, "primary" if key == TARGET else value) for key, value in settings.options)
    bound = replace(settings, options=(*options, _READ_ONLY))
    return Database(bound, application_name="aya-web", max_size=MOST_AT_ONCE, check=migrations.check)
