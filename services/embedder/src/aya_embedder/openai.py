"""The call /v1/embeddings, after OpenAI's (https://platform.openai.com/docs/api-reference/embeddings/create)."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Request, Response

from aya_embedder import answers, wire
from aya_embedder.body import read_body
from aya_embedder.problems import Invalid
from aya_embedder.reply import reply, timed
from aya_embedder.work import embedded

if TYPE_CHECKING:
    from collections.abc import Sequence

    from aya_embedder.embedder import Embedded
    from aya_embedder.identity import ModelIdentity
    from aya_embedder.limits import Patience
    from aya_embedder.loaded import LoadedModels
    from aya_embedder.metrics import Metrics


def add_openai(app: FastAPI, models: LoadedModels, patience: Patience, metrics: Metrics) -> None:
    """Add the call to `app`."""

    @app.post("/v1/embeddings", responses=answers.of_openai(), openapi_extra=answers.body(wire.OpenAIRequest))
    async def embeddings(request: Request) -> Response:
        """Return the vectors of texts, or of token ids."""
        with metrics.refusals():
            asked = wire.parse(wire.OpenAIRequest, await read_body(request, patience.body))
            engine = models.find(asked.model or None)
            model = engine.model
            _check_dimensions(asked.dimensions, model.identity.dimension)
        inputs = asked.given
        with metrics.request(len(inputs), single=len(inputs) == 1):
            answer = await embedded(
                request, engine, inputs, asked.prompt, truncate=asked.truncate, seconds=patience.work
            )
        metrics.answered(answer)
        headers = timed(answer.timings, inputs, model.backend.device)
        return reply(_shaped(answer.embedded, asked, model.identity), headers=headers)


def _check_dimensions(wanted: int | None, own: int) -> None:
    if wanted is not None and wanted > own:
        raise Invalid(
            f"dimensions: the model makes {own}, and {wanted} are more", hint=f"1 to {own}", field="dimensions"
        )


def _shaped(embedded: Sequence[Embedded], asked: wire.OpenAIRequest, identity: ModelIdentity) -> dict[str, Any]:
    read = sum(min(one.tokens, identity.max_tokens) for one in embedded)
    return {
        "object": "list",
        "data": [
            {
                "object": "embedding",
                "index": index,
                "embedding": wire.written(wire.vector_of(one.vector, asked.dimensions), asked.encoding_format),
            }
            for index, one in enumerate(embedded)
        ],
        "model": identity.model,
        "usage": {"prompt_tokens": read, "total_tokens": read},
        "truncated": [one.truncated for one in embedded],
    }
