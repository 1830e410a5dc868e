"""The knowledge base as the tools see it, and what is known of the server that answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aya import migrations, queries
from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseError
from aya.home import ROLE_OF_NODE, Role
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher
from aya.settings import DatabaseSettings, NodeSettings

Durability = Literal["replicated", "primary"]
_SQL = queries.load("aya_mcp")


@dataclass(frozen=True, slots=True)
class Condition:
    """Who answered. stale_seconds: how old its copy may be; 0 on the primary, None when nobody can say."""

    node: str
    role: Role
    stale_seconds: float | None


class Base:
    """One knowledge base. Connections are opened when they are first used, and again after a loss.

    It is read on this node, a standby included, and written where it may be written.
    """

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self._reading = _opened(settings.near)
        self._writing = self._reading if settings.near == settings.database else _opened(settings.database)
        self._embedder = EmbedderClient(settings.embedder_url, token=settings.embedder_token)
        self.written = Documents(self._writing, self._embedder)
        self.documents = Documents(self._reading, self._embedder)
        self.searcher = Searcher(self._reading, self._embedder, self.documents)

    async def condition(self) -> Condition:
        """Ask the server that is read which one it is and how far behind. Raises DatabaseError."""
        return await self._condition(self._reading)

    async def _condition(self, database: Database) -> Condition:
        async with database.connection() as connection:
            row = await connection.fetchrow(_SQL["condition"])
        if row is None:
            raise DatabaseError("the server says nothing of its state", hint="aya status")
        node = answered_by(self.settings, row["address"])
        if row["standby"]:
            return Condition(node, "standby", row["stale_seconds"])
        if ROLE_OF_NODE.get(self.settings.node) == "copy":
            return Condition(node, "copy", None)
        return Condition(node, "primary", 0.0)

    async def node(self) -> str:
        """Return which node is written; what the settings say when the server cannot be asked any more."""
        try:
            return (await self._condition(self._writing)).node
        except DatabaseError:
            return self.settings.node or "unknown"

    async def durability(self) -> Durability:
        """Return where a row that was just committed is safe; "primary" when that cannot be asked any more."""
        try:
            async with self._writing.connection() as connection:
                return "replicated" if await connection.fetchval(_SQL["replicated"]) else "primary"
        except DatabaseError:
            return "primary"

    def secrets(self) -> tuple[str, ...]:
        """Return what no log may show."""
        secrets = self.settings.database.password, self.settings.embedder_token
        return tuple(secret for secret in secrets if secret)

    async def close(self) -> None:
        """Close the connections."""
        await self._embedder.close()
        for database in {self._reading, self._writing}:
            await database.close()


def _opened(settings: DatabaseSettings) -> Database:
    return Database(settings, application_name="aya-mcp", check=migrations.check)


def answered_by(settings: NodeSettings, address: str) -> str:
    """Return the node's name, with the server's address where that may be another than the node's own; pure."""
    if not settings.node:
        return address
    own = {f"{host}:{port}" for host, port in settings.local.hosts}
    alone = len(settings.database.hosts) == 1 or own == {address}
    return settings.node if alone else f"{settings.node} ({address})"
