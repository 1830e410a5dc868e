"""The knowledge base as the tools see it, and what is known of the server that answers."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, cast

from aya import migrations, queries
from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseError, DocumentError
from aya.home import ROLE_OF_NODE, Role
from aya.knowledge.again import until_known
from aya.knowledge.documents import Documents, filter_arguments, has_all
from aya.knowledge.search import Searcher
from aya.knowledge.types import Changes, Document, Filters
from aya.knowledge.writing import confirm
from aya.settings import NodeSettings
from aya_mcp.cursor import Cursor
from aya_mcp.names import LIST
from aya_mcp.parts import Beginning, Part

Durability = Literal["replicated", "primary", "queued_offline"]
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

    async def part(self, document_id: int, start: int, length: int) -> Part:
        """Return a document with so many characters of its text. Raises DocumentError and DatabaseError."""
        async with self._reading.connection() as connection:
            row = await connection.fetchrow(_SQL["read_part"], document_id, start, length)
        if row is None:
            raise DocumentError(f"there is no document {document_id}", hint=LIST)
        return Part(**dict(row))

    async def listed(self, filters: Filters, *, limit: int, after: Cursor | None) -> list[Part]:
        """Return the next documents, the newest first, with the first 200 characters of each. Raises DatabaseError."""
        place = (after.created_at, after.document_id) if after else (None, None)
        async with self._reading.connection() as connection:
            rows = await connection.fetch(_SQL["list_after"], *filter_arguments(filters), limit, *place)
        return [Part(**dict(row)) for row in rows]

    async def edit(self, document_id: int, changes: Changes, expected_rev: int | None) -> Document:
        """Change a document. The same sent again, because its answer was lost, finds the change made.

        Raises DocumentError, EmbedderError, DatabaseError and OutcomeUnknown.
        """
        try:
            return await self.written.edit(document_id, changes, expected_rev=expected_rev)
        except DocumentError:
            made = None if expected_rev is None else await self._made(document_id, changes, expected_rev + 1)
            if made is None:
                raise
            return made

    async def _made(self, document_id: int, changes: Changes, rev: int) -> Document | None:
        """Return the document if it is at `rev` and has the changes, on this server and on its standby; else None."""
        document = await self.written.get(document_id)
        if document.rev != rev or not has_all(document, changes):
            return None
        async with self._writing.connection() as connection:
            row = await connection.fetchrow(_SQL["read_part"], document_id, 0, 0)
            await confirm(connection)
        return document if row is not None and row["rev"] == rev else None

    async def delete(self, document_ids: Sequence[int]) -> list[Beginning]:
        """Delete documents; return what was there. Raises DatabaseError and OutcomeUnknown."""

        async def look() -> dict[int, Beginning]:
            async with self._writing.connection() as connection:
                rows = await connection.fetch(_SQL["read_beginnings"], list(document_ids))
            return {row["id"]: Beginning(**dict(row)) for row in rows}

        known = await until_known(look, has_choice=self._writing.has_choice)
        removed = await self.written.remove(document_ids)
        return [known.get(one) or Beginning(one, None, None, "", 0) for one in removed]

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
                return cast("Durability", await connection.fetchval(_SQL["durability"]))
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
