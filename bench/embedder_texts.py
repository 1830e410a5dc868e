"""The texts that embedder_throughput.py embeds: real ones, cut to lengths that are drawn by a fixed seed."""

from __future__ import annotations

import json
import os
import random
import statistics
from pathlib import Path
from typing import TYPE_CHECKING

from aya_embedder import sources
from aya_embedder.tokens import TextTokenizer

if TYPE_CHECKING:
    from collections.abc import Sequence

ROOT = Path(__file__).parents[1]
SHORTEST, LONGEST, UNIFORM = 3, 250, 62
REFERENCE_BATCH = 32  # sentence-transformers' default, of texts that it sorted by length
_SPECIAL_TOKENS = 2
_UNIFORM_SHARE = 4


def sets_of(count: int) -> dict[str, list[str]]:
    """Return `count` texts of mixed lengths, and a quarter as many of one length, by the sets' names."""
    tokenizer = _tokenizer()
    return {
        "mixed": _texts(count, uniform=False, tokenizer=tokenizer),
        "uniform": _texts(-(-count // _UNIFORM_SHARE), uniform=True, tokenizer=tokenizer),
    }


def lengths_of(texts: Sequence[str]) -> str:
    """Describe the lengths, and what the reference's batches make of them: with few texts they are mostly padding."""
    lengths = sorted(text.tokens for text in _tokenizer().encode(texts, ""))
    batches = [lengths[start : start + REFERENCE_BATCH] for start in range(0, len(lengths), REFERENCE_BATCH)]
    padded = sum(len(batch) * max(batch) for batch in batches) / sum(lengths)
    return (
        f"{len(texts)} texts of {lengths[0]} to {lengths[-1]} tokens, mean {statistics.mean(lengths):.0f}; "
        f"sentence-transformers computes {padded:.2f} times their tokens"
    )


def _texts(count: int, *, uniform: bool, tokenizer: TextTokenizer) -> list[str]:
    choose = random.Random(7)  # noqa: S311 a choice of texts, not a secret
    pool = _long_texts(tokenizer)
    chosen: list[str] = []
    for number in range(count):
        wished = UNIFORM if uniform else round(min(LONGEST, max(SHORTEST, choose.lognormvariate(3.88, 0.75))))
        text, starts = pool[number % len(pool)]
        room = wished - _SPECIAL_TOKENS
        begin = (number // len(pool)) * 7 % max(1, len(starts) - room)
        chosen.append(text[starts[begin] : starts[begin + room] if begin + room < len(starts) else None].strip())
    return chosen


def _long_texts(tokenizer: TextTokenizer) -> list[tuple[str, list[int]]]:
    data = Path(os.environ.get("AYA_DATA", ROOT.parent / "shared" / "data"))
    files = [data / name / "corpus.jsonl" for name in ("squad-dev", "scifact")]
    if all(file.exists() for file in files):
        texts = [json.loads(line)["text"] for file in files for line in file.read_text().splitlines()[:4000]]
    else:
        notes = "\n".join(path.read_text() for path in sorted((ROOT / "examples" / "notes").rglob("*.md")))
        words = notes.split()
        texts = [" ".join(words[start : start + LONGEST]) for start in range(0, len(words) - LONGEST, 20)]
    starts = tokenizer.tokenize(texts, "").starts
    return [(text, found) for text, found in zip(texts, starts, strict=True) if len(found) >= LONGEST]


def _tokenizer() -> TextTokenizer:
    path = sources.find("minilm", None).directory / "tokenizer.json"
    return TextTokenizer(path, max_tokens=256, lowercase=False)
