"""Create clusters so that an interrupted try never blocks the next one, and finish them once they run."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable
from pathlib import Path

from aya import migrations
from aya.home import Home
from aya.postgres.cluster import Cluster
from aya.postgres.config import SERVERS, ClusterConfig, replication_role
from aya.postgres.provision import owner_settings, provision_primary

SUPERUSER = "postgres"


def marker(home: Home, node: str) -> Path:
    """Return the file that stands while a data directory is being made."""
    return home.node_directory(node) / "data.unfinished"


def create(home: Home, node: str, cluster: Cluster, secrets: dict[str, str], primary: ClusterConfig | None) -> bool:
    """Create the node's cluster, from `primary` when it is a standby; return False when it was there already.

    A data directory that an earlier try left unfinished is removed first. One that holds something but no cluster was
    not left by us: it is moved aside, never deleted. Raises PostgresError.
    """
    cluster.require_settled()
    unfinished = marker(home, node)
    _clear(cluster.data_directory, unfinished)
    if cluster.exists():
        cluster.check_version()
        return False
    unfinished.touch(mode=0o600)
    if primary is None:
        cluster.create(secrets[SUPERUSER])
    else:
        cluster.create_standby(primary, secrets[replication_role(node)], node)
    if node in SERVERS:
        home.newborn_file(node).write_text("standby" if primary else "primary", encoding="utf-8")
    unfinished.unlink()
    return True


def _clear(data: Path, unfinished: Path, now: Callable[[], float] = time.time) -> None:
    if unfinished.exists():
        shutil.rmtree(data, ignore_errors=True)
    elif data.exists() and not (data / "PG_VERSION").exists() and any(data.iterdir()):
        data.rename(data.with_name(f"data.no-cluster-{now():.0f}"))


async def finish(node: str, cluster: Cluster, secrets: dict[str, str]) -> migrations.MigrationReport:
    """Make roles, database and schema on a running server that may be written to; safe to repeat."""
    await provision_primary(cluster, secrets)
    return await migrations.migrate(owner_settings(cluster, secrets), node=node)
