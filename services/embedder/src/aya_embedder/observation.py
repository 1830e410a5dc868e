"""The calls that look: /health and /stats (of the contract), /ready and /metrics."""

from __future__ import annotations

import asyncio
import contextlib
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI, Response

from aya_embedder import answers, metrics
from aya_embedder.reply import reply

if TYPE_CHECKING:
    from pydantic import BaseModel

    from aya_embedder.engine import Engine
    from aya_embedder.loaded import LoadedModels

_HEALTHY, _UNHEALTHY = 200, 503
# Probes ask every few seconds; a pass of a full batch of a large model on a CPU takes less.
_LATELY_SECONDS = 30.0
# Less than what those who probe wait (Kubernetes 1 s, load balancers 5 s), were it not for a batch that is running.
_PROOF_SECONDS = 5.0


def add_observation(app: FastAPI, models: LoadedModels, counted: metrics.Metrics) -> None:
    """Add the calls to `app`."""

    @app.get("/health", responses=_also_when_unhealthy(answers.Health))
    async def health() -> Response:
        """Say how the default model is; 503 when it cannot be trusted now."""
        engine = models.default
        state = engine.state()
        return reply(
            {"status": state, **_loaded(engine), "last_forward_age_seconds": engine.last_forward_age_seconds()},
            _HEALTHY if state == "healthy" else _UNHEALTHY,
        )

    @app.get("/ready", responses=_also_when_unhealthy(answers.Ready))
    async def ready() -> Response:
        """Say whether a forward pass succeeded lately; an idle service makes one for that."""
        is_ready = await _is_ready(models.default)
        return reply({"ready": is_ready}, _HEALTHY if is_ready else _UNHEALTHY)

    @app.get("/stats", responses=answers.of_reading(answers.Stats))
    async def stats() -> Response:
        """Say what has been done since the start."""
        engine = models.default
        loaded = engine.loaded
        return reply(
            {
                "cache_size": len(models.cache),
                "cache_bytes": models.cache.size_bytes,
                "metal_active_memory": loaded.active_memory_bytes() if loaded else 0,
                "queue_depth": engine.waiting_texts,
                "texts_in_flight": engine.texts_in_flight,
                **engine.counters.as_dict(),
                "models": [status.as_dict() for status in models.statuses()],
            }
        )

    @app.get("/metrics", responses=answers.of_metrics())
    async def prometheus() -> Response:
        """Return everything that is counted, for Prometheus."""
        return Response(counted.text(), media_type=metrics.CONTENT_TYPE)


def _also_when_unhealthy(answer: type[BaseModel]) -> dict[int | str, dict[str, Any]]:
    """Describe a call whose answer has the same shape with 503, unless the service is leaving."""
    described = answers.of_reading(answer)
    return {**described, 503: {"model": answer | answers.Refusal, "description": "not now"}}


async def _is_ready(engine: Engine) -> bool:
    age = engine.last_forward_age_seconds()
    if age is not None and age > _LATELY_SECONDS and engine.state() == "healthy":
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_PROOF_SECONDS):
                await engine.prove()
        age = engine.last_forward_age_seconds()
    return engine.state() == "healthy" and age is not None and age <= _LATELY_SECONDS


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
