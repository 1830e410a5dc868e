"""The identity of a model: which vectors may be mixed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from aya_embedder.identity import ModelIdentity

BGE = ModelIdentity(
    model="BAAI/bge-base-en-v1.5",
    revision="a5beb1e3",
    dimension=768,
    pooling="cls",
    normalized=True,
    query_prefix="Represent this: ",
    document_prefix="",
    max_tokens=512,
    dtype="float16",
    digest="c7c1988a",
)


@pytest.mark.parametrize(
    "change",
    [
        {"digest": "b"},
        {"dimension": 384},
        {"pooling": "mean"},
        {"normalized": False},
        {"query_prefix": ""},
        {"document_prefix": "passage: "},
        {"max_tokens": 256},
    ],
    ids=lambda change: next(iter(change)),
)
def test_whatever_changes_vectors_changes_the_fingerprint(change: dict[str, Any]) -> None:
    """Two models whose vectors differ never share a fingerprint."""
    assert replace(BGE, **change).fingerprint != BGE.fingerprint


@pytest.mark.parametrize("change", [{"dtype": "float32"}, {"model": "my copy"}, {"revision": "53aa"}])
def test_what_changes_no_vector_keeps_the_fingerprint(change: dict[str, Any]) -> None:
    """float16 on Metal and float32 on a CPU may be mixed; a name is only a name, and a commit only where files lay."""
    assert replace(BGE, **change).fingerprint == BGE.fingerprint


def test_the_fingerprint_is_the_same_on_every_machine() -> None:
    """A fingerprint is written into databases: it must never move."""
    assert BGE.fingerprint == "91b71449c17ce7f2"


def test_each_prompt_has_its_prefix() -> None:
    """Queries and documents are announced to the model differently."""
    assert (BGE.prefix("query"), BGE.prefix("document")) == ("Represent this: ", "")
