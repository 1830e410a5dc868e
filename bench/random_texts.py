"""Texts that nobody has seen before, of lengths that are drawn: no cache helps, and each run has the same ones."""

from __future__ import annotations

import json
import random
from typing import TYPE_CHECKING

from aya_embedder import sources

if TYPE_CHECKING:
    from collections.abc import Iterator

_SPECIAL_TOKENS = 2


def random_texts(seed: int, *, median: float = 48.0, spread: float = 0.75, longest: int = 250) -> Iterator[str]:
    """Yield texts without end, their tokens log-normal with this median and sigma, 3 at least and `longest` at most.

    The words are whole entries of MiniLM's vocabulary, so that a word is a token. 48 and 0.75 have the mean 62, as the
    texts of docs/benchmarks.md.
    """
    words = _words()
    choose = random.Random(seed)  # noqa: S311 a choice of texts, not a secret
    while True:
        tokens = round(min(longest, max(3.0, median * choose.lognormvariate(0.0, spread))))
        yield " ".join(choose.choices(words, k=tokens - _SPECIAL_TOKENS))


def _words() -> list[str]:
    file = sources.find("minilm", None).directory / "tokenizer.json"
    vocabulary = json.loads(file.read_text())["model"]["vocab"]
    return sorted(word for word in vocabulary if word.isascii() and word.isalpha())
