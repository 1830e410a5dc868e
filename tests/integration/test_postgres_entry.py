"""Who may enter a server from another machine: seen by the server as another address, by a relay on this one."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
import tempfile
from collections.abc import AsyncGenerator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import Server, free_port

from aya.dsn import DEFAULT_DATABASE, DatabaseSettings
from aya.home import Home
from aya.postgres import binaries, privileges
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import SYNC_ROLE, ClusterConfig
from aya.postgres.provision import new_secrets, provision_primary
from aya.settings import Config

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(sys.platform != "linux", reason="macOS has no second loopback address"),
]
ELSEWHERE = "127.0.0.2"


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    while piece := await reader.read(65536):
        writer.write(piece)
        await writer.drain()
    writer.close()


@asynccontextmanager
async def from_elsewhere(settings: DatabaseSettings) -> AsyncGenerator[DatabaseSettings]:
    """Yield settings by which the server sees a client of another machine."""
    ((host, port),) = settings.hosts

    async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        there, back = await asyncio.open_connection(host, port, local_addr=(ELSEWHERE, 0))
        await asyncio.gather(_pump(reader, back), _pump(there, writer), return_exceptions=True)
        for each in (writer, back):
            each.transport.abort()

    async with asyncio.TaskGroup() as joins:

        def accepted(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            joins.create_task(join(reader, writer))

        async with await asyncio.start_server(accepted, "127.0.0.1", 0) as relay:
            yield replace(settings, hosts=(relay.sockets[0].getsockname()[:2],))


@pytest.fixture(scope="module")
def server() -> Iterator[Server]:
    """A server of this module's own, with its roles and its database; nobody else may enter it yet."""
    folder = Path(tempfile.mkdtemp(prefix="aya-pg-"))
    folder.chmod(0o755)
    home = Home(folder)
    user = privileges.run_as(home.data_directory("alpha"))
    found = binaries.resolve(Config(postgres_major=int(os.environ.get("AYA_PG_MAJOR", "18"))), home, user)
    listening = ClusterConfig(free_port(), home.runtime_directory / "alpha")
    cluster, secrets = Cluster(found, home.data_directory("alpha"), listening, user), new_secrets({})
    try:
        cluster.create(secrets[SUPERUSER])
        cluster.start(folder / "server.log")
        asyncio.run(provision_primary(cluster, secrets))
        yield Server(cluster, secrets)
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder)


async def let_in(server: Server, *clients: str) -> None:
    """Write pg_hba.conf as `[cluster] clients` has it, and have the server read it."""
    replace(server.cluster, config=replace(server.cluster.config, clients=clients)).configure()
    await server.run_as_superuser("SELECT pg_reload_conf()")


async def entered(settings: DatabaseSettings) -> str:
    """Enter, and return the address that the server sees; errors are the driver's."""
    connection = await asyncpg.connect(settings.dsn(), timeout=20)
    try:
        return str(await connection.fetchval("SELECT host(inet_client_addr())"))
    finally:
        await connection.close()


@pytest.mark.parametrize("clients", [(ELSEWHERE,), ("127.0.0.0/8",)])
async def test_airs_daemon_enters_from_where_clients_may(server: Server, clients: tuple[str, ...]) -> None:
    """By an address or a network of `[cluster] clients`, with its own password and no other's."""
    await let_in(server, *clients)
    settings = server.settings(DEFAULT_DATABASE, SYNC_ROLE)
    async with from_elsewhere(settings) as there:
        while True:
            try:
                assert await entered(there) == ELSEWHERE
                break
            except asyncpg.InvalidAuthorizationSpecificationError:  # pg_hba.conf is read when the server comes to it
                await asyncio.sleep(0.02)
        with pytest.raises(asyncpg.InvalidPasswordError):
            await entered(replace(there, password=server.secrets["aya_user"]))


async def test_nobody_enters_from_elsewhere_unasked(server: Server) -> None:
    """Where aya.toml names no clients, only this machine's are let in."""
    await let_in(server)
    settings = server.settings(DEFAULT_DATABASE, SYNC_ROLE)
    assert await entered(settings) == "127.0.0.1"
    async with from_elsewhere(settings) as there:
        while True:
            try:
                await entered(there)
            except asyncpg.InvalidAuthorizationSpecificationError as error:
                assert "no pg_hba.conf entry" in str(error)  # noqa: PT017 - tried until the server has read it
                return
            await asyncio.sleep(0.02)
