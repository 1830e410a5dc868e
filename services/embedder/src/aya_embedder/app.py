"""The HTTP application: all calls over the loaded models, and what every error looks like.

Every endpoint is `async def`: a plain one would run on a thread pool, and each thread that touches MLX leaks one.
"""

from __future__ import annotations

from importlib.metadata import version
from typing import TYPE_CHECKING

from fastapi import FastAPI

from aya_embedder.embedding import add_embedding
from aya_embedder.hosting import add_hosting
from aya_embedder.limits import Patience
from aya_embedder.metrics import Metrics
from aya_embedder.observation import add_observation
from aya_embedder.openai import add_openai
from aya_embedder.reference import add_reference
from aya_embedder.refusals import add_refusals

if TYPE_CHECKING:
    from aya_embedder.loaded import LoadedModels

_ABOUT = (
    "Texts in, vectors of length 1 out. The token is asked of clients on other machines only; "
    "docs/adr/0013-who-may-call-the-embedder.md says who may call."
)


def create_app(models: LoadedModels, patience: Patience | None = None, metrics: Metrics | None = None) -> FastAPI:
    """Return the ASGI application over `models`, whose `run` is the caller's. It lets everybody call; Gate does not.

    metrics: also observes the engines, which is the caller's to arrange; without, batches are not counted.
    """
    app = FastAPI(
        title="AYA embedder",
        description=_ABOUT,
        version=version("aya-embedder"),
        docs_url=None,
        redoc_url=None,
        separate_input_output_schemas=False,
    )
    waits = patience or Patience()
    metrics = metrics or Metrics()
    metrics.watch(models)
    add_refusals(app)
    add_embedding(app, models, waits, metrics)
    add_openai(app, models, waits, metrics)
    add_hosting(app, models, waits)
    add_observation(app, models, metrics)
    add_reference(app)
    return app
