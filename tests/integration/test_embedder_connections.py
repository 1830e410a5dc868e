"""The embedder over real sockets and a fake model: slow, silent, endless and strange clients, and its leaving."""

from __future__ import annotations

import asyncio
import gc
import json
import socket
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import httpx2
import psutil
import pytest

from aya.access import Access
from aya_embedder import connection, door, server
from aya_embedder.access import embedder_access
from aya_embedder.engine import Engine
from aya_embedder.fake import FakeEmbedder, running_models
from aya_embedder.limits import MAX_BODY_BYTES, MAX_HEAD_BYTES, Patience
from aya_embedder.loaded import LoadedModels
from aya_embedder.problems import Busy
from aya_embedder.shedding import is_whole

TOKEN = "correct-horse-battery"


@dataclass
class Served:
    """A service that answers. stop: tells it to leave; left: ends when it has left."""

    port: int
    models: LoadedModels
    stop: asyncio.Event
    left: asyncio.Task[None]

    @property
    def url(self) -> str:
        """Where it is."""
        return f"http://127.0.0.1:{self.port}"

    def peers(self) -> set[int]:
        """Return the ports of the clients whose connections this process holds open."""
        held = psutil.Process().net_connections(kind="tcp")
        return {one.raddr.port for one in held if one.status == psutil.CONN_ESTABLISHED and one.laddr.port == self.port}

    async def said(self, *sent: bytes) -> Answer:
        """Send bytes on a connection of their own, and return what comes until it is closed."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port)
        for part in sent:
            writer.write(part)
        await writer.drain()
        async with asyncio.timeout(10):
            received = await reader.read()
        writer.close()
        return Answer.of(received)


@dataclass(frozen=True)
class Answer:
    """What came. status: 0 when nothing did."""

    status: int
    headers: str
    body: bytes

    @classmethod
    def of(cls, received: bytes) -> Answer:
        """Take an answer apart."""
        head, _, body = received.partition(b"\r\n\r\n")
        return cls(int(head.split(b" ")[1]) if head else 0, head.decode().lower(), body)

    @property
    def error(self) -> dict[str, Any]:
        """What it says went wrong."""
        return dict(json.loads(self.body)["error"])


@asynccontextmanager
async def serving(
    model: FakeEmbedder, patience: Patience | None = None, access: Access | None = None
) -> AsyncGenerator[Served]:
    """Serve `model` on a free port for as long as the block lasts."""
    async with running_models(model) as models:
        listener = server.bound("127.0.0.1", 0)
        stop = asyncio.Event()
        work = server.answer(models, listener, access or embedder_access(), stop, patience=patience or Patience())
        left = asyncio.create_task(work)
        try:
            yield Served(listener.getsockname()[1], models, stop, left)
        finally:
            model.gate.set()
            stop.set()
            await left


def head(path: str = "/embed", **headers: str) -> bytes:
    """Return the head of a POST."""
    lines = [f"{name.replace('_', '-')}: {value}" for name, value in {"Host": "localhost", **headers}.items()]
    return "\r\n".join([f"POST {path} HTTP/1.1", *lines, "", ""]).encode()


NO_HEAD, NO_BODY, UNREAD = Patience(head=0.2, unread=0.2), Patience(body=0.2, unread=0.2), Patience(unread=0.2)
CHUNKED = head(Transfer_Encoding="chunked")


@pytest.mark.parametrize(
    ("sent", "patience", "status", "kind"),
    [
        pytest.param([b"POST /embed HTT"], NO_HEAD, 408, "request_timeout", id="half a request line"),
        pytest.param([b"POST /embed HTTP/1.1\r\nHost: loc"], NO_HEAD, 408, "request_timeout", id="half a head"),
        pytest.param([head(Content_Length="9"), b'{"te'], NO_BODY, 408, "request_timeout", id="half a body"),
        pytest.param([CHUNKED, b'4\r\n{"te\r\n'], NO_BODY, 408, "request_timeout", id="half a chunked body"),
        pytest.param([b"\x16\x03\x01\x02\x00"], UNREAD, 400, "bad_http", id="TLS"),
        pytest.param([b"hello there\r\n\r\n"], UNREAD, 400, "bad_http", id="no HTTP"),
        pytest.param([b"GET /health HTTP/1.1\r\n\r\n"], UNREAD, 400, "bad_http", id="no host"),
        pytest.param([head(Content_Length="-1")], UNREAD, 400, "bad_http", id="a negative length"),
        pytest.param([head(Content_Length="1, 2")], UNREAD, 400, "bad_http", id="two lengths"),
        pytest.param(
            [head(Transfer_Encoding="chunked"), b"zz\r\n"], UNREAD, 400, "bad_http", id="a chunk without a length"
        ),
        pytest.param([head(X="a" * 20 * MAX_HEAD_BYTES)], UNREAD, 431, "head_too_large", id="a large head"),
        pytest.param([head(Content_Length=str(10**9))], UNREAD, 413, "too_large", id="a large body announced"),
        pytest.param(
            [head(Content_Length="1", Content_Type="text/plain")], UNREAD, 415, "unsupported_media_type", id="text"
        ),
        pytest.param(
            [head(Content_Length="1", Content_Type="application/json; charset=latin-1")],
            UNREAD,
            415,
            "unsupported_media_type",
            id="another charset",
        ),
        pytest.param(
            [head(Content_Length="1", Content_Encoding="gzip")], UNREAD, 415, "unsupported_media_type", id="compressed"
        ),
    ],
)
async def test_what_is_no_whole_request_is_answered_and_closed(
    sent: list[bytes], patience: Patience, status: int, kind: str
) -> None:
    """The client reads why, in our shape, and then the connection's end; nothing is waited for without end."""
    async with serving(FakeEmbedder(), patience) as served:
        answer = await served.said(*sent)
    assert (answer.status, answer.error["type"]) == (status, kind)
    assert "connection: close" in answer.headers


async def test_a_silent_connection_is_closed() -> None:
    """Who connects and says nothing does not hold a connection."""
    async with serving(FakeEmbedder(), Patience(head=0.2)) as served:
        assert (await served.said()).status == 0


async def test_an_idle_connection_is_closed() -> None:
    """After its answer a connection is kept for the next request, and not for ever."""
    async with serving(FakeEmbedder(), Patience(idle=1)) as served:
        answer = await served.said(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
    assert (answer.status, "connection: close" in answer.headers) == (200, False)


# Sixteen such vectors are 13 MB in base64, more than the kernel takes.
LARGE = 150_000


@asynccontextmanager
async def unread(served: Served, *more: bytes, **headers: str) -> AsyncGenerator[socket.socket]:
    """Have an answer computed that the kernel cannot hold, for a client that has read nothing of it yet.

    more: what is sent after the request.
    """
    with socket.socket() as peer:
        peer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 0x10000)
        peer.settimeout(0)  # asyncio waits
        loop = asyncio.get_running_loop()
        await loop.sock_connect(peer, ("127.0.0.1", served.port))
        body = json.dumps({"texts": [f"{number}" for number in range(16)], "encoding": "base64"}).encode()
        await loop.sock_sendall(peer, b"".join([head(Content_Length=str(len(body)), **headers), body, *more]))
        async with asyncio.timeout(30):
            while not served.models.default.counters.texts:  # noqa: ASYNC110 it is answered
                await asyncio.sleep(0)
        assert peer.getsockname()[1] in served.peers()
        yield peer


PIPELINED = b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n"


@pytest.mark.parametrize(
    ("headers", "more"),
    [
        pytest.param({}, b"", id="kept alive"),
        pytest.param({"Connection": "close"}, b"", id="closing"),
        pytest.param({}, PIPELINED, id="with another request"),
        pytest.param({}, PIPELINED[:9], id="with half a request"),
        pytest.param({}, b"no HTTP\r\n\r\n", id="with what is no request"),
    ],
)
async def test_a_client_that_never_reads_its_answer_is_cut_off(headers: dict[str, str], more: bytes) -> None:
    """What it left unread, more than the kernel takes, does not hold the connection for ever."""
    patience = Patience(idle=1, head=0.2, unread=0.2)
    async with (
        serving(FakeEmbedder(dimension=LARGE), patience) as served,
        unread(served, more, **headers) as peer,
        asyncio.timeout(30),
    ):
        while peer.getsockname()[1] in served.peers():  # noqa: ASYNC110 nothing shows on the client's side
            await asyncio.sleep(0.05)


async def read_slowly(peer: socket.socket) -> Answer:
    """Read some 3 MB a second, until the connection's end."""
    received = bytearray()
    while part := await asyncio.get_running_loop().sock_recv(peer, 40_000):
        received += part
        await asyncio.sleep(0.012)  # the slowness is what is tested
    return Answer.of(bytes(received))


@pytest.mark.parametrize("headers", [{}, {"Connection": "close"}], ids=["kept alive", "closing"])
async def test_a_client_that_reads_slowly_gets_its_whole_answer(headers: dict[str, str]) -> None:
    """It takes longer than an idle connection is kept, and is not cut off while it goes on reading."""
    async with (
        serving(FakeEmbedder(dimension=LARGE), Patience(idle=1)) as served,
        unread(served, **headers) as peer,
        asyncio.timeout(30),
    ):
        answer = await read_slowly(peer)
    assert len(json.loads(answer.body)["embeddings"]) == 16


async def test_leaving_waits_until_the_answers_are_read() -> None:
    """When the process ends, what is in its buffers is lost: a computed answer counts when the kernel has it whole."""
    async with (
        serving(FakeEmbedder(dimension=LARGE), Patience(idle=1)) as served,
        unread(served) as peer,
        asyncio.timeout(30),
    ):
        served.stop.set()
        reading = asyncio.create_task(read_slowly(peer))
        await served.left
        unsent = [one.unread_bytes for one in gc.get_objects() if isinstance(one, connection.Connection)]
        answer = await reading
    assert sum(unsent) == 0
    assert len(json.loads(answer.body)["embeddings"]) == 16


async def test_leaving_does_not_wait_for_a_client_that_reads_nothing() -> None:
    """It is cut off sooner than at other times."""
    async with (
        serving(FakeEmbedder(dimension=LARGE), Patience(unread=0.2)) as served,
        unread(served),
        asyncio.timeout(10),
    ):
        served.stop.set()
        await served.left


@pytest.mark.parametrize(("path", "name"), [("/embed", "type"), ("/v1/embeddings", "code")])
async def test_a_body_without_end_is_cut_off(path: str, name: str) -> None:
    """A chunked body over the cap gets its 413 while it is still being sent, in the shape of the call."""
    async with serving(FakeEmbedder()) as served:
        reader, writer = await asyncio.open_connection("127.0.0.1", served.port)
        writer.write(head(path, Transfer_Encoding="chunked"))
        answer = asyncio.create_task(reader.readuntil(b"}}"))
        sent = 0
        while not answer.done():
            writer.write(b"10000\r\n" + b" " * 0x10000 + b"\r\n")
            sent += 0x10000
            await writer.drain()
        writer.close()
    assert Answer.of(answer.result()).error[name] == "too_large"
    assert sent > MAX_BODY_BYTES


async def test_a_large_body_that_is_sent_whole_gets_its_answer() -> None:
    """Clients that read nothing before they have sent everything see the 413, not a connection reset."""
    async with serving(FakeEmbedder()) as served, httpx2.AsyncClient(base_url=served.url) as client:
        answer = await client.post("/embed", content=b" " * (10 * 1024 * 1024))
        again = await client.get("/health")
    assert (answer.status_code, answer.headers["connection"], again.status_code) == (413, "close", 200)


@pytest.mark.parametrize(("path", "field"), [("/embed", "text"), ("/v1/embeddings", "input")])
async def test_a_request_that_takes_too_long_gets_504(path: str, field: str) -> None:
    """The client is told, and its texts leave the queue."""
    model = FakeEmbedder()
    async with serving(model, Patience(work=0.2)) as served, httpx2.AsyncClient(base_url=served.url) as client:
        model.gate.clear()
        answer = await client.post(path, json={field: "a"})
        in_flight = served.models.default.texts_in_flight
    assert (answer.status_code, in_flight) == (504, 0)
    assert "0.2 s" in answer.json()["error"]["message"]


async def test_the_connections_are_bounded(monkeypatch: pytest.MonkeyPatch) -> None:
    """At the bound an idle connection makes room; when none is idle the newcomer waits for its turn."""
    monkeypatch.setattr(door, "MAX_CONNECTIONS", 2)
    model = FakeEmbedder()
    async with serving(model) as served, httpx2.AsyncClient(base_url=served.url, timeout=10) as client:
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", served.port)
        idle_writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await idle_reader.readuntil(b"last_forward_age_seconds")
        model.gate.clear()
        first = asyncio.create_task(client.post("/embed", json={"text": "first"}))
        second = asyncio.create_task(client.post("/embed", json={"text": "second"}))
        assert (await idle_reader.read()).endswith(b"}")
        while served.models.default.texts_in_flight < 2:  # noqa: ASYNC110 both are on their way
            await asyncio.sleep(0)
        third_reader, third_writer = await asyncio.open_connection("127.0.0.1", served.port)
        third_writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        third = asyncio.create_task(third_reader.readuntil(b"\r\n"))
        # Many turns of the loop, in which it would be accepted and answered if there were room.
        await many_turns()
        waited = not third.done()
        model.gate.set()
        answers = await asyncio.gather(first, second)
        answered = await third
        for writer in (idle_writer, third_writer):
            writer.close()
    assert [answer.status_code for answer in answers] == [200, 200]
    assert waited
    assert answered == b"HTTP/1.1 200 OK\r\n"


async def many_turns() -> None:
    """Let the loop turn many times, each long enough for what a socket has to say."""
    for _ in range(200):
        await asyncio.sleep(0.001)


async def test_a_burst_of_connections_is_answered_to_the_last(monkeypatch: pytest.MonkeyPatch) -> None:
    """Connections that come together do not push each other out before their first request is read."""
    monkeypatch.setattr(door, "MAX_CONNECTIONS", 2)
    monkeypatch.setattr(connection, "_SPARED_SECONDS", 0.2)
    async with serving(FakeEmbedder()) as served:
        pairs = [await asyncio.open_connection("127.0.0.1", served.port) for _ in range(4)]
        for _, writer in pairs:
            writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        heads = [await reader.readuntil(b"\r\n") for reader, _ in pairs]
        for _, writer in pairs:
            writer.close()
    assert heads == [b"HTTP/1.1 200 OK\r\n"] * 4


async def test_leaving_ends_what_was_accepted_and_refuses_the_rest(monkeypatch: pytest.MonkeyPatch) -> None:
    """Idle connections end, new ones get 503 with a time to come back, and the accepted request its vector."""
    monkeypatch.setattr(server, "_ON_THE_WAY_SECONDS", -1)
    model = FakeEmbedder()
    async with serving(model) as served, httpx2.AsyncClient(base_url=served.url) as client:
        idle_reader, idle_writer = await asyncio.open_connection("127.0.0.1", served.port)
        idle_writer.write(b"GET /health HTTP/1.1\r\nHost: localhost\r\n\r\n")
        await idle_reader.readuntil(b"last_forward")
        model.gate.clear()
        accepted = asyncio.create_task(client.post("/embed", json={"text": "accepted"}))
        while served.models.default.texts_in_flight < 1:  # noqa: ASYNC110 it boards when it is tokenised
            await asyncio.sleep(0)
        served.stop.set()
        assert (await idle_reader.read()).endswith(b"}")
        late = await served.said(head(Content_Length="12"), b'{"text":"b"}')
        model.gate.set()
        answer = await accepted
        await served.left
        idle_writer.close()
    assert (answer.status_code, answer.headers["connection"]) == (200, "close")
    assert (late.status, late.error["type"]) == (503, "not_ready")
    assert "retry-after: 2" in late.headers
    assert "connection: close" in late.headers


async def test_leaving_does_not_wait_for_ever() -> None:
    """What cannot be computed in the time that is left gets an answer too, and so does half a request."""
    model = FakeEmbedder()
    async with serving(model, Patience(drain=0.3, reading=0.1, unread=0.1)) as served:
        model.gate.clear()
        half = asyncio.create_task(served.said(head(Content_Length="100"), b"{"))
        whole = asyncio.create_task(served.said(head(Content_Length="12"), b'{"text":"b"}'))
        while served.models.default.texts_in_flight < 1:  # noqa: ASYNC110 it boards when it is tokenised
            await asyncio.sleep(0)
        served.stop.set()
        await served.left
        answers = await asyncio.gather(half, whole)
    assert [(answer.status, answer.error["type"]) for answer in answers] == [(503, "not_ready")] * 2


FORWARDED = {"X-Forwarded-For": "192.168.1.20"}
BEARER = {"Authorization": f"Bearer {TOKEN}"}


@pytest.mark.parametrize(
    ("method", "path", "headers", "status", "kind"),
    [
        pytest.param("POST", "/embed", {}, 200, None, id="a client of this machine"),
        pytest.param("POST", "/embed", FORWARDED, 401, "unauthorized", id="from elsewhere"),
        pytest.param("POST", "/embed", FORWARDED | BEARER, 200, None, id="from elsewhere, with the token"),
        pytest.param("GET", "/health", FORWARDED, 200, None, id="health"),
        pytest.param("GET", "/ready", FORWARDED, 200, None, id="ready"),
        pytest.param("GET", "/docs", FORWARDED, 401, "unauthorized", id="the description"),
        pytest.param("POST", "/models", FORWARDED | BEARER, 403, "forbidden", id="loading a model"),
        pytest.param("POST", "/embed", {"Host": "evil.example"}, 421, "misdirected_request", id="a strange name"),
        pytest.param("POST", "/embed", {"Origin": "https://evil.example"}, 403, "forbidden", id="a strange page"),
        pytest.param("POST", "/embed", {"Origin": "http://localhost:3000"}, 200, None, id="a page of this machine"),
    ],
)
async def test_who_may_call(method: str, path: str, headers: dict[str, str], status: int, kind: str | None) -> None:
    """The rules of aya_embedder.access hold on the wire, before any body is looked at."""
    access = embedder_access(TOKEN)
    async with serving(FakeEmbedder(), access=access) as served, httpx2.AsyncClient(base_url=served.url) as client:
        content = b'{"text": "a"}' if method == "POST" else None
        answer = await client.request(method, path, content=content, headers=headers)
    assert answer.status_code == status
    assert kind is None or answer.json()["error"]["type"] == kind
    assert ("www-authenticate" in answer.headers) == (status == 401)


async def test_a_refusal_of_openais_call_has_openais_shape() -> None:
    """OpenAI's clients raise their AuthenticationError from it."""
    async with serving(FakeEmbedder()) as served, httpx2.AsyncClient(base_url=served.url) as client:
        answer = await client.post("/v1/embeddings", json={"input": "a"}, headers=FORWARDED)
    error = answer.json()["error"]
    assert (answer.status_code, error["type"], error["code"]) == (401, "authentication_error", "unauthorized")
    assert set(error) == {"message", "type", "param", "code"}


async def test_the_bodies_of_all_requests_are_bounded_together(monkeypatch: pytest.MonkeyPatch) -> None:
    """Who is over the bound is told to come again; when a request is answered, there is room for the next."""
    monkeypatch.setattr("aya_embedder.gate.MAX_BODIES_BYTES", 200)
    body = json.dumps({"text": "a" * 130}).encode()
    model = FakeEmbedder()
    async with serving(model) as served, httpx2.AsyncClient(base_url=served.url, trust_env=False) as client:
        await served.models.default.until_loaded()
        model.gate.clear()
        first = asyncio.create_task(client.post("/embed", content=body))
        async with asyncio.timeout(10):
            while not served.models.default.texts_in_flight:  # noqa: ASYNC110 each turn lets the service go on
                await asyncio.sleep(0)
        refused = await client.post("/embed", content=body)
        model.gate.set()
        assert (await first).status_code == 200
        again = await client.post("/embed", content=body)
    assert (refused.status_code, refused.headers["retry-after"]) == (429, "1")
    assert again.status_code == 200


@pytest.mark.parametrize("path", ["/embed", "/v1/embeddings"])
@pytest.mark.parametrize("parts", ["at once", "in two"])
async def test_in_a_crowd_a_refusal_costs_next_to_nothing(
    monkeypatch: pytest.MonkeyPatch, path: str, parts: str
) -> None:
    """Whoever would wait too long is told so unread, and reads it to its end; other calls are answered as ever."""

    def busy(*_: object) -> None:
        raise Busy("many wait", hint="try again in 7 s", retry_after_seconds=7)

    monkeypatch.setattr(server, "CROWD", -1)
    monkeypatch.setattr(Engine, "refuse_late", busy)
    body = b'{"text": "a", "input": "a"}'
    request = head(path, Content_Type="application/json", Content_Length=str(len(body)))
    async with serving(FakeEmbedder()) as served:
        answer = await served.said(*([request + body] if parts == "at once" else [request, body]))
        health = await served.said(b"GET /health HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
        metrics = await served.said(b"GET /metrics HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n")
    assert (answer.status, "retry-after: 7" in answer.headers) == (429, True)
    assert "connection: close" in answer.headers
    assert "many wait" in answer.error["message"]
    assert health.status == 200
    assert b'te_request_failure{err="overloaded"} 1.0' in metrics.body


@pytest.mark.parametrize(
    ("request_", "whole"),
    [
        (b"POST /embed HTTP/1.1\r\nContent-Length: 2\r\n\r\n{}", True),
        (b"POST /embed HTTP/1.1\r\ncontent-length:2\r\nHost: a\r\n\r\n{}", True),
        (b"POST /embed HTTP/1.1\r\nContent-Length: 3\r\n\r\n{}", False),
        (b"POST /embed HTTP/1.1\r\nContent-Length: 2\r\n", False),
        (b"POST /embed HTTP/1.1\r\nTransfer-Encoding: chunked\r\n\r\n{}", False),
        (b"POST /embed HTTP/1.1\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\n{}", False),
    ],
)
def test_only_a_whole_request_is_turned_away_at_the_door(request_: bytes, whole: bool) -> None:  # noqa: FBT001
    """Closed with something unread, the kernel would throw the answer away."""
    assert is_whole(request_) is whole
