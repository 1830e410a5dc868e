"""Documents in, changed and out. A document and its chunks are written in one transaction, or not at all."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, TypeVar

from aya import queries
from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseConflict, DocumentError, ModelMismatch, OutcomeUnknown
from aya.identity import ModelIdentity
from aya.knowledge import validation
from aya.knowledge.again import until_known
from aya.knowledge.binding import bound, have_ready
from aya.knowledge.indexing import Prepared, prepare
from aya.knowledge.placement import EMBEDDING_ACTIONS
from aya.knowledge.types import Added, Changes, Document, Filters, NewDocument
from aya.knowledge.writing import Addition, confirm, hold_model, index, lock_chunks

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge")
_MOST_CONFLICTS = 5
Result = TypeVar("Result")
Beside = Callable[["Connection", int], Awaitable[None]]
"""What else is done in the transaction that writes a document, given its id; what it raises takes both back."""


class Documents:
    """The documents of one database, embedded by one embedder. Safe to use from many tasks and processes at once."""

    def __init__(self, database: Database, embedder: EmbedderClient) -> None:
        self._database = database
        self._embedder = embedder
        self._identity: ModelIdentity | None = None

    async def identity(self) -> ModelIdentity:
        """Return the database's model, which the embedder has loaded then; ModelMismatch when it cannot have it.

        Asked once: every vector is asked of that model by its fingerprint, and what is stored or compared is checked
        against the database's again. Either mismatch ends in `forget_model`, so that a process outlives `aya reembed`.
        """
        if self._identity is None:
            async with self._database.connection() as connection:
                wanted = await bound(connection)
            self._identity = await have_ready(self._embedder, wanted)
        return self._identity

    def forget_model(self) -> None:
        """Ask for the model again next time: the database has another one now, or the embedder lost it."""
        self._identity = None

    async def add(self, new: NewDocument, *, beside: Beside | None = None) -> Added:
        """Keep a document. Adding the same again changes nothing; a file that changed replaces what it was.

        beside: only done when a document is made. Raises DocumentError, EmbedderError or DatabaseError, and then
        nothing was written; or OutcomeUnknown.
        """
        validation.check_content(new.content)
        validation.check_labels(new.category, new.source)
        validation.check_metadata(new.metadata)
        addition = Addition(new)
        return await self._until_known(lambda: self._add_in_spite_of_others(new, addition, beside))

    async def _until_known(self, attempt: Callable[[], Awaitable[Result]]) -> Result:
        return await until_known(attempt, has_choice=self._database.has_choice)

    async def _add_in_spite_of_others(self, new: NewDocument, addition: Addition, beside: Beside | None) -> Added:
        for _ in range(_MOST_CONFLICTS):
            try:
                return await self._add(new, addition, beside)
            except (DatabaseConflict, ModelMismatch):
                # Somebody else wrote the same file or content at the same moment, or the base moved to another model
                # since its vectors were made: look again at what is there now.
                continue
        return await self._add(new, addition, beside)

    async def _add(self, new: NewDocument, addition: Addition, beside: Beside | None) -> Added:
        async with self._database.connection() as connection:
            action = await addition.look(connection, lock=False)
            if action == "keep" or (action == "duplicate" and new.uri is None):
                if action == "duplicate" or addition.unsure is not None:
                    await confirm(connection)
                return addition.known(await addition.do(connection, action, None))
        prepared = (
            await self._prepare(new.content, new.title, markdown=new.markdown) if action in EMBEDDING_ACTIONS else None
        )
        added: Added | None = None
        try:
            async with self._writing() as connection:
                if prepared is not None:
                    await hold_model(connection, prepared.identity)
                await addition.lock(connection)
                action = await addition.look(connection, lock=True)
                if action in EMBEDDING_ACTIONS and prepared is None:
                    raise DatabaseConflict("the document was changed meanwhile", hint="run the same again")
                added = await addition.do(connection, action, prepared if action in EMBEDDING_ACTIONS else None)
                if beside is not None and action == "insert":
                    await beside(connection, added.document_id)
                if action in {"keep", "duplicate"}:
                    await connection.execute(_SQL["mark"])
        except OutcomeUnknown:
            addition.doubt(added)
            raise
        return addition.known(added)

    async def edit(
        self, document_id: int, changes: Changes, *, expected_rev: int | None = None, beside: Beside | None = None
    ) -> Document:
        """Change a document; a new content gets new chunks in the same transaction.

        expected_rev: refuse when somebody changed it meanwhile. beside: has to refuse when it was done before. Raises
        DocumentError when there is no such document, and OutcomeUnknown.
        """
        validation.check_labels(changes.category, changes.source)
        validation.check_metadata(changes.metadata or {})
        if changes.content is not None:
            validation.check_content(changes.content)
        unsure = False

        async def attempt() -> Document:
            nonlocal unsure
            if unsure and beside is None and (found := await self._edited(document_id, changes)) is not None:
                return found
            try:
                return await self._edit_in_spite_of_others(document_id, changes, expected_rev, beside)
            except OutcomeUnknown:
                unsure = True
                raise

        return await self._until_known(attempt)

    async def _edited(self, document_id: int, changes: Changes) -> Document | None:
        """Return the document if it has all the changes, on this server and on its standby; else None."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["get_document"], document_id)
            if row is None or not has_all(_document(row), changes):
                return None
            await confirm(connection)
        return _document(row)

    async def _edit_in_spite_of_others(
        self, document_id: int, changes: Changes, expected_rev: int | None, beside: Beside | None
    ) -> Document:
        try:
            return await self._edit(document_id, changes, expected_rev, beside)
        except ModelMismatch:
            # The base moved to another model since the vectors were made.
            return await self._edit(document_id, changes, expected_rev, beside)

    async def _edit(
        self, document_id: int, changes: Changes, expected_rev: int | None, beside: Beside | None
    ) -> Document:
        prepared = None
        if changes.content is not None:
            title = changes.title or (await self.get(document_id)).title
            prepared = await self._prepare(changes.content, title, markdown=True)
        async with self._writing() as connection:
            if prepared is not None:
                await hold_model(connection, prepared.identity)
                await _refuse_duplicate(connection, document_id, prepared.content_sha256)
            await connection.execute(_SQL["lock_document"], document_id)
            if prepared is not None:
                await lock_chunks(connection, document_id)
            if not await _update(connection, document_id, changes, expected_rev):
                raise await _why_not_updated(connection, document_id)
            if prepared is not None:
                await index(connection, document_id, prepared)
            if beside is not None:
                await beside(connection, document_id)
            # Here, not after the commit: what fails from then on has happened all the same.
            row = await connection.fetchrow(_SQL["get_document"], document_id)
        if row is None:
            raise _no_such(document_id)
        return _document(row)

    async def _prepare(self, content: str, title: str | None, *, markdown: bool) -> Prepared:
        try:
            return await prepare(self._embedder, await self.identity(), content, markdown=markdown, title=title)
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

    async def remove(self, document_ids: Sequence[int], *, beside: Beside | None = None) -> list[int]:
        """Delete documents with their chunks; return those that were there. Raises OutcomeUnknown.

        beside: done once for each that was there.
        """
        removed: set[int] = set()

        async def attempt() -> list[int]:
            async with self._database.transaction() as connection:
                gone = [row["id"] for row in await connection.fetch(_SQL["delete_documents"], list(document_ids))]
                if beside is not None:
                    for document_id in gone:
                        await beside(connection, document_id)
                removed.update(gone)
                await connection.execute(_SQL["mark"])
            return [document_id for document_id in dict.fromkeys(document_ids) if document_id in removed]

        return await self._until_known(attempt)


def filter_arguments(filters: Filters) -> tuple[object, ...]:
    """Return the filters in the order in which every query takes them."""
    return filters.category, filters.source, filters.metadata, filters.since, filters.until


def has_all(document: Document, changes: Changes) -> bool:
    """Return whether the document is as the changes would have it; pure."""
    wanted = (changes.content, changes.metadata, changes.category, changes.source, changes.title)
    found = (document.content, document.metadata, document.category, document.source, document.title)
    return all(value is None or value == there for value, there in zip(wanted, found, strict=True))


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


async def _refuse_duplicate(connection: Connection, document_id: int, sha256: bytes) -> None:
    await connection.execute(_SQL["lock_identity"], f"content:{sha256.hex()}")
    twin = await connection.fetchval(_SQL["find_by_content"], sha256)
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
