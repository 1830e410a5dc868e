"""What lost when two nodes changed the same row: kept whole at the primary, looked at and decided here.

A conflict has two versions. One lost and is kept; the other is the head, the row as everybody sees it, and may have
been changed since. Either can be a deletion, which has nothing to show.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any, Literal
from uuid import UUID

from aya import migrations, queries
from aya.db import Database
from aya.errors import DocumentError, UsageError
from aya.knowledge.again import until_known
from aya.knowledge.documents import Beside, Documents
from aya.knowledge.types import Changes, NewDocument
from aya.knowledge.writing import confirm

if TYPE_CHECKING:
    import asyncpg

    from aya.db import Connection

_SQL = queries.load("aya.knowledge", "conflicts.sql")
_VERSION = ("content", "title", "category", "source", "metadata", "created_at", "updated_at")
# Of each text, in a list.
_SHOWN = 200
_WHOLE = 2**31 - 1
_LONGEST_TITLE = 60
Side = Literal["here", "sender"]
Resolution = Literal["here", "sender", "both"]


@dataclass(frozen=True, slots=True)
class Version:
    """One of the two. A chunk has its heading for a title, no category and no source, and no time of change."""

    content: str
    title: str | None
    category: str | None
    source: str | None
    metadata: dict[str, Any] | None
    created_at: datetime | None
    updated_at: datetime | None

    @property
    def name(self) -> str:
        """Return its title, else the first words of its text."""
        return self.title or next(iter(self.content.strip().splitlines()), "")[:_LONGEST_TITLE]


@dataclass(frozen=True, slots=True)
class Conflict:
    """One conflict. origin: the node that sent a version. loser: whose version is kept here beside the head.

    lost: None when what lost was a deletion. head: None when the row is not there (any more). row_id, rev: the head's;
    document_id: of a chunk's document.
    """

    id: int
    unit: Literal["document", "chunk"]
    uid: UUID
    origin: str
    loser: Side
    reason: str
    created_at: datetime
    resolved_at: datetime | None
    resolution: Resolution | None
    lost: Version | None
    head: Version | None
    row_id: int | None
    rev: int | None
    document_id: int | None

    @property
    def what(self) -> str:
        """Return which row it is about: its number, or that it is not there."""
        if self.row_id is None:
            return f"{self.unit} that is not there"
        of = f" of document {self.document_id}" if self.document_id is not None else ""
        return f"{self.unit} {self.row_id}{of}"

    def version(self, side: Side) -> Version | None:
        """Return one side's version: the loser's as it was, the winner's as it is now; None: deleted."""
        return self.lost if side == self.loser else self.head

    def to_json(self) -> dict[str, Any]:
        """Return it with both versions by side."""
        fields = {key: value for key, value in asdict(self).items() if key not in {"lost", "head"}}
        sides: tuple[Side, Side] = ("here", "sender")
        return fields | {side: asdict(found) if (found := self.version(side)) else None for side in sides}


@dataclass(frozen=True, slots=True)
class Settled:
    """What became of a conflict. done: in words. before: it was decided like that already, and nothing was done."""

    conflict: Conflict
    done: str
    before: bool = False


async def check_keeps(connection: Connection) -> None:
    """Raise UsageError for AIR's copy, which keeps no conflicts, and SchemaMismatch for a base of another version."""
    await migrations.check(connection)
    if not await connection.fetchval(_SQL["keeps"]):
        raise UsageError(
            "this is AIR's copy: conflicts are kept at the primary", hint="unset DB_HOST, or name the primary's server"
        )


class Conflicts:
    """The conflicts of one primary, and its documents."""

    def __init__(self, database: Database, documents: Documents) -> None:
        self._database = database
        self._documents = documents

    async def all(self, *, resolved: bool) -> list[Conflict]:
        """Return conflicts, the oldest first, their texts cut to 200 characters. resolved: those that are, too."""
        async with self._database.connection() as connection:
            return [_conflict(row) for row in await connection.fetch(_SQL["conflicts"], None, resolved, _SHOWN)]

    async def get(self, conflict_id: int) -> Conflict:
        """Return one conflict, its texts whole, or raise DocumentError."""
        async with self._database.connection() as connection:
            row = await connection.fetchrow(_SQL["conflicts"], conflict_id, True, _WHOLE)  # noqa: FBT003 a parameter
        if row is None:
            raise DocumentError(f"there is no conflict {conflict_id}", hint="aya conflicts --all")
        return _conflict(row)

    async def take(self, conflict: Conflict, side: Side) -> Settled:
        """Make one side's version the head, as an edit like any other; the winner's is it already.

        Raises DocumentError when somebody changed the row since `conflict` was looked at, or decided otherwise.
        """
        return await self._settle(conflict, side, lambda: self._taken(conflict, side))

    async def both(self, conflict: Conflict) -> Settled:
        """Make the loser a document of its own. Raises UsageError when that is a deletion, or the head's own text."""
        return await self._settle(conflict, "both", lambda: self._beside(conflict))

    async def _settle(self, conflict: Conflict, wanted: Resolution, act: Callable[[], Awaitable[str]]) -> Settled:
        if conflict.resolved_at is not None:
            return _as_before(conflict, wanted)
        try:
            done = await act()
        except DocumentError:
            # A commit of ours may have come true although its answer was lost.
            found = await self.get(conflict.id)
            if found.resolution != wanted:
                raise
            async with self._database.connection() as connection:
                await confirm(connection)
            return _as_before(found, wanted)
        await self._resolve(conflict.id, wanted)
        return Settled(await self.get(conflict.id), done)

    async def _resolve(self, conflict_id: int, wanted: Resolution) -> None:
        """Make sure that it is resolved; where nothing was written, nothing else has done so."""

        async def attempt() -> None:
            async with self._database.transaction() as connection:
                await connection.execute(_SQL["resolve"], conflict_id, wanted)

        await until_known(attempt, has_choice=self._database.has_choice)

    async def _taken(self, conflict: Conflict, side: Side) -> str:
        if side != conflict.loser:
            return f"{conflict.what} stays as it is"
        if conflict.unit == "chunk":
            return await self._chunk_taken(conflict)
        if conflict.lost is None:
            return await self._deletion_taken(conflict)
        if conflict.row_id is None:
            return await self._made_again(conflict, conflict.lost)
        return await self._edited(conflict, conflict.lost, conflict.row_id)

    async def _deletion_taken(self, conflict: Conflict) -> str:
        if conflict.row_id is None:
            return f"{conflict.what} stays deleted"
        await self._documents.remove([conflict.row_id], beside=_resolving(conflict, conflict.loser))
        return f"{conflict.what} was deleted"

    async def _edited(self, conflict: Conflict, lost: Version, document_id: int) -> str:
        same = conflict.head is not None and conflict.head.content == lost.content
        resolve = _resolving(conflict, conflict.loser)

        async def label(connection: Connection, changed: int) -> None:
            await resolve(connection, changed)
            await connection.execute(
                _SQL["label_document"], changed, lost.title, lost.category, lost.source, lost.metadata
            )

        changes = Changes(content=None if same else lost.content)
        kept = await self._documents.edit(document_id, changes, expected_rev=conflict.rev, beside=label)
        return f"document {kept.id} has the version of {_whose(conflict)} (revision {kept.rev})"

    async def _made_again(self, conflict: Conflict, lost: Version) -> str:
        resolve = _resolving(conflict, conflict.loser)

        async def be_again(connection: Connection, made: int) -> None:
            await resolve(connection, made)
            await connection.execute(_SQL["be_again"], made, conflict.uid)

        added = await self._documents.add(_new(lost, lost.title), beside=be_again)
        if added.outcome == "duplicate":
            return f"document {added.document_id} has exactly this text already"
        return f"document {added.document_id} was made again, with the version of {_whose(conflict)}"

    async def _chunk_taken(self, conflict: Conflict) -> str:
        if conflict.lost is None and conflict.row_id is None:
            return f"{conflict.what} stays deleted"

        async def attempt() -> int:
            async with self._database.transaction() as connection:
                await _resolving(conflict, conflict.loser)(connection, 0)
                if conflict.lost is None:
                    changed = await connection.fetchval(_SQL["delete_chunk"], conflict.uid, conflict.rev)
                else:
                    changed = await connection.fetchval(_SQL["put_chunk"], conflict.id, conflict.rev)
                if changed is None:
                    raise DocumentError(
                        f"{conflict.what} was changed meanwhile", hint=f"aya conflicts show {conflict.id}"
                    )
                return int(changed)

        chunk_id = await until_known(attempt, has_choice=self._database.has_choice)
        if conflict.lost is None:
            return f"{conflict.what} was deleted"
        of = "" if conflict.row_id is not None else ", as one of no document"
        return f"chunk {chunk_id} has the version of {_whose(conflict)}{of}"

    async def _beside(self, conflict: Conflict) -> str:
        lost, head = conflict.lost, conflict.head
        take = f"aya conflicts take {conflict.id} here, or sender"
        if lost is None:
            raise UsageError("what lost is a deletion: there is nothing to keep beside the other", hint=take)
        if conflict.unit == "document" and head is not None and head.content == lost.content:
            raise UsageError("both versions have the same text and differ in their labels only", hint=take)
        title = f"{lost.name} (conflict {conflict.id})".strip()
        added = await self._documents.add(_new(lost, title), beside=_resolving(conflict, "both"))
        if added.outcome == "duplicate":
            return f"document {added.document_id} has exactly this text already"
        return f"{conflict.what} stays as it is, and the version of {_whose(conflict)} is document {added.document_id}"


def _resolving(conflict: Conflict, wanted: Resolution) -> Beside:
    """Return what resolves the conflict in the transaction that does it, or takes that back: it was resolved before."""

    async def resolve(connection: Connection, changed: int) -> None:
        del changed
        if await connection.fetchval(_SQL["resolve"], conflict.id, wanted) is None:
            raise DocumentError(
                f"conflict {conflict.id} was resolved meanwhile", hint=f"aya conflicts show {conflict.id}"
            )

    return resolve


def _as_before(conflict: Conflict, wanted: Resolution) -> Settled:
    if conflict.resolution != wanted:
        raise DocumentError(
            f"conflict {conflict.id} was resolved before: {conflict.resolution}",
            hint="aya edit changes the document; the version that lost is in aya conflicts show",
        )
    return Settled(conflict, f"conflict {conflict.id} was resolved like that before", before=True)


def _whose(conflict: Conflict) -> str:
    return conflict.origin if conflict.loser == "sender" else "the primary"


def _new(version: Version, title: str | None) -> NewDocument:
    return NewDocument(
        version.content, version.category or "general", version.source, version.metadata or {}, title, relabel=False
    )


def _conflict(row: asyncpg.Record) -> Conflict:
    fields = dict(row)
    versions: dict[str, Version | None] = {}
    for which in ("lost", "head"):
        values = {name: fields.pop(f"{which}_{name}") for name in _VERSION}
        versions[which] = Version(**values) if fields.pop(f"has_{which}") else None
    return Conflict(**fields, lost=versions["lost"], head=versions["head"])
