"""Writing a document and its chunks, inside somebody's transaction.

Order of locks, the same for every writer, so that none waits in a circle: the model (`hold_model`), the advisory locks
on file and content, the document's row, its chunks (`lock_chunks`), and what the triggers touch.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from pgvector import Vector

from aya import queries
from aya.errors import DatabaseConflict
from aya.identity import ModelIdentity
from aya.knowledge.binding import bound_model, check_same
from aya.knowledge.indexing import Prepared, content_sha256
from aya.knowledge.placement import Action, Place, decide
from aya.knowledge.types import Added, NewDocument, Outcome
from aya.outcome import transaction

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.knowledge")
# Rows a statement: each stays well below the statement's time limit, however large the document is.
_BATCH = 500
_OUTCOMES: dict[Action, Outcome] = {
    "insert": "indexed",
    "branch": "indexed",
    "replace": "updated",
    "relabel": "updated",
    "keep": "unchanged",
    "confirm": "unchanged",
    "attach": "duplicate",
    "move": "duplicate",
    "duplicate": "duplicate",
}

_NOTHING_DONE: frozenset[Outcome] = frozenset({"unchanged", "duplicate"})


async def hold_model(connection: Connection, identity: ModelIdentity) -> None:
    """Keep the database bound to `identity` until the transaction ends; ModelMismatch when it is bound to another."""
    await connection.execute(_SQL["hold_model"])
    check_same(await bound_model(connection), identity)


def as_array(vectors: Iterable[NDArray[np.float32]]) -> list[Vector]:
    """Return vectors for an array parameter, in which the driver would take an ndarray for one more dimension; pure."""
    return [Vector(row) for row in vectors]


async def lock_chunks(connection: Connection, document_id: int) -> None:
    """Be the only writer of a document's chunks until the transaction ends."""
    await connection.execute(_SQL["lock_chunks"], document_id)


async def replace_chunks(connection: Connection, document_id: int, prepared: Prepared) -> tuple[int, ...]:
    """Put the document's chunks in place of those cut from it before; returns their ids. Those typed by hand stay.

    Raises ModelMismatch when the database was bound to another model since they were prepared.
    """
    await hold_model(connection, prepared.identity)
    await lock_chunks(connection, document_id)
    await connection.execute(_SQL["delete_own_chunks"], document_id)
    chunk_ids: list[int] = []
    for start in range(0, len(prepared.chunks), _BATCH):
        chunks = prepared.chunks[start : start + _BATCH]
        rows = await connection.fetch(
            _SQL["insert_chunks"],
            document_id,
            [chunk.index for chunk in chunks],
            [chunk.text for chunk in chunks],
            [chunk.start for chunk in chunks],
            [chunk.end for chunk in chunks],
            [chunk.heading for chunk in chunks],
            as_array(prepared.vectors[start : start + _BATCH]),
            prepared.content_sha256,
        )
        chunk_ids += [row["id"] for row in rows]
    return tuple(chunk_ids)


async def index(connection: Connection, document_id: int, prepared: Prepared) -> tuple[int, ...]:
    """Store the chunks in the transaction that wrote the content, and leave nothing for the indexer."""
    chunk_ids = await replace_chunks(connection, document_id, prepared)
    await connection.execute(_SQL["dequeue"], document_id)
    return chunk_ids


async def chunk_ids_of(connection: Connection, document_id: int) -> tuple[int, ...]:
    """Return the document's chunks, in order."""
    return tuple(row["id"] for row in await connection.fetch(_SQL["chunk_ids"], document_id))


async def confirm(connection: Connection) -> None:
    """Return when what is seen on this connection is on the standby, too. Raises OutcomeUnknown.

    A commit whose wait was ended is seen here and may be lost by a failover. A later one is acknowledged only when the
    standby has everything before it.
    """
    async with transaction(connection):
        await connection.execute(_SQL["mark"])


def as_kept(moment: datetime) -> datetime:
    """Return a moment as the contract's timestamp columns hold it: in UTC, without zone; pure."""
    return moment.astimezone(UTC).replace(tzinfo=None)


class Addition:
    """One document on its way in. `look` says what has to be done, `do` does it; both in the same transaction.

    unsure: what became of it if a commit came true whose outcome is unknown.
    """

    def __init__(self, new: NewDocument) -> None:
        self._new = new
        self._sha256 = content_sha256(new.content)
        self._created_at = None if new.created_at is None else as_kept(new.created_at)
        self._labels = (new.category, new.source)
        self._given_title = new.title if new.retitle else None
        self._place: Place | None = None
        self._twin: int | None = None
        self.unsure: Added | None = None

    def doubt(self, added: Added | None) -> None:
        """Remember what became of the document if the commit came true after all."""
        if added is not None and added.outcome not in _NOTHING_DONE:
            self.unsure = added

    def known(self, added: Added) -> Added:
        """Return what became of the document, counting an earlier attempt that turns out to have come true; pure."""
        unsure = self.unsure
        nothing_done = added.outcome in _NOTHING_DONE
        same = unsure and (unsure.document_id, unsure.chunk_ids) == (added.document_id, added.chunk_ids)
        return unsure if unsure and nothing_done and same else added

    async def lock(self, connection: Connection) -> None:
        """Let nobody else add the same content or the same file until the transaction ends."""
        keys = {f"content:{self._sha256.hex()}"}
        if self._new.uri is not None:
            keys.add(f"uri:{self._new.uri}")
        for key in sorted(keys):
            await connection.execute(_SQL["lock_identity"], key)

    async def look(self, connection: Connection, *, lock: bool) -> Action:
        """Return what has to be done. lock: the answer holds until the transaction ends."""
        # The content first: when somebody adds the same file in between, its place is seen too, and it is no duplicate.
        self._twin = await connection.fetchval(_SQL["find_by_content"], self._sha256)
        if lock and self._new.uri is not None:
            await connection.execute(_SQL["lock_place"], self._new.uri)
        self._place = await self._find_place(connection)
        return decide(self._place, self._twin, has_uri=self._new.uri is not None)

    async def _find_place(self, connection: Connection) -> Place | None:
        if self._new.uri is None:
            return None
        row = await connection.fetchrow(_SQL["find_place"], self._new.uri)
        if row is None:
            return None
        new = self._new
        self._labels = (
            row["category"] if "category" in new.by_default else new.category,
            row["source"] if "source" in new.by_default else new.source,
        )
        kept = (row["category"], row["source"], row["metadata"], row["created_at"], row["title"])
        wanted = (
            *self._labels,
            {**row["metadata"], **new.metadata},
            self._created_at or row["created_at"],
            self._given_title or row["title"],
        )
        return Place(
            document_id=row["id"],
            file_unchanged=row["read_sha256"] == self._sha256.hex(),
            edited=row["read_sha256"] != row["content_sha256"].hex(),
            says_the_same=row["content_sha256"] == self._sha256,
            shared=row["place_count"] > 1,
            labels_differ=new.relabel and kept != wanted,
        )

    async def do(self, connection: Connection, action: Action, prepared: Prepared | None) -> Added:
        """Do what `look` said. prepared: for the actions that store a new content.

        Raises DatabaseConflict when somebody changed the twin meanwhile: look again, in another transaction.
        """
        if prepared is not None:
            return await self._store(connection, action, prepared)
        document_id = self._place.document_id if self._place and action != "move" else self._twin
        if document_id is None:
            raise DatabaseConflict("the document was changed meanwhile", hint="run the same again")
        if action == "move":
            await self._leave(connection)
        if action in {"attach", "move", "confirm"}:
            await self._attach(connection, document_id)
        if action == "relabel":
            labels = (dict(self._new.metadata), *self._labels, self._created_at, self._given_title)
            await connection.execute(_SQL["relabel_document"], document_id, *labels)
        return Added(_OUTCOMES[action], document_id, await chunk_ids_of(connection, document_id))

    async def _store(self, connection: Connection, action: Action, prepared: Prepared) -> Added:
        new = self._new
        places = {} if new.uri is None else {new.uri: self._sha256.hex()}
        labels = (dict(new.metadata), new.category, new.source, new.title)
        values = (new.content, *labels, places, self._created_at)
        if action == "replace" and self._place is not None:
            document_id = self._place.document_id
            await lock_chunks(connection, document_id)
            await connection.execute(_SQL["replace_document"], document_id, *values)
        else:
            if action == "branch":
                await self._leave(connection)
            document_id = await connection.fetchval(_SQL["insert_document"], *values)
        return Added(_OUTCOMES[action], document_id, await index(connection, document_id, prepared))

    async def _leave(self, connection: Connection) -> None:
        """Take the file off the document it was read from; a document that nobody else speaks through goes with it."""
        if self._place is None:
            return
        if self._place.shared or self._place.edited:
            await connection.execute(_SQL["detach_place"], self._place.document_id, self._new.uri)
            return
        await lock_chunks(connection, self._place.document_id)
        await connection.execute(_SQL["delete_documents"], [self._place.document_id])

    async def _attach(self, connection: Connection, document_id: int) -> None:
        kept = await connection.fetchval(
            _SQL["attach_place"], document_id, self._new.uri, self._sha256.hex(), self._sha256
        )
        if kept is None:
            raise DatabaseConflict("the document was changed meanwhile", hint="run the same again")
