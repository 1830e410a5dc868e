"""The embedder's models, readiness and metrics over HTTP and fake models."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families

from aya_embedder import observation
from aya_embedder.app import create_app
from aya_embedder.cache import VectorCache
from aya_embedder.fake import FakeEmbedder, running_models
from aya_embedder.loaded import LoadedModels
from aya_embedder.metrics import Metrics

BASE = "http://embedder"


@pytest.fixture
def model() -> FakeEmbedder:
    """The default model."""
    return FakeEmbedder("org/first")


@pytest.fixture
def spare() -> FakeEmbedder:
    """A model that can be loaded beside it."""
    return FakeEmbedder("org/spare")


@pytest.fixture
async def client(model: FakeEmbedder, spare: FakeEmbedder) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application, in process."""
    async with running_models(model, spare=[spare]) as models:
        transport = httpx2.ASGITransport(app=create_app(models), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
            yield client


async def metrics(client: httpx2.AsyncClient) -> dict[tuple[str, str], float]:
    """Return the samples by name and by the value of their last label."""
    text = (await client.get("/metrics")).text
    return {
        (sample.name, next(iter(sample.labels.values()), "")): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }


async def test_a_model_is_loaded_beside_the_default_and_used_by_name(client: httpx2.AsyncClient) -> None:
    """POST /models begins it, GET /models shows it, and every call takes its name."""
    begun = await client.post("/models", json={"model": "org/spare"})
    while (await client.get("/info?model=org/spare")).status_code == 503:  # noqa: ASYNC110 until it is ready
        await asyncio.sleep(0)  # the application answers without giving way
    again = await client.post("/models", json={"model": "org/spare"})
    listed = (await client.get("/models")).json()["models"]
    info = (await client.get("/info?model=spare")).json()
    embedded = (await client.post("/embed", json={"text": "a", "model": "spare"})).json()
    tokens = await client.post("/tokenize", json={"texts": ["a"], "model": info["fingerprint"]})
    assert (begun.status_code, begun.json()["state"], again.status_code) == (202, "loading", 200)
    assert [(one["source"], one["state"], one["default"]) for one in listed] == [
        ("org/first", "ready", True),
        ("org/spare", "ready", False),
    ]
    assert listed[1]["identity"]["fingerprint"] == info["fingerprint"] == embedded["model"]
    assert (info["source"], tokens.status_code) == ("org/spare", 200)


async def test_the_default_can_be_changed(client: httpx2.AsyncClient) -> None:
    """From when it is ready, the new one answers those who name none."""
    await client.post("/models", json={"model": "org/spare", "default": True})
    while (await client.get("/info")).json()["source"] == "org/first":  # noqa: ASYNC110 until it is ready
        await asyncio.sleep(0)  # the application answers without giving way
    assert (await client.get("/health")).json()["model"] == "org/spare"


@pytest.mark.parametrize("name", ["no-such-model", "~nobody-here/x", "x" * 4000, "/dev/null", "a\tb"])
async def test_what_is_no_model_is_not_loaded(client: httpx2.AsyncClient, name: str) -> None:
    """Neither a known name nor a directory."""
    answer = await client.post("/models", json={"model": name})
    assert (answer.status_code, answer.json()["error"]["type"]) == (422, "unknown_model")


@pytest.mark.parametrize("call", ["/embed", "/tokenize", "/info"])
async def test_a_model_that_is_not_loaded_is_404(client: httpx2.AsyncClient, call: str) -> None:
    """The hint says how to load it."""
    body = {"texts": ["a"], "model": "spare"}
    answer = await (client.get("/info?model=spare") if call == "/info" else client.post(call, json=body))
    assert (answer.status_code, answer.json()["error"]["type"]) == (404, "model_not_loaded")
    assert "POST /models" in answer.json()["error"]["hint"]


class Clock:
    """Stands in for `time` where the ages of passes are reckoned. ahead: of the real one, in seconds."""

    ahead = 0.0

    def monotonic(self) -> float:
        """Return the time."""
        return time.monotonic() + self.ahead


async def test_ready_makes_a_pass_when_there_was_none_lately(
    client: httpx2.AsyncClient, model: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """An idle service proves itself by a pass, whose outcome decides; a broken one is found out, and found well again.

    Half a minute goes by before each of the last two times of asking.
    """
    clock = Clock()
    monkeypatch.setattr("aya_embedder.streams.time", clock)
    before = len(model.forwards)
    assert (await client.get("/ready")).status_code == 200
    assert len(model.forwards) == before
    clock.ahead += 31
    assert (await client.get("/ready")).status_code == 200
    assert len(model.forwards) == before + 1
    assert (await client.get("/health")).json()["last_forward_age_seconds"] < 30
    clock.ahead += 31
    model.broken = True
    assert (await client.get("/ready")).json() == {"ready": False}
    assert len(model.forwards) > before + 1
    model.broken = False
    assert (await client.post("/embed", json={"text": "a"})).status_code == 200
    assert (await client.get("/ready")).json() == {"ready": True}


async def test_ready_does_not_wait_for_a_pass_that_hangs(
    client: httpx2.AsyncClient, model: FakeEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Whoever asks is told in time."""
    monkeypatch.setattr(observation, "_LATELY_SECONDS", 0)
    monkeypatch.setattr(observation, "_PROOF_SECONDS", 0.05)
    model.gate.clear()
    assert (await client.get("/ready")).status_code == 503


async def test_while_loading_nothing_is_ready() -> None:
    """And the metrics are there all the same."""
    models = LoadedModels(lambda _: FakeEmbedder(), VectorCache(0), default="fake", resolve=str)
    transport = httpx2.ASGITransport(app=create_app(models))
    async with httpx2.AsyncClient(transport=transport, base_url=BASE) as client:
        assert (await client.get("/ready")).status_code == 503
        assert (await metrics(client))["aya_embedder_healthy", ""] == 0


async def test_requests_are_counted_under_the_names_of_text_embeddings_inference(client: httpx2.AsyncClient) -> None:
    """Answered ones, refused ones by why, and what they took."""
    await client.post("/embed", json={"text": "a"})
    await client.post("/embed", json={"texts": ["a", "bb"]})
    await client.post("/v1/embeddings", json={"input": ""})
    await client.post("/v1/embeddings", json={"input": "☠"})
    counted = await metrics(client)
    assert counted["te_request_count", "single"] == 2
    assert counted["te_request_count", "batch"] == 1
    assert counted["te_request_success", "single"] == 1
    assert counted["te_request_success", "batch"] == 1
    assert counted["te_request_failure", "validation"] == 1
    assert counted["te_request_failure", "inference"] == 1
    assert (counted["te_embed_count", ""], counted["te_embed_success", ""]) == (4, 3)
    assert counted["aya_embedder_cache_hits_total", "memory"] == 1
    for name in ("", "tokenization_", "queue_", "inference_"):
        assert counted[f"te_request_{name}duration_count", ""] == 2
    assert (counted["te_request_input_length_sum", ""], counted["te_queue_size", ""]) == (3 + 3 + 4, 0)


async def test_batches_are_counted_when_the_engine_is_observed() -> None:
    """Their texts and their tokens, as the service wires it."""
    counted = Metrics()
    fake = FakeEmbedder()
    models = LoadedModels(lambda _: fake, VectorCache(0), default="fake", resolve=str, observe=counted.of)
    app = create_app(models, metrics=counted)
    counted.of("fake").batch_computed(3, 17, 0.5)
    async with httpx2.AsyncClient(transport=httpx2.ASGITransport(app=app), base_url=BASE) as client:
        samples = await metrics(client)
    assert (samples["te_batch_next_size_sum", ""], samples["te_batch_next_tokens_sum", ""]) == (3, 17)


async def test_an_answer_says_where_its_time_went(client: httpx2.AsyncClient) -> None:
    """In the headers of text-embeddings-inference."""
    answer = await client.post("/embed", json={"texts": ["a", "bb"]})
    headers = {name: value for name, value in answer.headers.items() if name.startswith("x-")}
    assert headers["x-compute-type"] == "cpu"
    assert (headers["x-compute-characters"], headers["x-compute-tokens"]) == ("3", "7")
    times = ("x-total-time", "x-compute-time", "x-tokenization-time", "x-queue-time", "x-inference-time")
    assert all(headers[name].isdigit() for name in times)
