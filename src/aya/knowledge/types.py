"""The values that go in and out of the knowledge base."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Literal
from uuid import UUID

Outcome = Literal["indexed", "updated", "unchanged", "duplicate"]
# From so many failures on, a document is reported as poison; it is still tried, rarely.
POISON_ATTEMPTS = 5


@dataclass(frozen=True, slots=True)
class NewDocument:
    """What somebody wants to keep.

    uri: where it was read from; None when it has no place of its own. relabel: the labels (category, source,
    metadata) were given explicitly, so a document that is kept already gets them, too; by_default: except those of
    category and source that nobody gave. retitle: the title was, too. created_at: when it was first
    written, with a time zone; None: now, and a document that is kept already keeps its date.
    """

    content: str
    category: str = "general"
    source: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    title: str | None = None
    uri: str | None = None
    markdown: bool = True
    relabel: bool = False
    by_default: frozenset[str] = frozenset()
    retitle: bool = False
    created_at: datetime | None = None


@dataclass(frozen=True, slots=True)
class Added:
    """What became of it. duplicate: equal content is already kept, under document_id."""

    outcome: Outcome
    document_id: int
    chunk_ids: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Document:
    """A document as it is kept. rev grows by one with every change."""

    id: int
    uid: UUID
    rev: int
    content: str
    title: str | None
    uri: str | None
    category: str | None
    source: str | None
    metadata: dict[str, Any]
    created_at: datetime
    updated_at: datetime
    chunk_count: int
    indexed: bool
    index_error: str | None


@dataclass(frozen=True, slots=True)
class Changes:
    """What an edit changes; None leaves it as it is."""

    content: str | None = None
    category: str | None = None
    source: str | None = None
    title: str | None = None
    metadata: Mapping[str, Any] | None = None


@dataclass(frozen=True, slots=True)
class Filters:
    """Which documents a search or a list looks at; None does not restrict. Dates are of creation, in UTC.

    metadata: only documents whose metadata contains this object (jsonb @>).
    """

    category: str | None = None
    source: str | None = None
    metadata: Mapping[str, Any] | None = None
    since: datetime | None = None
    until: datetime | None = None


Mode = Literal["vector", "text", "hybrid"]


@dataclass(frozen=True, slots=True)
class Hit:
    """One passage: a chunk, or several that follow each other.

    distance: cosine distance to the query, None when only the words were compared.
    document_id: None for a chunk that was typed by hand without a document.
    chunk_id: the best of its chunks, which chunk_index, heading, score, distance and ranks speak of. chunk_ids: all of
    them, in order.
    char_start, char_end: where it stands in the document, in characters; None for a chunk typed by hand.
    page: the page that the snippet's first highlight stands on, 1 for the first; None where there are none.
    highlights: ranges in snippet, in characters.
    score: 1 at most; of a hybrid search the mean of likeness and words (aya.fusion).
    """

    chunk_id: int
    chunk_ids: tuple[int, ...]
    document_id: int | None
    chunk_index: int
    chunk_text: str
    snippet: str
    highlights: tuple[tuple[int, int], ...]
    heading: str | None
    char_start: int | None
    char_end: int | None
    page: int | None
    score: float
    distance: float | None
    ranks: Mapping[str, int]
    title: str | None
    uri: str | None
    category: str | None
    source: str | None
    metadata: Mapping[str, Any]
    created_at: datetime
    document_content: str
