"""`aya up`: make what is missing, start what does not run, and leave when everything answers.

Every step is safe to repeat, so the same code serves the first start, a start after a crash or a reboot, and a second
`aya up` beside the first. A try that fails stops what it started; what it made on disk is kept or made anew next time.
"""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections.abc import Sequence
from dataclasses import dataclass

from aya.dsn import DatabaseSettings, parse_dsn
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError, ConfigError
from aya.home import Home, Node
from aya.launchctl import beside
from aya.local import clusters, layout, plan, wait
from aya.local.align import Alignment
from aya.local.lock import exclusive
from aya.local.report import Report
from aya.migrations import migrate
from aya.postgres.config import SERVERS, SYNC_ROLE, ClusterConfig, partner_of
from aya.postgres.provision import owner_settings
from aya.postgres.run import cluster_of
from aya.processes import ports
from aya.processes.plist import Process
from aya.processes.supervisor import Supervisor
from aya.settings import Config, node_settings, primary_password

# What runs behind the servers.
_BEHIND = {
    "indexer": "the indexer runs",
    "backup": "base backups are made daily",
    "syncd": "what changes here and at the primary is exchanged",
    "web": "the page is served: aya web shows where",
}
_OWNERS = {
    "postgres": "PostgreSQL's",
    "watchdog": "the watchdog's",
    "link": "the link's",
    "embedder": "the embedder's",
    "web": "the page's",
}


@dataclass(frozen=True, slots=True)
class Started:
    """What `up` did. already_running: nothing had to be started."""

    nodes: tuple[Node, ...]
    already_running: bool


async def up(home: Home, config: Config, node_names: Sequence[str] | None, report: Report) -> Started:
    """Bring this machine's nodes up and return when they are healthy.

    node_names: None for those the home has (all three on first use). Raises AyaError, with the end of the log of
    the process that would not start; then nothing that this call started is left running.
    """
    names = plan.wanted_nodes(node_names, tuple(home.nodes()), config)
    beside.require_unmanaged(home, "aya up")
    _require_way_to_primary(home, config, names)
    layout.make_home(home)
    with exclusive(home, "aya up"):
        existing = home.nodes()
        nodes = plan.settle(existing, names, lambda taken: ports.choose(taken, str(home.path)))
        for name in names:
            layout.make_node(home, name)
        if nodes != existing:
            home.save_nodes(nodes)
        machine = _Machine(home, config, nodes, report)
        chosen = tuple(nodes[name] for name in names)
        if await machine.healthy(chosen):
            await machine.check(chosen)
            return Started(chosen, already_running=True)
        await machine.start(chosen)
        return Started(chosen, already_running=False)


def _require_way_to_primary(home: Home, config: Config, names: Sequence[str]) -> None:
    """Raise ConfigError, before anything is made, where a node has servers elsewhere and no password for them."""
    if not config.members or "alpha" in {*names, *home.nodes()}:
        return
    if "air" in names:
        primary_password(home, config, "air", SYNC_ROLE)
    if "beta" in names and not home.secrets("beta"):
        raise ConfigError(
            "nothing here says how beta enters alpha", hint="on ALPHA: aya init invite beta; here: aya init --role beta"
        )


class _Machine:
    """One `aya up` at work."""

    def __init__(self, home: Home, config: Config, nodes: dict[str, Node], report: Report) -> None:
        self._home = home
        self._config = config
        self._nodes = nodes
        self._report = report
        self._supervisor = Supervisor(home)
        self._processes = layout.processes(home, config, nodes.values())

    async def healthy(self, chosen: Sequence[Node]) -> bool:
        """Return whether these nodes run just as they would be started now, and answer."""
        wanted = [process.label for node in chosen for process in self._of(node)]
        known = await asyncio.to_thread(self._supervisor.processes)
        if not all(label in known and known[label].alive for label in wanted):
            return False
        if not self._supervisor.configured(self._processes):
            return False
        probes = [probe() for node in chosen for probe in self._probes(node)]
        return all(await asyncio.gather(*probes))

    def _probes(self, node: Node) -> list[wait.Probe]:
        embedder = wait.embedder_probe(_embedder_url(node))
        if self._config.dsn is not None:
            return [embedder]
        cluster = cluster_of(self._home, self._config, node.name)
        return [wait.postgres_probe(cluster, self._home.secrets(node.name)), embedder]

    async def check(self, chosen: Sequence[Node]) -> None:
        """Raise SchemaMismatch where a running database is not the one that this AYA knows; align the models."""
        for node in chosen:
            if await self._leads(node):
                dsn = self._config.dsn
                database = parse_dsn(dsn) if dsn else node_settings(self._home, node.name, environ={}).local
                await migrate(database, node=node.name)
                await self._bind(node, database)

    async def _leads(self, node: Node) -> bool:
        """Return whether this node's database is one to be written to."""
        if self._config.dsn is not None or node.name not in SERVERS:
            return True
        cluster = cluster_of(self._home, self._config, node.name)
        return await wait.is_writable(cluster, self._home.secrets(node.name))

    async def start(self, chosen: Sequence[Node]) -> None:
        """Start everything of these nodes; on any failure stop it again, unless it ran before we came."""
        await asyncio.to_thread(self._check_versions, chosen)
        ran_before = await asyncio.to_thread(self._supervisor.answers)
        try:
            await self._start(chosen)
        except BaseException:
            if not ran_before:
                # Not awaited: a task that was cancelled by Ctrl-C must still clean up.
                self._supervisor.shut_down(self._processes)
            raise

    async def _start(self, chosen: Sequence[Node]) -> None:
        await asyncio.to_thread(self._supervisor.apply, self._processes)
        await self._require_ports(chosen)
        for node in chosen:
            # First, and not waited for: it loads its model while the servers are being made.
            for process in self._of(node):
                if process.service in {"link", "embedder"}:
                    self._supervisor.rpc().start(process.label)
        databases = await self._start_databases(chosen)
        for node in chosen:
            await self._start_embedder(node, databases[node.name])
        for node in chosen:
            await self._start_others(node)

    def _check_versions(self, chosen: Sequence[Node]) -> None:
        """Raise PostgresError for a data directory of another major version, before a running server is touched."""
        for node in chosen if self._config.dsn is None else ():
            cluster = cluster_of(self._home, self._config, node.name)
            if cluster.exists() and not clusters.marker(self._home, node.name).exists():
                cluster.check_version()

    async def _require_ports(self, chosen: Sequence[Node]) -> None:
        known = await asyncio.to_thread(self._supervisor.processes)
        for node in chosen:
            for process in self._of(node):
                running = known.get(process.label)
                for port in () if running and running.alive else plan.ports_of(node, process.service):
                    await asyncio.to_thread(ports.require_free, port, f"{_OWNERS[process.service]} of node {node.name}")

    async def _start_databases(self, chosen: Sequence[Node]) -> dict[str, DatabaseSettings]:
        if self._config.dsn is not None:
            return {node.name: await self._migrate_given(node) for node in chosen}
        servers = [node for node in chosen if node.name in SERVERS]
        for node in servers:
            # A primary may have to wait for its standby before it opens: both begin, and then each is waited for.
            if self._is_whole(node):
                self._supervisor.rpc().start(self._server_process(node).label)
        databases: dict[str, DatabaseSettings] = {}
        for node in chosen:
            databases[node.name] = await self._start_cluster(node)
            if node.name not in SERVERS:
                await self._finish(node)
            elif node is servers[0] and (leader := await self._leader(servers)):
                await self._finish(leader)
        return databases

    def _is_whole(self, node: Node) -> bool:
        made = cluster_of(self._home, self._config, node.name).exists()
        return made and not clusters.marker(self._home, node.name).exists()

    async def _migrate_given(self, node: Node) -> DatabaseSettings:
        settings = parse_dsn(self._config.dsn or "")
        done = await migrate(settings, node=node.name)
        self._report.step(node.name, f"the database {settings.display()} has schema {done.version}")
        return settings

    async def _start_cluster(self, node: Node) -> DatabaseSettings:
        secrets = layout.make_secrets(self._home, node.name)
        cluster = await asyncio.to_thread(cluster_of, self._home, self._config, node.name)
        primary = self._primary(node) if node.role == "standby" else None
        made = await asyncio.to_thread(clusters.create, self._home, node.name, cluster, secrets, primary)
        if made:
            origin = f"as a copy of {partner_of(node.name)}" if primary else "with its own data directory"
            self._report.step(node.name, f"PostgreSQL {cluster.binaries.version} made {origin}")
        version = await wait.until(
            wait.postgres_probe(cluster, secrets),
            self._supervisor,
            self._server_process(node),
            deadline_seconds=wait.POSTGRES_SECONDS,
        )
        self._report.step(node.name, f"PostgreSQL {version} answers on 127.0.0.1:{node.postgres_port}")
        return owner_settings(cluster, secrets)

    async def _leader(self, servers: Sequence[Node]) -> Node | None:
        """Wait until one of the servers lets clients write, and return which; None: it is one on another machine."""
        waited_since = time.monotonic()

        async def probe() -> str | None:
            for node in servers:
                cluster = cluster_of(self._home, self._config, node.name)
                if cluster.exists() and await wait.is_writable(cluster, self._home.secrets(node.name)):
                    return node.name
            if not self._config.members:
                return None
            waited = time.monotonic() - waited_since
            return "" if self._follows(servers) or waited > wait.LEADER_SECONDS else None

        found = await wait.until(
            probe,
            self._supervisor,
            self._server_process(servers[0]),
            deadline_seconds=wait.LEADER_SECONDS * (2 if self._config.members else 1),
            still_waiting=lambda said: self._report.step(servers[0].name, f"no server is open for writing yet: {said}"),
        )
        if not found and not self._follows(servers):
            # It goes on running: a person may have to tell it that the partner is off.
            error = AyaError("the server is closed to writers until its partner answers", hint="aya status")
            self._report.warn(servers[0].name, error)
        return self._nodes[found] if found else None

    def _follows(self, servers: Sequence[Node]) -> bool:
        """Return whether a server of this home is a standby."""
        return any((self._home.data_directory(node.name) / "standby.signal").exists() for node in servers)

    async def _finish(self, node: Node) -> None:
        cluster = cluster_of(self._home, self._config, node.name)
        done = await clusters.finish(node.name, cluster, self._home.secrets(node.name))
        if done.applied:
            self._report.step(node.name, f"schema brought to version {done.version}")

    async def _start_embedder(self, node: Node, database: DatabaseSettings) -> None:
        url = _embedder_url(node)
        await self._end_frozen(node)
        model = await wait.until(
            wait.embedder_probe(url),
            self._supervisor,
            self._process(node, "embedder"),
            deadline_seconds=wait.EMBEDDER_SECONDS,
            still_waiting=lambda said: self._report.step(node.name, f"still waiting for the embedder: {said}"),
        )
        self._report.step(node.name, f"the embedder answers on {url} ({model})")
        if await self._leads(node):  # a standby reads its primary's binding
            await self._bind(node, database)

    async def _end_frozen(self, node: Node) -> None:
        """Kill an embedder that has run for a while and does not answer at all; its supervisor starts it again.

        Killed, not asked to end: a frozen process hears nothing, and an embedder holds nothing that could be lost.
        """
        label = self._process(node, "embedder").label
        running = self._supervisor.processes().get(label)
        if running is None or running.pid is None or running.started_at is None:
            return
        if time.time() - running.started_at > wait.SETTLE_SECONDS and not await wait.speaks(_embedder_url(node)):
            self._report.step(node.name, "the embedder does not answer; it is started anew")
            os.kill(running.pid, signal.SIGKILL)

    async def _bind(self, node: Node, database: DatabaseSettings) -> None:
        """Bring the node's embedder in line with its database; aya.toml, too, but only one of several databases may."""
        leads = node.name == "alpha" or "alpha" not in self._nodes
        configured = layout.placeholders(self._home, self._config, node)["model"]
        alignment = Alignment(self._home, node, self._report, configured=configured, leads=leads)
        async with EmbedderClient(_embedder_url(node)) as embedder:
            await alignment.make(embedder, database)

    async def _start_others(self, node: Node) -> None:
        for process in self._of(node):
            if process.service in _BEHIND:
                probe = wait.alive_probe(self._supervisor, process.label)
                pid = await wait.until(probe, self._supervisor, process, deadline_seconds=wait.SETTLE_SECONDS)
                self._report.step(node.name, f"{_BEHIND[process.service]} (pid {pid})")

    def _server_process(self, node: Node) -> Process:
        return next(process for process in self._of(node) if process.service in {"postgres", "watchdog"})

    def _primary(self, node: Node) -> ClusterConfig:
        """Return the server that a new standby is copied from, be it on this machine or on another."""
        if partner_of(node.name) in self._nodes:
            return cluster_of(self._home, self._config, partner_of(node.name)).config
        member = self._config.members[partner_of(node.name)]
        return ClusterConfig(member.postgres_port, self._home.runtime_directory, member.addresses)

    def _of(self, node: Node) -> list[Process]:
        return [process for process in self._processes if process.node == node.name]

    def _process(self, node: Node, service: str) -> Process:
        return next(process for process in self._of(node) if process.service == service)


def _embedder_url(node: Node) -> str:
    return f"http://127.0.0.1:{node.embedder_port}"
