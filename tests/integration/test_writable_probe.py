"""How long nobody could write, measured on a real server."""

from __future__ import annotations

import asyncio
import os
import signal
from dataclasses import replace

import asyncpg
import pytest
from tests.conftest import Server, free_port

from aya.dsn import DatabaseSettings
from aya.writable_probe import WritableProbe

pytestmark = pytest.mark.database


async def until_written(probe: WritableProbe) -> None:
    """Wait for an acknowledged write."""
    async with asyncio.timeout(20):
        while not probe.has_written:  # noqa: ASYNC110 it wakes nobody
            await asyncio.sleep(0.01)


async def settled(probe: WritableProbe) -> float:
    """Wait until writes are acknowledged again, so that the gap has ended."""
    gap = probe.longest_gap
    while True:
        await asyncio.sleep(0.1)
        last, gap = gap, probe.longest_gap
        if gap is not None and gap == last:
            return gap


async def test_a_time_without_writes_is_measured(server: Server, database: DatabaseSettings) -> None:
    """A server that is closed to writers counts as long as it is closed, and no table is touched."""
    nobody = replace(database, hosts=(("127.0.0.1", free_port()),))
    closing = f"ALTER DATABASE {database.database} SET default_transaction_read_only = %s"
    end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE application_name = 'aya-probe'"
    async with WritableProbe([nobody, database]) as probe:
        assert probe.longest_gap is None
        await until_written(probe)
        probe.measure()
        await server.run_as_superuser(closing.replace("%s", "on"))
        await server.run_as_superuser(end)
        await asyncio.sleep(0.7)
        await server.run_as_superuser(closing.replace("%s", "off"))
        await server.run_as_superuser(end)
        async with asyncio.timeout(20):
            gap = await settled(probe)
    assert 0.7 <= gap < 20


async def test_a_commit_that_waits_for_a_standby_is_no_write(server: Server, database: DatabaseSettings) -> None:
    """And the probe ends at once although the whole server is frozen by then."""
    waiters = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'SyncRep' AND application_name = 'aya-probe'"
    waiting = f"ALTER DATABASE {database.database} SET synchronous_commit = %s"
    lock = server.cluster.data_directory / "postmaster.pid"
    if not lock.exists():
        pytest.skip("the server is in a container, where it cannot be frozen")
    postmaster = int(lock.read_text().split()[0])
    async with asyncio.timeout(30):
        await server.run_as_superuser(waiting.replace("%s", "on"))
        connection = await asyncpg.connect(server.settings("postgres", "postgres").dsn())
        try:
            await connection.execute("ALTER SYSTEM SET synchronous_standby_names = 'nobody'")
            await connection.execute("SELECT pg_reload_conf()")
            async with WritableProbe([database]) as probe:
                while not await connection.fetchval(  # noqa: ASYNC110
                    waiters
                ):
                    await asyncio.sleep(0.02)
                probe.measure()
                await asyncio.sleep(0.2)
                os.kill(postmaster, signal.SIGSTOP)
                began = asyncio.get_running_loop().time()
            assert asyncio.get_running_loop().time() - began < 2
            assert asyncio.all_tasks() == {asyncio.current_task()}, "asyncpg asks the server to stop it"
        finally:
            os.kill(postmaster, signal.SIGCONT)
            await connection.execute("ALTER SYSTEM RESET synchronous_standby_names")
            await connection.execute("SELECT pg_reload_conf()")
            await connection.close()
    assert probe.longest_gap is None or probe.longest_gap >= 0.2
