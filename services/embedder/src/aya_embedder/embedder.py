"""What the engine needs of a model: one Protocol, and the values that cross it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy as np
    from numpy.typing import NDArray

    from aya_embedder.blas import Backend
    from aya_embedder.identity import ModelIdentity, Prompt


@dataclass(frozen=True, slots=True)
class Encoded:
    """A text as the model reads it.

    ids: token ids with special tokens and prefix, cut to the window.
    tokens: how many the whole text has; more than len(ids) when it was cut.
    """

    ids: tuple[int, ...]
    tokens: int


@dataclass(frozen=True, slots=True)
class Tokenization:
    """Where the tokens of each text start, for a chunker.

    starts: per text, the offset of each token in Unicode code points, special tokens left out.
    special_tokens: how many the model adds to every text.
    prefix_tokens: how many the document prefix adds.
    max_tokens: the window, all of these included.
    """

    starts: list[list[int]]
    special_tokens: int
    prefix_tokens: int
    max_tokens: int


@dataclass(frozen=True, slots=True)
class Embedded:
    """One text's answer.

    vector: dimension × 4 bytes, little-endian float32, of length 1.
    tokens: of the whole text, prefix and special tokens included; truncated: whether some were cut off.
    cached: whether no model was asked.
    """

    vector: bytes
    tokens: int
    truncated: bool
    cached: bool


# What can be embedded: a text, or the ids of its tokens without special ones and prefix.
Given = str | tuple[int, ...]


@dataclass(frozen=True, slots=True)
class Timings:
    """Where the time of one request went, in seconds.

    total: from its start to its vectors. tokenization: of all its texts, and waiting for the thread that does it.
    queue, inference: of an average text that the model computed, waiting for a batch and being in one; 0 when all were
    cached. compute_tokens: how many tokens the model read for it.
    """

    total_seconds: float
    tokenization_seconds: float
    queue_seconds: float
    inference_seconds: float
    compute_tokens: int


@dataclass(frozen=True, slots=True)
class Answer:
    """What a request gets: one Embedded for each text, in their order, and where the time went."""

    embedded: list[Embedded]
    timings: Timings


class Embedder(Protocol):
    """A loaded model. `forward` belongs to `backend.streams` threads for life; `encode` and `tokenize` to another."""

    @property
    def identity(self) -> ModelIdentity:
        """What decides its vectors."""
        ...

    @property
    def backend(self) -> Backend:
        """What computes them, and on how many threads at once."""
        ...

    @property
    def budget_tokens(self) -> int:
        """The padded size of a batch that keeps this backend busy."""
        ...

    @property
    def length_step(self) -> int:
        """Lengths are padded up to a multiple of it, so that there are few shapes; 1 where shapes cost nothing."""
        ...

    @property
    def vocabulary_size(self) -> int:
        """Token ids are from 0 to one less."""
        ...

    def encode(self, texts: Sequence[str], prompt: Prompt) -> list[Encoded]:
        """Tokenise with the prompt's prefix; pure, safe to repeat."""
        ...

    def encode_ids(self, ids: Sequence[int]) -> Encoded:
        """Put the special tokens around the ids of a text's own tokens, cut to the window; no prefix. Pure."""
        ...

    def tokenize(self, texts: Sequence[str]) -> Tokenization:
        """Say where tokens start, without prefix and without cutting; pure."""
        ...

    def forward(self, batch: Sequence[Sequence[int]], *, alone: bool = False) -> NDArray[np.float32]:
        """Return (len(batch), dimension) vectors of length 1; safe to repeat.

        alone: no other stream computes or is about to, so that this one may take the cores of all.
        Raises whatever the backend raises (out of memory, device lost), and ValueError on a vector that is not finite.
        """
        ...

    def active_memory_bytes(self) -> int:
        """Return what the backend's arrays take now; callable from any thread."""
        ...

    def close(self) -> None:
        """Give the memory back, when its threads have ended; from any thread. No call may follow."""
        ...
