"""The embedder as a process: MiniLM's real vectors over HTTP, its start, its errors and its end."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import httpx2
import numpy as np
import psutil
import pytest

from aya_embedder.server import bound

LONG = "Vectors of long documents take a while to compute. " * 60


@dataclass(frozen=True)
class Service:
    """A running embedder. process: ours; url: where it listens; loaded: what the log says of the model."""

    process: asyncio.subprocess.Process
    url: str
    loaded: dict[str, object]

    async def stop(self) -> int:
        """Send SIGTERM and return the exit code, which must come before launchd would lose its patience."""
        self.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(30):
            return await self.process.wait()


async def start(**environ: str) -> asyncio.subprocess.Process:
    """Start the embedder on a free port; its log comes through a pipe."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("AYA_")}
    return await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "aya_embedder",
        env={**clean, "AYA_EMBEDDER_PORT": "0", **environ},
        stderr=asyncio.subprocess.PIPE,
    )


async def logged(process: asyncio.subprocess.Process, event: str) -> dict[str, object]:
    """Read the log up to `event` and return it."""
    assert process.stderr is not None
    async for line in process.stderr:
        entry: dict[str, object] = json.loads(line)
        if entry["event"] == event:
            return entry
    raise AssertionError(f"the embedder ended without {event}")


@asynccontextmanager
async def serving(**environ: str) -> AsyncGenerator[Service]:
    """Run an embedder for as long as the block lasts, from when its model is loaded."""
    process = await start(**environ)
    try:
        port = (await logged(process, "server.listening"))["port"]
        loaded = await logged(process, "model.loaded")
        yield Service(process, f"http://127.0.0.1:{port}", loaded)
    finally:
        if process.returncode is None:
            process.kill()
        # to the end, so that the pipe is closed with the loop still there
        await process.communicate()


async def test_the_contract_with_real_vectors() -> None:
    """The three promised calls, over real HTTP; similar texts are near, and the cache answers the second time."""
    async with serving() as service, httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
        body = {"texts": ["A cat sits on the mat.", "A kitten rests on a rug.", "Interest rates rose by a quarter."]}
        answer = (await client.post("/embed", json=body)).json()
        cat, kitten, rates = np.array(answer["embeddings"], dtype=np.float32)
        one = (await client.post("/embed", json={"text": body["texts"][0]})).json()
        health = (await client.get("/health")).json()
        stats = (await client.get("/stats")).json()
        code = await service.stop()
    assert cat @ kitten > 0.5 > cat @ rates
    assert (one["cached"], len(one["embedding"])) == (True, 384)
    assert np.allclose(one["embedding"], cat)
    assert (health["status"], health["backend"]["device"] in {"cpu", "metal", "cuda"}) == ("healthy", True)
    assert stats["cache_size"] == 3
    assert stats["metal_active_memory"] > 0
    assert code == 0


@pytest.mark.parametrize("wish", ["stock", "cpu"])
async def test_the_kernels_can_be_chosen_and_are_shown(wish: str) -> None:
    """GET /info and the log name the kernels and the streams, one warm-up has run on each, and vectors come."""
    async with serving(AYA_EMBEDDER_KERNELS=wish) as service, httpx2.AsyncClient(base_url=service.url) as client:
        backend = (await client.get("/info")).json()["backend"]
        stats = (await client.get("/stats")).json()
        answer = await client.post("/embed", json={"texts": ["one", "two words", "three more words"]}, timeout=60)
    if backend["device"] != "cpu" and wish == "cpu":
        pytest.skip("these kernels are for a CPU")
    assert service.loaded["kernels"] == backend["kernels"] == wish
    assert service.loaded["streams"] == backend["streams"] == stats["batches"]
    assert answer.status_code == 200


async def test_identical_texts_at_once_are_one_vector() -> None:
    """Thirty-two clients that ask for the same at the same moment get the same bytes."""
    async with serving() as service, httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
        body = {"text": "asked by everyone", "encoding": "base64"}
        warm_up = (await client.get("/stats")).json()["batches"]
        answers = await asyncio.gather(*(client.post("/embed", json=body) for _ in range(32)))
        stats = (await client.get("/stats")).json()
    assert len({answer.json()["embedding"] for answer in answers}) == 1
    assert stats["batches"] == warm_up + 1


async def test_sigterm_drains_what_was_accepted_and_exits_0() -> None:
    """A request that is being computed when SIGTERM comes gets its answer."""
    async with serving() as service, httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
        # some seconds of work, so that it is far from done when it is seen to have begun
        body = {"texts": [f"{number}. {LONG}" for number in range(16)]}
        asking = asyncio.create_task(client.post("/embed", json=body))
        while not await in_flight(client):
            assert not asking.done()
        code = await service.stop()
        answer = await asking
    assert (code, answer.status_code, answer.json()["truncated"]) == (0, 200, [True] * 16)


async def test_sigterm_under_load_loses_no_accepted_request() -> None:
    """All that were let in get their vectors; who comes later gets 503 and a closed connection; then the exit is 0."""
    texts, clients = 4, 24
    async with serving() as service, httpx2.AsyncClient(base_url=service.url, timeout=60) as client:
        bodies = [{"texts": [f"{number} {index} {LONG[:300]}" for index in range(texts)]} for number in range(clients)]
        asking = [asyncio.create_task(client.post("/embed", json=body)) for body in bodies]
        async with asyncio.timeout(30):
            while (await client.get("/stats")).json()["texts"] + (await in_flight(client)) < texts * clients:
                assert not any(one.done() and one.result().status_code != 200 for one in asking)
        stopping = asyncio.create_task(service.stop())
        late = await until_refused(service.url)
        answers = await asyncio.gather(*asking)
        code = await stopping
    assert [answer.status_code for answer in answers] == [200] * clients
    assert [len(answer.json()["embeddings"]) for answer in answers] == [texts] * clients
    assert (late.status_code, late.headers["retry-after"], late.headers["connection"]) == (503, "2", "close")
    assert code == 0


async def in_flight(client: httpx2.AsyncClient) -> int:
    """Return how many texts wait or are being computed."""
    return int((await client.get("/stats")).json()["texts_in_flight"])


async def until_refused(url: str) -> httpx2.Response:
    """Ask, on a new connection each time, until the service says that it is leaving."""
    while True:
        async with httpx2.AsyncClient(base_url=url) as client:
            answer = await client.get("/health")
        if answer.status_code != 200:
            return answer


async def test_a_body_that_never_ends_does_not_hold_the_exit_up() -> None:
    """A client that has sent half of its request when SIGTERM comes is sent away."""
    async with serving() as service:
        host, port = service.url.removeprefix("http://").split(":")
        reader, writer = await asyncio.open_connection(host, int(port))
        writer.write(b"POST /embed HTTP/1.1\r\nHost: localhost\r\nContent-Length: 100\r\n\r\n{")
        await writer.drain()
        async with httpx2.AsyncClient(base_url=service.url) as client:
            assert (await client.get("/health")).status_code == 200
        began = time.monotonic()
        code = await service.stop()
        took = time.monotonic() - began
        answer = await reader.read()
        writer.close()
    assert (code, answer.split(b" ")[1]) == (0, b"503")
    assert took < 10


def own_addresses() -> list[str]:
    """Return the IPv4 addresses of this machine that others could reach."""
    return [
        address.address
        for addresses in psutil.net_if_addrs().values()
        for address in addresses
        if address.family == socket.AF_INET and not address.address.startswith("127.")
    ]


@pytest.mark.skipif(not own_addresses(), reason="this machine has no address but loopback")
async def test_an_exposed_service_asks_strangers_for_the_token(tmp_path: Path) -> None:
    """Whoever is not on this machine needs it; health is open; the log does not show it.

    A stranger is one whom a proxy announces, for no other machine is here: the addresses of real ones are in the cases
    of test_embedder_access.py. A client of this machine is none, by whichever of its addresses it calls.
    """
    token = "correct-horse-battery"
    file = tmp_path / "token"
    file.write_text(f"{token}\n", encoding="ascii")
    file.chmod(0o600)
    exposed = {"AYA_EMBEDDER_HOST": "0.0.0.0", "AYA_EMBEDDER_TOKEN_FILE": str(file)}  # noqa: S104 that is the case
    async with serving(**exposed) as service:
        elsewhere = service.url.replace("127.0.0.1", own_addresses()[0])
        async with httpx2.AsyncClient(timeout=60) as client:
            body = {"text": "a"}
            stranger = {"X-Forwarded-For": "192.0.2.7"}
            bearer = {**stranger, "Authorization": f"Bearer {token}"}
            answers = [
                await client.post(f"{service.url}/embed", json=body),
                await client.post(f"{elsewhere}/embed", json=body),
                await client.post(f"{elsewhere}/embed", json=body, headers=stranger),
                await client.post(f"{elsewhere}/embed", json=body, headers=bearer),
                await client.get(f"{elsewhere}/health", headers=stranger),
                await client.post(f"{elsewhere}/models", json={"model": "minilm"}, headers=bearer),
            ]
        code = await service.stop()
        assert service.process.stderr is not None
        log = await service.process.stderr.read()
    assert [answer.status_code for answer in answers] == [200, 200, 401, 200, 200, 403]
    assert (code, token in log.decode()) == (0, False)


async def test_small_answers_leave_at_once() -> None:
    """A connection has TCP_NODELAY; without it each answer waits 40 ms for the client's delayed ACK."""
    options: list[int] = []

    def connected(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        options.append(writer.get_extra_info("socket").getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY))
        writer.close()

    listener = bound("127.0.0.1", 0)
    async with await asyncio.start_server(connected, sock=listener) as server:
        reader, writer = await asyncio.open_connection(*server.sockets[0].getsockname())
        assert await reader.read() == b""
        writer.close()
    assert options == [1]


async def test_a_port_in_use_is_said_and_ends_the_process() -> None:
    """Exit code 1, with the port and what to do about it."""
    server = await asyncio.get_running_loop().create_server(asyncio.Protocol, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        process = await start(AYA_EMBEDDER_PORT=str(port))
        failed = await logged(process, "service.failed")
        await process.communicate()
    assert str(port) in str(failed["error"])
    assert "AYA_EMBEDDER_PORT" in str(failed["hint"])
    assert process.returncode == 1


@pytest.mark.parametrize(
    ("name", "value", "says"),
    [
        pytest.param("AYA_EMBEDDER_PORT", "http", "AYA_EMBEDDER_PORT", id="a port that is no number"),
        pytest.param("AYA_MODEL", "no-such-model", "no-such-model", id="an unknown model"),
        pytest.param("AYA_EMBEDDER_HOST", "0.0.0.0", "AYA_EMBEDDER_TOKEN_FILE", id="exposed without a token"),  # noqa: S104 the case
        pytest.param(
            "AYA_EMBEDDER_TOKEN_FILE", "/nowhere/token", "/nowhere/token", id="a token file that is not there"
        ),
    ],
)
async def test_a_wrong_setting_ends_the_process_with_a_sentence(name: str, value: str, says: str) -> None:
    """No traceback: what is wrong, and what to type."""
    process = await start(**{name: value})
    _, err = await process.communicate()
    assert process.returncode == 1
    assert says in err.decode()
    assert "Traceback" not in err.decode()
