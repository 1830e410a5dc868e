"""Documents in, changed and out. A document and its chunks are written in one transaction, or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

from pgvector import Vector

from aya import queries
from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.errors import DocumentError, ModelMismatch
from aya.identity import ModelIdentity
from aya.knowledge import validation
from aya.knowledge.binding import bound_model, check_same
from aya.knowledge.indexing import Prepared, content_sha256, prepare
from aya.knowledge.types import Added, Changes, Document, Filters, NewDocument

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge")


class Documents:
    """The documents of one database, embedded by one embedder. Safe to use from many tasks and processes at once."""

    def __init__(self, database: Database, embedder: EmbedderClient) -> None:
        self._database = database
        self._embedder = embedder
        self._identity: ModelIdentity | None = None

    async def identity(self) -> ModelIdentity:
        """Return the model of both the database and the embedder; ModelMismatch when they differ.

        Asked once: every later answer of the embedder names its model, and what is stored is checked against the
        database's again. Either mismatch ends in `forget_model`, so that a process outlives `aya reembed`.
        """
        if self._identity is None:
            offered = await self._embedder.identity()
            async with self._database.connection() as connection:
                check_same(await bound_model(connection), offered)
            self._identity = offered
        return self._identity

    def forget_model(self) -> None:
        """Ask for the model again next time: the embedder or the database has another one now."""
        self._identity = None

    async def _prepare(self, content: str, *, markdown: bool) -> Prepared:
        try:
            return await prepare(self._embedder, await self.identity(), content, markdown=markdown)
        except ModelMismatch:
            self.forget_model()
            raise

    @asynccontextmanager
    async def _writing(self) -> AsyncGenerator[Connection]:
        try:
            async with self._database.transaction() as connection:
                yield connection
        except ModelMismatch:
            self.forget_model()
            raise

    async def add(self, new: NewDocument) -> Added:
        """Keep a document. Adding the same again changes nothing; a file that changed replaces what it was.

        Raises DocumentError, EmbedderError or DatabaseError, and then nothing was written.
        """
        validation.check_content(new.content)
        validation.check_labels(new.category, new.source)
        validation.check_metadata(new.metadata)
        async with self._database.connection() as connection:
            known = await _settled(connection, new)
        if known is not None:
            return known
        prepared = await self._prepare(new.content, markdown=new.markdown)
        async with self._writing() as connection:
            for key in sorted(_lock_keys(new)):
                await connection.execute(_SQL["lock_identity"], key)
            # Somebody else may have written the same while we embedded.
            known = await _settled(connection, new)
            return known or await _write(connection, new, prepared)

    async def edit(self, document_id: int, changes: Changes, *, expected_rev: int | None = None) -> Document:
        """Change a document; a new content gets new chunks in the same transaction.

        expected_rev: refuse when somebody changed it meanwhile. Raises DocumentError when there is no such document.
        """
        validation.check_labels(changes.category, changes.source)
        validation.check_metadata(changes.metadata or {})
        prepared = None
        if changes.content is not None:
            validation.check_content(changes.content)
            prepared = await self._prepare(changes.content, markdown=True)
        async with self._writing() as connection:
            if changes.content is not None:
                await _refuse_duplicate(connection, document_id, changes.content)
            if not await _update(connection, document_id, changes, expected_rev):
                raise await _why_not_updated(connection, document_id)
            if prepared is not None:
                await _index(connection, document_id, prepared)
        return await self.get(document_id)

    async def get(self, document_id: int) -> Document:
        """Return one document, or raise DocumentError."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["get_document"], document_id)
        if row is None:
            raise _no_such(document_id)
        return _document(row)

    async def newest(self, filters: Filters, *, limit: int, offset: int = 0) -> list[Document]:
        """Return documents, the newest first, their content cut to 200 characters."""
        async with self._database.connection() as connection:
            rows = await connection.fetch(_SQL["list_documents"], *filter_arguments(filters), limit, offset)
        return [_document(row) for row in rows]

    async def remove(self, document_ids: Sequence[int]) -> list[int]:
        """Delete documents with their chunks; return those that were there."""
        async with self._database.transaction() as connection:
            return [row["id"] for row in await connection.fetch(_SQL["delete_documents"], list(document_ids))]


def filter_arguments(filters: Filters) -> tuple[object, ...]:
    """Return the filters in the order in which every query takes them."""
    return filters.category, filters.source, filters.metadata, filters.since, filters.until


async def hold_model(connection: Connection, identity: ModelIdentity) -> None:
    """Keep the database bound to `identity` until the transaction ends; ModelMismatch when it is bound to another."""
    await connection.execute(_SQL["hold_model"])
    check_same(await bound_model(connection), identity)


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
    chunks = prepared.chunks
    rows = await connection.fetch(
        _SQL["insert_chunks"],
        document_id,
        [chunk.index for chunk in chunks],
        [chunk.text for chunk in chunks],
        [chunk.start for chunk in chunks],
        [chunk.end for chunk in chunks],
        [chunk.heading for chunk in chunks],
        # Wrapped: in an array parameter the driver would take an ndarray for one more dimension.
        [Vector(row) for row in prepared.vectors],
        prepared.content_sha256,
    )
    return tuple(row["id"] for row in rows)


def _lock_keys(new: NewDocument) -> set[str]:
    keys = {f"content:{content_sha256(new.content).hex()}"}
    return keys | {f"uri:{new.uri}"} if new.uri is not None else keys


async def _settled(connection: Connection, new: NewDocument) -> Added | None:
    """Return what the document already is, or None when something has to be written."""
    digest = content_sha256(new.content)
    # The content first: when somebody adds the same file in between, its place is seen too, and it is no duplicate.
    twin = await connection.fetchval(_SQL["find_by_content"], digest)
    row = await connection.fetchrow(_SQL["find_by_uri"], new.uri) if new.uri is not None else None
    if row is not None:
        labels = (row["category"], row["source"], row["title"], row["metadata"])
        same = labels == (new.category, new.source, new.title, dict(new.metadata))
        if row["content_sha256"] != digest or not same:
            return None
        return Added("unchanged", row["id"], await _chunk_ids(connection, row["id"]))
    return None if twin is None else Added("duplicate", twin, await _chunk_ids(connection, twin))


async def _write(connection: Connection, new: NewDocument, prepared: Prepared) -> Added:
    row = await connection.fetchrow(_SQL["find_by_uri"], new.uri) if new.uri is not None else None
    if row is None:
        document_id = await connection.fetchval(
            _SQL["insert_document"], new.content, dict(new.metadata), new.category, new.source, new.title, new.uri
        )
        return Added("indexed", document_id, await _index(connection, document_id, prepared))
    twin = await connection.fetchval(_SQL["find_by_content"], content_sha256(new.content))
    if twin is not None and twin != row["id"]:
        # The file now says what another document already says: one content, one document.
        await connection.execute(_SQL["delete_documents"], [row["id"]])
        return Added("duplicate", twin, await _chunk_ids(connection, twin))
    changes = Changes(new.content, new.category, new.source, new.title, new.metadata)
    await _update(connection, row["id"], changes, None)
    return Added("updated", row["id"], await _index(connection, row["id"], prepared))


async def _index(connection: Connection, document_id: int, prepared: Prepared) -> tuple[int, ...]:
    """Store the chunks in the transaction that wrote the content, and leave nothing for the indexer."""
    chunk_ids = await replace_chunks(connection, document_id, prepared)
    await connection.execute(_SQL["dequeue"], document_id)
    return chunk_ids


async def _update(connection: Connection, document_id: int, changes: Changes, expected_rev: int | None) -> bool:
    metadata = None if changes.metadata is None else dict(changes.metadata)
    return bool(
        await connection.fetchval(
            _SQL["update_document"],
            document_id,
            expected_rev,
            changes.content,
            metadata,
            changes.category,
            changes.source,
            changes.title,
        )
    )


async def _chunk_ids(connection: Connection, document_id: int) -> tuple[int, ...]:
    return tuple(row["id"] for row in await connection.fetch(_SQL["chunk_ids"], document_id))


async def _refuse_duplicate(connection: Connection, document_id: int, content: str) -> None:
    twin = await connection.fetchval(_SQL["find_by_content"], content_sha256(content))
    if twin is not None and twin != document_id:
        raise DocumentError(f"document {twin} already has exactly this content", hint=f"aya show {twin}")


async def _why_not_updated(connection: Connection, document_id: int) -> DocumentError:
    row = await connection.fetchrow(_SQL["get_document"], document_id)
    if row is None:
        return _no_such(document_id)
    return DocumentError(
        f"document {document_id} was changed meanwhile (it is at revision {row['rev']})", hint=f"aya show {document_id}"
    )


def _no_such(document_id: int) -> DocumentError:
    return DocumentError(f"there is no document {document_id}", hint="aya list")


def _document(row: asyncpg.Record) -> Document:
    return Document(**dict(row))
