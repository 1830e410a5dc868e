"""The server of the owner's plan, as embedder_throughput.py measures it: one request, one encode.

    plan_server.py DIRECTORY PORT       by an interpreter with sentence-transformers, FastAPI and uvicorn

POST /embed {"text": "…"} answers {"embedding": [floats], "cached": false}; GET /health says that the model is there.
sentence-transformers' own `encode` is called on the event loop, its vector goes out as a list through FastAPI's
encoder. The plan's cache, which had no bound, is left out: so is ours where the two are compared.
"""

from __future__ import annotations

import sys

import uvicorn
from fastapi import FastAPI
from pydantic import BaseModel
from sentence_transformers import SentenceTransformer


class EmbedRequest(BaseModel):
    """What the contract's call takes."""

    text: str


def application(directory: str) -> FastAPI:
    """Return the server's calls over the model in `directory`."""
    app = FastAPI(title="AYA embedding service")
    model = SentenceTransformer(directory, device="cpu")

    @app.post("/embed")
    async def embed(asked: EmbedRequest) -> dict[str, list[float] | bool]:
        vector = model.encode([asked.text], normalize_embeddings=True)[0]
        return {"embedding": vector.tolist(), "cached": False}

    @app.get("/health")
    async def health() -> dict[str, str]:
        return {"status": "healthy"}

    return app


if __name__ == "__main__":
    uvicorn.run(application(sys.argv[1]), host="127.0.0.1", port=int(sys.argv[2]))
