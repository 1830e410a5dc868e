"""A person's orders over the unix socket: taken with words, or refused with the next command."""

from __future__ import annotations

import stat
from collections.abc import AsyncIterator
from pathlib import Path

import httpx2
import pytest
from tests.conftest import free_port
from tests.watchdog_board import HandMade, identities

from aya.errors import AyaError
from aya_watchdog.hosting import Where, hosted


@pytest.fixture
async def board(tmp_path: Path) -> AsyncIterator[HandMade]:
    """A board whose control socket is served."""
    made = HandMade()
    where = Where("127.0.0.1", free_port(), free_port(), tmp_path / "w.sock")
    async with hosted(made, identities(tmp_path, "alpha")["alpha"], None, where):
        yield made


@pytest.fixture
async def http(tmp_path: Path) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the socket."""
    transport = httpx2.AsyncHTTPTransport(uds=str(tmp_path / "w.sock"))
    async with httpx2.AsyncClient(transport=transport, base_url="http://watchdog", timeout=20) as client:
        yield client


@pytest.mark.parametrize(
    ("path", "body", "order"),
    [
        ("/switchover", {}, "switchover"),
        ("/failover", {}, "failover"),
        ("/failover", {"force": False}, "failover"),
        ("/failover", {"force": True}, "force"),
        ("/degrade", {"partner_is_off": True}, "degrade"),
        ("/rejoin", {}, "rejoin"),
    ],
)
async def test_an_order_is_taken_and_explained(
    board: HandMade, http: httpx2.AsyncClient, path: str, body: dict[str, bool], order: str
) -> None:
    """What will be done, what must hold first, and how things are."""
    answer = await http.post(path, json={**body, "by": "ada", "reason": "a new\ndisk"})
    assert answer.status_code == 202
    said = answer.json()
    assert (said["order"], said["status"]) == (order, board.said)
    assert all(isinstance(said[words], str) for words in ("will", "when"))
    assert ("lost" in said["will"]) == (order in {"force", "failover", "switchover"})
    assert board.orders == [(order, "ada: a new disk")]


async def test_the_socket_is_its_owners(board: HandMade, tmp_path: Path) -> None:
    """Mode 600."""
    mode = (tmp_path / "w.sock").stat().st_mode
    assert (stat.S_ISSOCK(mode), stat.S_IMODE(mode)) == (True, 0o600)


async def test_pause_and_resume(board: HandMade, http: httpx2.AsyncClient) -> None:
    """They hold at once."""
    assert (await http.post("/pause", json={"by": "ada"})).json()["status"]["paused"] is True
    assert (await http.post("/resume")).json()["status"]["paused"] is False
    assert board.orders == [("pause", "ada"), ("resume", "somebody")]


async def test_a_refusal_says_why_and_what_to_type(board: HandMade, http: httpx2.AsyncClient) -> None:
    """As the board has it."""
    board.refusal = AyaError("the partner could not take over without a loss", hint="aya status")
    answer = await http.post("/switchover")
    expected = {"error": {"message": "the partner could not take over without a loss", "hint": "aya status"}}
    assert (answer.status_code, answer.json()) == (409, expected)


@pytest.mark.parametrize(
    ("path", "content", "why"),
    [
        ("/degrade", b"{}", "somebody has to answer"),
        ("/degrade", b'{"partner_is_off": 1}', "may be true or false"),
        ("/failover", b'{"force": "yes"}', "may be true or false"),
        ("/failover", b"[]", "no JSON object"),
        ("/failover", b"{", "no JSON"),
        ("/pause", b"x" * 5000, "longer than"),
    ],
)
async def test_a_call_that_is_wrong_changes_nothing(
    board: HandMade, http: httpx2.AsyncClient, path: str, content: bytes, why: str
) -> None:
    """400, with a sentence."""
    answer = await http.post(path, content=content)
    assert (answer.status_code, why in answer.json()["error"]["message"]) == (400, True)
    assert board.orders == []


async def test_the_status_and_the_history_are_whole(board: HandMade, http: httpx2.AsyncClient) -> None:
    """The latest epoch first."""
    assert (await http.get("/status")).json() == board.said
    assert (await http.get("/history")).json() == {"epochs": board.epochs}


@pytest.mark.parametrize(("method", "path", "status"), [("GET", "/failover", 405), ("POST", "/burn", 404)])
async def test_other_paths_are_refused_in_words(
    board: HandMade, http: httpx2.AsyncClient, method: str, path: str, status: int
) -> None:
    """Not in Starlette's plain text."""
    answer = await http.request(method, path)
    assert (answer.status_code, answer.json()["error"]["message"]) == (status, f"there is no {method} {path} here")
