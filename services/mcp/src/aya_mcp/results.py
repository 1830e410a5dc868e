"""What the tools send back, from what the knowledge base says; pure."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from math import isnan
from typing import Any, cast

from aya.knowledge.types import Hit
from aya_mcp.cursor import Cursor
from aya_mcp.names import uri_of
from aya_mcp.parts import Beginning, Part

MOST_DOCUMENT_CHARACTERS = 8_000


def result_of(hit: Hit) -> dict[str, Any]:
    """Return one hit as the contract names its fields; a long document is cut, and says so."""
    whole = hit.document_content
    result: dict[str, Any] = {
        "chunk_id": hit.chunk_id,
        "chunk_text": hit.chunk_text,
        # A vector of zeros, typed by hand, has no direction to compare.
        "distance": None if hit.distance is None or isnan(hit.distance) else hit.distance,
        "document_content": whole[:MOST_DOCUMENT_CHARACTERS],
        "metadata": as_object(hit.metadata),
        "category": hit.category,
        "source": hit.source,
        "document_id": hit.document_id,
        "chunk_index": hit.chunk_index,
        "heading": hit.heading,
        "char_start": hit.char_start,
        "char_end": hit.char_end,
        "page": hit.page,
        "snippet": hit.snippet,
        "score": hit.score,
        "uri": hit.uri,
        "title": hit.title,
        "resource": None if hit.document_id is None else uri_of(hit.document_id, hit.char_start, hit.char_end),
    }
    if len(whole) > MOST_DOCUMENT_CHARACTERS:
        result |= {"document_truncated": True, "document_characters": len(whole)}
    return result


def described(part: Part) -> dict[str, Any]:
    """Return a document without its text."""
    return {
        "document_id": part.id,
        "title": part.title,
        "category": part.category,
        "source": part.source,
        "metadata": as_object(part.metadata),
        "uri": part.uri,
        "rev": part.rev,
        "created_at": utc(part.created_at),
        "updated_at": utc(part.updated_at),
        "indexed": part.indexed,
        "characters": part.characters,
    }


def listed(part: Part) -> dict[str, Any]:
    """Return a document as a list shows it."""
    return {**described(part), "content": part.content}


def shown(part: Part, offset: int) -> dict[str, Any]:
    """Return a document with its text from `offset` on. next_offset: None when that is its end."""
    end = offset + len(part.content)
    following = end if end < part.characters else None
    return {**described(part), "content": part.content, "offset": offset, "next_offset": following}


def deleted(beginning: Beginning) -> dict[str, Any]:
    """Return what a document was that is gone."""
    return {
        "document_id": beginning.id,
        "title": beginning.title,
        "category": beginning.category,
        "characters": beginning.characters,
        "content": beginning.content,
    }


def following(page: Sequence[Part], limit: int, after: Cursor | None, *, most: int | None = None) -> str | None:
    """Return the cursor to the next page; None after the last, and once `most` documents were listed."""
    count = (after.listed if after else 0) + len(page)
    if len(page) < limit or (most is not None and count >= most):
        return None
    return Cursor(page[-1].created_at, page[-1].id, count).encoded()


def as_object(metadata: object) -> dict[str, Any]:
    """Return metadata as the object that clients are promised: what was typed by hand may be any JSON."""
    return cast("dict[str, Any]", metadata) if isinstance(metadata, dict) else {"value": metadata}


def utc(moment: datetime | None) -> str | None:
    """Return a moment of PostgreSQL's without a zone, to the second, as ISO 8601 in UTC."""
    return None if moment is None else moment.isoformat(timespec="seconds") + "Z"
