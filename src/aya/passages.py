"""Join chunks that follow each other in one document into one passage; pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Generic, TypeVar

MOST_JOINED = 3
"""So many chunks are one passage at most: about as much as is read at a glance."""

Ranked = TypeVar("Ranked")


@dataclass(frozen=True, slots=True)
class Piece(Generic[Ranked]):
    """A chunk that was found. document_id None, or joinable False: it stands alone, such as one typed by hand.

    index: its place among the chunks of its document. ranked: what the ranking says of it.
    """

    document_id: int | None
    index: int
    joinable: bool
    ranked: Ranked


def joined(pieces: Iterable[Piece[Ranked]], limit: int) -> list[list[Piece[Ranked]]]:
    """Return `limit` passages at most, the best first, each the chunks of it, the best of them first.

    pieces: the best first. A chunk next to a passage that was found before it joins it instead of taking a place of its
    own. (Two passages that meet by what joined them stay two.)
    """
    passages: list[list[Piece[Ranked]]] = []
    for piece in pieces:
        beside = next((passage for passage in passages if _continues(passage, piece)), None)
        if beside is not None:
            beside.append(piece)
        elif len(passages) == limit:
            break
        else:
            passages.append([piece])
    return passages


def _continues(passage: list[Piece[Ranked]], piece: Piece[Ranked]) -> bool:
    first = passage[0]
    if not (piece.joinable and first.joinable) or piece.document_id is None or piece.document_id != first.document_id:
        return False
    indexes = [each.index for each in passage]
    return len(passage) < MOST_JOINED and piece.index in (min(indexes) - 1, max(indexes) + 1)
