"""Which model made a vector. Two vectors may be compared only when their identities' fingerprints are equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any

from aya.errors import EmbedderError


@dataclass(frozen=True, slots=True)
class ModelIdentity:
    """What an embedder's GET /info says of its model.

    fingerprint: a hash over everything here that changes vectors. max_tokens: the model's window, its special
    tokens included. Prefixes are put before a text by the embedder, never by its callers.
    """

    fingerprint: str
    model: str
    revision: str
    dimension: int
    pooling: str
    normalized: bool
    query_prefix: str
    document_prefix: str
    max_tokens: int

    @classmethod
    def from_mapping(cls, answer: Mapping[str, Any]) -> ModelIdentity:
        """Return the identity in a JSON object or a database row; EmbedderError when a field is missing."""
        try:
            return cls(**{field.name: answer[field.name] for field in fields(cls)})
        except KeyError as error:
            raise EmbedderError(f"the embedder does not say its {error}", hint="upgrade the embedder") from error
