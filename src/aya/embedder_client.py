"""A thin client of the embedding service (the contract's HTTP calls on port 8765)."""

from __future__ import annotations

import base64
from collections.abc import Callable, Generator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal, Self

import httpx2
import numpy as np
from numpy.typing import NDArray

from aya import errors
from aya.backoff import Backoff
from aya.embedder_http import Call, EmbedderHttp, Timing
from aya.embedding_batches import batches, segments
from aya.identity import ModelIdentity, ModelStatus
from aya.in_order import in_order

Prompt = Literal["query", "document"]
Vector = NDArray[np.float32]

# Somebody waits for a query's vector; a batch of documents on a busy CPU takes its time.
QUERY_TIMEOUT_SECONDS = 10.0
DOCUMENTS_TIMEOUT_SECONDS = 300.0
# One is being computed while the next is on its way: the embedder's threads are never without work.
REQUESTS_AT_ONCE = 2
_LOADING = Backoff(first_seconds=0.2, cap_seconds=2.0)
_HINT = "aya status, then aya up"


@dataclass(frozen=True, slots=True)
class Tokens:
    """Where each token of a text starts, in characters; special tokens are left out.

    room: how many tokens of a passage fit into the model's window, beside its special tokens and its prefix.
    """

    starts: list[int]
    room: int


class EmbedderClient:
    """Talks to one embedder. Every failure is an EmbedderError; what may pass is tried again until the deadline.

    token: the bearer token it asks for, None when it asks for none.
    """

    def __init__(
        self,
        url: str,
        *,
        token: str | None = None,
        transport: httpx2.AsyncBaseTransport | None = None,
        timing: Timing | None = None,
    ) -> None:
        self._timing = timing or Timing()
        self._http = EmbedderHttp(url, token=token, transport=transport, timing=self._timing)
        self.url = self._http.url

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close the connections."""
        await self._http.close()

    async def health(self) -> dict[str, Any]:
        """Return GET /health, whatever its status code: "healthy", "loading" or "unhealthy". Asked once."""
        return self._http.json(await self._http.once(Call("GET", "/health"), until=self._in(QUERY_TIMEOUT_SECONDS)))

    async def identity(self, model: str | None = None) -> ModelIdentity:
        """Return which model makes the vectors, or what `model` is (see `models`); ModelNotLoaded when it is not."""
        parameters = {"model": model} if model else {}
        call = Call("GET", "/info", parameters=parameters)
        return ModelIdentity.from_mapping(await self._http.ask(call, until=self._in(QUERY_TIMEOUT_SECONDS)))

    async def models(self) -> list[ModelStatus]:
        """Return the models that are loaded, are being loaded, or could not be."""
        return await self._models(self._in(QUERY_TIMEOUT_SECONDS))

    async def load_model(self, source: str, *, default: bool = False) -> ModelStatus:
        """Have the embedder load `source` beside the others, and return how far it is; safe to repeat.

        source: a known name, owner/name@commit of the hub, or a directory of the embedder's machine. default: make it
            the default once it is ready.
        """
        call = Call("POST", "/models", {"model": source, "default": default})
        return ModelStatus.from_mapping(await self._http.ask(call, until=self._in(QUERY_TIMEOUT_SECONDS)))

    async def await_model(self, source: str, deadline_seconds: float) -> ModelIdentity:
        """Wait until `source` is ready, and return what it is.

        Raises ModelNotLoaded when nobody asked for it, EmbedderError when it cannot be loaded, and EmbedderUnavailable
        when the time is up.
        """
        until = self._in(deadline_seconds)
        attempt = 0
        while True:
            attempt += 1
            identity = self._loaded(source, await self._models(until))
            if identity is not None:
                return identity
            wait = _LOADING.delay_seconds(attempt, self._timing.uniform)
            if self._timing.now() + wait >= until:
                raise errors.EmbedderUnavailable(
                    f"the embedder at {self.url} is still loading {source} after {deadline_seconds:.0f} s", hint=_HINT
                )
            await self._timing.sleep(wait)

    async def embed(
        self,
        texts: Sequence[str],
        *,
        prompt: Prompt,
        expect: str,
        truncate: bool = False,
        deadline_seconds: float | None = None,
    ) -> Vector:
        """Return the vectors of `texts`, shape (n, dimension), float32, L2-normalised.

        expect: the fingerprint of the model that must make them: it need not be the embedder's default. ModelNotLoaded
        when the embedder has not loaded it, ModelMismatch when another one answers.
        truncate: cut texts over the model's window; otherwise they raise TextTooLong.
        deadline_seconds: for all of it; without one, queries have ten seconds together, and of documents, of which
        there may be thousands, each request has five minutes.
        """
        body = {"prompt": prompt, "truncate": truncate, "encoding": "base64", "model": expect}
        until = self._until(prompt, deadline_seconds)
        work = [
            partial(self._embed, [texts[index] for index in batch], body, expect, until)
            for batch in batches([len(text) for text in texts])
        ]
        vectors = await in_order(work, at_once=REQUESTS_AT_ONCE)
        with self._understanding():
            return np.concatenate(vectors) if vectors else np.empty((0, 0), dtype=np.float32)

    async def tokenize(self, text: str, *, model: str | None = None) -> Tokens:
        """Return where the tokens of `model`, or of the default one, start in `text`."""
        starts: list[int] = []
        room = 0
        for offset, part in segments(text):
            call = Call("POST", "/tokenize", {"texts": [part], **({"model": model} if model else {})})
            answer = await self._http.ask(call, until=self._in(DOCUMENTS_TIMEOUT_SECONDS))
            with self._understanding():
                starts += [offset + start for start in answer["starts"][0]]
                room = answer["max_tokens"] - answer["special_tokens"] - answer["prefix_tokens"]
        return Tokens(starts, room)

    async def _embed(self, texts: list[str], body: dict[str, Any], expect: str, until: Callable[[], float]) -> Vector:
        answer = await self._http.ask(Call("POST", "/embed", {**body, "texts": texts}), until=until())
        with self._understanding():
            if answer["model"] != expect:
                raise errors.ModelMismatch(
                    f"the embedder at {self.url} was restarted with another model",
                    hint="aya status, then aya reembed",
                )
            raw = [base64.b64decode(text, validate=True) for text in answer["embeddings"]]
            rows = [np.frombuffer(each, dtype="<f4") for each in raw]
            if len(rows) == len(texts):
                return np.stack(rows)
        raise errors.EmbedderError(f"{self.url} returned {len(rows)} vectors for {len(texts)} texts", hint=_HINT)

    async def _models(self, until: float) -> list[ModelStatus]:
        answer = await self._http.ask(Call("GET", "/models"), until=until)
        with self._understanding():
            return [ModelStatus.from_mapping(each) for each in answer["models"]]

    def _loaded(self, source: str, models: Sequence[ModelStatus]) -> ModelIdentity | None:
        """Return the identity of `source` once it is ready; None while it is loading."""
        found = next((model for model in models if model.source == source), None)
        if found is None:
            raise errors.ModelNotLoaded(f"the embedder at {self.url} has not loaded {source}", hint=_HINT)
        if found.state == "failed":
            raise errors.EmbedderError(
                f"the embedder at {self.url} cannot load {source}: {found.error}", hint=found.hint or _HINT
            )
        return found.identity if found.state == "ready" else None

    def _in(self, seconds: float) -> float:
        return self._timing.now() + seconds

    def _until(self, prompt: Prompt, deadline_seconds: float | None) -> Callable[[], float]:
        """Return what says, when a request is about to begin, when it must be over."""
        if deadline_seconds is None and prompt == "document":
            return lambda: self._in(DOCUMENTS_TIMEOUT_SECONDS)
        fixed = self._in(QUERY_TIMEOUT_SECONDS if deadline_seconds is None else deadline_seconds)
        return lambda: fixed

    @contextmanager
    def _understanding(self) -> Generator[None]:
        try:
            yield
        except (LookupError, TypeError, ValueError) as error:
            raise errors.EmbedderError(
                f"{self.url} does not answer as an embedder does: {error!r}", hint="upgrade the embedder, then aya up"
            ) from error
