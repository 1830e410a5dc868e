"""A batch without padding: the tokens of its texts one after another, and where each text lies. Pure, NumPy only.

What works on single tokens (nine tenths of a forward pass) then computes no padding. Attention needs a rectangle; its
padding repeats the first token of the same text, whose scores and extremes are the text's own.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray


@dataclass(frozen=True, slots=True)
class Packed:
    """Texts of any lengths. lengths, firsts: per text, its tokens and where its first one is; ids: of all tokens."""

    ids: NDArray[np.int32]
    lengths: NDArray[np.int32]
    firsts: NDArray[np.int32]

    @classmethod
    def of(cls, batch: Sequence[Sequence[int]]) -> Packed:
        """Pack the token ids of one text or more. Raises ValueError on a text without tokens."""
        lengths = np.array([len(ids) for ids in batch], dtype=np.int32)
        if not lengths.all():
            raise ValueError(f"text {int(lengths.argmin())} of the batch has no tokens")
        ids = np.concatenate([np.asarray(one, dtype=np.int32) for one in batch])
        return cls(ids, lengths, (np.cumsum(lengths) - lengths).astype(np.int32))

    @property
    def width(self) -> int:
        """The tokens of the longest text."""
        return int(self.lengths.max())

    @property
    def lasts(self) -> NDArray[np.int32]:
        """Where the last token of each text is."""
        return self.firsts + self.lengths - 1

    @property
    def is_rectangle(self) -> bool:
        """Whether all texts are of one length."""
        return int(self.lengths.min()) == self.width

    @property
    def present(self) -> NDArray[np.bool_]:
        """Where the rectangle (texts, width) has a token, and not padding."""
        return np.arange(self.width) < self.lengths[:, None]

    def rectangle(self) -> NDArray[np.int32]:
        """Return, for each place of (texts, width), which token stands there; padding repeats the text's first."""
        return (self.firsts[:, None] + np.where(self.present, np.arange(self.width), 0)).astype(np.int32)

    def positions(self, padding_id: int | None) -> NDArray[np.int32]:
        """Return each token's position in its text.

        padding_id: None for BERT, which counts from 0. RoBERTa counts from padding_id + 1, and leaves tokens that
        are the padding's out (transformers, create_position_ids_from_input_ids).
        """
        if padding_id is None:
            return (np.arange(len(self.ids)) - np.repeat(self.firsts, self.lengths)).astype(np.int32)
        counted = self.ids != padding_id
        running = np.cumsum(counted)
        before = (running - counted)[self.firsts]
        positions = (running - np.repeat(before, self.lengths)) * counted + padding_id
        return np.asarray(positions, dtype=np.int32)

    def averages(self, *, square_root: bool) -> NDArray[np.float32]:
        """Return the matrix (texts, tokens) whose product with the tokens' states is each text's mean.

        square_root: divide by the square root of the length instead (mean_sqrt_len_tokens).
        """
        shares = 1.0 / (np.sqrt(self.lengths) if square_root else self.lengths)
        matrix = np.zeros((len(self.lengths), len(self.ids)), dtype=np.float32)
        matrix[np.repeat(np.arange(len(self.lengths)), self.lengths), np.arange(len(self.ids))] = np.repeat(
            shares, self.lengths
        )
        return matrix
