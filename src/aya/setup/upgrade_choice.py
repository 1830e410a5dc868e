"""Which programs an upgrade goes from and to, and what kind of one it is."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from typing import Literal

from aya.errors import ConfigError, PostgresError, UsageError
from aya.home import Home
from aya.launchctl import beside
from aya.postgres import files, holders, installed
from aya.postgres.binaries import Binaries, resolve
from aya.postgres.binaries import installed as installation_of
from aya.postgres.cluster import postmaster_pid
from aya.postgres.privileges import RunAs
from aya.postgres.run import cluster_of
from aya.processes import leftovers
from aya.settings import Config
from aya.setup.upgrade import Method, Upgrade

Kind = Literal["nothing", "copy anew", "upgrade"]


@dataclass(frozen=True, slots=True)
class Choice:
    """What is to be done. upgrade: the two clusters; for "copy anew" the old one gives way, for "nothing" it stays."""

    kind: Kind
    upgrade: Upgrade


def choose(  # noqa: PLR0913 - each by its name
    home: Home, config: Config, node: str, *, to: int, method: Method, pg_config: str | None
) -> Choice:
    """Return what moves `node` to major version `to`. Raises AyaError saying why not."""
    if config.dsn is not None:
        raise UsageError("a database of your own is upgraded by its own means", hint="pg_upgrade --help")
    home.node(node)
    version = home.data_directory(node) / "PG_VERSION"
    if not version.exists():
        raise ConfigError(f"node {node} has no PostgreSQL cluster", hint="aya up")
    known = cluster_of(home, replace(config, pg_config=None, postgres_major=18), node)
    major = int(files.read_text(version).strip())
    if major > to:
        raise UsageError(f"node {node} has PostgreSQL {major} already", hint=f"aya upgrade-cluster --to {major}")
    new = binaries_of(home, config, known.user, to, pg_config)
    old = new if major == to else binaries_of(home, config, known.user, major, config.pg_config)
    upgrade = Upgrade(home, node, replace(known, binaries=old), replace(known, binaries=new), method)
    if major == to:
        return Choice("nothing", upgrade)
    follows = (home.data_directory(node) / "standby.signal").exists()
    return Choice("copy anew" if follows else "upgrade", upgrade)


def require_stopped(home: Home, node: str) -> None:
    """Raise PostgresError while anything of the node runs, but for what an earlier upgrade has left behind."""
    running = [one for one in leftovers.find(home) if one.kind == "service" and f".{node}." in one.name]
    if running:
        raise PostgresError(f"node {node} runs ({running[0].name}, pid {running[0].pid})", hint="aya down")


@contextmanager
def stopped(home: Home, node: str) -> Generator[None]:
    """Hold a stopped node for the block: nothing of it runs, nobody would start it again, and no server can begin.

    Raises ServiceManagerError where launchd or systemd looks after it, PostgresError while something runs.
    """
    beside.require_unmanaged(home, "aya upgrade-cluster")
    require_stopped(home, node)
    with holders.alone(home.data_directory(node)):
        yield


def is_stopped(home: Home, node: str) -> bool:
    """Return whether no server works on the node's data directory."""
    return postmaster_pid(home.data_directory(node)) is None


def binaries_of(home: Home, config: Config, user: RunAs, major: int, pg_config: str | None) -> Binaries:
    """Return the programs of a major version: those named, else the embedded, else what is installed."""
    if pg_config:
        found = installation_of(pg_config)
        if found.major == major:
            return found
    try:
        return resolve(replace(config, pg_config=None, postgres_major=major), home, user)
    except ConfigError:
        for one in installed.look().installations:
            if one.major == major:
                return installation_of(f"{one.directory}/pg_config")
        raise
