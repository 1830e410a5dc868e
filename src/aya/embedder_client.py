"""A thin client of the embedding service (the contract's HTTP calls on port 8765)."""

from __future__ import annotations

import base64
import re
from collections.abc import Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Self

import httpx2
import numpy as np
from numpy.typing import NDArray

from aya import errors
from aya.identity import ModelIdentity
from aya.json_object import json_object

Prompt = Literal["query", "document"]
Vector = NDArray[np.float32]

CONNECT_TIMEOUT_SECONDS = 3.0
# Somebody waits for a query's vector; a batch of documents on a busy CPU takes its time.
QUERY_TIMEOUT_SECONDS = 10.0
DOCUMENTS_TIMEOUT_SECONDS = 300.0
# Few enough that several clients' batches are through in that time even without OpenBLAS (half a passage a second).
BATCH_TEXTS = 16
TOKENIZE_CHARACTERS = 200_000
_HINT = "aya status, then aya up"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where each token of a text starts, in characters; special tokens are left out.

    room: how many tokens of a passage fit into the model's window, beside its special tokens and its prefix.
    """

    starts: list[int]
    room: int


class EmbedderClient:
    """Talks to one embedder. Every failure is an EmbedderError; nothing is retried here."""

    def __init__(self, url: str, *, transport: httpx2.AsyncBaseTransport | None = None) -> None:
        self.url = url.rstrip("/")
        # trust_env off: a proxy in the environment is never the way to this machine's own service.
        self._http = httpx2.AsyncClient(
            base_url=self.url,
            timeout=httpx2.Timeout(QUERY_TIMEOUT_SECONDS, connect=CONNECT_TIMEOUT_SECONDS),
            trust_env=False,
            transport=transport,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.aclose()

    async def health(self) -> dict[str, Any]:
        """Return GET /health, whatever its status code: "healthy", "loading" or "unhealthy"."""
        return self._json(await self._request("GET", "/health"))

    async def identity(self) -> ModelIdentity:
        """Return which model makes the vectors."""
        return ModelIdentity.from_mapping(await self._ask("GET", "/info"))

    async def embed(self, texts: Sequence[str], *, prompt: Prompt, expect: str, truncate: bool = False) -> Vector:
        """Return the vectors of `texts`, shape (n, dimension), float32, L2-normalised.

        expect: the fingerprint of the model that must make them, else ModelMismatch.
        truncate: cut texts over the model's window; otherwise they raise TextTooLong.
        """
        seconds = QUERY_TIMEOUT_SECONDS if prompt == "query" else DOCUMENTS_TIMEOUT_SECONDS
        rows: list[Vector] = []
        for start in range(0, len(texts), BATCH_TEXTS):
            body = {
                "texts": list(texts[start : start + BATCH_TEXTS]),
                "prompt": prompt,
                "truncate": truncate,
                "encoding": "base64",
            }
            answer = await self._ask("POST", "/embed", body, seconds=seconds)
            with self._understanding():
                if answer["model"] != expect:
                    raise errors.ModelMismatch(
                        f"the embedder at {self.url} was restarted with another model",
                        hint="aya status, then aya reembed",
                    )
                raw = [base64.b64decode(text, validate=True) for text in answer["embeddings"]]
                rows += [np.frombuffer(each, dtype="<f4") for each in raw]
        if len(rows) != len(texts):
            raise errors.EmbedderError(f"{self.url} returned {len(rows)} vectors for {len(texts)} texts", hint=_HINT)
        with self._understanding():
            return np.stack(rows) if rows else np.empty((0, 0), dtype=np.float32)

    async def tokenize(self, text: str) -> Tokens:
        """Return where the model's tokens start in `text`."""
        starts: list[int] = []
        room = 0
        for offset, part in segments(text):
            answer = await self._ask("POST", "/tokenize", {"texts": [part]}, seconds=DOCUMENTS_TIMEOUT_SECONDS)
            with self._understanding():
                starts += [offset + start for start in answer["starts"][0]]
                room = answer["max_tokens"] - answer["special_tokens"] - answer["prefix_tokens"]
        return Tokens(starts, room)

    async def _ask(
        self, method: str, path: str, body: object = None, *, seconds: float = QUERY_TIMEOUT_SECONDS
    ) -> dict[str, Any]:
        response = await self._request(method, path, body, seconds=seconds)
        if response.is_success:
            return self._json(response)
        raise self._refusal(response)

    async def _request(
        self, method: str, path: str, body: object = None, *, seconds: float = QUERY_TIMEOUT_SECONDS
    ) -> httpx2.Response:
        timeout = httpx2.Timeout(seconds, connect=CONNECT_TIMEOUT_SECONDS)
        try:
            return await self._http.request(method, path, json=body, timeout=timeout)
        except httpx2.TimeoutException as error:
            raise errors.EmbedderUnavailable(
                f"the embedder at {self.url} did not answer in time", hint=_HINT
            ) from error
        except (httpx2.TransportError, httpx2.InvalidURL) as error:
            raise errors.EmbedderUnavailable(
                f"the embedder at {self.url} cannot be reached: {error}", hint=_HINT
            ) from error
        except UnicodeEncodeError as error:
            raise errors.DocumentError(
                "the text holds a lone surrogate, which is no character", hint="aya add FILE"
            ) from error

    def _json(self, response: httpx2.Response) -> dict[str, Any]:
        try:
            answer = json_object(response.json())
        except ValueError as error:
            raise errors.EmbedderError(f"{self.url} does not answer in JSON; is it an embedder?", hint=_HINT) from error
        if answer is None:
            raise errors.EmbedderError(f"{self.url} does not answer with an object; is it an embedder?", hint=_HINT)
        return answer

    @contextmanager
    def _understanding(self) -> Generator[None]:
        try:
            yield
        except (LookupError, TypeError, ValueError) as error:
            raise errors.EmbedderError(
                f"{self.url} does not answer as an embedder does: {error!r}", hint="upgrade the embedder, then aya up"
            ) from error

    def _refusal(self, response: httpx2.Response) -> errors.AyaError:
        try:
            said = json_object(self._json(response).get("error")) or {}
        except errors.EmbedderError:
            said = {}
        hint = said.get("hint") or _HINT
        text = f"the embedder at {self.url} refused: {said.get('message', f'HTTP status {response.status_code}')}"
        if response.status_code in {429, 503}:
            return errors.EmbedderOverloaded(text, hint=hint)
        if said.get("type") == "text_too_long":
            return errors.TextTooLong(text, hint=hint)
        return errors.EmbedderError(text, hint=hint)


_BREAK = re.compile(r"\s")


def segments(text: str, size: int = TOKENIZE_CHARACTERS) -> Iterator[tuple[int, str]]:
    """Cut a long text at white space into parts of about `size` characters, with their offsets; pure.

    A run without white space is cut at `size`; BERT's tokens never cross white space, so counts stay exact otherwise.
    """
    start = 0
    while start < len(text):
        end = start + size
        if end < len(text):
            found = _BREAK.search(text, end, end + size)
            end = found.start() if found else end
        yield start, text[start:end]
        start = end
