"""From a text to its chunks with their vectors."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np

from aya.chunking import MIN_MAX_TOKENS, Chunk, chunk
from aya.embedder_client import EmbedderClient, Vector
from aya.errors import ConfigError
from aya.identity import ModelIdentity

# Measured on long articles: 100 to 200 tokens find the answer's span best.
TARGET_TOKENS = 160


@dataclass(frozen=True, slots=True)
class Prepared:
    """A text ready to be stored. vectors: shape (len(chunks), dimension), float32, row i belongs to chunk i.

    identity: the model that made them; they are stored only in a database that is bound to it.
    """

    identity: ModelIdentity
    content_sha256: bytes
    chunks: Sequence[Chunk]
    vectors: Vector


def content_sha256(content: str) -> bytes:
    """Return the hash that tells equal contents: SHA-256 of the UTF-8 bytes, as the database's trigger computes it."""
    return hashlib.sha256(content.encode("utf-8")).digest()


async def prepare(
    embedder: EmbedderClient, identity: ModelIdentity, text: str, *, markdown: bool, title: str | None = None
) -> Prepared:
    """Cut `text` into chunks of the model's own tokens and embed them; a blank text has none. Raises EmbedderError.

    title: what a chunk stands under where the text gives it no heading.
    """
    if not text.strip():
        return Prepared(identity, content_sha256(text), (), np.empty((0, identity.dimension), dtype=np.float32))
    tokens = await embedder.tokenize(text, model=identity.fingerprint)
    if tokens.room < MIN_MAX_TOKENS:
        raise ConfigError(f"{identity.model} leaves {tokens.room} tokens for a text", hint="choose another model")
    # In a thread: megabytes take a second, and a server goes on answering meanwhile.
    chunks = await asyncio.to_thread(
        chunk,
        text,
        tokens.starts,
        max_tokens=tokens.room,
        target_tokens=min(TARGET_TOKENS, tokens.room),
        markdown=markdown,
    )
    vectors = await embed_documents(embedder, identity, [piece.text for piece in chunks])
    titled = [replace(piece, heading=piece.heading or title) for piece in chunks]
    return Prepared(identity, content_sha256(text), titled, vectors)


async def embed_documents(embedder: EmbedderClient, identity: ModelIdentity, texts: Sequence[str]) -> Vector:
    """Return the vectors of passages, shape (n, dimension), made by exactly the model `identity`."""
    return await embedder.embed(texts, prompt="document", expect=identity.fingerprint)
