"""The embedder's client over real sockets: a service that is busy, breaks off, stalls, leaves and comes back."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import pytest
from tests.conftest import free_port

from aya import errors
from aya.embedder_client import REQUESTS_AT_ONCE, EmbedderClient
from aya.embedder_http import Timing
from aya.embedding_batches import BATCH_TEXTS
from aya.identity import ModelIdentity

MODEL = "f00d"
TOKEN = "a-token-that-nobody-may-see"
FIELDS: dict[str, Any] = {
    "fingerprint": MODEL,
    "model": "org/model",
    "revision": "r1",
    "dimension": 2,
    "pooling": "mean",
    "normalized": True,
    "query_prefix": "",
    "document_prefix": "",
    "max_tokens": 512,
}
IDENTITY = ModelIdentity(**FIELDS)


@dataclass
class Exchange:
    """One request that a service has read, and where its answer goes."""

    head: str
    body: dict[str, Any]
    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter

    async def answer(self, status: int, content: object, **headers: str) -> None:
        """Send a whole answer on a connection that stays open."""
        raw = json.dumps(content).encode()
        lines = [f"HTTP/1.1 {status} Said", f"content-length: {len(raw)}", *(f"{k}: {v}" for k, v in headers.items())]
        self.writer.write("\r\n".join(lines).replace("_", "-").encode() + b"\r\n\r\n" + raw)
        await self.writer.drain()


Answer = Callable[[Exchange], Awaitable[None]]


async def vectors(exchange: Exchange) -> None:
    """Answer as an embedder: text "7" has the vector (7, 0)."""
    rows = [np.array([float(text), 0], dtype="<f4") for text in exchange.body["texts"]]
    made = [base64.b64encode(row.tobytes()).decode() for row in rows]
    await exchange.answer(200, {"model": MODEL, "embeddings": made})


async def reset(exchange: Exchange) -> None:
    """Send nothing, and reset the connection."""
    exchange.writer.transport.abort()


async def close(exchange: Exchange) -> None:
    """Send nothing, and close the connection."""
    exchange.writer.close()


async def half(exchange: Exchange) -> None:
    """Break off in the middle of an answer."""
    exchange.writer.write(b'HTTP/1.1 200 OK\r\ncontent-length: 1000\r\n\r\n{"model":')
    await exchange.writer.drain()
    exchange.writer.close()


def refusal(status: int, **headers: str) -> Answer:
    """Make an answer that refuses."""

    async def refuse(exchange: Exchange) -> None:
        await exchange.answer(status, {"error": {"type": "it", "message": "not now", "hint": "later"}}, **headers)

    return refuse


def saying(content: object) -> Answer:
    """Make an answer."""
    return lambda exchange: exchange.answer(200, content)


@dataclass
class Service:
    """A service on a real socket. Its script says how it answers one request after the other, and then for good.

    left: set when a client has left a request that `stall` holds.
    """

    script: list[Answer] = field(default_factory=list[Answer])
    then: Answer = vectors
    url: str = ""
    requests: list[Exchange] = field(default_factory=list[Exchange])
    connections: int = 0
    at_once: int = 0
    most_at_once: int = 0
    stalled: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def stall(self, exchange: Exchange) -> None:
        """Answer nothing until the client leaves."""
        self.stalled.set()
        with suppress(ConnectionError):
            assert await exchange.reader.read() == b""
        self.left.set()
        exchange.writer.close()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Answer the requests of one connection."""
        self.connections += 1
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            while not writer.is_closing():
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                lengths = [
                    line.split(":")[1] for line in head.splitlines() if line.lower().startswith("content-length")
                ]
                raw = await reader.readexactly(int(lengths[0]) if lengths else 0)
                exchange = Exchange(head, json.loads(raw or b"{}"), reader, writer)
                self.requests.append(exchange)
                self.at_once += 1
                self.most_at_once = max(self.most_at_once, self.at_once)
                await (self.script.pop(0) if self.script else self.then)(exchange)
                self.at_once -= 1
        writer.close()


@asynccontextmanager
async def running(service: Service, port: int = 0) -> AsyncGenerator[Service]:
    """Let the service listen for as long as the block lasts; at its end, connections are closed, too."""
    server = await asyncio.start_server(service.serve, "127.0.0.1", port)
    service.url = f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    try:
        yield service
    finally:
        server.close()
        for exchange in service.requests:
            exchange.writer.close()
        await server.wait_closed()


@dataclass
class Clock:
    """A clock that moves only while somebody sleeps. before: what happens first in each sleep."""

    seconds: float = 1000.0
    slept: list[float] = field(default_factory=list[float])
    before: Callable[[], Awaitable[object]] | None = None

    async def sleep(self, seconds: float) -> None:
        """Let the time pass."""
        self.slept.append(seconds)
        if self.before is not None:
            await self.before()
        self.seconds += seconds

    def timing(self) -> Timing:
        """Return the time as a client takes it, with the shortest waits."""
        return Timing(now=lambda: self.seconds, sleep=self.sleep, uniform=lambda low, _: low)


async def embed(
    client: EmbedderClient, texts: Sequence[str] = ("7",), deadline_seconds: float | None = None
) -> list[float]:
    """Embed documents, and return the first value of each vector."""
    made = await client.embed(texts, prompt="document", expect=MODEL, deadline_seconds=deadline_seconds)
    return [float(value) for value in made[:, 0]]


# What may pass is tried again


@pytest.mark.parametrize(
    "failures",
    [
        pytest.param([refusal(429)], id="too much to do"),
        pytest.param([refusal(503, retry_after="1")], id="loading"),
        pytest.param([reset], id="reset before an answer"),
        pytest.param([close], id="closed before an answer"),
        pytest.param([half], id="half an answer"),
        pytest.param([refusal(503), reset, half, refusal(429)], id="one after the other"),
    ],
)
async def test_what_passes_never_reaches_the_caller(failures: list[Answer]) -> None:
    """The call waits, is made again, and has its vectors."""
    clock = Clock()
    async with running(Service([*failures])) as service, EmbedderClient(service.url, timing=clock.timing()) as client:
        assert await embed(client) == [7]
    assert (len(service.requests), len(clock.slept)) == (len(failures) + 1, len(failures))
    assert all(seconds > 0 for seconds in clock.slept)


async def test_an_embedder_that_is_being_started_is_waited_for() -> None:
    """Its port refuses connections at first."""
    port, service, clock = free_port(), Service(), Clock()
    async with EmbedderClient(f"http://127.0.0.1:{port}", timing=clock.timing()) as client:
        with pytest.raises(
            errors.EmbedderUnavailable, match=r"cannot be reached: .*/embed asked 5 times .* often enough"
        ):
            await embed(client)
        started = running(service, port)
        clock.before = started.__aenter__
        assert await embed(client) == [7]
        await started.__aexit__(None, None, None)


async def test_it_is_never_asked_before_the_time_it_named() -> None:
    """Retry-After is the least; a date in it counts for nothing."""
    clock = Clock()
    script = [refusal(503, retry_after="3"), refusal(429, retry_after="Thu, 26 Nov 2026 06:00:00 GMT")]
    async with running(Service(script)) as service, EmbedderClient(service.url, timing=clock.timing()) as client:
        assert await embed(client) == [7]
    assert clock.slept == pytest.approx([3, 0.2])


@pytest.mark.parametrize("status", [400, 404, 413, 422, 499, 500])
async def test_what_cannot_pass_is_asked_once(status: int) -> None:
    """The request itself is refused; sending it again would be refused again."""
    async with running(Service(then=refusal(status))) as service, EmbedderClient(service.url) as client:
        with pytest.raises(errors.EmbedderError, match="refused: not now") as caught:
            await embed(client)
    assert (len(service.requests), caught.value.retryable, caught.value.hint) == (1, False, "later")


async def test_a_fleet_does_not_multiply_an_overload() -> None:
    """Forty refused calls at one moment: each is made once, and the budget allows some to be made again."""

    async def no_time(_: float) -> None:
        """Do not wait."""

    timing = Timing(now=lambda: 0.0, sleep=no_time)
    async with running(Service(then=refusal(429))) as service, EmbedderClient(service.url, timing=timing) as client:
        said = [await said_of(client) for _ in range(40)]
    assert 40 <= len(service.requests) <= 40 + 10 + 40 // 5
    assert "asked 5 times" in said[0]
    assert "asked once in 0.0 s: the retry budget is used up" in said[-1]


async def said_of(client: EmbedderClient) -> str:
    """Return the error of a call, which must be one of overload."""
    with pytest.raises(errors.EmbedderOverloaded) as caught:
        await embed(client)
    return caught.value.message


# The deadline


async def test_the_deadline_wins_over_retries() -> None:
    """A wait that would reach it is not begun; the error says how often and how long it was asked for."""
    clock = Clock()
    service = Service([refusal(503, retry_after="4")], then=refusal(503, retry_after="7"))
    async with running(service), EmbedderClient(service.url, timing=clock.timing()) as client:
        with pytest.raises(errors.EmbedderOverloaded) as caught:
            await client.embed(["7"], prompt="query", expect=MODEL)
    assert "POST /embed asked 2 times in 4.0 s: the next attempt would be in 7.0 s, and 6.0 s are left" in str(
        caught.value
    )
    assert (caught.value.retry_after_seconds, clock.slept) == (7, [4])


async def test_a_service_that_stalls_is_left_at_the_deadline() -> None:
    """In real time: the attempt gets what is left, and the connection is closed."""
    async with running(service := Service()), EmbedderClient(service.url) as client:
        service.then = service.stall
        with pytest.raises(errors.EmbedderUnavailable, match=r"did not answer in time .*asked once .*the time is up"):
            await embed(client, deadline_seconds=0.1)
        await asyncio.wait_for(service.left.wait(), 5)
    assert len(service.requests) == 1


async def test_the_deadline_is_one_for_all_requests_of_a_call() -> None:
    """The requests that come late have less time."""
    clock = Clock()

    async def slow(exchange: Exchange) -> None:
        clock.seconds += 4
        await vectors(exchange)

    async with running(Service(then=slow)) as service, EmbedderClient(service.url, timing=clock.timing()) as client:
        many = ["7"] * (BATCH_TEXTS * 10)
        with pytest.raises(errors.EmbedderUnavailable, match="did not answer in time"):
            await embed(client, many, deadline_seconds=20)
        assert len(await embed(client, many)) == len(many)
    assert len(service.requests) < 20


# Connections


async def test_one_connection_serves_call_after_call() -> None:
    """It is kept open in between."""
    async with running(Service()) as service, EmbedderClient(service.url) as client:
        for _ in range(10):
            assert await embed(client) == [7]
    assert (service.connections, len(service.requests)) == (1, 10)


async def test_a_restart_between_two_calls_is_not_noticed() -> None:
    """The kept connection is gone, and the next one is made without an error."""
    async with EmbedderClient(f"http://127.0.0.1:{(port := free_port())}") as client:
        for _ in range(3):
            async with running(Service(), port):
                assert await embed(client) == [7]


async def test_a_cancelled_call_is_cancelled_on_the_wire() -> None:
    """The service sees its client leave, and need not compute for nobody."""
    async with running(service := Service()), EmbedderClient(service.url) as client:
        service.then = service.stall
        asking = asyncio.create_task(embed(client))
        await asyncio.wait_for(service.stalled.wait(), 5)
        asking.cancel()
        await asyncio.wait_for(service.left.wait(), 5)
        with pytest.raises(asyncio.CancelledError):
            await asking


# Many texts


async def test_many_texts_are_a_few_requests_at_once_in_order() -> None:
    """However the answers overtake each other."""

    async def sometimes_late(exchange: Exchange) -> None:
        if len(service.requests) % 2:
            await asyncio.sleep(0)
        await vectors(exchange)

    texts = [str(number) for number in range(BATCH_TEXTS * 9 + 1)]
    async with running(service := Service(then=sometimes_late)), EmbedderClient(service.url) as client:
        assert await embed(client, texts) == list(range(len(texts)))
    assert sorted(len(request.body["texts"]) for request in service.requests) == [1, *[BATCH_TEXTS] * 9]
    assert service.most_at_once == REQUESTS_AT_ONCE


async def test_a_request_that_fails_cancels_the_others() -> None:
    """The one that is under way is left, those that wait are never sent, and the error is that of the first."""
    service = Service()

    async def refused_later(exchange: Exchange) -> None:
        await service.stalled.wait()
        await refusal(422)(exchange)

    service.script = [service.stall, refused_later]
    async with running(service), EmbedderClient(service.url) as client:
        with pytest.raises(errors.EmbedderError, match="refused: not now"):
            await embed(client, ["1"] * BATCH_TEXTS * 20)
        await asyncio.wait_for(service.left.wait(), 5)
    assert len(service.requests) == 2


# The token


async def test_the_token_is_said_to_the_service_and_to_nobody_else(caplog: pytest.LogCaptureFixture) -> None:
    """It is in the header alone: not in what the client looks like, nor in an error, nor in a log."""
    caplog.set_level("DEBUG")
    async with running(Service([vectors], then=refusal(401))) as service:
        async with EmbedderClient(service.url, token=TOKEN) as client:
            await embed(client)
            with pytest.raises(errors.EmbedderError) as caught:
                await embed(client)
            seen = f"{client!r} {vars(client)} {caught.value!r} {caught.value.hint}"
        async with EmbedderClient(service.url) as silent:
            with pytest.raises(errors.EmbedderError):
                await embed(silent)
    assert f"authorization: Bearer {TOKEN}" in service.requests[0].head.replace("Authorization", "authorization")
    assert "authorization" not in service.requests[2].head.lower()
    assert TOKEN not in seen
    assert TOKEN not in caplog.text


# Several models


def status_of(source: str, state: str, *, error: str | None = None) -> dict[str, object]:
    """Make what GET /models says of one model."""
    return {
        "source": source,
        "state": state,
        "default": False,
        "error": error,
        "hint": "take another" if error else None,
        "identity": FIELDS if state == "ready" else None,
    }


def models(*statuses: dict[str, object]) -> Answer:
    """Make an answer to GET /models."""
    return saying({"models": statuses})


async def test_a_model_is_awaited_until_it_is_ready() -> None:
    """It is looked at now and then, less and less often; others make no difference."""
    clock = Clock()
    loading = models(status_of("minilm", "ready"), status_of("/models/own", "loading"))
    service = Service([loading, loading], then=models(status_of("/models/own", "ready")))
    async with running(service), EmbedderClient(service.url, timing=clock.timing()) as client:
        assert await client.await_model("/models/own", 60) == IDENTITY
    assert clock.slept == pytest.approx([0.1, 0.2])


@pytest.mark.parametrize(
    ("answer", "kind", "words"),
    [
        (models(status_of("own", "failed", error="no weights")), errors.EmbedderError, "cannot load own: no weights"),
        (models(status_of("minilm", "ready")), errors.ModelNotLoaded, "has not loaded own"),
        (models(status_of("own", "loading")), errors.EmbedderUnavailable, "still loading own after 60 s"),
        (models(status_of("own", "dreaming")), errors.EmbedderError, "state 'dreaming'"),
        (models({"source": "own", "state": "loading"}), errors.EmbedderError, "does not say a model's"),
        (saying({"models": None}), errors.EmbedderError, "does not answer as an embedder"),
    ],
)
async def test_a_model_that_does_not_come_ends_in_words(answer: Answer, kind: type[Exception], words: str) -> None:
    """A failure says why, and the time is bounded."""
    clock = Clock()
    async with running(Service(then=answer)) as service, EmbedderClient(service.url, timing=clock.timing()) as client:
        with pytest.raises(errors.EmbedderError, match=words) as caught:
            await client.await_model("own", 60)
    assert type(caught.value) is kind
    assert clock.seconds <= 1060


async def test_a_model_is_asked_for_by_its_name() -> None:
    """Loading and asking for an identity name the model in the body and in the address."""
    script = [saying(status_of("own", "loading")), saying(FIELDS)]
    async with running(Service(script)) as service, EmbedderClient(service.url) as client:
        status = await client.load_model("own", default=True)
        assert await client.identity("org/own") == IDENTITY
    assert (status.source, status.state, status.identity) == ("own", "loading", None)
    loading, info = service.requests
    assert loading.head.startswith("POST /models ")
    assert loading.body == {"model": "own", "default": True}
    assert info.head.startswith("GET /info?model=org%2Fown ")
