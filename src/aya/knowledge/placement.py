"""What becomes of a document that is added: decided from what is known of its file and its content; pure.

Rules: one content is one document, however many files say it. A file that says something new replaces its document
only if nobody else speaks through it: no other file, and no edit made here. Otherwise the document stays, and the
file gets one of its own. Nothing that was kept is lost.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["insert", "replace", "branch", "attach", "move", "confirm", "relabel", "keep", "duplicate"]
# These store a content that is not in the database, so they need its chunks and vectors.
EMBEDDING_ACTIONS: frozenset[Action] = frozenset({"insert", "replace", "branch"})


@dataclass(frozen=True, slots=True)
class Place:
    """The document that was read from the file before.

    file_unchanged: the file says what it said then. edited: the document was changed here since.
    says_the_same: the document has the content that is added now. shared: other files are its places, too.
    labels_differ: labels that were given explicitly are not the document's.
    """

    document_id: int
    file_unchanged: bool
    edited: bool
    says_the_same: bool
    shared: bool
    labels_differ: bool


def decide(place: Place | None, twin: int | None, *, has_uri: bool) -> Action:
    """Return what to do. twin: a document with exactly the content that is added; None: there is none."""
    if place is None:
        if twin is None:
            return "insert"
        return "attach" if has_uri else "duplicate"
    if place.file_unchanged:
        return "relabel" if place.labels_differ else "keep"
    if place.says_the_same:
        return "confirm"
    if twin is not None:
        return "move"
    return "branch" if place.shared or place.edited else "replace"
