"""Which model made a vector. Two vectors may be compared only when their identities' fingerprints are equal."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal, cast, get_args

from aya.errors import EmbedderError
from aya.json_object import json_object

LoadState = Literal["loading", "ready", "failed"]


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


@dataclass(frozen=True, slots=True)
class ModelStatus:
    """One model of an embedder, as its GET /models says.

    source: what AYA_MODEL would say: a known name, owner/name@commit of the hub, or a directory. default: its vectors
    are what a call gets that names no model. error, hint: why it could not be loaded, and what to type. identity: None
    until it is loaded.
    """

    source: str
    state: LoadState
    default: bool
    error: str | None
    hint: str | None
    identity: ModelIdentity | None

    @classmethod
    def from_mapping(cls, answer: Mapping[str, Any]) -> ModelStatus:
        """Return what a JSON object says; EmbedderError when a field is missing, or the state is none of the three."""
        try:
            if answer["state"] not in get_args(LoadState):
                raise EmbedderError(f"the embedder says state {answer['state']!r}", hint="upgrade AYA")
            known = json_object(answer["identity"])
            return cls(
                source=str(answer["source"]),
                state=cast("LoadState", answer["state"]),
                default=bool(answer["default"]),
                error=answer["error"],
                hint=answer["hint"],
                identity=ModelIdentity.from_mapping(known) if known else None,
            )
        except KeyError as error:
            raise EmbedderError(f"the embedder does not say a model's {error}", hint="upgrade the embedder") from error
