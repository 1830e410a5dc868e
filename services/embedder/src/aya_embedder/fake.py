"""A model for tests of everything around it: one token per character, vectors from a hash, faults on request."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from typing import TYPE_CHECKING

import numpy as np

from aya_embedder.blas import Backend
from aya_embedder.cache import VectorCache
from aya_embedder.embedder import Encoded, Tokenization
from aya_embedder.engine import Engine
from aya_embedder.identity import ModelIdentity

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Sequence

    from numpy.typing import NDArray

    from aya_embedder.identity import Prompt

_FIRST, _LAST = 1, 2
_CACHE_BYTES = 1024 * 1024


class FakeEmbedder:
    """Implements embedder.Embedder; deterministic.

    poison: a text with this character makes its batch fail.
    broken: every batch fails, as on a lost device.
    gate: forward passes wait until it is set, as it is at first.
    forwards: the ids of every batch that was begun.
    """

    def __init__(self, *, dimension: int = 8, max_tokens: int = 16, budget_tokens: int = 64, streams: int = 1) -> None:
        """See ModelIdentity and Embedder."""
        self.identity = ModelIdentity("fake", "r1", dimension, "mean", True, "q: ", "", max_tokens, "float32", "fake")  # noqa: FBT003
        self.backend = Backend("cpu", "reference", streams=streams)
        self.budget_tokens = budget_tokens
        self.poison = "☠"
        self.broken = False
        self.gate = threading.Event()
        self.gate.set()
        self.forwards: list[list[Sequence[int]]] = []

    def encode(self, texts: Sequence[str], prompt: Prompt) -> list[Encoded]:
        """Give each character a token, between two special ones."""
        whole = [[ord(character) for character in self.identity.prefix(prompt) + text] for text in texts]
        room = self.identity.max_tokens - 2
        return [Encoded((_FIRST, *ids[:room], _LAST), len(ids) + 2) for ids in whole]

    def tokenize(self, texts: Sequence[str]) -> Tokenization:
        """Start a token at each character."""
        return Tokenization([list(range(len(text))) for text in texts], 2, 0, self.identity.max_tokens)

    def forward(self, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        """Hash each text into a vector of length 1. Raises RuntimeError on poison or when broken."""
        self.forwards.append(list(batch))
        self.gate.wait()
        if self.broken or any(ord(self.poison) in ids for ids in batch):
            raise RuntimeError("out of memory")
        vectors = np.array([self._vector(ids) for ids in batch], dtype=np.float32)
        lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
        return np.divide(vectors, lengths, dtype=np.float32)

    def active_memory_bytes(self) -> int:
        """Return a number."""
        return 1024

    def _vector(self, ids: Sequence[int]) -> list[int]:
        digest = hashlib.shake_256(repr(tuple(ids)).encode()).digest(self.identity.dimension)
        return [byte + 1 for byte in digest]


@contextlib.asynccontextmanager
async def running(model: FakeEmbedder, *, max_waiting_texts: int = 100) -> AsyncGenerator[Engine]:
    """Run an engine over `model`, warmed up, for as long as the block lasts."""
    engine = Engine(lambda: model, VectorCache(_CACHE_BYTES), max_waiting_texts=max_waiting_texts)
    async with asyncio.TaskGroup() as tasks:
        computing = tasks.create_task(engine.run(), name="engine")
        await engine.until_loaded()
        try:
            yield engine
        finally:
            model.gate.set()
            computing.cancel()
