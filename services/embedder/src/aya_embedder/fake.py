"""A model for tests of everything around it: one token per character, vectors from a hash, faults on request."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import threading
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from aya.errors import ConfigError
from aya_embedder.blas import Backend
from aya_embedder.cache import VectorCache
from aya_embedder.embedder import Encoded, Tokenization
from aya_embedder.engine import Engine
from aya_embedder.flights import Limits
from aya_embedder.identity import ModelIdentity
from aya_embedder.loaded import LoadedModels

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Container, Sequence

    from numpy.typing import NDArray

    from aya_embedder.identity import Prompt

_FIRST, _LAST = 1, 2
_CACHE_BYTES = 1024 * 1024


class FakeEmbedder:
    """Implements embedder.Embedder; deterministic.

    poison: a text with this character makes its batch fail.
    broken: every batch fails, as on a lost device.
    gate: forward passes wait until it is set, as it is at first.
    forwards, alone: of every batch that was begun, its ids and whether it had the machine for itself.
    unloadable: what loading it raises.
    closed: whether it was told to free its memory.
    """

    def __init__(
        self,
        name: str = "fake",
        *,
        dimension: int = 8,
        max_tokens: int = 16,
        budget_tokens: int = 64,
        streams: int = 1,
    ) -> None:
        """See ModelIdentity and Embedder; name: makes another model, with another fingerprint."""
        self.identity = ModelIdentity(name, name, dimension, "mean", True, "q: ", "", max_tokens, "float32", name)  # noqa: FBT003
        self.backend = Backend("cpu", "reference", streams=streams)
        self.budget_tokens = budget_tokens
        self.length_step = 1
        self.vocabulary_size = 0x110000
        self.poison = "☠"
        self.broken = False
        self.gate = threading.Event()
        self.gate.set()
        self.forwards: list[list[Sequence[int]]] = []
        self.alone: list[bool] = []
        self.unloadable: Exception | None = None
        self.closed = False

    def encode(self, texts: Sequence[str], prompt: Prompt) -> list[Encoded]:
        """Give each character a token, between two special ones."""
        whole = [[ord(character) for character in self.identity.prefix(prompt) + text] for text in texts]
        room = self.identity.max_tokens - 2
        return [Encoded((_FIRST, *ids[:room], _LAST), len(ids) + 2) for ids in whole]

    def encode_ids(self, ids: Sequence[int]) -> Encoded:
        """Put the special tokens around."""
        return Encoded((_FIRST, *ids[: self.identity.max_tokens - 2], _LAST), len(ids) + 2)

    def tokenize(self, texts: Sequence[str]) -> Tokenization:
        """Start a token at each character."""
        return Tokenization([list(range(len(text))) for text in texts], 2, 0, self.identity.max_tokens)

    def forward(self, batch: Sequence[Sequence[int]], *, alone: bool = False) -> NDArray[np.float32]:
        """Hash each text into a vector of length 1. Raises RuntimeError on poison or when broken."""
        self.alone.append(alone)
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

    def close(self) -> None:
        """Note it."""
        self.closed = True

    def _vector(self, ids: Sequence[int]) -> list[int]:
        digest = hashlib.shake_256(repr(tuple(ids)).encode()).digest(self.identity.dimension)
        return [byte + 1 for byte in digest]


@contextlib.asynccontextmanager
async def running(model: FakeEmbedder, *, max_waiting_texts: int = 100) -> AsyncGenerator[Engine]:
    """Run an engine over `model`, warmed up, for as long as the block lasts."""
    engine = Engine(lambda: model, VectorCache(_CACHE_BYTES), limits=Limits(max_waiting_texts))
    async with asyncio.TaskGroup() as tasks:
        computing = tasks.create_task(engine.run(), name="engine")
        await engine.until_loaded()
        try:
            yield engine
        finally:
            model.gate.set()
            computing.cancel()


@contextlib.asynccontextmanager
async def running_models(
    *fakes: FakeEmbedder, spare: Sequence[FakeEmbedder] = (), most: int = 2, max_waiting_texts: int = 100
) -> AsyncGenerator[LoadedModels]:
    """Run `fakes` for as long as the block lasts: the first is the default, the others are loaded beside it.

    Their names are their sources; another source is unknown. spare: known too, and not loaded.
    """
    known = {fake.identity.model: fake for fake in (*fakes, *spare)}
    models = LoadedModels(
        lambda source: loadable(known[source]),
        VectorCache(_CACHE_BYTES),
        default=fakes[0].identity.model,
        resolve=partial(one_of, known),
        most=most,
        limits=Limits(max_waiting_texts),
    )
    async with asyncio.TaskGroup() as tasks:
        serving = tasks.create_task(models.run(), name="models")
        await models.until_loaded()
        for fake in fakes[1:]:
            models.load(fake.identity.model, default=False)
            await models.until_loaded(fake.identity.model)
        try:
            yield models
        finally:
            for fake in known.values():
                fake.gate.set()
            serving.cancel()


def loadable(fake: FakeEmbedder) -> FakeEmbedder:
    """Return `fake`, or raise what loading it raises."""
    if fake.unloadable is not None:
        raise fake.unloadable
    return fake


def one_of(known: Container[str], source: str) -> str:
    """Return `source` when it is known. Raises ConfigError, as a real resolver does."""
    if source not in known:
        raise ConfigError(f"{source!r} is neither a model nor a directory", hint="export AYA_MODEL=minilm")
    return source
