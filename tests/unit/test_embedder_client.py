"""The embedder's client: what the service says becomes vectors, or an error that says what to do."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Awaitable, Callable
from math import ceil
from typing import Any

import httpx2
import numpy as np
import pytest

from aya import embedder_client, errors
from aya.embedder_client import EmbedderClient
from aya.embedder_http import Timing
from aya.embedding_batches import BATCH_TEXTS, segments

URL = "http://embedder:8765"
MODEL = "f00d"
Call = Callable[[EmbedderClient], Awaitable[object]]


def embed(client: EmbedderClient) -> Awaitable[object]:
    """Ask for one vector."""
    return client.embed(["text"], prompt="document", expect=MODEL)


def tokenize(client: EmbedderClient) -> Awaitable[object]:
    """Ask where tokens start."""
    return client.tokenize("text")


def identity(client: EmbedderClient) -> Awaitable[object]:
    """Ask for the model."""
    return client.identity()


async def at_once(_: float) -> None:
    """Do not wait."""


def answering(answer: Callable[[httpx2.Request], httpx2.Response]) -> EmbedderClient:
    """Return a client of a service that answers as told; it waits for nothing between attempts."""
    return EmbedderClient(URL, transport=httpx2.MockTransport(answer), timing=Timing(sleep=at_once))


def saying(status: int, body: object) -> EmbedderClient:
    """Return a client of a service that always says the same."""
    if isinstance(body, str):
        return answering(lambda _: httpx2.Response(status, text=body))
    return answering(lambda _: httpx2.Response(status, json=body))


def vector(*values: float) -> str:
    """Write a vector as the service does."""
    return base64.b64encode(np.array(values, dtype="<f4").tobytes()).decode()


# What only a broken service says


@pytest.mark.parametrize("call", [embed, tokenize, identity])
@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (503, {"error": {"message": "the model is loading", "hint": "wait"}}, errors.EmbedderOverloaded, "is loading"),
        (429, {"error": {"message": "the queue is full"}}, errors.EmbedderOverloaded, "refused: the queue is full"),
        (503, "<html>Bad gateway</html>", errors.EmbedderOverloaded, "refused: HTTP status 503"),
        (502, "<html>Bad gateway</html>", errors.EmbedderError, "refused: HTTP status 502"),
        (500, {"error": "a string"}, errors.EmbedderError, "refused: HTTP status 500"),
        (500, {"error": {"code": 7}}, errors.EmbedderError, "refused: HTTP status 500"),
        (404, {"error": {"type": "model_not_loaded", "message": "no f00d"}}, errors.ModelNotLoaded, "refused: no f00d"),
        (404, [], errors.EmbedderError, "refused: HTTP status 404"),
        (413, {"error": {"type": "text_too_long", "message": "600 tokens"}}, errors.TextTooLong, "600 tokens"),
        (200, "<html>Hello</html>", errors.EmbedderError, "does not answer in JSON; is it an embedder"),
        (200, [1], errors.EmbedderError, "does not answer with an object"),
        (302, "", errors.EmbedderError, "HTTP status 302"),
    ],
)
async def test_every_refusal_is_an_error_of_ours(
    call: Call, status: int, body: object, kind: type[errors.AyaError], words: str
) -> None:
    """Overload may be tried again, the rest not; the message names the service, the hint the next command."""
    async with saying(status, body) as client:
        with pytest.raises(errors.EmbedderError, match=words) as caught:
            await call(client)
    assert type(caught.value) is kind
    assert URL in caught.value.message
    assert caught.value.hint


@pytest.mark.parametrize(
    ("call", "body"),
    [
        (embed, {}),
        (embed, {"model": MODEL}),
        (embed, {"model": MODEL, "embeddings": None}),
        (embed, {"model": MODEL, "embeddings": [[0.1, 0.2]]}),
        (embed, {"model": MODEL, "embeddings": ["!"]}),
        (embed, {"model": MODEL, "embeddings": ["AAA="]}),
        (embed, {"model": MODEL, "embeddings": []}),
        (embed, {"model": MODEL, "embeddings": [vector(1), vector(1)]}),
        (tokenize, {}),
        (tokenize, {"starts": []}),
        (tokenize, {"starts": [[0]], "max_tokens": "many"}),
        (identity, {}),
        (identity, {"model": "m"}),
    ],
)
async def test_an_answer_of_another_form_is_no_embedders(call: Call, body: object) -> None:
    """Another service on the port, or an embedder of another age, ends in words and not in a KeyError."""
    async with saying(200, body) as client:
        with pytest.raises(errors.EmbedderError) as caught:
            await call(client)
    assert not caught.value.retryable


@pytest.mark.parametrize("call", [embed, tokenize, identity])
async def test_an_answer_that_is_not_coded_as_it_says_is_no_embedders(call: Call) -> None:
    """The driver's error does not come through raw."""

    def answer(_: httpx2.Request) -> httpx2.Response:
        headers = {"content-encoding": "gzip"}
        return httpx2.Response(200, headers=headers, stream=httpx2.ByteStream(b"no gzip at all"))

    async with answering(answer) as client:
        with pytest.raises(errors.EmbedderError, match="cannot be read") as caught:
            await call(client)
    assert not caught.value.retryable


async def test_vectors_of_two_lengths_are_refused() -> None:
    """They cannot be of one model."""
    async with saying(200, {"model": MODEL, "embeddings": [vector(1), vector(1, 2)]}) as client:
        with pytest.raises(errors.EmbedderError, match="does not answer as an embedder"):
            await client.embed(["a", "b"], prompt="document", expect=MODEL)


async def test_vectors_of_another_model_are_never_taken() -> None:
    """A service restarted with another model between two calls is found out by its fingerprint."""
    async with saying(200, {"model": "other", "embeddings": [vector(1)]}) as client:
        with pytest.raises(errors.ModelMismatch, match="another model"):
            await embed(client)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        (httpx2.ConnectError("refused"), "cannot be reached: refused"),
        (httpx2.ReadError("reset"), "cannot be reached: reset"),
        (httpx2.RemoteProtocolError("gone"), "cannot be reached: gone"),
        (httpx2.ConnectTimeout("slow"), "did not answer in time"),
        (httpx2.ReadTimeout("slow"), "did not answer in time"),
        (httpx2.PoolTimeout("slow"), "did not answer in time"),
    ],
)
async def test_a_service_that_is_gone_or_slow_may_be_asked_again(fault: httpx2.TransportError, words: str) -> None:
    """It is retryable, and the driver's error is the cause."""

    def fail(request: httpx2.Request) -> httpx2.Response:
        raise fault

    async with answering(fail) as client:
        with pytest.raises(errors.EmbedderUnavailable, match=words) as caught:
            await embed(client)
    assert caught.value.retryable
    assert caught.value.__cause__ is fault


async def test_a_service_that_never_answers_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A real connection that stays silent ends after the time a query may take."""
    monkeypatch.setattr(embedder_client, "QUERY_TIMEOUT_SECONDS", 0.05)
    released = asyncio.Event()

    async def stay_silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await released.wait()
        writer.close()

    server = await asyncio.start_server(stay_silent, "127.0.0.1", 0)
    async with server, EmbedderClient(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}") as client:
        with pytest.raises(errors.EmbedderUnavailable, match="did not answer in time"):
            await client.embed(["text"], prompt="query", expect=MODEL)
        released.set()


async def test_nobody_at_the_address_is_unavailable() -> None:
    """Port 9 of this machine refuses."""
    async with EmbedderClient("http://127.0.0.1:9") as client:
        with pytest.raises(errors.EmbedderUnavailable, match=r"http://127\.0\.0\.1:9 cannot be reached"):
            await client.health()


@pytest.mark.parametrize("url", ["ftp://127.0.0.1", "nonsense"])
async def test_an_address_that_is_none_is_said(url: str) -> None:
    """A wrong EMBEDDING_URL ends in words, be it found on making the client or on the first call."""
    with pytest.raises(errors.AyaError, match=url):
        async with EmbedderClient(url) as client:
            await client.health()


async def test_a_lone_surrogate_is_the_documents_fault() -> None:
    """It cannot be sent; the service is well."""
    async with saying(200, {}) as client:
        with pytest.raises(errors.DocumentError, match="lone surrogate"):
            await client.embed(["a\ud800"], prompt="document", expect=MODEL)


async def test_health_is_told_whatever_its_status_code() -> None:
    """A service that is loading answers 503, and says so."""
    async with saying(503, {"status": "loading"}) as client:
        assert await client.health() == {"status": "loading"}


async def test_many_texts_go_out_in_batches_and_come_back_in_order() -> None:
    """No request is over the service's cap, and row i belongs to text i."""
    sizes: list[int] = []

    def answer(request: httpx2.Request) -> httpx2.Response:
        texts = embedder_texts(request)
        sizes.append(len(texts))
        return httpx2.Response(200, json={"model": MODEL, "embeddings": [vector(float(text), 0) for text in texts]})

    async with answering(answer) as client:
        made = await client.embed([str(n) for n in range(150)], prompt="document", expect=MODEL)
        nothing = await client.embed([], prompt="document", expect=MODEL)
    assert made.shape == (150, 2)
    assert made.dtype == np.float32
    assert made[:, 0].tolist() == list(range(150))
    assert (max(sizes), len(sizes), len(nothing)) == (BATCH_TEXTS, ceil(150 / BATCH_TEXTS), 0)


def embedder_texts(request: httpx2.Request) -> list[str]:
    """Read the texts of a request."""
    body: dict[str, Any] = httpx2.Response(200, content=request.content).json()
    return [str(text) for text in body["texts"]]


# What the real service says


async def test_a_long_text_is_tokenised_as_if_it_were_sent_whole(
    embedder_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Parts and offsets make no difference to where tokens start."""
    text = "Bread rises 😀 slowly, über Nacht.\n" * 50
    async with EmbedderClient(embedder_url + "/") as client:
        whole = await client.tokenize(text)
        parts = list(segments(text, 100))
        assert len(parts) > 10

        def small_segments(_: str) -> list[tuple[int, str]]:
            return parts

        monkeypatch.setattr(embedder_client, "segments", small_segments)
        assert await client.tokenize(text) == whole
    assert 0 < whole.room < 512
    assert whole.starts == sorted(whole.starts)


async def test_a_text_over_the_window_is_cut_only_when_asked(embedder_url: str) -> None:
    """Nothing is cut silently: the refusal counts the tokens."""
    async with EmbedderClient(embedder_url) as client:
        model = (await client.identity()).fingerprint
        with pytest.raises(errors.TextTooLong, match="token"):
            await client.embed(["word " * 2000], prompt="document", expect=model)
        made = await client.embed(["word " * 2000], prompt="document", expect=model, truncate=True)
    assert np.linalg.norm(made[0]) == pytest.approx(1, abs=1e-5)


async def test_a_proxy_in_the_environment_is_not_asked(embedder_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """This machine's own service is reached directly."""
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    monkeypatch.setenv("ALL_PROXY", "http://127.0.0.1:9")
    async with EmbedderClient(embedder_url) as client:
        assert (await client.health())["status"] == "healthy"
