"""The embedder's HTTP calls over a fake model: shapes, caps, and what every error looks like."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import AsyncIterator, MutableMapping
from typing import Any

import httpx2
import numpy as np
import pytest

from aya_embedder import limits
from aya_embedder.app import create_app
from aya_embedder.cache import VectorCache
from aya_embedder.fake import FakeEmbedder, running_models
from aya_embedder.loaded import LoadedModels

BASE = "http://embedder"


@pytest.fixture
def model() -> FakeEmbedder:
    """A model with a window of sixteen characters, special tokens included."""
    return FakeEmbedder()


@pytest.fixture
async def client(model: FakeEmbedder) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application, in process."""
    async with running_models(model, max_waiting_texts=4000) as models:
        transport = httpx2.ASGITransport(app=create_app(models), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
            yield client


async def test_embed_answers_as_the_contract_says(client: httpx2.AsyncClient) -> None:
    """POST /embed {"text"} gives a vector of length 1 and cached false; the same text again, cached true."""
    first = (await client.post("/embed", json={"text": "hello"})).json()
    again = (await client.post("/embed", json={"text": "hello"})).json()
    assert (first["cached"], again["cached"]) == (False, True)
    assert first["embedding"] == again["embedding"]
    assert np.linalg.norm(first["embedding"]) == pytest.approx(1)
    assert (first["tokens"], first["truncated"], len(first["model"])) == (7, False, 16)


async def test_embed_takes_several_texts(client: httpx2.AsyncClient) -> None:
    """POST /embed {"texts"} gives one entry per text in every list, in order."""
    answer = (await client.post("/embed", json={"texts": ["a", "b" * 20, "a"]})).json()
    assert (answer["cached"], answer["tokens"], answer["truncated"]) == ([False] * 3, [3, 22, 3], [False, True, False])
    assert answer["embeddings"][0] == answer["embeddings"][2] != answer["embeddings"][1]


async def test_base64_is_the_same_vector(client: httpx2.AsyncClient) -> None:
    """Base64 holds little-endian float32, for /embed and for OpenAI's clients."""
    plain = (await client.post("/embed", json={"text": "a"})).json()["embedding"]
    ours = (await client.post("/embed", json={"text": "a", "encoding": "base64"})).json()["embedding"]
    body = {"input": "a", "model": "fake", "encoding_format": "base64"}
    openai = (await client.post("/v1/embeddings", json=body)).json()["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(ours), "<f4"), np.array(plain, np.float32))
    assert ours == openai


async def test_a_query_is_not_a_document(client: httpx2.AsyncClient) -> None:
    """The prompt's prefix is put before the text, and counted."""
    document = (await client.post("/embed", json={"text": "a"})).json()
    query = (await client.post("/embed", json={"text": "a", "prompt": "query"})).json()
    assert query["embedding"] != document["embedding"]
    assert query["tokens"] == document["tokens"] + len("q: ")


async def test_tokenize_says_where_tokens_start(client: httpx2.AsyncClient) -> None:
    """POST /tokenize gives offsets in code points, and what a chunker must leave room for."""
    answer = (await client.post("/tokenize", json={"texts": ["ab", "é🎉x"]})).json()
    assert answer == {"starts": [[0, 1], [0, 1, 2]], "special_tokens": 2, "prefix_tokens": 0, "max_tokens": 16}


async def test_health_and_stats_and_info(client: httpx2.AsyncClient) -> None:
    """The contract's fields are there; the others say which model computes on what, and how much was done."""
    await client.post("/embed", json={"texts": ["a", "b"]})
    health = await client.get("/health")
    stats = (await client.get("/stats")).json()
    info = (await client.get("/info")).json()
    assert health.status_code == 200
    assert health.json().items() >= {"status": "healthy", "metal_available": False, "dimension": 8}.items()
    backend = {"device": "cpu", "blas": "reference", "version": None, "kernels": "stock", "streams": 1}
    assert health.json()["backend"] == info["backend"] == backend
    assert health.json()["last_forward_age_seconds"] >= 0
    assert stats.items() >= {"cache_size": 2, "metal_active_memory": 1024, "queue_depth": 0, "texts": 2}.items()
    assert info["fingerprint"] == health.json()["fingerprint"]
    assert (await client.get("/ready")).json() == {"ready": True}


@pytest.mark.parametrize(
    ("body", "status", "kind", "says"),
    [
        pytest.param(b"{", 400, "invalid_json", "JSON", id="no JSON"),
        pytest.param(b'{"text":"\xff"}', 400, "invalid_json", "JSON", id="no UTF-8"),
        pytest.param(b'{"text":"\\ud800"}', 400, "invalid_json", "JSON", id="a lone surrogate"),
        pytest.param(b"[" * 100_000, 400, "invalid_json", "recursion", id="deep JSON"),
        pytest.param(b'{"text":"a"} x', 400, "invalid_json", "trailing", id="more after the JSON"),
        pytest.param(b'{"text":"a","text":"b"}', 400, "invalid_json", "twice", id="a field twice"),
        pytest.param(b"", 400, "invalid_json", "JSON", id="no body"),
        pytest.param('{"text":"a"}'.encode("utf-16"), 400, "invalid_json", "JSON", id="UTF-16"),
        pytest.param(b'{"text":"\xed\xa0\x80"}', 400, "invalid_json", "JSON", id="a lone surrogate in bytes"),
        pytest.param(b'{"text":NaN}', 422, "invalid_request", "text", id="no number"),
        pytest.param(b'{"text":"a\\u0000b"}', 422, "invalid_request", "NUL", id="NUL, which PostgreSQL cannot store"),
        pytest.param(b"[]", 422, "invalid_request", "object", id="an array"),
        pytest.param(b"null", 422, "invalid_request", "object", id="null"),
        pytest.param(b"{}", 422, "invalid_request", "either", id="no text"),
        pytest.param(b'{"text":"a","texts":["a"]}', 422, "invalid_request", "either", id="both"),
        pytest.param(b'{"text":""}', 422, "invalid_request", "text", id="an empty text"),
        pytest.param(b'{"texts":["a",""]}', 422, "invalid_request", "texts.1", id="an empty text among others"),
        pytest.param(b'{"texts":[]}', 422, "invalid_request", "texts", id="no texts"),
        pytest.param(b'{"text":5}', 422, "invalid_request", "text", id="a number"),
        pytest.param(b'{"text":"a","promt":"query"}', 422, "invalid_request", "promt", id="a misspelt field"),
        pytest.param(b'{"text":"a","prompt":"poem"}', 422, "invalid_request", "prompt", id="an unknown prompt"),
        pytest.param(
            b'{"text":"a","truncate":"yes"}', 422, "invalid_request", "truncate", id="truncate that is no bool"
        ),
        pytest.param(b'{"text":"%s"}' % (b"a" * 400_001), 413, "too_large", "400000", id="a text over the cap"),
        pytest.param(b'{"texts":[%s"a"]}' % (b'"a",' * 2048), 413, "too_large", "2048", id="too many texts"),
        pytest.param(
            b'{"texts":["%s","%s"]}' % ("語".encode() * 300_000, "語".encode() * 300_000),
            413,
            "too_large",
            "1250000",
            id="too much text together",
        ),
        pytest.param(b" " * (limits.MAX_BODY_BYTES + 1), 413, "too_large", "bytes", id="a body over the cap"),
        pytest.param(
            b'{"text":"aaaaaaaaaaaaaaa","truncate":false}', 413, "text_too_long", "17 tokens", id="over the window"
        ),
    ],
)
async def test_bad_input_gets_a_clear_error(  # noqa: PLR0913, PLR0917 a fixture or a column of the table each
    client: httpx2.AsyncClient, model: FakeEmbedder, body: bytes, status: int, kind: str, says: str
) -> None:
    """Each fault has its status, a type, a message that names it, and the next step; the model never sees it."""
    answer = await client.post("/embed", content=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], set(error)) == (status, kind, {"type", "message", "hint"})
    assert says in error["message"]
    assert error["hint"]
    assert len(model.forwards) == 1


async def test_an_unknown_call_and_a_wrong_method_have_the_same_shape(client: httpx2.AsyncClient) -> None:
    """Errors of the framework look like ours too."""
    for answer, kind in (
        (await client.get("/nowhere"), "not_found"),
        (await client.get("/embed"), "method_not_allowed"),
    ):
        assert answer.json()["error"]["type"] == kind


async def test_a_text_that_the_model_cannot_do(client: httpx2.AsyncClient) -> None:
    """The failure is this request's alone, and names the text."""
    answer = await client.post("/embed", json={"texts": ["fine", "☠"]})
    assert (answer.status_code, answer.json()["error"]["type"]) == (500, "inference_failed")
    assert "text 1" in answer.json()["error"]["message"]
    assert (await client.post("/embed", json={"text": "fine"})).status_code == 200


async def test_while_loading_http_answers() -> None:
    """Health says loading with 503, and work is sent away with a time to come back."""
    models = LoadedModels(lambda _: FakeEmbedder(), VectorCache(0), default="fake", resolve=str)
    transport = httpx2.ASGITransport(app=create_app(models))
    async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
        health = await client.get("/health")
        embed = await client.post("/embed", json={"text": "a"})
    assert (health.status_code, health.json()["status"], health.json()["metal_available"]) == (503, "loading", False)
    assert (embed.status_code, embed.headers["retry-after"]) == (503, "2")
    assert embed.json()["error"]["type"] == "not_ready"


@pytest.mark.parametrize("call", ["/embed", "/v1/embeddings"])
async def test_overload_is_429_with_a_time_to_come_back(model: FakeEmbedder, call: str) -> None:
    """A full queue is said so, in the shape of the call."""
    async with running_models(model, max_waiting_texts=2) as models:
        transport = httpx2.ASGITransport(app=create_app(models))
        async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
            field = "texts" if call == "/embed" else "input"
            model.gate.clear()
            waiting = asyncio.create_task(client.post(call, json={field: ["w"]}))
            while len(model.forwards) < 2:  # noqa: ASYNC110 the model runs on its own thread
                await asyncio.sleep(0)
            more = asyncio.create_task(client.post(call, json={field: ["x", "y"]}))
            while models.default.waiting_texts < 2:  # noqa: ASYNC110 they board as soon as they are tokenised
                await asyncio.sleep(0)
            answer = await client.post(call, json={field: ["a", "b", "c"]})
            model.gate.set()
            assert [(await one).status_code for one in (waiting, more)] == [200, 200]
    assert (answer.status_code, int(answer.headers["retry-after"]) >= 1) == (429, True)
    assert answer.json()["error"]["type"] in {"overloaded", "rate_limit_error"}


async def test_a_client_that_leaves_is_not_computed_for(model: FakeEmbedder) -> None:
    """When the connection ends, the texts that only it wanted leave the queue."""
    async with running_models(model) as models:
        model.gate.clear()
        app, engine = create_app(models), models.default
        first, second = Caller(b'{"text":"first"}'), Caller(b'{"text":"second"}')
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(app(first.scope, first.receive, first.send))
            while len(model.forwards) < 2:  # noqa: ASYNC110 the model runs on its own thread
                await asyncio.sleep(0)
            tasks.create_task(app(second.scope, second.receive, second.send))
            while engine.waiting_texts < 1:  # noqa: ASYNC110 it boards as soon as it is tokenised
                await asyncio.sleep(0)
            second.left.set()
            while engine.waiting_texts:  # noqa: ASYNC110 it leaves as soon as the connection has ended
                await asyncio.sleep(0)
            model.gate.set()
    assert (first.status, second.status, len(model.forwards)) == (200, 499, 2)


class Caller:
    """An HTTP client as ASGI shows it, which leaves when told to."""

    def __init__(self, body: bytes) -> None:
        self.scope: dict[str, Any] = {
            "type": "http",
            "method": "POST",
            "path": "/embed",
            "query_string": b"",
            "headers": [],
        }
        self.left = asyncio.Event()
        self.status = 0
        self._messages = [{"type": "http.request", "body": body, "more_body": False}]

    async def receive(self) -> dict[str, Any]:
        """Give the body, then wait until the client leaves."""
        if self._messages:
            return self._messages.pop()
        await self.left.wait()
        return {"type": "http.disconnect"}

    async def send(self, message: MutableMapping[str, Any]) -> None:
        """Keep the status."""
        self.status = message.get("status", self.status)
