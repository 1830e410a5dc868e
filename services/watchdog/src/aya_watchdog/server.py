"""The server on this machine: started, watched and ended by its watchdog, and by nobody else.

The server outlives a watchdog that crashes: it runs in a session of its own, and the next watchdog adopts it.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, TypeAlias

import asyncpg
import psutil

from aya import log, queries
from aya.errors import PostgresError
from aya.postgres import holders, lockfile
from aya.postgres.cluster import Cluster, postmaster_pid
from aya.postgres.config import Guard
from aya.postgres.provision import superuser_settings
from aya.postgres.run import check, server_environment
from aya.processes import ports

SQL = queries.load("aya_watchdog")
CONNECT_SECONDS = 2.0
_STOP_SECONDS = 30.0
_KILL_SECONDS = 10.0
_POLL_SECONDS = 0.02

Connection: TypeAlias = "asyncpg.Connection[Any]"


class Server:
    """One PostgreSQL of ours. Every call is bounded in time; a connection that hangs is abandoned, never waited for."""

    def __init__(self, cluster: Cluster, password: str, log_file: Path, *, node: str, home: Path) -> None:
        self.cluster = cluster
        self._settings = superuser_settings(cluster, password)
        self._log_file = log_file
        self._environment = {**os.environ, "AYA_NODE": node, "AYA_HOME": str(home)}
        self._process: subprocess.Popen[bytes] | None = None
        self._starting: asyncio.Task[None] | None = None

    @property
    def pid(self) -> int | None:
        """Return the postmaster's process id, adopted or our own child; None when there is none."""
        if self._process is not None and self._process.poll() is not None:
            self._process = None
        # A child that was started this moment has not written its file yet.
        started = self._process.pid if self._process is not None else None
        return postmaster_pid(self.cluster.data_directory) or started

    @property
    def follows(self) -> bool:
        """Return whether its next start, or the present run, is a standby's, by what is on disk."""
        return (self.cluster.data_directory / "standby.signal").exists()

    async def start(self, guard: Guard) -> None:
        """Start it with these settings, and return at once; nothing happens when it runs.

        A start goes on when its caller is cancelled; who asks for another meanwhile, and everything that ends the
        server, waits for it: two at once would take each other's lock for a dead one's, and one would run unseen.
        """
        if self.pid is not None:
            return
        if self._starting is None or self._starting.done():
            self._starting = asyncio.create_task(asyncio.to_thread(self._start, guard), name="start the server")
            self._starting.add_done_callback(lambda done: done.cancelled() or done.exception())
        await asyncio.shield(self._starting)

    async def _started(self) -> None:
        """Wait for a start that is under way."""
        if self._starting is not None:
            await asyncio.wait((self._starting,))

    def require_gone(self) -> None:
        """Raise PostgresError while any PostgreSQL works in the data directory: before its files are changed."""
        seen = holders.observe(self.cluster.data_directory, self._environment)
        if seen.is_server or seen.others:
            raise PostgresError(
                f"{self.cluster.data_directory} is still worked in: {lockfile.decide(seen).reason}", hint="aya status"
            )

    def _start(self, guard: Guard) -> None:
        check(self.cluster)
        self._forget_lock()
        ports.require_free(self.cluster.config.port, "PostgreSQL's")
        self.cluster.configure()
        self.cluster.guard(guard)
        self._log_file.parent.mkdir(parents=True, exist_ok=True)
        with self._log_file.open("ab") as output:
            self._process = subprocess.Popen(
                self.cluster.command(),
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=output,
                cwd="/",
                env=server_environment(self._environment),
                start_new_session=True,
                **self.cluster.user.process_identity(),
            )

    def _forget_lock(self) -> None:
        """Remove a lock that no PostgreSQL holds: its number is another process's, or a dead one's.

        PostgreSQL would refuse to start for as long as there is a process of that number. Nobody else starts a server
        meanwhile: the watchdog is alone on the directory (aya.postgres.holders).
        """
        data = self.cluster.data_directory
        verdict = lockfile.decide(holders.observe(data, self._environment))
        if verdict.action == "remove":
            holders.forget(data)
        elif verdict.action != "start":
            raise PostgresError(f"{data}: {verdict.reason}", hint="aya status")

    async def stop(self, *, seconds: float = _STOP_SECONDS) -> None:
        """Stop it fast: clients are cut, everything is sent to the standby. At once when that takes too long."""
        await self._started()
        for signum, patience in ((signal.SIGINT, seconds), (signal.SIGQUIT, _KILL_SECONDS), (signal.SIGKILL, None)):
            if await self._signal(signum, patience):
                return
        await self.kill()

    async def kill(self) -> None:
        """End it and all its processes at once, frozen ones too; the next start recovers."""
        await self._started()
        pid = self.pid
        if pid is None:
            return
        with suppress(psutil.Error):
            process = psutil.Process(pid)
            family = [process, *process.children(recursive=True)]
            for each in family:
                with suppress(psutil.Error):
                    each.kill()
            await asyncio.to_thread(psutil.wait_procs, family, _KILL_SECONDS)

    async def _signal(self, signum: signal.Signals, patience: float | None) -> bool:
        """Send a signal and wait; return whether the server is gone."""
        pid = self.pid
        if pid is None:
            return True
        if patience is None:
            return False
        with suppress(ProcessLookupError):
            os.kill(pid, signum)
            # One that was stopped hears nothing before it goes on.
            os.kill(pid, signal.SIGCONT)
        try:
            async with asyncio.timeout(patience):
                while self.pid is not None:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_POLL_SECONDS / 4)
        except TimeoutError:
            log.get_logger().warning("server.resisted", signal=signum.name, seconds=patience)
            return False
        return True

    @asynccontextmanager
    async def connected(
        self, *, database: str | None = None, seconds: float = CONNECT_SECONDS, **settings: str
    ) -> AsyncGenerator[Connection]:
        """Lend a new superuser connection, which may write also where clients may not; it is dropped, not closed.

        seconds: for the connection to be made. Raises OSError, TimeoutError, asyncpg's errors.
        """
        async with asyncio.timeout(seconds):
            connection = await self.connect(seconds, database=database, default_transaction_read_only="off", **settings)
        try:
            yield connection
        finally:
            connection.terminate()

    async def connect(self, seconds: float, *, database: str | None = None, **settings: str) -> Connection:
        """Open a connection that the caller ends with terminate(): close() would wait for a server that hangs."""
        return await asyncpg.connect(
            self._settings.dsn(),
            database=database,
            timeout=seconds,
            server_settings={"application_name": "aya-watchdog", "statement_timeout": "0", **settings},
        )

    async def reload(self, guard: Guard, *, everywhere: bool = False) -> None:
        """Write the settings and have the server read them; returns when a new session has them.

        everywhere: returns when every process was told. Signals go out in order: when a session has read the settings
        a second time, every process of the server was told of the first (`act.arm` relies on that).
        """
        async with self.connected() as session:
            await self.reload_on(session, guard, everywhere=everywhere)

    async def reload_on(self, session: Connection, guard: Guard, *, everywhere: bool = False) -> None:
        """Do the same on a session that is there already, which then has the settings, too."""
        await asyncio.to_thread(self.cluster.guard, guard)
        for _ in range(2 if everywhere else 1):
            before = await session.fetchval(SQL["loaded_at"])
            await session.execute(SQL["reload"])
            async with asyncio.timeout(CONNECT_SECONDS):
                while await session.fetchval(SQL["loaded_at"]) == before:  # noqa: ASYNC110 - another process
                    await asyncio.sleep(_POLL_SECONDS / 4)

    async def run(self, name: str, *arguments: object, seconds: float = CONNECT_SECONDS) -> Any:  # noqa: ANN401
        """Run one named statement on a connection of its own and return its first value."""
        async with self.connected() as connection, asyncio.timeout(seconds):
            return await connection.fetchval(SQL[name], *arguments)

    def tool(self, program: str, *arguments: str) -> str:
        """Run one of PostgreSQL's programs on the data directory; PostgresError with its last words."""
        return self.cluster.run_tool(program, *arguments)

    def control(self) -> dict[str, str]:
        """Return what pg_controldata says, by name. For a stopped server."""
        lines = self.tool("pg_controldata", f"--pgdata={self.cluster.data_directory}").splitlines()
        pairs = (line.partition(":") for line in lines)
        return {name.strip(): value.strip() for name, _, value in pairs}

    async def shut_down_at(self) -> int:
        """Wait until a server that is stopping has written its last record, and return where that begins, in bytes.

        It has no session and writes nothing from then on, though its processes take a while to end. Raises
        PostgresError when it ends without such a record.
        """
        file, seen = self.cluster.data_directory / "global" / "pg_control", 0
        while True:
            ended, changed = self.pid is None, file.stat().st_mtime_ns
            if ended or changed != seen:
                control = await asyncio.to_thread(self.control)
                if control.get("Database cluster state") == "shut down":
                    return _position(control.get("Latest checkpoint location", ""))
                if ended:
                    raise PostgresError(
                        "the server ended without a last checkpoint", hint="docs/operations/failover.md"
                    )
                seen = changed
            await asyncio.sleep(_POLL_SECONDS / 4)


def _position(location: str) -> int:
    high, _, low = location.partition("/")
    if not low:
        raise PostgresError("pg_controldata names no checkpoint", hint="docs/operations/failover.md")
    return (int(high, 16) << 32) + int(low, 16)
