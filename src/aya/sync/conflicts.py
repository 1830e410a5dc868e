"""Versions that lost against newer ones. They are kept at the primary, whole, until somebody decides."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any
from uuid import UUID

from aya import queries
from aya.db import Database
from aya.errors import SyncError
from aya.knowledge.documents import Documents
from aya.knowledge.types import Changes, NewDocument

if TYPE_CHECKING:
    import asyncpg

_SQL = queries.load("aya.sync")


@dataclass(frozen=True, slots=True)
class Conflict:
    """One version that lost.

    unit: "document" or "chunk". loser: "sender" when what origin sent lost, "here" when it was the primary's own.
    document: the losing version's columns; None when what lost was a deletion, or a chunk. document_id: of the head,
    None when that is gone.
    """

    id: int
    unit: str
    uid: UUID
    origin: str
    loser: str
    reason: str
    created_at: datetime
    resolved_at: datetime | None
    resolution: str | None
    document: Mapping[str, Any] | None
    document_id: int | None
    title: str | None
    chunks: tuple[str, ...] = ()

    @property
    def is_deletion(self) -> bool:
        """Return whether what lost was a deletion."""
        return self.document is None and not self.chunks


async def listed(database: Database, *, everything: bool) -> list[Conflict]:
    """Return them, newest first. everything: those that somebody has decided on, too."""
    async with database.connection() as connection:
        return [_conflict(row) for row in await connection.fetch(_SQL["conflicts"], everything)]


async def get(database: Database, number: int) -> Conflict:
    """Return one, with the texts of its chunks. Raises SyncError when there is none of that number."""
    async with database.connection() as connection:
        row = await connection.fetchrow(_SQL["conflict"], number)
        if row is None:
            raise SyncError(f"there is no conflict {number}", hint="aya conflicts")
        chunks = await connection.fetch(_SQL["conflict_chunks"], number)
    return _conflict(row, tuple(one["chunk_text"] for one in chunks))


async def keep(database: Database, conflict: Conflict) -> None:
    """Leave the head as it is."""
    await _resolve(database, conflict, "the head is kept")


async def take(database: Database, documents: Documents, conflict: Conflict) -> None:
    """Have the version that lost take the head's place; it gets its chunks and vectors like any other edit.

    Raises SyncError for one that was decided on already, or whose document is gone while a change of it lost.
    """
    _require_open(conflict)
    if conflict.unit == "chunk":
        raise SyncError(
            f"conflict {conflict.id} is of a chunk that was typed by hand",
            hint=f"aya conflicts show {conflict.id}, then change it in psql, then aya conflicts keep {conflict.id}",
        )
    if conflict.is_deletion:
        if conflict.document_id is not None:
            await documents.remove([conflict.document_id])
    elif conflict.document_id is None:
        await documents.add(_new(conflict, conflict.title))
    else:
        await documents.edit(conflict.document_id, _changes(conflict))
    await _resolve(database, conflict, "the version that lost is taken")


async def keep_both(database: Database, documents: Documents, conflict: Conflict) -> int:
    """Make a document of its own of the version that lost; return its number."""
    _require_open(conflict)
    if conflict.document is None:
        raise SyncError(
            f"conflict {conflict.id} has no second document to keep", hint=f"aya conflicts show {conflict.id}"
        )
    added = await documents.add(_new(conflict, f"{conflict.title or 'document'} (conflict {conflict.id})"))
    if added.outcome == "duplicate":
        raise SyncError(
            f"document {added.document_id} has the same text: only their labels differ",
            hint=f"aya conflicts take {conflict.id}, or aya conflicts keep {conflict.id}",
        )
    await _resolve(database, conflict, f"both are kept: document {added.document_id}")
    return added.document_id


def _require_open(conflict: Conflict) -> None:
    if conflict.resolved_at is not None:
        raise SyncError(
            f"conflict {conflict.id} was decided on {conflict.resolved_at:%Y-%m-%d %H:%M}: {conflict.resolution}",
            hint="aya conflicts",
        )


async def _resolve(database: Database, conflict: Conflict, resolution: str) -> None:
    async with database.transaction() as connection:
        await connection.execute(_SQL["resolve"], conflict.id, resolution)


def _conflict(row: asyncpg.Record, chunks: tuple[str, ...] = ()) -> Conflict:
    return Conflict(**dict(row), chunks=chunks)


def _changes(conflict: Conflict) -> Changes:
    lost = conflict.document or {}
    return Changes(
        content=lost.get("content"), metadata=_metadata(lost), category=lost.get("category"),
        source=lost.get("source"), title=lost.get("title"),
    )  # fmt: skip


def _new(conflict: Conflict, title: str | None) -> NewDocument:
    lost = conflict.document or {}
    return NewDocument(
        content=str(lost.get("content") or ""), metadata=_metadata(lost), category=lost.get("category") or "general",
        source=lost.get("source"), title=title,
    )  # fmt: skip


def _metadata(lost: Mapping[str, Any]) -> dict[str, Any]:
    found = lost.get("metadata")
    return dict(json.loads(found) if isinstance(found, str) else found or {})
