"""The calls /embed (of the contract) and /tokenize."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response

from aya_embedder import answers, wire
from aya_embedder.body import read_body
from aya_embedder.reply import reply, timed
from aya_embedder.work import awaited, embedded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aya_embedder.embedder import Embedded
    from aya_embedder.limits import Patience
    from aya_embedder.loaded import LoadedModels
    from aya_embedder.metrics import Metrics


def add_embedding(app: FastAPI, models: LoadedModels, patience: Patience, metrics: Metrics) -> None:
    """Add the calls to `app`."""

    @app.post(
        "/embed",
        responses=answers.of_work(answers.Embedding | answers.Embeddings),
        openapi_extra=answers.body(wire.EmbedRequest),
    )
    async def embed(request: Request) -> Response:
        """Return the vectors of a text, or of several."""
        with metrics.refusals():
            asked = wire.parse(wire.EmbedRequest, await read_body(request, patience.body))
            engine = models.find(asked.model)
        model = engine.model
        texts = [asked.text] if asked.text is not None else asked.texts or []
        with metrics.request(len(texts), single=asked.text is not None):
            answer = await embedded(
                request, engine, texts, asked.prompt, truncate=asked.truncate, seconds=patience.work
            )
        metrics.answered(answer)
        shape = _columns if asked.text is None else _single
        content = {**shape(answer.embedded, asked.encoding), "model": model.identity.fingerprint}
        return reply(content, headers=timed(answer.timings, texts, model.backend.device))

    @app.post("/tokenize", responses=answers.of_work(answers.Tokens), openapi_extra=answers.body(wire.TokenizeRequest))
    async def tokenize(request: Request) -> Response:
        """Say where the tokens of each text start."""
        asked = wire.parse(wire.TokenizeRequest, await read_body(request, patience.body))
        engine = models.find(asked.model)
        return reply(await awaited(request, engine.tokenize(asked.texts), patience.work))


def _single(embedded: Sequence[Embedded], encoding: wire.Encoding) -> dict[str, Any]:
    only = embedded[0]
    return {
        "embedding": wire.written(wire.vector_of(only.vector), encoding),
        "cached": only.cached,
        "tokens": only.tokens,
        "truncated": only.truncated,
    }


def _columns(embedded: Sequence[Embedded], encoding: wire.Encoding) -> dict[str, Any]:
    return {
        "embeddings": [wire.written(wire.vector_of(one.vector), encoding) for one in embedded],
        "cached": [one.cached for one in embedded],
        "tokens": [one.tokens for one in embedded],
        "truncated": [one.truncated for one in embedded],
    }
