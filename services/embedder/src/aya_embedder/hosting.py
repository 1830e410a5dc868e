"""The calls /models and /info: which models there are, and loading another beside them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, Request, Response

from aya_embedder import answers, wire
from aya_embedder.body import read_body
from aya_embedder.reply import reply

if TYPE_CHECKING:
    from aya_embedder.engine import Engine
    from aya_embedder.limits import Patience
    from aya_embedder.loaded import LoadedModels

_READY, _LOADING = 200, 202


def add_hosting(app: FastAPI, models: LoadedModels, patience: Patience) -> None:
    """Add the calls to `app`."""

    @app.get("/models", responses=answers.of_reading(answers.Models))
    async def listed() -> Response:
        """Return all models, the default first."""
        return reply({"models": [status.as_dict() for status in models.statuses()]})

    @app.post("/models", responses=answers.of_loading(), openapi_extra=answers.body(wire.LoadRequest))
    async def load(request: Request) -> Response:
        """Begin to load a model beside the others; only for clients on this machine."""
        asked = wire.parse(wire.LoadRequest, await read_body(request, patience.body))
        status = models.load(asked.model, default=asked.default)
        return reply(status.as_dict(), _READY if status.state == "ready" else _LOADING)

    @app.get("/info", responses=answers.of_reading(answers.Info, 404), openapi_extra=answers.MODEL_QUERY)
    async def info(request: Request) -> Response:
        """Return what made the vectors of the default model, or of the one that is named."""
        engine = models.find(request.query_params.get("model") or None)
        model = engine.model
        return reply(
            {
                **model.identity.as_dict(),
                "source": _source(models, engine),
                "version": app.version,
                "backend": model.backend,
            }
        )


def _source(models: LoadedModels, engine: Engine) -> str | None:
    identity = engine.model.identity
    return next((status.source for status in models.statuses() if status.identity == identity), None)
