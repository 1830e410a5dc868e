"""Whether a model on this machine is whole and computes what it should: the checks of `aya models check`.

Each check is a sentence with figures; one that fails does not keep the others from being made.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from importlib.resources import files
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from aya_embedder import sources
from aya_embedder.contents import weights_sha256
from aya_embedder.model import MlxEmbedder

if TYPE_CHECKING:
    from pathlib import Path

    from numpy.typing import NDArray

    from aya_embedder.pull import Progress
    from aya_embedder.sources import Source

_TEXTS = (
    "a",
    "The quick brown fox jumps over the lazy dog.",
    "A backup that was never restored is a hope, and not a backup. " * 4,
    "naïve café, 漢字とかな, Привет, 🎉",
    "def main():\n    return {key: value for key, value in pairs}\n" * 6,
)
# float32 against float32; float16, as on Metal, has ten bits of mantissa
_TOLERANCE = {"float32": 1e-5, "float16": 5e-3}
_LOWEST_COSINE = 0.9999
_MEASURED_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One check. name: which; passed: None where it does not apply; detail: what was found, in a sentence."""

    name: str
    passed: bool | None
    detail: str


@dataclass(frozen=True, slots=True)
class Reference:
    """Vectors by sentence-transformers, for the weights of that sha256. vectors: (texts, dimension)."""

    weights: str
    pooling: str
    texts: tuple[str, ...]
    vectors: NDArray[np.float32]


def check(model: str, hf_home: Path | None, report: Callable[[Progress], None] | None = None) -> Iterator[Finding]:
    """Yield the findings about `model` (a value of AYA_MODEL), fetching it first when it is not here.

    Raises AyaError, with what to do, when its files are missing, wrong, or ask for something unknown.
    """
    source = sources.find(model, hf_home, report)
    yield Finding("files", passed=True, detail=f"complete; sha256 of the weights {weights_sha256(source.directory)}")
    stock = MlxEmbedder(source, "stock")
    ours = MlxEmbedder(source)
    yield Finding("loads", passed=True, detail=f"{ours.identity.dtype} on {ours.backend.device}, {_shape(ours)}")
    yield from _computes(source, stock, ours)


def _computes(source: Source, stock: MlxEmbedder, ours: MlxEmbedder) -> Iterator[Finding]:
    checks: tuple[tuple[str, Callable[[], Finding]], ...] = (
        ("forward pass", lambda: _forward(ours)),
        ("batch of many", lambda: _batch(ours)),
        ("window", lambda: _window(ours)),
        ("kernels", lambda: _kernels(stock, ours)),
        ("reference", lambda: _reference(source, ours)),
        ("speed", lambda: _speed(ours)),
    )
    for name, made in checks:
        try:
            yield made()
        except (ArithmeticError, RuntimeError, ValueError) as error:
            yield Finding(name, passed=False, detail=f"the model failed: {error}")


def _shape(embedder: MlxEmbedder) -> str:
    said = embedder.identity
    return f"{said.dimension} dimensions, {said.pooling} pooling, a window of {said.max_tokens} tokens"


def _vectors(embedder: MlxEmbedder, texts: tuple[str, ...]) -> NDArray[np.float32]:
    return embedder.forward([text.ids for text in embedder.encode(texts, "document")])


def _forward(embedder: MlxEmbedder) -> Finding:
    lengths = np.linalg.norm(_vectors(embedder, _TEXTS), axis=1)
    off = float(np.abs(lengths - 1).max())
    return Finding("forward pass", passed=off < _TOLERANCE["float16"], detail=f"vectors of length 1, to {off:.1e}")


def _batch(embedder: MlxEmbedder) -> Finding:
    together = _vectors(embedder, _TEXTS)
    alone = np.concatenate([_vectors(embedder, (text,)) for text in _TEXTS])
    return _close("batch of many", together, alone, embedder, f"a batch of {len(_TEXTS)} is {len(_TEXTS)} batches of 1")


def _window(embedder: MlxEmbedder) -> Finding:
    (long,) = embedder.encode(["word " * (embedder.identity.max_tokens + 10)], "document")
    vector = embedder.forward([long.ids])[0]
    passed = len(long.ids) == embedder.identity.max_tokens < long.tokens and bool(np.isfinite(vector).all())
    return Finding("window", passed=passed, detail=f"of {long.tokens} tokens {len(long.ids)} are read")


def _kernels(stock: MlxEmbedder, ours: MlxEmbedder) -> Finding:
    if ours.backend.kernels == "stock":
        return Finding("kernels", passed=None, detail="MLX's own functions compute here")
    return _close(
        "kernels", _vectors(ours, _TEXTS), _vectors(stock, _TEXTS), ours, "ours and MLX's own functions agree"
    )


def _reference(source: Source, embedder: MlxEmbedder) -> Finding:
    found = reference(weights_sha256(source.directory), embedder.identity.pooling)
    if found is None:
        return Finding(
            "reference", passed=None, detail="no vectors of sentence-transformers are kept for these weights"
        )
    cosine = float((_vectors(embedder, found.texts) * found.vectors).sum(axis=1).min())
    return Finding(
        "reference", passed=cosine >= _LOWEST_COSINE, detail=f"cosine with sentence-transformers {cosine:.6f} or more"
    )


def _speed(embedder: MlxEmbedder) -> Finding:
    batch = [text.ids for text in embedder.encode(_TEXTS, "document")]
    began, count = time.monotonic(), 0
    while (spent := time.monotonic() - began) < _MEASURED_SECONDS:
        embedder.forward(batch)
        count += len(batch)
    tokens = count * sum(map(len, batch)) / len(batch)
    return Finding(
        "speed", passed=None, detail=f"{count / spent:.0f} texts/s, {tokens / spent:.0f} tokens/s, one stream"
    )


def _close(
    name: str, found: NDArray[np.float32], expected: NDArray[np.float32], embedder: MlxEmbedder, meaning: str
) -> Finding:
    apart = float(np.abs(found - expected).max())
    return Finding(name, passed=apart <= _TOLERANCE[embedder.identity.dtype], detail=f"{meaning}, to {apart:.1e}")


def reference(weights: str, pooling: str) -> Reference | None:
    """Return the stored vectors for weights of that sha256 under that pooling; None where there are none.

    scripts/reference_vectors.py makes the file.
    """
    kept = cast(
        "list[dict[str, Any]]", json.loads(files("aya_embedder").joinpath("reference_vectors.json").read_bytes())
    )
    for one in kept:
        if (one["weights"], one["pooling"]) == (weights, pooling):
            vectors = np.array(one["vectors"], dtype=np.float32)
            lengths: NDArray[np.float32] = np.linalg.norm(vectors, axis=1, keepdims=True)
            return Reference(weights, pooling, tuple(one["texts"]), np.divide(vectors, lengths, dtype=np.float32))
    return None
