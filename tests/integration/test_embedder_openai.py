"""POST /v1/embeddings over fake models: what OpenAI's clients send, and what they read."""

from __future__ import annotations

import base64
from collections.abc import AsyncIterator
from typing import Any

import httpx2
import numpy as np
import pytest

from aya_embedder.app import create_app
from aya_embedder.fake import FakeEmbedder, running_models

CALL = "/v1/embeddings"


@pytest.fixture
async def client() -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the application, in process, with a default model and another."""
    fakes = FakeEmbedder("org/first"), FakeEmbedder("org/second", dimension=4)
    async with running_models(*fakes, max_waiting_texts=4000) as models:
        transport = httpx2.ASGITransport(app=create_app(models), raise_app_exceptions=False)
        async with httpx2.AsyncClient(transport=transport, base_url="http://embedder") as client:
            yield client


async def test_the_answer_is_openais(client: httpx2.AsyncClient) -> None:
    """The very object that OpenAI's documentation shows, with what was cut off added."""
    body = {"input": ["ab", "c" * 30], "model": "", "user": "u", "unknown": {"is": "ignored"}}
    answer = (await client.post(CALL, json=body, headers={"Authorization": "Bearer sk-any"})).json()
    vectors = [item.pop("embedding") for item in answer["data"]]
    assert answer == {
        "object": "list",
        "data": [{"object": "embedding", "index": 0}, {"object": "embedding", "index": 1}],
        "model": "org/first",
        "usage": {"prompt_tokens": 4 + 16, "total_tokens": 4 + 16},
        "truncated": [False, True],
    }
    assert np.linalg.norm(vectors, axis=1) == pytest.approx([1, 1])


async def test_every_form_of_input_gives_the_same_vector(client: httpx2.AsyncClient) -> None:
    """A string, a list of one, and the token ids that the model's tokenizer makes of it, alone and in a list."""
    ids = [ord(character) for character in "ab"]
    answers = [(await client.post(CALL, json={"input": given})).json() for given in ("ab", ["ab"], ids, [ids])]
    assert all(answer["data"] == answers[0]["data"] for answer in answers)
    assert [answer["usage"]["prompt_tokens"] for answer in answers] == [4] * 4


async def test_base64_is_little_endian_float32(client: httpx2.AsyncClient) -> None:
    """OpenAI's own client asks for it without being told to, and unpacks it with NumPy."""
    plain = (await client.post(CALL, json={"input": "a"})).json()["data"][0]["embedding"]
    packed = (await client.post(CALL, json={"input": "a", "encoding_format": "base64"})).json()["data"][0]["embedding"]
    assert np.array_equal(np.frombuffer(base64.b64decode(packed, validate=True), "<f4"), np.array(plain, np.float32))


@pytest.mark.parametrize("encoding", ["float", "base64"])
async def test_fewer_dimensions_are_the_first_made_a_vector_of_length_1_again(
    client: httpx2.AsyncClient, encoding: str
) -> None:
    """As for OpenAI's text-embedding-3 models."""
    whole = np.array((await client.post(CALL, json={"input": "a"})).json()["data"][0]["embedding"])
    body = {"input": "a", "dimensions": 3, "encoding_format": encoding}
    given = (await client.post(CALL, json=body)).json()["data"][0]["embedding"]
    cut = np.frombuffer(base64.b64decode(given), "<f4") if encoding == "base64" else np.array(given)
    assert cut == pytest.approx(whole[:3] / np.linalg.norm(whole[:3]))


@pytest.mark.parametrize("name", ["org/first", "first", "", None])
async def test_the_default_model_has_several_names(client: httpx2.AsyncClient, name: str | None) -> None:
    """Its name, the last part of it, and none at all."""
    answer = await client.post(CALL, json={"input": "a"} | ({} if name is None else {"model": name}))
    assert (answer.status_code, answer.json()["model"]) == (200, "org/first")


async def test_another_loaded_model_can_be_named(client: httpx2.AsyncClient) -> None:
    """It answers with vectors of its own."""
    answer = (await client.post(CALL, json={"input": "a", "model": "second"})).json()
    assert (answer["model"], len(answer["data"][0]["embedding"])) == ("org/second", 4)


@pytest.mark.parametrize(
    ("body", "status", "param", "code", "says"),
    [
        pytest.param({"input": ""}, 400, "input", "invalid_request", "character", id="an empty string"),
        pytest.param({"input": []}, 400, "input", "invalid_request", "1 item", id="an empty list"),
        pytest.param({"input": [[]]}, 400, "input", "invalid_request", "input.0", id="no token ids"),
        pytest.param(
            {"input": ["a", ""]}, 400, "input", "invalid_request", "input.1", id="an empty string among others"
        ),
        pytest.param({"input": ["a", 1]}, 400, "input", "invalid_request", "input.1", id="a text and an id"),
        pytest.param({"input": [True]}, 400, "input", "invalid_request", "integer", id="a boolean"),
        pytest.param({"input": [1.5]}, 400, "input", "invalid_request", "input.0", id="a fraction"),
        pytest.param({"input": [-1]}, 400, "input", "invalid_request", "input.0", id="a negative id"),
        pytest.param({"input": [2**31 - 1]}, 400, "input", "invalid_request", "vocabulary", id="an id of no token"),
        pytest.param({"input": {"text": "a"}}, 400, "input", "invalid_request", "string", id="an object"),
        pytest.param({"input": "a\0"}, 400, "input", "invalid_request", "NUL", id="NUL"),
        pytest.param({"model": "first"}, 400, "input", "invalid_request", "input", id="no input"),
        pytest.param({"input": ["a"] * 2049}, 413, "input", "too_large", "2048", id="too many texts"),
        pytest.param({"input": [[1] * 1000] * 301}, 413, "input", "too_large", "300000", id="too many ids together"),
        pytest.param({"input": ["a" * 400_000] * 4}, 413, "input", "too_large", "1250000", id="too much text"),
        pytest.param({"input": "a", "dimensions": 0}, 400, "dimensions", "invalid_request", "1", id="no dimension"),
        pytest.param({"input": "a", "dimensions": 9}, 400, "dimensions", "invalid_request", "8", id="too many of them"),
        pytest.param({"input": "a", "dimensions": "3"}, 400, "dimensions", "invalid_request", "integer", id="as text"),
        pytest.param(
            {"input": "a", "encoding_format": "int8"}, 400, "encoding_format", "invalid_request", "base64", id="int8"
        ),
        pytest.param({"input": "a", "model": 3}, 400, "model", "invalid_request", "string", id="a numbered model"),
        pytest.param(
            {"input": "a", "model": "text-embedding-3-small"}, 404, "model", "model_not_found", "org/first", id="theirs"
        ),
        pytest.param(
            {"input": "a" * 15, "truncate": False}, 413, "input", "text_too_long", "17 tokens", id="over the window"
        ),
    ],
)
async def test_errors_name_the_field_at_fault(  # noqa: PLR0913, PLR0917 a fixture or a column of the table each
    client: httpx2.AsyncClient, body: dict[str, Any], status: int, param: str, code: str, says: str
) -> None:
    """OpenAI's clients raise by the status and show message, type, param and code."""
    answer = await client.post(CALL, json=body)
    error = answer.json()["error"]
    assert (answer.status_code, error["param"], error["code"]) == (status, param, code)
    assert (set(error), error["type"]) == ({"message", "type", "param", "code"}, "invalid_request_error")
    assert says in error["message"]


async def test_a_text_that_the_model_cannot_do_is_a_server_error(client: httpx2.AsyncClient) -> None:
    """OpenAI's clients try such a request again."""
    answer = await client.post(CALL, json={"input": ["fine", "☠"]})
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["param"]) == (500, "server_error", "input")
    assert "text 1" in error["message"]


@pytest.mark.parametrize(("content", "param"), [(b"{", None), (b'{"input":"a","input":"b"}', None), (b"[]", None)])
async def test_a_body_that_is_no_request_has_no_field_at_fault(
    client: httpx2.AsyncClient, content: bytes, param: str | None
) -> None:
    """What is wrong is the whole body."""
    answer = await client.post(CALL, content=content)
    assert (answer.status_code, answer.json()["error"]["param"]) == (400, param)
