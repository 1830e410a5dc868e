"""A primary and AIR, each a server of its own, a wire between them that can fail, and the daemon as a process."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
from tests.conftest import free_port
from tests.failover.disk import Disk
from tests.sync import daemon
from tests.sync.oracle import differences
from tests.sync.wires import Wire, wire

from aya import migrations
from aya.db import prepare_connection
from aya.dsn import DEFAULT_DATABASE, OWNER, DatabaseSettings
from aya.home import Home
from aya.postgres import binaries, privileges
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import SYNC_ROLE, ClusterConfig
from aya.postgres.provision import new_secrets, owner_settings, provision_primary, superuser_settings
from aya.settings import Config

_LOOK_SECONDS = 0.05
_REST_SECONDS = 40.0
_WORDS = 3000
_NODE = {"primary": "alpha", "air": "air"}


class Lab:
    """Use `lab()`. Everything it starts is ended with it, by process id."""

    def __init__(self, directory: Path, *, with_disk: bool = False) -> None:
        home = Home(directory)
        self.disk = Disk(home.node_directory("air")) if with_disk else None
        user = privileges.run_as(home.data_directory("alpha"))
        found = binaries.resolve(Config(postgres_major=int(os.environ.get("AYA_PG_MAJOR", "18"))), home, user)
        home.runtime_directory.mkdir(parents=True, exist_ok=True, mode=0o755)
        self.secrets = new_secrets({})
        self.clusters = {
            side: Cluster(found, home.data_directory(node), ClusterConfig(free_port(), home.runtime_directory), user)
            for side, node in _NODE.items()
        }
        self._log = directory / "syncd.log"
        self._directory = directory
        self._daemon: subprocess.Popen[bytes] | None = None
        self.wire: Wire
        self.deaths: list[str] = []
        self._point = ""

    async def make(self) -> None:
        """Make both servers, running, with the schema of their node."""
        if self.disk:
            self.disk.make()
        for side, cluster in self.clusters.items():
            cluster.create(self.secrets[SUPERUSER])
            with (cluster.data_directory / "postgresql.conf").open("a") as settings:
                # What dies here are processes, never the machine.
                settings.write("fsync = off\nfull_page_writes = off\n")
            self.start(side)
            await provision_primary(cluster, self.secrets)
            await migrations.migrate(owner_settings(cluster, self.secrets), node=_NODE[side])
            await self.run(side, "SELECT aya_bind_model('f', 'm', 'r', 768, 'mean', true, '', '', 512)")

    def start(self, side: str) -> None:
        """Start a server."""
        self.clusters[side].start(self._directory / f"{side}.log")

    def restart(self, side: str) -> None:
        """End a server without a word, and start it again."""
        self.clusters[side].stop("immediate")
        self.start(side)

    def settings(self, side: str, role: str = OWNER) -> DatabaseSettings:
        """Return how a role reaches one side, not through the wire."""
        if role == SUPERUSER:
            return superuser_settings(self.clusters[side], self.secrets[SUPERUSER], DEFAULT_DATABASE)
        return replace(owner_settings(self.clusters[side], self.secrets), user=role, password=self.secrets[role])

    async def connect(self, side: str, role: str = OWNER) -> asyncpg.Connection[Any]:
        """Connect to one side."""
        connection = await asyncpg.connect(self.settings(side, role).dsn(), timeout=5.0)
        await prepare_connection(connection)
        return connection

    async def run(self, side: str, statement: str, *arguments: object) -> list[asyncpg.Record]:
        """Run one statement as the owner."""
        connection = await self.connect(side)
        try:
            return await connection.fetch(statement, *arguments)
        finally:
            await connection.close()

    # The daemon

    def start_daemon(self, point: str = "") -> None:
        """Start it; point: where it dies (see tests.sync.daemon)."""
        assert self._daemon is None
        told = {
            "local": self._json(self.settings("air", SYNC_ROLE)),
            "primary": self._json(replace(self.settings("primary", SYNC_ROLE), hosts=(("127.0.0.1", self.wire.port),))),
        }
        environment = {**os.environ, "AYA_LAB_DAEMON": json.dumps(told), "AYA_LAB_DIES": point}
        self._point = point
        with self._log.open("ab") as log:
            self._daemon = subprocess.Popen(
                [sys.executable, "-m", "tests.sync.daemon"], env=environment, stdout=log, stderr=log
            )

    @staticmethod
    def _json(known: DatabaseSettings) -> dict[str, Any]:
        return {"hosts": known.hosts, "database": known.database, "user": known.user, "password": known.password}

    def kill_daemon(self) -> None:
        """End it at once (kill -9)."""
        if self._daemon is not None:
            self._daemon.kill()
            self._daemon.wait(10)
            self._daemon = None

    def stop_daemon(self) -> None:
        """Ask it to end (SIGTERM); it does so within ten seconds."""
        assert self._daemon is not None
        self._daemon.send_signal(signal.SIGTERM)
        code = self._daemon.wait(10)
        self._daemon = None
        assert code == 0, f"exit code {code}: {self.words()}"

    def is_dead(self) -> bool:
        """Return whether it has ended."""
        return self._daemon is None or self._daemon.poll() is not None

    def keep_alive(self) -> None:
        """Start it again when it has died where it was to die, as launchd would. Raises AssertionError otherwise."""
        code = self._daemon.poll() if self._daemon else None
        if code is not None:
            assert code == daemon.DIED, f"the daemon ended by itself ({code}): {self.words()}"
            self.deaths.append(self._point)
            self._daemon = None
        if self._daemon is None:
            self.start_daemon()

    async def died(self, seconds: float = 20.0) -> None:
        """Wait until it has died where it was to die."""
        assert self._daemon is not None
        code = await asyncio.to_thread(self._daemon.wait, seconds)
        self._daemon = None
        assert code == daemon.DIED, f"exit code {code}: {self.words()}"

    def words(self) -> str:
        """Return the daemon's last words."""
        return self._log.read_text(encoding="utf-8")[-_WORDS:]

    # What is seen

    async def at_rest(self, seconds: float = _REST_SECONDS) -> None:
        """Wait until nothing waits and both have the same rows. Raises AssertionError with what differs."""
        here, there = await self.connect("air"), await self.connect("primary")
        found = "not looked"
        try:
            async with asyncio.timeout(seconds):
                while found := await differences(here, there):
                    self.keep_alive()
                    await asyncio.sleep(_LOOK_SECONDS)
        except TimeoutError:
            raise AssertionError(f"no rest within {seconds:g} s: {found}\n{self.words()}") from None
        finally:
            here.terminate()
            there.terminate()

    def end(self) -> None:
        """End everything that was started."""
        self.kill_daemon()
        for cluster in self.clusters.values():
            if cluster.postmaster_pid() is not None:
                cluster.stop("immediate")
        if self.disk:
            self.disk.remove()


@asynccontextmanager
async def lab(directory: Path, *, with_disk: bool = False) -> AsyncGenerator[Lab]:
    """Lend both servers and the wire; the daemon does not run yet. with_disk: AIR has one of its own."""
    made = Lab(directory, with_disk=with_disk)
    try:
        await made.make()
        async with wire(made.clusters["primary"].config.port) as between:
            made.wire = between
            yield made
    finally:
        made.end()
