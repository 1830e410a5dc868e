"""The heartbeat between two agents, over real sockets and real TLS: who is believed, and how long one waits."""

from __future__ import annotations

import asyncio
import os
import socket
import ssl
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import psutil
import pytest
from tests.conftest import free_port
from tests.watchdog_board import HandMade, identities

from aya.certificates import Identity, client_context, server_context
from aya_watchdog.channel import Channel
from aya_watchdog.hosting import Where, hosted
from aya_watchdog.names import Names
from aya_watchdog.views import Peer

Answer = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@pytest.fixture
def people(tmp_path: Path) -> dict[str, Identity]:
    """The nodes of one home."""
    return identities(tmp_path, "alpha", "beta", "air")


@asynccontextmanager
async def agent_of_beta(people: dict[str, Identity], board: HandMade, port: int) -> AsyncGenerator[None]:
    """Run beta's servers; alpha is its partner."""
    path = people["beta"].key.parent / "w.sock"
    async with hosted(board, people["beta"], "alpha", Where("127.0.0.1", port, free_port(), path)):
        yield


@asynccontextmanager
async def answering(answer: Answer, context: ssl.SSLContext | None) -> AsyncGenerator[int]:
    """Run a server that answers as told, and yield its port."""
    server = await asyncio.start_server(answer, "127.0.0.1", 0, ssl=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()


@pytest.fixture
async def no_descriptor_is_left() -> AsyncIterator[None]:
    """As many files are open after the test as before it."""
    before = len(os.listdir("/dev/fd"))  # noqa: PTH208
    yield
    async with asyncio.timeout(5):
        while len(os.listdir("/dev/fd")) > before:  # noqa: PTH208, ASYNC110 the kernel tells nobody
            await asyncio.sleep(0.01)


def to_beta(people: dict[str, Identity], port: int, *addresses: str, seconds: float = 5.0) -> Channel:
    """Return alpha's channel to beta. seconds: long, for a machine that is busy; what waits on purpose says less."""
    return Channel("beta", addresses or ("127.0.0.1",), port, client_context(people["alpha"]), seconds=seconds)


async def test_the_partner_says_what_it_is(people: dict[str, Identity]) -> None:
    """Every field arrives, with the address and the time it took."""
    board, port = HandMade(), free_port()
    async with agent_of_beta(people, board, port), to_beta(people, port) as channel:
        heard = await channel.ask()
    assert (heard.peer, heard.address, heard.failures) == (board.told, "127.0.0.1", {})
    assert 0 < heard.seconds < 5
    assert time.monotonic() - heard.asked_at >= heard.seconds


async def test_the_connection_is_kept(people: dict[str, Identity]) -> None:
    """A second look needs no second handshake, and news are told by it."""
    board, port = HandMade(), free_port()
    async with agent_of_beta(people, board, port), to_beta(people, port) as channel:
        await channel.ask()
        before = from_ports(port)
        for _ in range(5):
            assert (await channel.ask(news=True)).peer == board.told
            assert from_ports(port) == before
    assert (board.nudges, len(before)) == (5, 1)


def from_ports(port: int) -> set[int]:
    """Return the ports from which this process has connections to `port`."""
    found = psutil.Process().net_connections("tcp")
    return {one.laddr.port for one in found if one.status == "ESTABLISHED" and one.raddr.port == port}


async def test_a_kept_connection_that_ends_under_a_request_is_made_anew(people: dict[str, Identity]) -> None:
    """As when the agent is restarted in that very moment."""
    requests = 0

    async def once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal requests
        with suppress(OSError, asyncio.IncompleteReadError):
            await reader.readuntil(b"\r\n\r\n")
            requests += 1
            body = b'{"role": "standby", "epoch": 3}'
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n" % len(body) + body)
            await reader.readuntil(b"\r\n\r\n")
            requests += 1
        writer.close()

    async with answering(once, server_context(people["beta"])) as port, to_beta(people, port) as channel:
        for _ in range(2):
            assert (await channel.ask()).peer == Peer("standby", 3)
    assert requests == 3


async def test_an_agent_that_was_restarted_is_heard_at_once(people: dict[str, Identity]) -> None:
    """A kept connection that it closed says nothing of it."""
    board, port = HandMade(), free_port()
    async with to_beta(people, port) as channel:
        for _ in range(3):
            async with agent_of_beta(people, board, port):
                assert (await channel.ask()).peer == board.told
                assert (await channel.ask()).peer == board.told
        assert (await channel.ask()).failures == {"127.0.0.1": "refused"}


@pytest.mark.parametrize("stranger", ["air", "other home", "nobody"])
async def test_only_the_partner_is_let_in(people: dict[str, Identity], tmp_path: Path, stranger: str) -> None:
    """Neither another node of the home, nor a namesake of another home, nor somebody without a certificate."""
    board, port = HandMade(), free_port()
    others = {"air": people["air"], "other home": identities(tmp_path / "other", "alpha", "beta")["alpha"]}
    context = ssl.create_default_context(cafile=str(people["beta"].authority))
    if stranger in others:
        context = client_context(others[stranger])
        context.load_verify_locations(people["beta"].authority)
    async with (
        agent_of_beta(people, board, port),
        Channel("beta", ["127.0.0.1"], port, context, seconds=5.0) as channel,
    ):
        heard = await channel.ask(news=True)
    assert (heard.peer, board.nudges) == (None, 0)
    expected = "http 403" if stranger == "air" else "tls: "
    assert heard.failures["127.0.0.1"].startswith((expected, "the connection was closed", "Connection reset"))
    assert stranger != "air" or heard.failures["127.0.0.1"] == "http 403"


@pytest.mark.parametrize("impostor", ["air", "other home"])
async def test_only_the_partner_is_believed(people: dict[str, Identity], tmp_path: Path, impostor: str) -> None:
    """Whoever sits at its address."""
    other = identities(tmp_path / "other", "beta")["beta"]
    shown = people["air"] if impostor == "air" else other
    context = server_context(shown)
    context.verify_mode = ssl.CERT_NONE
    async with answering(_silent, context) as port, to_beta(people, port) as channel:
        heard = await channel.ask()
    assert heard.peer is None
    assert heard.failures["127.0.0.1"].startswith("tls: ")


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Take everything and say nothing."""
    try:
        while await reader.read(1000):
            pass
    except OSError:
        pass
    writer.close()


async def test_the_first_address_that_answers_is_enough(
    people: dict[str, Identity], no_descriptor_is_left: None
) -> None:
    """One that swallows everything, and one that refuses, cost no time."""
    board, port = HandMade(), free_port()
    with socket.create_server(("127.0.0.2", port)):
        async with (
            asyncio.timeout(25),
            agent_of_beta(people, board, port),
            to_beta(people, port, "127.0.0.2", "127.0.0.3", "127.0.0.1", seconds=30.0) as channel,
        ):
            async with asyncio.timeout(20):
                heard = await channel.ask()
            assert (heard.peer, heard.address) == (board.told, "127.0.0.1")
            assert channel.latest["127.0.0.1"] == "answered"


@pytest.mark.parametrize("tls", [False, True], ids=["no handshake", "no answer"])
async def test_an_agent_that_hangs_costs_the_deadline_and_no_more(
    people: dict[str, Identity], no_descriptor_is_left: None, *, tls: bool
) -> None:
    """Not the time of a polite farewell either; nothing stays open, however often one looks."""
    context = server_context(people["beta"]) if tls else None
    async with answering(_silent, context) as port, to_beta(people, port, seconds=0.5) as channel:
        for _ in range(3):
            began = time.monotonic()
            heard = await channel.ask()
            assert heard.failures == {"127.0.0.1": "timeout"}
            assert 0.45 < time.monotonic() - began < 3


async def test_a_look_that_is_given_up_leaves_nothing(people: dict[str, Identity], no_descriptor_is_left: None) -> None:
    """Cancelled at any moment, and ended with the channel."""
    async with answering(_silent, server_context(people["beta"])) as port, to_beta(people, port) as channel:
        for wait in (0.0, 0.001, 0.01, 0.1):
            with pytest.raises(TimeoutError):
                async with asyncio.timeout(wait):
                    await channel.ask()


async def test_time_that_the_process_slept_through_is_not_held_against_the_partner(people: dict[str, Identity]) -> None:
    """The answer is there when the loop wakes, later than the deadline."""
    board, port = HandMade(), free_port()
    async with agent_of_beta(people, board, port), to_beta(people, port, seconds=0.5) as channel:
        await channel.ask()
        looking = asyncio.create_task(channel.ask())
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        time.sleep(1.0)  # noqa: ASYNC251 the loop is what sleeps
        assert (await looking).peer == board.told


def _saying(text: bytes) -> Answer:
    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(text)
        await writer.drain()
        writer.close()

    return answer


@pytest.mark.parametrize(
    ("said", "why"),
    [
        (b"HTTP/1.1 503 Unavailable\r\ncontent-length: 2\r\n\r\n{}", "http 503"),
        (b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\n[]", "no answer of an agent"),
        (b'HTTP/1.1 200 OK\r\ncontent-length: 30\r\n\r\n{"role": "primary"', "no answer of an agent"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * 70000, "no answer of an agent"),
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no answer of an agent"),
        (b"", "the connection was closed"),
    ],
)
async def test_what_is_no_answer_of_an_agent_is_none(
    people: dict[str, Identity], no_descriptor_is_left: None, said: bytes, why: str
) -> None:
    """And says so."""
    async with answering(_saying(said), server_context(people["beta"])) as port, to_beta(people, port) as channel:
        heard = await channel.ask()
    assert heard.peer is None
    assert heard.failures["127.0.0.1"].startswith(why)


async def test_a_name_server_that_hangs_holds_nobody_up(people: dict[str, Identity]) -> None:
    """The other address answers; the name is asked for once, not at every look."""
    board, port, asked = HandMade(), free_port(), list[str]()

    def hang(name: str) -> list[str]:
        asked.append(name)
        time.sleep(0.3)
        return []

    async with (
        agent_of_beta(people, board, port),
        Channel(
            "beta", ["beta.home", "127.0.0.1"], port, client_context(people["alpha"]), seconds=5.0, names=Names(hang)
        ) as channel,
    ):
        for _ in range(5):
            assert (await channel.ask()).address == "127.0.0.1"
    assert len(asked) < 5


async def test_a_name_stands_for_all_its_addresses(people: dict[str, Identity]) -> None:
    """And the one that answers counts."""
    board, port = HandMade(), free_port()
    names = Names(lambda _: ["127.0.0.9", "127.0.0.1"])
    async with (
        agent_of_beta(people, board, port),
        Channel("beta", ["beta.home"], port, client_context(people["alpha"]), seconds=5.0, names=names) as channel,
    ):
        assert (await channel.ask()).address == "beta.home"
        names_gone = Names(lambda _: [])
        async with Channel("beta", ["x"], port, client_context(people["alpha"]), names=names_gone) as other:
            assert (await other.ask()).failures == {"x": "the name is not known"}
