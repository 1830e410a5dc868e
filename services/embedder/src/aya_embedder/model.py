"""The model on MLX: loading, the forward pass by MLX's own functions, pooling. On a CPU, cpu_encoder makes the pass."""

from __future__ import annotations

import os
import sys
from functools import partial
from typing import TYPE_CHECKING

import numpy as np

from aya_embedder import blas, network, runtime, sources
from aya_embedder.cpu_encoder import ARCHITECTURES, CpuEncoder
from aya_embedder.describe import Description, describe
from aya_embedder.kernels import Plan, Wish, plan
from aya_embedder.runtime import mx
from aya_embedder.tokens import TextTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from numpy.typing import NDArray

    from aya_embedder.embedder import Encoded, Tokenization
    from aya_embedder.identity import Prompt

_BUDGET_TOKENS: dict[blas.Device, int] = {"cpu": 512, "metal": 8192, "cuda": 8192}
_METAL_CACHE_BYTES = 1024**3
_METAL_LENGTH_STEP = 8
_SHORTEST = np.float32(1e-12)  # a vector of nothing but zeros stays one


def load(model: str, hf_home: Path | None, wish: Wish = "auto") -> MlxEmbedder:
    """Load `model` (a value of AYA_MODEL) on the calling thread.

    Forward passes belong to that thread, or to as many threads as `backend.streams` says. wish: see Config.kernels.
    Raises ConfigError on files that cannot be used, EmbedderUnavailable when the hub cannot be reached.
    """
    return MlxEmbedder(sources.find(model, hf_home), wish)


class MlxEmbedder:
    """A model that sentence-transformers describes, computed by MLX; implements embedder.Embedder.

    MLX's streams, and arrays that are not evaluated, belong to the thread that made them. The weights are evaluated
    here, once, and read by every thread that makes forward passes.
    """

    def __init__(self, source: sources.Source, wish: Wish = "auto") -> None:
        """Read the files of `source`; raises ConfigError when they ask for something unknown."""
        described = describe(source.directory, source.name)
        device = runtime.device()
        chosen = self._plan = _plan(wish, described)
        self.backend = _backend(chosen)
        self.budget_tokens = _BUDGET_TOKENS[device]
        self._dtype = mx.float16 if device == "metal" else mx.float32
        self.length_step = _METAL_LENGTH_STEP if device == "metal" else 1
        self.vocabulary_size = int(described.config["vocab_size"])
        if device == "metal":
            mx.set_cache_limit(_METAL_CACHE_BYTES)
        self._pooling = described.pooling
        loaded = network.load(source.directory, described.config, self._dtype)
        self._pooled = (
            CpuEncoder(loaded.module, described.config, described.pooling)
            if chosen.kernels == "cpu"
            else partial(self._stock, loaded)
        )
        self._pad_id = int(described.config.get("pad_token_id") or 0)
        self._tokenizer = TextTokenizer(
            source.directory / "tokenizer.json", max_tokens=described.max_tokens, lowercase=described.lowercase
        )
        self.identity = sources.identity(source, described, "float16" if device == "metal" else "float32")

    def encode(self, texts: Sequence[str], prompt: Prompt) -> list[Encoded]:
        """Tokenise with the prompt's prefix, cut to the window."""
        return self._tokenizer.encode(texts, self.identity.prefix(prompt))

    def encode_ids(self, ids: Sequence[int]) -> Encoded:
        """Put the special tokens around the ids of a text's own tokens, cut to the window."""
        return self._tokenizer.encode_ids(ids)

    def tokenize(self, texts: Sequence[str]) -> Tokenization:
        """Say where the tokens of each text start."""
        return self._tokenizer.tokenize(texts, self.identity.document_prefix)

    def forward(self, batch: Sequence[Sequence[int]], *, alone: bool = False) -> NDArray[np.float32]:
        """Return (len(batch), dimension) vectors of length 1. Raises ValueError when one is not finite."""
        if self._plan.kernels == "cpu":
            blas.limit_threads(self._plan.cores if alone else self._plan.blas_threads)
        pooled = self._pooled(batch)
        length = np.linalg.norm(pooled, axis=-1, keepdims=True)
        vectors: NDArray[np.float32] = np.divide(pooled, np.maximum(length, _SHORTEST), dtype=np.float32)
        if not np.isfinite(vectors).all():
            raise ValueError("the model made a vector that is not finite")
        return vectors

    def active_memory_bytes(self) -> int:
        """Return what MLX's arrays take now."""
        return mx.get_active_memory()

    def close(self) -> None:
        """Let go of the weights, and of the memory that MLX and the C library keep for reuse."""
        del self._pooled
        mx.clear_cache()
        blas.return_freed_memory()

    def _stock(self, loaded: network.Network, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        ids, mask = _padded(batch, self._pad_id, self.length_step)
        hidden = loaded.hidden(mx.array(ids), mx.array(mask).astype(self._dtype)).astype(mx.float32)
        pooled = mx.concatenate([_pool(hidden, mx.array(mask), mode) for mode in self._pooling], axis=-1)
        return np.array(pooled, dtype=np.float32)


def _plan(wish: Wish, described: Description) -> Plan:
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1
    device = runtime.device()
    covered = described.config.get("model_type") in ARCHITECTURES
    return plan(wish, device, blas.in_use(device, runtime.OPENBLAS), cores, covered=covered)


def _backend(chosen: Plan) -> blas.Backend:
    """Set the process up as `chosen` says, and describe it."""
    device = runtime.device()
    if chosen.kernels == "cpu":
        blas.keep_freed_memory()
        return blas.Backend(device, *blas.of_numpy(), chosen.kernels, chosen.streams)
    version = runtime.OPENBLAS.version if runtime.OPENBLAS else None
    return blas.Backend(device, blas.in_use(device, runtime.OPENBLAS), version, chosen.kernels, chosen.streams)


def _padded(batch: Sequence[Sequence[int]], pad_id: int, step: int) -> tuple[NDArray[np.int32], NDArray[np.float32]]:
    lengths = np.array([len(ids) for ids in batch])
    width = -(-int(lengths.max()) // step) * step
    padded = np.full((len(batch), width), pad_id, dtype=np.int32)
    for row, ids in zip(padded, batch, strict=True):
        row[: len(ids)] = ids
    return padded, (np.arange(width) < lengths[:, None]).astype(np.float32)


def _pool(hidden: mx.array, mask: mx.array, mode: str) -> mx.array:
    """Pool (batch, length, width) by one of describe.POOLING_MODES, padding left out."""
    if mode == "cls":
        return hidden[:, 0]
    counts = mask.sum(axis=1, keepdims=True)
    weights = mask[:, :, None]
    if mode == "max":
        return mx.where(weights > 0, hidden, -mx.inf).max(axis=1)
    if mode == "lasttoken":
        last = counts.astype(mx.int32)[:, :, None] - 1
        return mx.take_along_axis(hidden, mx.broadcast_to(last, (hidden.shape[0], 1, hidden.shape[2])), axis=1)[:, 0]
    divisor = counts if mode == "mean" else mx.sqrt(counts)
    return (hidden * weights).sum(axis=1) / divisor
