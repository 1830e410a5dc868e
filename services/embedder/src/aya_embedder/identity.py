"""What made a vector: the facts that decide whether two vectors may be compared."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import asdict, dataclass
from typing import Literal

Prompt = Literal["query", "document"]

_CHANGES_NO_VECTOR = ("model", "revision", "dtype")


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """One model as it is used here.

    model: its name for people ("BAAI/bge-base-en-v1.5").
    revision: where the files come from, for people: the hub's commit, or for a directory the first 16 hex digits of the
        sha256 of model.safetensors.
    dimension: floats in a vector.
    pooling: modes of 1_Pooling/config.json, joined by "+" ("cls", "mean", "cls+max").
    normalized: always true: vectors leave with length 1, even where modules.json has no Normalize.
    query_prefix, document_prefix: put before the text by the prompt of that name; may be empty.
    max_tokens: what the model reads at most, special tokens and prefix included.
    dtype: of the weights ("float32", "float16").
    digest: a hash of the weights and of the tokenizer, wherever they were fetched from (contents.py), and of what
        config.json says about the computation, and of whether texts are lowered (computation.py).
    """

    model: str
    revision: str
    dimension: int
    pooling: str
    normalized: bool
    query_prefix: str
    document_prefix: str
    max_tokens: int
    dtype: str
    digest: str

    @property
    def fingerprint(self) -> str:
        """Sixteen hex digits that are equal exactly when vectors may be mixed.

        The name and the revision are left out (the digest says which weights, so that the hub's copy and a directory of
        the same files agree) and so is the dtype: float16 on Metal and float32 on a CPU give the same vectors up to a
        cosine of 0.9999.
        """
        return _fingerprint(self)

    def prefix(self, prompt: Prompt) -> str:
        """Return what `prompt` puts before a text; empty for most models."""
        return self.query_prefix if prompt == "query" else self.document_prefix

    def as_dict(self) -> dict[str, str | int | bool]:
        """Return the fields and the fingerprint, ready for JSON."""
        return {**asdict(self), "fingerprint": self.fingerprint}


@functools.lru_cache(maxsize=32)
def _fingerprint(identity: ModelIdentity) -> str:
    """Return the fingerprint; kept, because every text of every request asks for it (50 µs)."""
    facts = {name: value for name, value in asdict(identity).items() if name not in _CHANGES_NO_VECTOR}
    return hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()[:16]
