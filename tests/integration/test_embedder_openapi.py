"""The OpenAPI document against the service: whatever the document allows, the service answers as the document says."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterator
from typing import Any

import httpx2
import pytest
import schemathesis
from hypothesis import HealthCheck, settings

from aya_embedder import server
from aya_embedder.access import embedder_access
from aya_embedder.app import create_app
from aya_embedder.cache import VectorCache
from aya_embedder.fake import FakeEmbedder, running_models
from aya_embedder.limits import Patience
from aya_embedder.loaded import LoadedModels

MODEL = FakeEmbedder(max_tokens=100_000, budget_tokens=100_000)
# A character that generated texts are not likely to have: hypothesis takes up the constants that it finds in our code.
MODEL.poison = chr(1_000_000 + 114_011)


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The service over a fake model, on a thread and a socket of its own."""
    listener = server.bound("127.0.0.1", 0)
    loop = asyncio.new_event_loop()
    stop = asyncio.Event()

    async def serve() -> None:
        async with running_models(MODEL, max_waiting_texts=4096) as models:
            await server.answer(models, listener, embedder_access(), stop, patience=Patience())

    thread = threading.Thread(target=loop.run_until_complete, args=[serve()])
    thread.start()
    yield f"http://127.0.0.1:{listener.getsockname()[1]}"
    loop.call_soon_threadsafe(stop.set)
    thread.join()
    loop.close()
    listener.close()


def document() -> dict[str, Any]:
    """Return the document, narrowed by what it cannot know: the sizes of the model that is loaded, and its name."""
    models = LoadedModels(lambda _: MODEL, VectorCache(0), default="fake", resolve=str)
    described = create_app(models).openapi()
    openai = properties(described, "/v1/embeddings")
    openai["dimensions"]["anyOf"][0]["maximum"] = MODEL.identity.dimension
    _, _, ids, many_ids = openai["input"]["oneOf"]
    ids["items"]["maximum"] = many_ids["items"]["items"]["maximum"] = MODEL.vocabulary_size - 1
    properties(described, "/models")["model"]["enum"] = ["fake"]
    return described


def properties(described: dict[str, Any], path: str) -> dict[str, Any]:
    """Return the fields of what a POST to `path` takes."""
    content = described["paths"][path]["post"]["requestBody"]["content"]
    return dict(content["application/json"]["schema"]["properties"])


# 413 is a refusal too: what is over a cap violates the document as well
config = schemathesis.Config.from_dict(  # pyright: ignore[reportUnknownMemberType]
    {"checks": {"negative_data_rejection": {"expected-statuses": ["400", "404", "413", "415", "422"]}}}
)
schema = schemathesis.openapi.from_dict(document(), config=config)


@pytest.mark.slow
@schema.parametrize()  # pyright: ignore[reportUnknownMemberType, reportUntypedFunctionDecorator]
@settings(
    max_examples=30,
    derandomize=True,
    deadline=None,
    database=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large],
)
def test_calls_answer_as_described(case: schemathesis.Case[Any], url: str) -> None:
    """No answer is a server error, and each has a status, a type and a shape that the document names."""
    case.call_and_validate(base_url=url)  # pyright: ignore[reportUnknownMemberType]


EXAMPLES = [
    (path, example)
    for path, calls in document()["paths"].items()
    for example in calls.get("post", {})
    .get("requestBody", {})
    .get("content", {})
    .get("application/json", {})
    .get("schema", {})
    .get("examples", [])
    if path != "/models"
]


@pytest.mark.parametrize(("path", "body"), EXAMPLES)
def test_the_examples_of_the_document_work(path: str, body: dict[str, Any], url: str) -> None:
    """Whoever copies one gets an answer."""
    assert httpx2.post(f"{url}{path}", json=body).status_code == 200
