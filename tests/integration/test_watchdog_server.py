"""The server as its watchdog starts and ends it, when an order is given while another one is carried out."""

from __future__ import annotations

import asyncio
import shutil
import signal
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from tests.conftest import free_port

from aya.errors import PostgresError
from aya.home import Home
from aya.postgres import binaries, privileges
from aya.postgres.cluster import Cluster
from aya.postgres.config import ClusterConfig, Guard
from aya.reach import FAILED
from aya.settings import Config
from aya_watchdog.server import Server

pytestmark = pytest.mark.database

PASSWORD = "only of this test"


@pytest.fixture
async def server(public_directory: Path) -> AsyncIterator[Server]:
    """A cluster of its own that does not run; whatever works in it afterwards is ended."""
    folder = public_directory / f"server-{free_port()}"
    home = Home(folder)
    user = privileges.run_as(home.data_directory("alpha"))
    found = binaries.resolve(Config(), home, user)
    cluster = Cluster(
        found, home.data_directory("alpha"), ClusterConfig(free_port(), home.runtime_directory / "alpha"), user
    )
    cluster.create(PASSWORD)
    made = Server(cluster, PASSWORD, folder / "postgres.log", node="alpha", home=folder)
    yield made
    for process in postmasters(made):
        process.kill()
    await made.kill()
    shutil.rmtree(folder)


def postmasters(server: Server) -> list[psutil.Process]:
    """Return every server, by its command line, that was started on the directory."""
    data = str(server.cluster.data_directory)
    return [one for one in psutil.process_iter(["cmdline"]) if one.info["cmdline"] and data in one.info["cmdline"]]


async def answers(server: Server) -> None:
    """Wait until the server lets us in; the suite's timeout ends a vain wait."""
    while True:
        with suppress(*FAILED):
            async with server.connected() as session:
                assert await session.fetchval("SELECT 1") == 1
            return
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("milliseconds", [0, 1, 3, 6, 10, 15, 20, 30])
async def test_a_start_that_is_cancelled_is_one_with_the_next(server: Server, milliseconds: int) -> None:
    """One server runs, and the watchdog knows it: as after a power cut, with the lock of a dead one in the way."""
    await server.start(Guard())
    await answers(server)
    await server.kill()
    first = asyncio.create_task(server.start(Guard()))
    await asyncio.sleep(milliseconds / 1000)
    first.cancel()
    await server.start(Guard())
    await answers(server)
    (running,) = postmasters(server)
    assert server.pid == running.pid
    await server.stop()
    assert not postmasters(server)


async def test_what_ends_a_server_waits_for_its_start(server: Server) -> None:
    """No server comes up behind the back of whoever has stopped it, to change its files."""
    for milliseconds in (0, 1, 5, 20):
        start = asyncio.create_task(server.start(Guard()))
        await asyncio.sleep(milliseconds / 1000)
        start.cancel()
        await server.stop()
        await asyncio.sleep(0.2)
        assert not postmasters(server)
        server.require_gone()


async def test_files_are_not_changed_under_a_server(server: Server) -> None:
    """Also when its lock is gone: it is found by where it works."""
    await server.start(Guard())
    await answers(server)
    (running,) = postmasters(server)
    (server.cluster.data_directory / "postmaster.pid").unlink()
    with pytest.raises(PostgresError, match="still worked in"):
        server.require_gone()
    running.send_signal(signal.SIGQUIT)
    running.wait(20)
