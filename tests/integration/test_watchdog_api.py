"""The health port, asked over HTTP as load balancers and scripts ask Patroni."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx2
import pytest
from prometheus_client.parser import text_string_to_metric_families
from tests.conftest import free_port
from tests.watchdog_board import HandMade, identities, standby, status

from aya import __version__
from aya.errors import AyaError, ConfigError, DatabaseUnavailable
from aya_watchdog import door
from aya_watchdog.hosting import Where, hosted

BEHIND = 20 * 1024 * 1024
PRIMARY = ("/", "/primary", "/master", "/read-write", "/leader")
REPLICA = ("/replica", "/secondary")
ALL = {
    *PRIMARY,
    *REPLICA,
    *("/read-only", "/synchronous", "/sync", "/read-only-sync", "/asynchronous", "/async"),
    *("/health", "/liveness", "/readiness", "/patroni", "/status", "/standby-leader"),
}
ALIVE = {"/health", "/liveness", "/patroni", "/status"}
LEADER = {*PRIMARY, "/read-only", "/read-only-sync", "/readiness", *ALIVE}
SYNCHRONOUS = {*REPLICA, "/read-only", "/synchronous", "/sync", "/read-only-sync", "/readiness", *ALIVE}
ASYNCHRONOUS = {*REPLICA, "/read-only", "/asynchronous", "/async", *ALIVE}


@pytest.fixture
def port() -> int:
    """The health port."""
    return free_port()


@pytest.fixture
def where(port: int, tmp_path: Path) -> Where:
    """All three."""
    return Where("127.0.0.1", free_port(), port, tmp_path / "w.sock")


@pytest.fixture
async def board(where: Where, tmp_path: Path) -> AsyncIterator[HandMade]:
    """A board that is shown on the health port."""
    made = HandMade()
    async with hosted(made, identities(tmp_path, "alpha")["alpha"], None, where):
        yield made


@pytest.fixture
async def http(port: int) -> AsyncIterator[httpx2.AsyncClient]:
    """A client of the health port."""
    async with httpx2.AsyncClient(base_url=f"http://127.0.0.1:{port}", trust_env=False, timeout=20) as client:
        yield client


@pytest.mark.parametrize(
    ("said", "good"),
    [
        (status(), LEADER),
        (status(condition="SOLO"), LEADER),
        (status(condition="ARMING"), LEADER),
        (status(condition="FENCED", writable=False), ALIVE),
        (status(condition="FENCED"), ALIVE),
        (status(condition="QUARANTINE", writable=False), ALIVE),
        (status(condition="HANDOVER", server="stopped"), ALIVE - {"/health"}),
        (status(server="hung"), ALIVE - {"/health"}),
        (status(beat_age_seconds=11.0), ALIVE),
        (status(beat_age_seconds=31.0), ALIVE - {"/liveness"}),
        (standby(), SYNCHRONOUS),
        (standby(condition="FOLLOW"), ASYNCHRONOUS | {"/readiness"}),
        (standby(condition="FOLLOW", lag_bytes=BEHIND), ASYNCHRONOUS),
        (standby(condition="FOLLOW", lag_bytes=None), ASYNCHRONOUS),
        (standby(condition="SUSPECT"), ASYNCHRONOUS),
        (standby(condition="STRAY", in_recovery=False), ALIVE),
        (standby(server="stopped"), ALIVE - {"/health"}),
    ],
    ids=lambda value: f"{value['condition']}-{value['server']}" if isinstance(value, dict) else "",
)
async def test_a_path_is_200_for_what_the_node_is_and_503_for_the_rest(
    board: HandMade, http: httpx2.AsyncClient, said: dict[str, Any], good: set[str]
) -> None:
    """By GET, HEAD and OPTIONS alike; only GET has words."""
    board.said = said
    for path in sorted(ALL):
        for method in ("GET", "HEAD", "OPTIONS"):
            answer = await http.request(method, path)
            assert (path, method, answer.status_code) == (path, method, 200 if path in good else 503)
            assert bool(answer.content) == (method == "GET")


@pytest.mark.parametrize(
    ("lag", "expected"),
    [("16MB", 503), ("32MB", 200), ("1GB", 200), ("1048576", 503), ("20480kB", 200), ("20479kB", 503), ("lots", 400)],
)
async def test_a_replica_that_lags_too_much_is_none(
    board: HandMade, http: httpx2.AsyncClient, lag: str, expected: int
) -> None:
    """The bound is in bytes or with PostgreSQL's units; one that is none is an error, not no bound."""
    board.said = standby(condition="FOLLOW", lag_bytes=BEHIND)
    for path in ("/replica", "/async", "/read-only"):
        assert (await http.get(path, params={"lag": lag})).status_code == expected


async def test_a_lag_that_is_not_known_is_too_much(board: HandMade, http: httpx2.AsyncClient) -> None:
    """Only when a bound was asked for."""
    board.said = standby(lag_bytes=None)
    assert (await http.get("/replica?lag=1TB")).status_code == 503
    assert (await http.get("/replica")).status_code == 200


async def test_the_document_is_patronis_with_ours_inside(board: HandMade, http: httpx2.AsyncClient) -> None:
    """Scripts that read Patroni's find what they know."""
    shown = (await http.get("/patroni")).json()
    assert shown["patroni"] == {"version": __version__, "scope": "aya", "name": "alpha"}
    assert (shown["state"], shown["role"], shown["server_version"]) == ("running", "primary", 180004)
    assert (shown["timeline"], shown["xlog"], "pause" in shown) == (2, {"location": 67395656}, False)
    assert shown["aya"] == board.said
    board.said = standby(paused=True)
    shown = (await http.get("/status")).json()
    assert shown["xlog"] == {"received_location": 67395656, "replayed_location": 67395656, "paused": False}
    assert (shown["role"], shown["pause"], shown["sync_standby"]) == ("replica", True, True)


@pytest.mark.parametrize("said", [status(), standby()], ids=["primary", "standby"])
async def test_the_cluster_is_the_same_from_both_ends(
    board: HandMade, http: httpx2.AsyncClient, said: dict[str, Any]
) -> None:
    """One leader, one synchronous standby."""
    board.said = said
    shown = (await http.get("/cluster")).json()
    members = {member["name"]: member for member in shown["members"]}
    assert members["alpha"] == {"name": "alpha", "role": "leader", "state": "running", "timeline": 2}
    assert (members["beta"]["state"], members["beta"]["lag"]) == ("running", 0)
    assert members["beta"]["role"] == ("sync_standby")


async def test_a_partner_that_does_not_answer_is_shown_as_such(board: HandMade, http: httpx2.AsyncClient) -> None:
    """And one that never did has no role."""
    gone = {"node": "beta", "age_seconds": 40.0, "address": None, "error": "timeout", "said": None}
    board.said = status(partner=gone, condition="FENCED", lag_bytes=None)
    shown = (await http.get("/cluster")).json()["members"][1]
    assert shown == {"name": "beta", "role": "unknown", "state": "unreachable", "timeline": None}


async def test_the_history_is_patronis_and_asked_for_once(board: HandMade, http: httpx2.AsyncClient) -> None:
    """However many ask: each asking would cost a connection of the server."""
    answers = await asyncio.gather(*(http.get("/history") for _ in range(20)))
    assert answers[0].json() == [[1, 0, "the primary is gone", "2026-01-02T00:00:00Z", "beta"]]
    assert board.histories == 1


async def test_a_history_that_cannot_be_read_is_a_503_with_the_reason(
    board: HandMade, http: httpx2.AsyncClient
) -> None:
    """In our words."""
    board.refusal = DatabaseUnavailable("the server is stopped", hint="aya status")
    answer = await http.get("/history")
    assert (answer.status_code, answer.json()["error"]["message"]) == (503, "the server is stopped")


async def test_the_metrics_are_prometheus(board: HandMade, http: httpx2.AsyncClient) -> None:
    """One condition is 1; what is not known is left out; all actions are there from the start."""
    board.counters.decided("promote")
    board.counters.began_epoch(asked=False)
    board.said = status(lag_bytes=None)
    text = (await http.get("/metrics")).text
    samples = [sample for family in text_string_to_metric_families(text) for sample in family.samples]
    found = {(one.name, *sorted(one.labels.values())): one.value for one in samples}
    assert found["aya_watchdog_epoch",] == 2
    assert found["aya_watchdog_armed",] == 1
    assert found["aya_watchdog_partner_age_seconds",] == 0.2
    assert ("aya_watchdog_replication_lag_bytes",) not in found
    assert found["aya_watchdog_decisions_total", "promote"] == 1
    assert found["aya_watchdog_decisions_total", "fence"] == 0
    assert found["aya_watchdog_failovers_total", "nobody"] == 1
    conditions = {key[1] for key, value in found.items() if key[0] == "aya_watchdog_condition" and value == 1}
    assert conditions == {"SYNC"}
    assert ("aya_watchdog_condition", "STRANDED") in found


@pytest.mark.parametrize("path", ["/switchover", "/failover", "/pause", "/restart", "/peer"])
async def test_nothing_can_be_changed_here(board: HandMade, http: httpx2.AsyncClient, path: str) -> None:
    """It is plain HTTP: whoever reaches the port may ask, and no more."""
    assert (await http.post(path, json={"force": True})).status_code in {404, 405}
    assert (await http.post("/primary")).status_code == 405
    assert board.orders == []


def test_a_port_in_use_is_named(where: Where, tmp_path: Path) -> None:
    """With the command that shows who has it; nothing else stays open."""

    async def begin() -> None:
        async with hosted(HandMade(), identities(tmp_path, "alpha")["alpha"], None, where):
            pytest.fail("it began")

    taken = rf"port {where.health_port}: the port is in use"
    with (
        socket.create_server(("127.0.0.1", where.health_port)),
        pytest.raises(ConfigError, match=taken) as refused,
    ):
        asyncio.run(begin())
    assert refused.value.hint == f"lsof -i :{where.health_port} shows who has it"
    assert not where.socket.exists()


def test_a_socket_on_which_another_watchdog_answers_is_not_taken_over(where: Where, tmp_path: Path) -> None:
    """One that a dead process has left is."""

    async def begin() -> None:
        async with hosted(HandMade(), identities(tmp_path, "alpha")["alpha"], None, where):
            assert where.socket.stat().st_mode & 0o777 == 0o600

    with socket.socket(socket.AF_UNIX) as other:
        other.bind(str(where.socket))
        other.listen()
        with pytest.raises(AyaError, match="another watchdog answers"):
            asyncio.run(begin())
    assert where.socket.exists()
    asyncio.run(begin())
    assert not where.socket.exists()


@pytest.fixture
def silent(where: Where) -> Iterator[list[socket.socket]]:
    """Connections that are closed at the end."""
    opened: list[socket.socket] = []
    yield opened
    for one in opened:
        one.close()


async def test_strangers_that_say_nothing_cannot_stay(
    board: HandMade, where: Where, silent: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Not with half a request either."""
    monkeypatch.setattr(door, "HEAD_SECONDS", 0.5)
    address = ("127.0.0.1", where.health_port)
    silent.extend(socket.create_connection(address) for _ in range(10))
    silent[0].sendall(b"GET /primary HT")
    async with asyncio.timeout(20):
        for one in silent:
            one.settimeout(0)
            try:
                while await asyncio.get_running_loop().sock_recv(one, 100):
                    pass
            except ConnectionError:
                pass
        async with httpx2.AsyncClient(trust_env=False) as http:
            assert (await http.get(f"http://127.0.0.1:{where.health_port}/primary")).status_code == 200


async def test_strangers_cannot_use_up_the_files(
    board: HandMade, where: Where, silent: list[socket.socket], monkeypatch: pytest.MonkeyPatch
) -> None:
    """More connections than are served are cut at once; when others end there is room again."""
    monkeypatch.setattr(door, "HEAD_SECONDS", 600.0)
    address = ("127.0.0.1", where.health_port)
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(20):
        for _ in range(door.MOST_CONNECTIONS + 5):
            one = socket.socket()
            silent.append(one)
            one.settimeout(0)
            await loop.sock_connect(one, address)
        for one in silent[door.MOST_CONNECTIONS :]:
            with contextlib.suppress(ConnectionError):
                assert await loop.sock_recv(one, 100) == b""
        for one in silent:
            one.close()
        async with httpx2.AsyncClient(trust_env=False) as http:
            while True:
                with contextlib.suppress(httpx2.TransportError):
                    answer = await http.get(f"http://127.0.0.1:{where.health_port}/primary")
                    assert answer.status_code == 200
                    break
