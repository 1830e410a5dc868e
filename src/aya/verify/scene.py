"""What the lines share while they are measured: who is who, how one enters, what was inserted and what is open."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aya import db, migrations
from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError
from aya.home import Home
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher
from aya.postgres.config import slot_name
from aya.settings import Config
from aya.verify.marks import Marks
from aya.verify.places import Place, Places
from aya.verify.types import Measured

if TYPE_CHECKING:
    from aya.db import Connection
    from aya.verify.mcp_client import McpClient

NAME = "aya-verify"
_STATEMENT_SECONDS = 30.0


@dataclass
class Scene:
    """One run.

    servers: MCP servers by node, and greetings: what they said first; added: the texts that were added through them.
    vector_text: of phase 1. queued, pushed: the operation of phase 3 and its document. inserted, inserted_at,
    inserted_text: of phase 5, in monotonic seconds.
    """

    home: Home
    config: Config
    places: Places
    marks: Marks
    stack: AsyncExitStack
    servers: dict[str, McpClient] = field(default_factory=dict[str, "McpClient"])
    greetings: dict[str, dict[str, Any]] = field(default_factory=dict[str, dict[str, Any]])
    vector_text: str = ""
    queued: int = 0
    pushed: UUID | None = None
    inserted: UUID | None = None
    inserted_at: float = 0.0
    inserted_text: str = ""
    added: dict[str, str] = field(default_factory=dict[str, str])

    @asynccontextmanager
    async def entered(self, place: Place) -> AsyncGenerator[Connection]:
        """Lend a plain connection to a node; every error inside comes out as an AyaError."""
        settings = place.entrance
        with db.translated(settings):
            connection = await db.connect(settings, application_name=NAME, command_timeout=_STATEMENT_SECONDS)
            try:
                yield connection
            finally:
                connection.terminate()

    @asynccontextmanager
    async def searching(self, place: Place) -> AsyncGenerator[tuple[Documents, Searcher]]:
        """Lend a search on a node: its database, and its embedder, or where that is elsewhere one of this machine."""
        near = place if place.embedder_url else self.places.local()
        if near is None or near.embedder_url is None:
            raise AyaError("no embedder is on this machine", hint="aya up")
        async with (
            Database(place.entrance, application_name=NAME, check=migrations.check) as database,
            EmbedderClient(near.embedder_url, token=near.embedder_token) as embedder,
        ):
            documents = Documents(database, embedder)
            yield documents, Searcher(database, embedder, documents)

    @property
    def slot(self) -> str:
        """Return the name of the standby's slot."""
        return slot_name(self.places.standby.node)


Measure = Callable[[Scene, Place], Awaitable[Measured]]
