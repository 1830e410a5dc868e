"""What bench/vector_index.py searches: vectors that are made, and behave like those of sentences.

There are 18,120 real texts (scifact, squad-dev); a base of 200,000 chunks is made of them. A chunk's vector is two
real vectors side by side, a text's and one of its nearest neighbours', turned by a fixed rotation, and a little noise:
a mixture around real places, in twice the dimensions. Twelve chunks share the first text: they are three documents.
Everything follows from one seed. Sources are topics (what is nearest to one text), the worst case of a filter for a
graph; categories are chance.
"""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

import embedder_worker
import numpy as np

ROOT = Path(__file__).parents[1]
SHARES = {"0.1": 0.001, "1": 0.01, "10": 0.1, "50": 0.5}
"""What part of the documents a filter leaves, by its name; they do not overlap."""
CHUNKS_OF_DOCUMENT = 4
_DOCUMENTS_OF_TEXT = 3
# Of a chunk as it is stored; and of those that are embedded here, since a place is all that is wanted.
_CHARACTERS, _EMBEDDED_CHARACTERS = 700, 250
_NEIGHBOURS = 16
_HELD_OUT = 1000
_SEED = 11
Matrix = np.ndarray[Any, np.dtype[np.float32]]
Numbers = np.ndarray[Any, np.dtype[np.int64]]


@dataclass(frozen=True)
class Made:
    """A base, in the order in which it is loaded.

    vectors: of the chunks, shape (chunks, dimension), normalised; queries: the same, of texts that the base has not.
    texts: of the documents. topics, classes: of the documents, a key of SHARES or "rest"; clustered, and by chance.
    """

    vectors: Matrix
    queries: Matrix
    texts: list[str]
    topics: list[str]
    classes: list[str]


def real(directory: Path) -> tuple[Matrix, list[str]]:
    """Return the vectors of the real texts and the texts, computed once and kept in `directory`."""
    data = Path(os.environ.get("AYA_DATA", ROOT.parent / "shared" / "data"))
    texts = [
        json.loads(line)["text"]
        for kind in ("queries", "corpus")
        for name in ("squad-dev", "scifact")
        for line in (data / name / f"{kind}.jsonl").read_text(encoding="utf-8").splitlines()
    ]
    kept = directory / f"minilm-{len(texts)}.npy"
    if not kept.exists():
        _, embed = embedder_worker.ours("minilm", "auto")
        np.save(kept, embed([text[:_EMBEDDED_CHARACTERS] for text in texts]))
    return np.load(kept), texts


def make(vectors: Matrix, texts: list[str], chunks: int, dimension: int, *, noise: float) -> Made:
    """Make a base of so many chunks of the real `vectors`; dimension: theirs, or twice that."""
    random = np.random.default_rng(_SEED)
    order = random.permutation(len(vectors))
    held, places = order[:_HELD_OUT], order[_HELD_OUT:]
    documents = chunks // CHUNKS_OF_DOCUMENT
    owners = np.resize(random.permutation(places), -(-documents // _DOCUMENTS_OF_TEXT))
    owners = random.permutation(np.repeat(owners, _DOCUMENTS_OF_TEXT)[:documents])
    rotation = np.linalg.qr(random.standard_normal((dimension, dimension)))[0].astype(np.float32)
    mixture = _Mixture(vectors, places, rotation, noise)
    long = [text for text in texts if len(text) >= _CHARACTERS // 2]
    return Made(
        vectors=mixture.drawn(np.repeat(owners, CHUNKS_OF_DOCUMENT), random),
        queries=mixture.drawn(held, random),
        texts=[long[owner % len(long)][:_CHARACTERS] for owner in owners],
        topics=_topics(vectors, owners, random),
        classes=_classes(documents, random),
    )


@dataclass(frozen=True)
class _Mixture:
    vectors: Matrix
    places: Numbers
    rotation: Matrix
    noise: float

    def drawn(self, firsts: Numbers, random: np.random.Generator) -> Matrix:
        """Return a vector around each of these texts."""
        dimension = len(self.rotation)
        parts = [self._batch(batch, dimension, random) for batch in np.array_split(firsts, -(-len(firsts) // 10_000))]
        return np.concatenate(parts)

    def _batch(self, firsts: Numbers, dimension: int, random: np.random.Generator) -> Matrix:
        first = self.vectors[firsts]
        second = self.vectors[self._beside(firsts, random)]
        parts = [first, second] if dimension > first.shape[1] else [first + np.float32(0.7) * second]
        wide = cast("Matrix", np.concatenate(parts, axis=1))
        wide /= np.linalg.norm(wide, axis=1, keepdims=True)
        wide += self.noise / np.sqrt(dimension) * random.standard_normal(wide.shape, dtype=np.float32)
        turned = wide @ self.rotation
        return np.asarray(turned / np.linalg.norm(turned, axis=1, keepdims=True), dtype=np.float32)

    def _beside(self, firsts: Numbers, random: np.random.Generator) -> Numbers:
        """Return for each text one of its nearest neighbours."""
        near: dict[int, Numbers] = {}
        known = self.vectors[self.places]
        for some in np.array_split(np.unique(firsts), 20):
            found = np.argpartition(-self.vectors[some] @ known.T, _NEIGHBOURS, axis=1)[:, :_NEIGHBOURS]
            near.update(zip(some.tolist(), self.places[found], strict=True))
        return np.array([random.choice(near[first]) for first in firsts.tolist()])


def _topics(vectors: Matrix, owners: Numbers, random: np.random.Generator) -> list[str]:
    names = np.full(len(owners), "rest", dtype=object)
    for name, share in SHARES.items():
        nearness = vectors[owners] @ vectors[random.choice(owners)]
        nearness[names != "rest"] = -np.inf
        names[np.argsort(-nearness)[: round(share * len(owners))]] = name
    return names.tolist()


def _classes(documents: int, random: np.random.Generator) -> list[str]:
    names = np.full(documents, "rest", dtype=object)
    free = random.permutation(documents)
    for name, share in SHARES.items():
        taken, free = np.split(free, [round(share * documents)])
        names[taken] = name
    return names.tolist()
