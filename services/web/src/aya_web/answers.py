"""What goes into the answers: hits, documents and conflicts as the page shows them; pure.

Everything that was stored is text of strangers: it is passed on as text, cut into segments, and never as markup.
"""

from __future__ import annotations

from typing import Any

from aya.knowledge.conflicts import Conflict, Version
from aya.knowledge.types import Document, Hit
from aya_web.segments import segments

# Of a document: what a browser shows without effort.
MOST_CHARACTERS = 200_000


def hit(one: Hit) -> dict[str, Any]:
    """Return a hit. highlights: in code points of snippet; segments: the snippet cut there."""
    return {
        "document_id": one.document_id,
        "chunk_id": one.chunk_id,
        "title": one.title,
        "heading": one.heading,
        "page": one.page,
        "snippet": one.snippet,
        "highlights": [list(span) for span in one.highlights],
        "segments": segments(one.snippet, one.highlights),
        "char_start": one.char_start,
        "char_end": one.char_end,
        "score": one.score,
        "distance": one.distance,
        "source": one.source,
        "uri": one.uri,
        "category": one.category,
        "created_at": one.created_at.isoformat(),
    }


def document(one: Document, start: int | None, end: int | None) -> dict[str, Any]:
    """Return a document, its passage from start to end marked; of a very long one what is around the passage."""
    first = (
        max(0, min(start or 0, len(one.content)) - MOST_CHARACTERS // 2) if len(one.content) > MOST_CHARACTERS else 0
    )
    shown = one.content[first : first + MOST_CHARACTERS]
    marked = [] if start is None or end is None else [(start - first, end - first)]
    return {
        "id": one.id,
        "rev": one.rev,
        "title": one.title,
        "uri": one.uri,
        "category": one.category,
        "source": one.source,
        "created_at": one.created_at.isoformat(),
        "updated_at": one.updated_at.isoformat(),
        "chunk_count": one.chunk_count,
        "indexed": one.indexed,
        "characters": len(one.content),
        "first_character": first,
        "cut": len(shown) < len(one.content),
        "segments": segments(shown, marked),
    }


def conflict(one: Conflict) -> dict[str, Any]:
    """Return a conflict; its texts are cut already."""
    return {
        "id": one.id,
        "what": one.what,
        "unit": one.unit,
        "origin": one.origin,
        "loser": one.loser,
        "reason": one.reason,
        "created_at": one.created_at.isoformat(),
        "lost": _version(one.lost),
        "head": _version(one.head),
        "next": f"aya conflicts show {one.id}",
    }


def _version(one: Version | None) -> dict[str, Any] | None:
    return None if one is None else {"name": one.name, "content": one.content}
