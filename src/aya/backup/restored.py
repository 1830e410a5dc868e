"""Clusters that were restored: where they are, how they are reached, and how they go away.

restored/alpha-20260101T120000Z/data            the cluster
restored/alpha-20260101T120000Z/restore.json    a Restored
restored/alpha-20260101T120000Z/postgres.log    what it prints
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Collection
from dataclasses import asdict, dataclass
from pathlib import Path

from aya.dsn import DEFAULT_DATABASE, OWNER, DatabaseSettings
from aya.errors import BackupError
from aya.home import Home, read_json, write_private_json
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import ClusterConfig
from aya.postgres.provision import superuser_settings
from aya.settings import as_role

_RECORD = "restore.json"
_NAME = re.compile(r"[a-z]+-\d{8}T\d{6}Z")
# Short: it is a part of the sockets' paths.
_SOCKETS = "past"


@dataclass(frozen=True, slots=True)
class Restored:
    """One restored cluster.

    target: as it was asked for. reached: the position up to which it was rolled forward; committed_at: of the last
    transaction in it, ISO 8601, None when the WAL behind the base backup had none. documents, chunks: None without such
    tables.
    """

    name: str
    node: str
    port: int
    backup: str
    target: str
    reached: str
    committed_at: str | None
    timeline: int
    documents: int | None
    chunks: int | None


def directory(home: Home, name: str) -> Path:
    """Return where a restored cluster is. Raises BackupError for what is no name of one."""
    if not _NAME.fullmatch(name):
        raise BackupError(f"{name!r} is no restored cluster", hint="aya restore --list")
    return home.restored_directory / name


def cluster(home: Home, name: str, port: int, like: Cluster) -> Cluster:
    """Return a restored cluster, on this machine alone; it archives nothing. like: its node's own."""
    listening = ClusterConfig(port, home.runtime_directory / _SOCKETS)
    return Cluster(like.binaries, directory(home, name) / "data", listening, like.user)


def names(home: Home) -> list[str]:
    """Return what was restored, those included that were cut off on the way; oldest first."""
    found = home.restored_directory.iterdir() if home.restored_directory.is_dir() else ()
    return sorted((one.name for one in found if _NAME.fullmatch(one.name)), key=lambda name: name[-16:])


def everything(home: Home) -> list[Restored]:
    """Return the restored clusters of a home, oldest first."""
    return [get(home, name) for name in names(home) if (home.restored_directory / name / _RECORD).exists()]


def get(home: Home, name: str) -> Restored:
    """Return one. Raises BackupError when there is none of that name."""
    file = directory(home, name) / _RECORD
    if not file.exists():
        raise BackupError(f"there is no restored cluster {name!r}", hint="aya restore --list")
    try:
        return Restored(**read_json(file))
    except TypeError as error:
        raise BackupError(f"{file} is damaged: {error}", hint=f"aya restore --drop {name}") from error


def save(home: Home, one: Restored) -> None:
    """Write down what is known of one."""
    write_private_json(directory(home, one.name) / _RECORD, asdict(one))


def ports(home: Home) -> Collection[int]:
    """Return the ports that are given away in this home."""
    return {port for node in home.nodes().values() for port in node.ports} | {one.port for one in everything(home)}


def owner(home: Home, one: Restored, server: Cluster) -> DatabaseSettings:
    """Return how the database's owner reaches it. Passwords are those of the moment that was restored."""
    secrets = home.secrets(one.node)
    return as_role(superuser_settings(server, "", DEFAULT_DATABASE), OWNER, secrets[OWNER])


def superuser(home: Home, node: str, server: Cluster, database: str = "postgres") -> DatabaseSettings:
    """Return how the superuser reaches it."""
    return superuser_settings(server, home.secrets(node)[SUPERUSER], database)


def drop(home: Home, name: str, like: Cluster) -> None:
    """Stop a restored cluster and remove it."""
    place = directory(home, name)
    if not place.is_dir():
        raise BackupError(f"there is no restored cluster {name!r}", hint="aya restore --list")
    cluster(home, name, 0, like).stop("immediate")
    shutil.rmtree(place)
