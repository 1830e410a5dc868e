"""What the tools and resources are called; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass

QUERY, ADD = "query_aya_rag", "add_to_aya_rag"
# Verb and noun, beside the contract's two: a model that holds a document_id looks for a tool that has "document" in it.
SHOW, LIST = "show_aya_document", "list_aya_documents"
UPDATE, DELETE = "update_aya_document", "delete_aya_documents"
DOCUMENT_URI = "aya://document/"
LARGEST_ID = 2**31 - 1
# As far as a text reaches in PostgreSQL: a gigabyte.
FARTHEST = 2**30
# A serial's ten digits at most, and what follows # as RFC 5147 has it: positions between characters.
_URI = re.compile(re.escape(DOCUMENT_URI) + r"(-?[0-9]{1,10})(?:#char=([0-9]{1,10}),([0-9]{1,10}))?")


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a URI names: the characters [start, end) of a document; end is None for all of it."""

    document_id: int
    start: int = 0
    end: int | None = None


def uri_of(document_id: int, char_start: int | None = None, char_end: int | None = None) -> str:
    """Return the URI of a document, or of a passage when its place is known."""
    whole = f"{DOCUMENT_URI}{document_id}"
    return whole if char_start is None or char_end is None else f"{whole}#char={char_start},{char_end}"


def wanted_by(uri: str) -> Wanted | None:
    """Return what a URI names, or None when no document can be meant."""
    found = _URI.fullmatch(uri)
    if found is None or not -LARGEST_ID - 1 <= int(found[1]) <= LARGEST_ID:
        return None
    if found[2] is None:
        return Wanted(int(found[1]))
    start, end = int(found[2]), min(int(found[3]), FARTHEST)
    return Wanted(int(found[1]), start, end) if start < end else None
