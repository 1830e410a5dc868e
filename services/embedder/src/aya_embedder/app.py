"""The HTTP calls: the contract's /embed, /health and /stats, and those around them.

Every endpoint is `async def`: a plain one would run on a thread pool, and each thread that touches MLX leaks one.
"""

from __future__ import annotations

import asyncio
from importlib.metadata import version
from typing import TYPE_CHECKING, Any, TypeVar

import orjson
from fastapi import FastAPI, Request, Response

from aya_embedder import wire
from aya_embedder.problems import Gone, Invalid
from aya_embedder.refusals import add_refusals

if TYPE_CHECKING:
    from collections.abc import Coroutine, Sequence

    from pydantic import BaseModel

    from aya_embedder.embedder import Embedded
    from aya_embedder.engine import Engine
    from aya_embedder.loaded import LoadedModels

Result = TypeVar("Result")
_HEALTHY, _UNHEALTHY = 200, 503


def create_app(models: LoadedModels) -> FastAPI:
    """Return the ASGI application over `models`, whose `run` is the caller's."""
    app = FastAPI(
        title="AYA embedder",
        version=version("aya-embedder"),
        docs_url="/docs",
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    add_refusals(app)
    _add_embedding(app, models)
    _add_openai(app, models)
    _add_observation(app, models)
    return app


def _add_embedding(app: FastAPI, models: LoadedModels) -> None:
    @app.post("/embed", openapi_extra=_body(wire.EmbedRequest))
    async def embed(request: Request) -> Response:
        engine = models.default
        asked = wire.parse(wire.EmbedRequest, await wire.read_body(request))
        texts = [asked.text] if asked.text is not None else asked.texts or []
        work = engine.embed(texts, asked.prompt, truncate=asked.truncate)
        answers = (await _unless_gone(request, work)).embedded
        fingerprint = engine.model.identity.fingerprint
        if asked.text is None:
            return _json({**_columns(answers, asked.encoding), "model": fingerprint})
        only = answers[0]
        return _json(
            {
                "embedding": wire.written(only.vector, asked.encoding),
                "cached": only.cached,
                "tokens": only.tokens,
                "truncated": only.truncated,
                "model": fingerprint,
            }
        )

    @app.post("/tokenize", openapi_extra=_body(wire.TokenizeRequest))
    async def tokenize(request: Request) -> Response:
        engine = models.default
        asked = wire.parse(wire.TokenizeRequest, await wire.read_body(request))
        return _json(await _unless_gone(request, engine.tokenize(asked.texts)))


def _add_openai(app: FastAPI, models: LoadedModels) -> None:
    @app.post("/v1/embeddings", openapi_extra=_body(wire.OpenAIRequest))
    async def embeddings(request: Request) -> Response:
        engine = models.default
        asked = wire.parse(wire.OpenAIRequest, await wire.read_body(request))
        identity = engine.model.identity
        if asked.dimensions not in (None, identity.dimension):
            raise Invalid(f"dimensions: the model makes {identity.dimension}", hint="leave dimensions out")
        texts = [asked.input] if isinstance(asked.input, str) else asked.input
        work = engine.embed(texts, asked.prompt, truncate=asked.truncate)
        answers = (await _unless_gone(request, work)).embedded
        read = sum(min(one.tokens, identity.max_tokens) for one in answers)
        return _json(
            {
                "object": "list",
                "data": [
                    {
                        "object": "embedding",
                        "index": index,
                        "embedding": wire.written(one.vector, asked.encoding_format),
                    }
                    for index, one in enumerate(answers)
                ],
                "model": identity.model,
                "usage": {"prompt_tokens": read, "total_tokens": read},
                "truncated": [one.truncated for one in answers],
            }
        )


def _add_observation(app: FastAPI, models: LoadedModels) -> None:
    @app.get("/health")
    async def health() -> Response:
        engine = models.default
        state = engine.state()
        return _json(
            {"status": state, **_loaded(engine), "last_forward_age_seconds": engine.last_forward_age_seconds()},
            _HEALTHY if state == "healthy" else _UNHEALTHY,
        )

    @app.get("/ready")
    async def ready() -> Response:
        engine = models.default
        state = engine.state()
        return _json({"ready": state == "healthy"}, _HEALTHY if state == "healthy" else _UNHEALTHY)

    @app.get("/stats")
    async def stats() -> Response:
        engine = models.default
        loaded = engine.loaded
        return _json(
            {
                "cache_size": len(engine.cache),
                "cache_bytes": engine.cache.size_bytes,
                "metal_active_memory": loaded.active_memory_bytes() if loaded else 0,
                "queue_depth": engine.waiting_texts,
                "texts_in_flight": engine.texts_in_flight,
                **engine.counters.as_dict(),
            }
        )

    @app.get("/info")
    async def info() -> Response:
        engine = models.default
        model = engine.model
        return _json({**model.identity.as_dict(), "version": app.version, "backend": model.backend})


def _loaded(engine: Engine) -> dict[str, Any]:
    """Say what is known of the model: nothing while it loads."""
    model = engine.loaded
    return {
        "metal_available": model is not None and model.backend.device == "metal",
        "backend": model.backend if model else None,
        "model": model.identity.model if model else None,
        "fingerprint": model.identity.fingerprint if model else None,
        "dimension": model.identity.dimension if model else None,
    }


def _columns(answers: Sequence[Embedded], encoding: wire.Encoding) -> dict[str, Any]:
    return {
        "embeddings": [wire.written(one.vector, encoding) for one in answers],
        "cached": [one.cached for one in answers],
        "tokens": [one.tokens for one in answers],
        "truncated": [one.truncated for one in answers],
    }


async def _unless_gone(request: Request, work: Coroutine[Any, Any, Result]) -> Result:
    """Await `work`, and cancel it when the client leaves: what nobody reads is not computed.

    The body has been read, so the next thing that `receive` says is that the client left.
    """
    working = asyncio.create_task(work, name="request")
    watching = asyncio.create_task(_until_gone(request), name="request.client")
    try:
        await asyncio.wait((working, watching), return_when=asyncio.FIRST_COMPLETED)
        if not working.done():
            raise Gone("the client left before its answer was ready")
        return working.result()
    finally:
        working.cancel()
        watching.cancel()


async def _until_gone(request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass


def _json(content: object, status: int = _HEALTHY) -> Response:
    return Response(orjson.dumps(content, option=orjson.OPT_SERIALIZE_NUMPY), status, media_type="application/json")


def _body(model: type[BaseModel]) -> dict[str, Any]:
    """Describe a body in the OpenAPI document; FastAPI does not read it itself."""
    schema = model.model_json_schema()
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema}}}}
