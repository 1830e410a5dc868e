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
from aya.settings import NodeSettings

Durability = Literal["replicated", "primary"]
_SQL = queries.load("aya_mcp")


@dataclass(frozen=True, slots=True)
class Condition:
    """Who answered. stale_seconds: how old its copy may be; 0 on the primary, None when nobody can say."""

    node: str
    role: Role
    stale_seconds: float | None


class Base:
    """One knowledge base. Connections are opened when they are first used, and again after a loss."""

    def __init__(self, settings: NodeSettings) -> None:
        self.settings = settings
        self._database = Database(settings.database, application_name="aya-mcp", check=migrations.check)
        self._embedder = EmbedderClient(settings.embedder_url, token=settings.embedder_token)
        self.documents = Documents(self._database, self._embedder)
        self.searcher = Searcher(self._database, self._embedder, self.documents)

    async def condition(self) -> Condition:
        """Ask the server which one it is and how far behind. Raises DatabaseError."""
        async with self._database.connection() as connection:
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
        """Return which node it is; what the settings say when the server cannot be asked any more."""
        try:
            return (await self.condition()).node
        except DatabaseError:
            return self.settings.node or "unknown"

    async def durability(self) -> Durability:
        """Return where a row that was just committed is safe; "primary" when that cannot be asked any more."""
        try:
            async with self._database.connection() as connection:
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
        await self._database.close()


def answered_by(settings: NodeSettings, address: str) -> str:
    """Return the node's name, with the server's address where several may answer; pure."""
    if not settings.node:
        return address
    return f"{settings.node} ({address})" if len(settings.database.hosts) > 1 else settings.node
