"""What to do with one document of the queue, and whose fault a failure is; pure."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from aya.errors import (
    AyaError,
    DatabaseError,
    DocumentError,
    EmbedderError,
    EmbedderOverloaded,
    EmbedderUnavailable,
    ModelMismatch,
)


@dataclass(frozen=True, slots=True)
class Observed:
    """One queued document and its chunks.

    own_is_current: chunks were cut from exactly this content. has_own: chunks were cut from some content of it.
    hand_chunks: chunks typed by hand since the content last changed.
    without_vector: chunks that lack one, whoever made them.
    """

    own_is_current: bool
    has_own: bool
    hand_chunks: int
    without_vector: int


@dataclass(frozen=True, slots=True)
class Plan:
    """rechunk: cut and embed the content anew. embed: make the vectors that are missing."""

    rechunk: bool
    embed: bool
    reason: str


def decide(observed: Observed) -> Plan:
    """Return what brings the document's index up to date.

    A document whose only chunks were typed by hand is its author's own work: at most their vectors are made.
    """
    missing = observed.without_vector > 0
    if observed.own_is_current:
        return Plan(rechunk=False, embed=missing, reason="its chunks are current")
    if not observed.has_own and observed.hand_chunks > 0:
        return Plan(rechunk=False, embed=missing, reason="its chunks were typed by hand")
    return Plan(rechunk=True, embed=missing, reason="its content has no chunks yet")


def fault_of(error: AyaError) -> Literal["document", "system"]:
    """Return who has to wait: this document alone, or all of them until the system is well again."""
    if isinstance(error, EmbedderUnavailable | EmbedderOverloaded | ModelMismatch):
        return "system"
    # A plain DatabaseError is PostgreSQL's word on these values; its subclasses speak of the server.
    its_own = isinstance(error, DocumentError | EmbedderError) or type(error) is DatabaseError
    return "document" if its_own else "system"
