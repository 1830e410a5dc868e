"""What the calls answer, for the OpenAPI document. Nothing is built from these: answers go out through orjson.

A test holds the answers against the document.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

Vector = Annotated[
    list[float] | str, Field(description="numbers; or base64 of them as little-endian float32, when that was asked for")
]
Count = Annotated[int, Field(ge=0)]


class _Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Embedding(_Answer):
    """The answer to {"text"}. tokens: of the whole text; truncated: whether some were cut off; model: a fingerprint."""

    embedding: Vector
    cached: bool
    tokens: Count
    truncated: bool
    model: str


class Embeddings(_Answer):
    """The answer to {"texts"}: in every list one entry a text, in order."""

    embeddings: list[Vector]
    cached: list[bool]
    tokens: list[Count]
    truncated: list[bool]
    model: str


class Tokens(_Answer):
    """Where tokens start, in code points, and what a chunker must leave room for."""

    starts: list[list[Count]]
    special_tokens: Count
    prefix_tokens: Count
    max_tokens: Count


class OpenAIEmbedding(_Answer):
    """One vector, after OpenAI."""

    object: Literal["embedding"]
    index: Count
    embedding: Vector


class OpenAIUsage(_Answer):
    """Tokens that the model read."""

    prompt_tokens: Count
    total_tokens: Count


class OpenAIEmbeddings(_Answer):
    """After OpenAI; truncated is ours: per input, whether some of it was cut off."""

    object: Literal["list"]
    data: list[OpenAIEmbedding]
    model: str
    usage: OpenAIUsage
    truncated: list[bool]


class Identity(_Answer):
    """What made a vector; two may be compared when their fingerprints are equal."""

    model: str
    revision: str
    dimension: Count
    pooling: str
    normalized: bool
    query_prefix: str
    document_prefix: str
    max_tokens: Count
    dtype: str
    digest: str
    fingerprint: str


class Backend(_Answer):
    """What computes, and on how many streams at once."""

    device: str
    blas: str | None
    version: str | None
    kernels: str
    streams: Count


class Info(Identity):
    """The identity of a model, where it is from, and what computes it."""

    source: str
    version: str
    backend: Backend


class Model(_Answer):
    """A model that is loading or ready, or could not be loaded; error and hint say why."""

    source: str
    state: Literal["loading", "ready", "failed"]
    default: bool
    error: str | None
    hint: str | None
    identity: Identity | None


class Models(_Answer):
    """All of them, the default first."""

    models: list[Model]


class Health(_Answer):
    """How the default model is; what is not known while it loads is null."""

    status: Literal["loading", "healthy", "unhealthy"]
    metal_available: bool
    backend: Backend | None
    model: str | None
    fingerprint: str | None
    dimension: Count | None
    last_forward_age_seconds: float | None


class Ready(_Answer):
    """Whether a forward pass of the default model succeeded lately."""

    ready: bool


class Stats(BaseModel):
    """What the default model has done since the start, and what the cache holds; more fields may come."""

    cache_size: Count
    cache_bytes: Count
    metal_active_memory: Count
    queue_depth: Count
    texts_in_flight: Count
    requests: Count
    texts: Count
    tokens: Count
    batches: Count
    models: list[Model]


class Fault(_Answer):
    """type: one of a fixed set of words; hint: the next thing to do."""

    type: str
    message: str
    hint: str | None


class Refusal(_Answer):
    """Why a call was not answered."""

    error: Fault


class OpenAIFault(_Answer):
    """After OpenAI; code is our own type, param the field at fault."""

    message: str
    type: str
    param: str | None
    code: str


class OpenAIRefusal(_Answer):
    """Why a call under /v1 was not answered."""

    error: OpenAIFault


_REASONS = {
    400: "the body is no JSON",
    401: "the token is missing: the client is not on the embedder's machine",
    403: "a web page from elsewhere, or a call that is for clients on the embedder's machine",
    404: "no loaded model has this name",
    408: "the body did not come in time",
    409: "no loaded model can make room for another",
    413: "the body, the number of texts or a text is over a cap, or over the window and truncate is false",
    415: "the body says that it is no JSON in UTF-8",
    421: "the Host header names somebody else",
    422: "the JSON is not what the call takes",
    429: "too much is waiting; Retry-After says when to come back",
    500: "the model failed on one of the texts",
    503: "the model is loading, or the service is leaving; Retry-After says when to come back",
    504: "it could not be computed in the time that one request may take",
}
_EVERYWHERE = (401, 403, 421, 503)
_WITH_BODY = (400, 408, 413, 415, *_EVERYWHERE)
_COMPUTED = (404, 429, 500, 504, *_WITH_BODY)


def _refused(statuses: tuple[int, ...], shape: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": shape, "description": _REASONS[status]} for status in sorted(statuses)}


def of_reading(answer: object, *more: int) -> dict[int | str, dict[str, Any]]:
    """Return what a GET may answer; more: further statuses."""
    return {200: {"model": answer, "description": "the answer"}, **_refused((*_EVERYWHERE, *more), Refusal)}


def of_work(answer: object) -> dict[int | str, dict[str, Any]]:
    """Return what a call with texts may answer."""
    return {200: {"model": answer, "description": "the answer"}, **_refused((422, *_COMPUTED), Refusal)}


def of_openai() -> dict[int | str, dict[str, Any]]:
    """Return what a call under /v1 may answer; it says 400 where the others say 422."""
    answered = {"model": OpenAIEmbeddings, "description": "the vectors"}
    return {200: answered, **_refused(_COMPUTED, OpenAIRefusal)}


def of_loading() -> dict[int | str, dict[str, Any]]:
    """Return what POST /models may answer."""
    return {
        200: {"model": Model, "description": "the model is ready"},
        202: {"model": Model, "description": "the model is loading"},
        **_refused((409, 422, *_WITH_BODY), Refusal),
    }


def of_metrics() -> dict[int | str, dict[str, Any]]:
    """Return what GET /metrics may answer."""
    text = {"content": {"text/plain": {"schema": {"type": "string"}}}, "description": "Prometheus text"}
    return {200: text, **_refused(_EVERYWHERE, Refusal)}


def body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body in the OpenAPI document; FastAPI does not read it itself."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}


MODEL_QUERY: dict[str, Any] = {
    "parameters": [
        {
            "name": "model",
            "in": "query",
            "required": False,
            "description": "a fingerprint, a source, a name or its last part; the default model when absent",
            "schema": {"type": "string"},
        }
    ]
}
