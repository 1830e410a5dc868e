"""Two Patroni members over an etcd of their own, and what may happen to them: the same words as tests.failover.lab.

With a network each member is on a host of its own and etcd on the bridge, where the clients are; without one all are
on this machine's loopback. Patroni and etcd run as the unprivileged user that PostgreSQL runs as.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import secrets
import shutil
import signal
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import AsyncGenerator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, cast

import asyncpg
import psutil
from tests.conftest import free_port
from tests.failover.lab import NODES, other
from tests.failover.network import Network, spawn

from aya.dsn import DEFAULT_DATABASE, OWNER, DatabaseSettings
from aya.home import Home
from aya.postgres import binaries
from aya.postgres.cluster import SUPERUSER, postmaster_pid
from aya.postgres.privileges import can_enter, copy_readable, run_as
from aya.settings import Config

DOCUMENT = Path(__file__).parents[2] / "docs" / "operations" / "patroni.md"
_LOOK_SECONDS = 0.05
_ASK_SECONDS = 1.0
_ORDER_SECONDS = 90.0
_OK = 200


@dataclass(frozen=True)
class Pace:
    """How fast Patroni is told to be (its documentation, "Dynamic configuration settings"). In seconds.

    parameters: of PostgreSQL. One thing Patroni leaves to PostgreSQL: how long a silent standby is waited for.
    """

    ttl: int
    loop_wait: int
    retry_timeout: int
    parameters: Mapping[str, str] = field(default_factory=dict[str, str])


# Patroni's own defaults with PostgreSQL's: a silent standby is waited for during wal_sender_timeout, 60 s.
DEFAULT = Pace(30, 10, 10)
# The floor of all three settings (loop_wait + 2 * retry_timeout <= ttl), and a short wait for a silent standby.
AGGRESSIVE = Pace(
    20, 1, 3,
    {"wal_sender_timeout": "3s", "wal_receiver_timeout": "3s", "wal_retrieve_retry_interval": "200ms"},
)  # fmt: skip
# A PostgreSQL that is not in the shell's environment; what AYA writes into its own clusters, too.
_PARAMETERS = {"wal_keep_size": "256MB", "synchronous_commit": "on", "timezone": "UTC"}


def missing() -> str | None:
    """Return what is missing for a lab; None: nothing."""
    if shutil.which("etcd") is None:
        return "etcd is not installed (apt-get install etcd-server)"
    if os.geteuid() == 0 and shutil.which("setpriv") is None:
        return "root needs setpriv to run Patroni as another user"
    if not os.environ.get("AYA_PATRONI_PYTHON"):
        return 'no Patroni (AYA_PATRONI_PYTHON="$(scripts/patroni)")'
    return None


class PatroniLab:
    """Use `patroni_lab()`. Everything it starts is ended with it, by process id."""

    def __init__(self, path: Path, pace: Pace, network: Network | None) -> None:
        self.network = network
        self._path, self._pace = path, pace
        self._user = run_as(path / "none")
        path.mkdir(mode=0o755)
        self._postgres = binaries.resolve(Config(), Home(path), self._user)
        self._python = self._readable_python()
        self._passwords = {role: secrets.token_urlsafe(12) for role in (SUPERUSER, "replicator", OWNER)}
        self._etcd_port, self._ports = free_port(), {node: (free_port(), free_port()) for node in NODES}
        self._etcd: subprocess.Popen[bytes] | None = None
        self._members: dict[str, subprocess.Popen[bytes]] = {}
        self._frozen: set[str] = set()

    def _readable_python(self) -> str:
        python = Path(os.environ["AYA_PATRONI_PYTHON"])
        environment = python.parent.parent
        if can_enter(self._user, environment):
            return str(python)
        copy_readable(environment, self._path / "patroni")
        return str(self._path / "patroni" / "bin" / "python")

    # Made once

    async def make(self) -> None:
        """Start etcd and both members: alpha leads, beta is synchronous, the owner has the manual's database."""
        self._start_etcd()
        for node in NODES:
            self._user.make_directory(self._directory(node))
            file = self._directory(node) / "patroni.json"
            file.write_text(json.dumps(self._configuration(node), indent=2), encoding="utf-8")
            self._user.own(file)
        self.start("alpha")
        await self._until_asked("alpha", "primary")
        await self._provision()
        self.start("beta")
        await self.in_sync("alpha", seconds=120)

    def _start_etcd(self) -> None:
        directory = self._path / "etcd"
        self._user.make_directory(directory)
        clients = f"http://{self._etcd_host()}:{self._etcd_port}"
        peers = f"http://127.0.0.1:{free_port()}"
        command = [
            "etcd", "--name", "lab", "--data-dir", str(directory / "data"), "--log-level", "warn",
            "--listen-client-urls", clients, "--advertise-client-urls", clients,
            "--listen-peer-urls", peers, "--initial-advertise-peer-urls", peers, "--initial-cluster", f"lab={peers}",
        ]  # fmt: skip
        self._etcd = spawn([*self._dropped(), *command], _environment(), self._path / "etcd.log")

    def _etcd_host(self) -> str:
        return self.network.client if self.network else "127.0.0.1"

    def _dropped(self) -> list[str]:
        """Return what a command line begins with to run as PostgreSQL's user."""
        if self._user.uid is None:
            return []
        return ["setpriv", f"--reuid={self._user.uid}", f"--regid={self._user.gid}", "--clear-groups", "--"]

    def _configuration(self, node: str) -> dict[str, Any]:
        """Return patroni.yml of a member; JSON is YAML."""
        postgres_port, rest_port = self._ports[node]
        host, directory = self.address(node), self._directory(node)
        network = f"{host.rpartition('.')[0]}.0/24"
        return {
            "scope": "aya",
            "name": node,
            "restapi": {"listen": f"{host}:{rest_port}", "connect_address": f"{host}:{rest_port}"},
            "etcd3": {"hosts": [f"{self._etcd_host()}:{self._etcd_port}"]},
            "bootstrap": {
                "dcs": {
                    "ttl": self._pace.ttl,
                    "loop_wait": self._pace.loop_wait,
                    "retry_timeout": self._pace.retry_timeout,
                    "synchronous_mode": True,
                    "postgresql": {"use_pg_rewind": True, "parameters": {**_PARAMETERS, **self._pace.parameters}},
                },
                "initdb": [{"encoding": "UTF8"}, "data-checksums", {"locale": "C"}],
            },
            "postgresql": {
                "listen": f"{host}:{postgres_port}",
                "connect_address": f"{host}:{postgres_port}",
                "data_dir": str(self._data_directory(node)),
                "bin_dir": str(self._postgres.directory),
                "pgpass": str(directory / "pgpass"),
                "authentication": {
                    "superuser": {"username": SUPERUSER, "password": self._passwords[SUPERUSER]},
                    "replication": {"username": "replicator", "password": self._passwords["replicator"]},
                },
                # Else the copy begins with a checkpoint that takes its time.
                "basebackup": [{"checkpoint": "fast"}],
                "parameters": {"unix_socket_directories": str(directory)},
                "pg_hba": [f"host all all {network} scram-sha-256", f"host replication all {network} scram-sha-256"],
            },
            "watchdog": {"mode": "off"},
        }

    async def _provision(self) -> None:
        """Make the database as the manual has it: its own statements, with a password that differs."""
        for number, block in enumerate(
            re.findall(r"```sql\n(.*?)```", DOCUMENT.read_text(encoding="utf-8"), re.DOTALL)
        ):
            database = DEFAULT_DATABASE if number else "postgres"
            for statement in block.replace("'choose one'", f"'{self._passwords[OWNER]}'").split(";"):
                if statement.strip():
                    await self.as_superuser("alpha", statement, database)

    def _directory(self, node: str) -> Path:
        return self._path / node

    def _data_directory(self, node: str) -> Path:
        return self._directory(node) / "data"

    def address(self, node: str) -> str:
        """Return where clients reach a node."""
        return self.network.addresses[node] if self.network else "127.0.0.1"

    def database(self, role: str = OWNER, database: str = DEFAULT_DATABASE) -> DatabaseSettings:
        """Return the DSN that every client has, whoever leads."""
        hosts = tuple((self.address(node), self._ports[node][0]) for node in NODES)
        options = (("target_session_attrs", "read-write"),)
        return DatabaseSettings(hosts, database, role, self._passwords[role], options)

    # What may happen

    def start(self, node: str) -> None:
        """Start a member's Patroni; it starts the server."""
        inside = self.network.inside(node) if self.network else []
        command = [
            *inside,
            *self._dropped(),
            self._python,
            "-m",
            "patroni",
            str(self._directory(node) / "patroni.json"),
        ]
        self._members[node] = spawn(command, _environment(), self._path / f"{node}.log")

    def kill_host(self, node: str) -> None:
        """Pull the plug of a node: Patroni and server end in the same moment."""
        for process in self._processes(node):
            with suppress(psutil.Error):
                process.kill()
        member = self._members.pop(node, None)
        if member is not None:
            member.wait(10)
        self._frozen.discard(node)

    def freeze_host(self, node: str) -> None:
        """Stop Patroni and its server (SIGSTOP)."""
        for process in self._processes(node):
            with suppress(psutil.Error):
                process.suspend()
        self._frozen.add(node)

    def cut(self) -> None:
        """Cut the link between the two; both still reach etcd and the clients."""
        assert self.network is not None
        for node in NODES:
            self.network.lose(node, other(node))

    def repair(self) -> None:
        """Undo everything that was done: links whole, nothing frozen, both members running."""
        if self.network:
            self.network.heal()
        for node in NODES:
            if node in self._frozen:
                for process in self._processes(node):
                    with suppress(psutil.Error):
                        process.resume()
            if node not in self._members or self._members[node].poll() is not None:
                self.start(node)
        self._frozen.clear()

    def _processes(self, node: str) -> list[psutil.Process]:
        """Return Patroni first, so that it does not see its server end."""
        member = self._members.get(node)
        found: list[psutil.Process] = []
        for pid in (member.pid if member else None, postmaster_pid(self._data_directory(node))):
            with suppress(psutil.Error):
                if pid is not None:
                    process = psutil.Process(pid)
                    found += [process, *process.children(recursive=True)]
        return found

    async def order(self, node: str, path: str) -> None:
        """Give the leader a person's order: "switchover" to the other. Raises AssertionError when it is refused."""
        assert path == "switchover"
        status, said = await self._ask(node, path, {"leader": node, "candidate": other(node)}, seconds=_ORDER_SECONDS)
        assert status == _OK, said

    # What is seen

    async def in_sync(self, leader: str | None = None, *, seconds: float = 120.0) -> str:
        """Wait until one member leads and the other is its synchronous standby; return who leads."""
        began = time.monotonic()
        while time.monotonic() - began < seconds:
            for node in [leader] if leader else NODES:
                if await self._holds(node, "primary") and await self._holds(other(node), "synchronous"):
                    follows = "SELECT 1 FROM pg_stat_replication WHERE sync_state = 'sync' AND state = 'streaming'"
                    if await self.as_superuser(node, follows):
                        return node
            await asyncio.sleep(_LOOK_SECONDS)
        logs = "\n".join((self._path / f"{node}.log").read_text(encoding="utf-8")[-2000:] for node in NODES)
        raise AssertionError(f"not in sync within {seconds:g} s, led by {leader or 'anybody'}:\n{logs}")

    async def _until_asked(self, node: str, path: str, *, seconds: float = 60.0) -> None:
        began = time.monotonic()
        while not await self._holds(node, path):
            log = (self._path / f"{node}.log").read_text(encoding="utf-8")[-3000:]
            assert time.monotonic() - began < seconds, f"{node} is not {path} within {seconds:g} s:\n{log}"
            await asyncio.sleep(_LOOK_SECONDS)

    async def _holds(self, node: str, path: str) -> bool:
        try:
            return (await self._ask(node, path))[0] == _OK
        except OSError:
            return False

    async def _ask(
        self, node: str, path: str, body: dict[str, str] | None = None, *, seconds: float = _ASK_SECONDS
    ) -> tuple[int, str]:
        """Ask a member's REST API: status and text. Raises OSError when it does not answer."""
        url = f"http://{self.address(node)}:{self._ports[node][1]}/{path}"
        data = json.dumps(body).encode() if body else None

        def ask() -> tuple[int, str]:
            try:
                with urllib.request.urlopen(url, data, seconds) as answer:
                    return answer.status, answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    return error.code, error.read().decode()

        return await asyncio.to_thread(ask)

    async def as_superuser(self, node: str, statement: str, database: str = "postgres") -> object:
        """Run one statement on a node and return its value; None also when its server does not answer."""
        host, port = self.address(node), self._ports[node][0]
        settings = DatabaseSettings(((host, port),), database, SUPERUSER, self._passwords[SUPERUSER])
        try:
            connection = await asyncpg.connect(settings.dsn(), timeout=1.0)
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError):
            return None
        try:
            return cast("object", await connection.fetchval(statement, timeout=10))
        finally:
            connection.terminate()

    def end(self) -> None:
        """End everything that was started."""
        for node in NODES:
            self.kill_host(node)
        if self._etcd is not None:
            os.kill(self._etcd.pid, signal.SIGKILL)
            self._etcd.wait(10)


def _environment() -> dict[str, str]:
    return {"PATH": os.environ["PATH"], "LC_ALL": "C", "HOME": "/"}


@asynccontextmanager
async def patroni_lab(path: Path, pace: Pace, network: Network | None = None) -> AsyncGenerator[PatroniLab]:
    """Lend two members with alpha leading and beta synchronous. path: a directory that is to be made."""
    made = PatroniLab(path, pace, network)
    try:
        await made.make()
        yield made
    finally:
        made.end()
