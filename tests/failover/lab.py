"""Two real servers with their real watchdogs, and what may happen to them. Nothing here is imitated.

With a network (tests.failover.network) each is on a host of its own; without one both are on this machine's loopback.
"""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncGenerator, Callable, Collection
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import asyncpg
import psutil
from tests.conftest import free_port
from tests.failover import clock, disk
from tests.failover.clock import Clock
from tests.failover.disk import Disk
from tests.failover.network import Network, spawn

from aya.dsn import DEFAULT_DATABASE, OWNER, DatabaseSettings
from aya.errors import AyaError
from aya.home import ROLE_OF_NODE, Home, Node
from aya.local import clusters, layout
from aya.postgres.cluster import SUPERUSER, Cluster, postmaster_pid
from aya.postgres.config import Guard
from aya.postgres.provision import CLIENT_ROLES, superuser_settings
from aya.postgres.run import cluster_of
from aya.settings import Config, load_config
from aya.watchdog_client import WatchdogClient

NODES = ("alpha", "beta")
Extra = Literal["disks", "clocks", "steps"]
_LOOK_SECONDS = 0.02


def other(node: str) -> str:
    """Return the partner."""
    return NODES[1 - NODES.index(node)]


class Lab:
    """Use `lab()`. Everything it starts is ended with it, by process id."""

    def __init__(self, path: Path, network: Network | None, extras: Collection[Extra]) -> None:
        self.home = Home(path)
        self.network = network
        self._poll: Callable[[], None] = self.keep_alive if "steps" in extras else lambda: None
        self._watchdogs: dict[str, subprocess.Popen[bytes]] = {}
        self._links: dict[str, subprocess.Popen[bytes]] = {}
        self._frozen: set[str] = set()
        self._agent = (
            [str(Path(__file__).with_name("stepping_agent.py"))]
            if {"steps", "clocks"} & set(extras)
            else ["-m", "aya_watchdog"]
        )
        folders = {node: self.home.node_directory(node) for node in NODES if "disks" in extras}
        self.disks = {node: Disk(folder, ("archive", path / f"archive-{node}")) for node, folder in folders.items()}

        self.clocks = {node: Clock(path, node) for node in NODES if "clocks" in extras}

    # Made once

    async def make(self) -> None:
        """Make both clusters: alpha with the schema, beta as its copy; nothing runs afterwards."""
        layout.make_home(self.home)
        for node in NODES:
            if node in self.disks:
                self.disks[node].make()
            if node in self.clocks:
                self.clocks[node].make()
        self.home.save_nodes({name: self._node(name) for name in NODES})
        for node in NODES:
            layout.make_node(self.home, node)
            layout.make_secrets(self.home, node)
        alpha, secrets = self.cluster("alpha"), self.home.secrets("alpha")
        clusters.create(self.home, "alpha", alpha, secrets, None)
        alpha.guard(Guard(read_only=False))
        alpha.start(self.home.node_directory("alpha") / "make.log")
        try:
            await clusters.finish("alpha", alpha, secrets)
            clusters.create(self.home, "beta", self.cluster("beta"), secrets, alpha.config)
        finally:
            alpha.stop()
        if self.network:
            self.home.config_file.write_text(self._members(self.network), encoding="utf-8")

    def _node(self, name: str) -> Node:
        return Node(name, ROLE_OF_NODE[name], *(free_port() for _ in range(6)))

    def _members(self, network: Network) -> str:
        lines = ["[cluster]", f'clients = ["{network.client}"]', f'witnesses = ["{network.client}:9"]']
        for name in NODES:
            node = self.home.node(name)
            lines += [
                f"[cluster.{name}]", f'addresses = ["{network.addresses[name]}", "{network.relayed[name]}"]',
                f"postgres_port = {node.postgres_port}", f"agent_port = {node.agent_port}",
                f"health_port = {node.health_port}",
            ]  # fmt: skip
        return "\n".join(lines) + "\n"

    @property
    def config(self) -> Config:
        """Return aya.toml."""
        return load_config(self.home, {})

    def cluster(self, node: str) -> Cluster:
        """Return a node's cluster."""
        return cluster_of(self.home, self.config, node)

    def address(self, node: str) -> str:
        """Return where clients reach a node."""
        return self.network.addresses[node] if self.network else "127.0.0.1"

    def database(self, role: str = OWNER, nodes: tuple[str, ...] = NODES, **options: str) -> DatabaseSettings:
        """Return the DSN that every client has, whoever leads."""
        assert role in CLIENT_ROLES
        return DatabaseSettings(
            tuple((self.address(node), self.home.node(node).postgres_port) for node in nodes),
            DEFAULT_DATABASE, role, self.home.secrets("alpha")[role],
            options=tuple({"target_session_attrs": "read-write", **options}.items()),
        )  # fmt: skip

    # What may happen

    def start(self, node: str) -> None:
        """Start a node's watchdog, as launchd would; it starts the server."""
        if self.network is None and node not in self._links:
            self._links[node] = self._spawn(node, ["-m", "aya.local.link"], "link.log")
        self._watchdogs[node] = self._spawn(node, self._agent, "watchdog.log")

    def _spawn(self, node: str, program: list[str], log: str) -> subprocess.Popen[bytes]:
        inside = self.network.inside(node) if self.network else []
        environment = {**os.environ, "AYA_HOME": str(self.home.path), "AYA_NODE": node, "PYTHONUTF8": "1"}
        if node in self.clocks:
            environment |= self.clocks[node].environment
        return spawn([*inside, sys.executable, *program], environment, self.home.log_directory(node) / log)

    def stop(self, node: str) -> None:
        """Stop a node's watchdog as `aya down` does: with it ends the server."""
        process = self._watchdogs.pop(node)
        process.terminate()
        process.wait(60)

    async def ended(self, node: str) -> int:
        """Wait until a watchdog has ended by itself; return its exit code."""
        return await asyncio.to_thread(self._watchdogs.pop(node).wait, 30)

    def kill_watchdog(self, node: str) -> None:
        """End a watchdog at once; its server goes on."""
        process = self._watchdogs.pop(node, None)
        if process is not None:
            process.kill()
            process.wait(10)

    def kill_server(self, node: str) -> None:
        """End a server with all its processes at once."""
        for process in self._server(node):
            with suppress(psutil.Error):
                process.kill()

    def kill_postmaster(self, node: str) -> None:
        """End a server's first process at once; the others find out by themselves."""
        for process in self._server(node)[:1]:
            with suppress(psutil.Error):
                process.kill()

    def kill_host(self, node: str) -> None:
        """Pull the plug of a node: watchdog and server end in the same moment."""
        self.kill_watchdog(node)
        self.kill_server(node)
        self._frozen.discard(node)

    def freeze_server(self, node: str) -> None:
        """Stop every process of a server (SIGSTOP)."""
        for process in self._server(node):
            with suppress(psutil.Error):
                process.suspend()
        self._frozen.add(node)

    def freeze_postmaster(self, node: str) -> None:
        """Stop a server's first process: sessions go on, and no new one is made."""
        for process in self._server(node)[:1]:
            with suppress(psutil.Error):
                process.suspend()
        self._frozen.add(node)

    def freeze_watchdog(self, node: str) -> None:
        """Stop a watchdog (SIGSTOP)."""
        os.kill(self._watchdogs[node].pid, signal.SIGSTOP)
        self._frozen.add(node)

    def freeze_host(self, node: str) -> None:
        """Stop a watchdog and its server."""
        self.freeze_watchdog(node)
        self.freeze_server(node)

    def thaw(self, node: str) -> None:
        """Let everything of a node go on."""
        if node in self._watchdogs:
            os.kill(self._watchdogs[node].pid, signal.SIGCONT)
        for process in self._server(node):
            with suppress(psutil.Error):
                process.resume()
        self._frozen.discard(node)

    def cut(self, *senders: str) -> None:
        """Lose what these nodes send to their partner, or, without a network, what goes to and fro on their behalf."""
        for node in senders or NODES:
            if self.network:
                self.network.lose(node, other(node))
            else:
                self._links[node].send_signal(signal.SIGUSR1)

    def heal(self) -> None:
        """Have every link whole."""
        if self.network:
            self.network.heal()
        for link in self._links.values():
            link.send_signal(signal.SIGUSR2)

    def repair(self) -> None:
        """Undo everything that was done: links whole, nothing frozen, both watchdogs running."""
        self.heal()
        for each in self.disks.values():
            each.empty()
        for clock_ in self.clocks.values():
            clock_.add(0)
        for node in NODES:
            self.thaw(node)
            if node not in self._watchdogs or self._watchdogs[node].poll() is not None:
                self.start(node)

    def keep_alive(self) -> None:
        """Start the watchdogs again that ended by themselves, as launchd does."""
        for node, process in list(self._watchdogs.items()):
            if process.poll() is not None:
                self.start(node)

    def _server(self, node: str) -> list[psutil.Process]:
        pid = postmaster_pid(self.home.data_directory(node))
        if pid is None:
            return []
        with suppress(psutil.Error):
            postmaster = psutil.Process(pid)
            return [postmaster, *postmaster.children(recursive=True)]
        return []

    # What is seen

    async def status(self, node: str) -> dict[str, Any] | None:
        """Return what a watchdog says of itself; None when it says nothing."""
        try:
            async with asyncio.timeout(1.0), WatchdogClient(self.home, node) as client:
                return await client.status()
        except (AyaError, TimeoutError):
            return None

    async def statuses(self) -> dict[str, dict[str, Any]]:
        """Return what those say that say something."""
        found = await asyncio.gather(*(self.status(node) for node in NODES))
        return {node: said for node, said in zip(NODES, found, strict=True) if said is not None}

    async def until(
        self, holds: Callable[[dict[str, dict[str, Any]]], bool], *, seconds: float = 30.0, what: str = ""
    ) -> dict[str, dict[str, Any]]:
        """Wait until a condition on the statuses holds, and return them. Raises AssertionError with them."""
        began = time.monotonic()
        while True:
            found = await self.statuses()
            with suppress(KeyError):
                if holds(found):
                    return found
            if time.monotonic() - began > seconds:
                said = {node: (one["role"], one["condition"], one["why"], one["epoch"]) for node, one in found.items()}
                raise AssertionError(f"not within {seconds:g} s: {what} {said}\n{self._last_words()}")
            self._poll()
            await asyncio.sleep(_LOOK_SECONDS)

    def _last_words(self) -> str:
        """Return the ends of the watchdogs' logs, which go with the lab."""
        logs = {node: self.home.log_directory(node) / "watchdog.log" for node in NODES}
        return "\n".join(f"{node}: {file.read_text()[-4000:]}" for node, file in logs.items() if file.exists())

    async def in_sync(self, leader: str | None = None, *, seconds: float = 30.0) -> str:
        """Wait until one node leads and the other is armed; return who leads."""

        def holds(found: dict[str, dict[str, Any]]) -> bool:
            for node in [leader] if leader else NODES:
                if node and found[node]["condition"] == "SYNC" and found[node]["writable"]:
                    return bool(found[other(node)]["condition"] == "ARMED")
            return False

        found = await self.until(holds, seconds=seconds, what=f"SYNC led by {leader or 'anybody'};")
        return next(node for node in NODES if found[node]["condition"] == "SYNC")

    async def as_superuser(self, node: str, statement: str) -> Any:  # noqa: ANN401 - what the statement gives
        """Run one statement on a node, if its server answers, and return its first value."""
        cluster = self.cluster(node)
        known = superuser_settings(cluster, self.home.secrets(node)[SUPERUSER])
        # By its own socket: no cut link is in the way.
        settings = replace(known, hosts=((str(cluster.config.socket_directory), cluster.config.port),))
        with suppress(OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            connection = await asyncpg.connect(settings.dsn(), timeout=1.0)
            try:
                return await asyncio.wait_for(connection.fetchval(statement), 2.0)
            finally:
                connection.terminate()
        return None

    async def order(self, node: str, path: str, **more: bool) -> dict[str, Any]:
        """Give a watchdog a person's order."""
        async with WatchdogClient(self.home, node) as client:
            return await client.order(path, "a test", None, **more)

    async def history(self, node: str) -> list[dict[str, Any]]:
        """Return the epochs as a node has them."""
        async with WatchdogClient(self.home, node) as client:
            return await client.history()

    async def stream_as(self, node: str, *, name: str, role: str, seconds: float) -> None:
        """Stream from a node under a name, as pg_receivewal does, for so long."""
        cluster = self.cluster(node)
        port = self.home.node(node).postgres_port
        target = f"host={self.address(node)} port={port} user={role} application_name={name}"
        with tempfile.TemporaryDirectory() as directory:
            process = await asyncio.create_subprocess_exec(
                cluster.binaries.program("pg_receivewal"), f"--dbname={target}", f"--directory={directory}",
                "--synchronous", "--no-loop", env={**os.environ, "PGPASSWORD": self.home.secrets(node)[role]},
                stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL,
            )  # fmt: skip
            await asyncio.sleep(seconds)
            code = process.returncode
            if code is None:
                process.kill()
                await process.wait()

    def end(self) -> None:
        """End everything that was started."""
        for node in NODES:
            self.thaw(node)
        for node in list(self._watchdogs):
            self.kill_watchdog(node)
        for link in self._links.values():
            link.kill()
            link.wait(10)
        for node in NODES:
            self.kill_server(node)
        for each in self.disks.values():
            each.remove()


@asynccontextmanager
async def lab(
    path: Path, network: Network | None = None, *, started: bool = True, extras: Collection[Extra] = ()
) -> AsyncGenerator[Lab]:
    """Lend two servers; started: with their watchdogs running, the second armed, alpha leading.

    extras: of each node, where that is possible. disks: one of its own that can be filled; clocks: a time of day of its
    own that can be set. steps: its watchdog ends where it is told to (tests.failover.stepping_agent), and one that ends
    is started again while anything is waited for.
    """
    possible = {"disks": disk.is_possible(path.parent), "clocks": clock.is_possible(), "steps": True}
    made = Lab(path, network, [extra for extra in extras if possible[extra]])
    try:
        await made.make()
        if started:
            for node in NODES:
                made.start(node)
            await made.in_sync("alpha")
        yield made
    finally:
        made.end()
