"""What there is on this machine for a node that is wanted."""

from __future__ import annotations

import asyncio
import getpass
import tomllib
from dataclasses import replace
from pathlib import Path
from typing import Any

from aya.embedder_client import EmbedderClient
from aya.errors import AyaError, ConfigError, EmbedderError
from aya.home import Home
from aya.local import wait
from aya.local.clusters import marker
from aya.postgres import files, installed
from aya.postgres.cluster import SUPERUSER, postmaster_pid
from aya.postgres.config import SERVERS, SYNC_ROLE, host_access_text
from aya.postgres.run import cluster_of
from aya.processes import ports
from aya.processes.leftovers import same_directory
from aya.settings import Config, load_config
from aya.setup import adopt, configuration, invite
from aya.setup.plan import Found, Rival, Wanted
from aya.setup.steps import Setup

_SECONDS = 2.0


def rivals(home: Home, wanted: Wanted, seen: installed.Look) -> tuple[Rival, ...]:
    """Return the servers and jobs of others, and whoever else is on the port; pure but for asking who holds it."""
    others = [one for one in seen.servers if not _is_of(home, one)]
    found = [Rival(one.sentence, installed.ending(one, seen.jobs, getpass.getuser()), one.port) for one in others]
    running = {one.data for one in others}
    found += [Rival(job.sentence, job.ends) for job in seen.jobs if not job.data or job.data not in running]
    ours = any(one.port == wanted.postgres_port for one in seen.servers if _is_of(home, one))
    if (
        not ours
        and wanted.postgres_port not in {one.port for one in others}
        and not ports.is_free(wanted.postgres_port)
    ):
        found.append(_on(wanted.postgres_port))
    node = home.nodes().get(wanted.role)
    if (node is None or node.embedder_port != wanted.embedder_port) and not ports.is_free(wanted.embedder_port):
        found.append(_on(wanted.embedder_port))
    return tuple(found)


def _on(port: int) -> Rival:
    who = ports.holder(port)
    pid = who.partition("pid ")[2].rstrip(")")
    return Rival(f"{who} listens on port {port}", f"kill {pid}" if pid else f"sudo lsof -i :{port}", port)


def _is_of(home: Home, server: installed.Running) -> bool:
    directory = Path(server.data)
    return same_directory(server.data, home.data_directory(directory.parent.name))


def found(setup: Setup, seen: installed.Look) -> Found:
    """Return everything that the plan asks about. Raises ConfigError for an aya.toml that cannot be read."""
    home, wanted = setup.home, setup.wanted
    node = home.nodes().get(wanted.role)
    nodes_at = (home.path / "nodes").resolve() if (home.path / "nodes").exists() else None
    if nodes_at and wanted.data and same_directory(str(nodes_at), wanted.data):
        nodes_at = wanted.data  # by whatever links
    base = Found(
        configuration_exists=home.config_file.exists(),
        configured=configuration.says(_table(home), setup.values),
        ports=(node.postgres_port, node.embedder_port) if node else None,
        nodes_at=nodes_at,
        has_secrets=invite.has(home, setup.join) if setup.join else _has_secrets(home, wanted.role),
        join_file=setup.join_file,
        rivals=rivals(home, wanted, seen),
    )
    config = load_config(home)
    # pg_config is looked at when it is used: what is wanted need not be in the file yet.
    base = replace(base, embedded=not (wanted.pg_config or config.pg_config or wanted.dsn), major=config.postgres_major)
    if setup.source is not None:
        adopted = adopt.marker(home, wanted.role).exists()
        base = replace(base, adopted=adopted, unadoptable=None if adopted else adopt.why_not(setup.source))
    if node is None:
        return base
    return _with_node(home, config, wanted, base)


def _with_node(home: Home, config: Config, wanted: Wanted, base: Found) -> Found:
    healthy = asyncio.run(_answers(home, config, wanted))
    if config.dsn is not None:
        return replace(base, healthy=healthy)
    cluster = cluster_of(home, config, wanted.role)
    if not cluster.exists() or marker(home, wanted.role).exists():
        return base
    major = int(files.read_text(cluster.data_directory / "PG_VERSION").strip())
    admits = base.configured and (
        postmaster_pid(cluster.data_directory) is None
        or files.read_text(cluster.data_directory / "pg_hba.conf") == host_access_text(cluster.config)
    )
    return replace(base, cluster_major=major, major=cluster.binaries.major, admits=admits, healthy=healthy)


async def _answers(home: Home, config: Config, wanted: Wanted) -> bool:
    """Return whether server and embedder answer on the ports that are wanted."""
    node = home.node(wanted.role)
    if (node.postgres_port, node.embedder_port) != (wanted.postgres_port, wanted.embedder_port):
        return False
    if config.dsn is None:
        secrets = home.secrets(wanted.role)
        if SUPERUSER not in secrets or not home.data_directory(wanted.role).exists():
            return False
        try:
            if await wait.postgres_probe(cluster_of(home, config, wanted.role), secrets)() is None:
                return False
        except AyaError:
            return False
    try:
        async with asyncio.timeout(_SECONDS), EmbedderClient(f"http://127.0.0.1:{node.embedder_port}") as embedder:
            return (await embedder.health()).get("status") == "healthy"
    except (EmbedderError, TimeoutError):
        return False


def _has_secrets(home: Home, role: str) -> bool:
    if role in SERVERS:
        return bool(home.secrets(role)) and (home.agent_directory(role) / "key.pem").exists()
    return f"{SYNC_ROLE}@primary" in home.secrets(role)


def _table(home: Home) -> dict[str, Any]:
    try:
        return tomllib.loads(home.config_file.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise ConfigError(f"{home.config_file} cannot be read: {error}", hint=f"edit {home.config_file}") from error
