"""A batch without padding: the tokens of its texts one after another, the shortest text first. Pure, NumPy only.

Texts of one length lie side by side, so each run of them is a rectangle as it stands: nothing is padded or masked.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Run:
    """Texts of one length. texts, tokens: where they lie among all texts and all tokens; length: of each, in tokens."""

    texts: slice
    tokens: slice
    length: int


@dataclass(frozen=True, slots=True)
class Packed:
    """Texts of any lengths, sorted by length.

    ids: of all tokens. order: per text, its number in the batch. lengths, firsts: its tokens, and where the first is.
    runs: the texts again, those of one length together.
    """

    ids: NDArray[np.int32]
    order: NDArray[np.int64]
    lengths: NDArray[np.int64]
    firsts: NDArray[np.int64]
    runs: tuple[Run, ...]

    @classmethod
    def of(cls, batch: Sequence[Sequence[int]]) -> Packed:
        """Pack the token ids of one text or more. Raises ValueError on a text without tokens."""
        given = np.array([len(ids) for ids in batch], dtype=np.int64)
        if not given.all():
            raise ValueError(f"text {int(given.argmin())} of the batch has no tokens")
        order = np.argsort(given, kind="stable")
        lengths = given[order]
        ids = np.concatenate([np.asarray(batch[number], dtype=np.int32) for number in order])
        return cls(ids, order, lengths, np.cumsum(lengths) - lengths, tuple(_runs(lengths)))

    @property
    def lasts(self) -> NDArray[np.int64]:
        """Where the last token of each text is."""
        return self.firsts + self.lengths - 1

    def positions(self, padding_id: int | None) -> NDArray[np.int64]:
        """Return each token's position in its text.

        padding_id: None for BERT, which counts from 0. RoBERTa counts from padding_id + 1, and leaves tokens that
        are the padding's out (transformers, create_position_ids_from_input_ids).
        """
        if padding_id is None:
            return np.arange(len(self.ids)) - np.repeat(self.firsts, self.lengths)
        counted = self.ids != padding_id
        running = np.cumsum(counted)
        before = (running - counted)[self.firsts]
        positions: NDArray[np.int64] = (running - np.repeat(before, self.lengths)) * counted + padding_id
        return positions

    def unsorted(self, rows: NDArray[np.float32]) -> NDArray[np.float32]:
        """Return rows, one for each text, in the order in which the batch has the texts."""
        placed = np.empty_like(rows)
        placed[self.order] = rows
        return placed


def _runs(lengths: NDArray[np.int64]) -> list[Run]:
    distinct, counts = np.unique(lengths, return_counts=True)
    runs: list[Run] = []
    text = token = 0
    for length, count in zip(distinct.tolist(), counts.tolist(), strict=True):
        runs.append(Run(slice(text, text + count), slice(token, token + count * length), length))
        text, token = text + count, token + count * length
    return runs
