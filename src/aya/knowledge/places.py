"""The files that documents were read from: many looked up at once, and those that are gone taken off."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aya import queries
from aya.db import Database
from aya.knowledge.again import until_known
from aya.knowledge.vanishing import Placed, Vanishing, decide
from aya.knowledge.writing import lock_chunks

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "places.sql")
_STORE = queries.load("aya.knowledge")
_PAGE = 1000
# What AIR made and the primary has not taken yet has negative ids.
_BEFORE_ALL = -(2**31)


@dataclass(frozen=True, slots=True)
class Known:
    """A file that was read before. read_sha256: of what was read there then, hex."""

    document_id: int
    read_sha256: str
    chunks: int


class Places:
    """The places of one database's documents. Safe to use from many tasks and processes at once."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def known(self, places: Sequence[str]) -> dict[str, Known]:
        """Return those of `places` that a document was read from. Raises DatabaseError."""

        async def attempt() -> dict[str, Known]:
            async with self._database.connection() as connection:
                rows = await connection.fetch(_SQL["known_places"], list(places))
            return {row["place"]: Known(row["id"], row["read_sha256"], row["chunk_count"]) for row in rows}

        return await until_known(attempt, has_choice=self._database.has_choice)

    async def count_below(self, folder: str) -> int:
        """Return how many documents were read from below `folder`."""
        async with self._database.connection() as connection:
            return int(await connection.fetchval(_SQL["count_below"], _with_slash(folder)))

    def below(self, folder: str) -> AsyncGenerator[list[Placed]]:
        """Yield the documents that were read from below `folder`, a page at a time."""
        return self._pages("placed_below", _with_slash(folder))

    def at(self, paths: Sequence[str]) -> AsyncGenerator[list[Placed]]:
        """Yield the documents that were read from one of `paths`, or from below it, a page at a time."""
        return self._pages("placed_at", list(paths))

    async def _pages(self, query: str, wanted: object) -> AsyncGenerator[list[Placed]]:
        after = _BEFORE_ALL
        while True:
            async with self._database.connection() as connection:
                rows = await connection.fetch(_SQL[query], wanted, after, _PAGE)
            if not rows:
                return
            yield [_placed(row) for row in rows]
            after = rows[-1]["id"]

    async def vanish(self, document_id: int, is_gone: Callable[[str], bool]) -> Vanishing | None:
        """Take the files that are gone off a document, in one transaction; return what became of it.

        is_gone: asked again for each place while the document is held, so that a file that came back meanwhile stays.
        None: nothing is to be done any more. Raises DatabaseError, or OutcomeUnknown.
        """
        done: Vanishing | None = None

        async def attempt() -> Vanishing | None:
            nonlocal done
            async with self._database.transaction() as connection:
                found = await self._decided(connection, document_id, is_gone)
                if found is not None:
                    await _do(connection, found)
                    done = found
                await connection.execute(_STORE["mark"])
            return done

        return await until_known(attempt, has_choice=self._database.has_choice)

    async def _decided(
        self, connection: Connection, document_id: int, is_gone: Callable[[str], bool]
    ) -> Vanishing | None:
        before = await connection.fetchrow(_SQL["placed"], document_id)
        if before is None:
            return None
        places: dict[str, str] = before["places"]
        return decide(_placed(before), frozenset(place for place in places if is_gone(place)))


def _with_slash(folder: str) -> str:
    return folder.rstrip("/") + "/"


def _placed(row: asyncpg.Record) -> Placed:
    return Placed(**dict(row))


async def _do(connection: Connection, found: Vanishing) -> None:
    if found.fate == "renamed":
        taken = (found.document_id, list(found.gone), found.path, found.title)
        await connection.execute(_SQL["leave_places"], *taken)
    elif found.fate == "removed":
        await lock_chunks(connection, found.document_id)
        await connection.execute(_STORE["delete_documents"], [found.document_id])
