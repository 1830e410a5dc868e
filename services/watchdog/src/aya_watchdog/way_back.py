"""A former primary's way back: its data directory becomes the primary's again, rewound or copied anew.

What only it has is kept before (aya_watchdog.keeping). Where that could not be, its directory is: data.unkept says so
while it is copied anew, and afterwards it stands beside the copy until a person removes it.
"""

from __future__ import annotations

import re
import shutil
import time
from collections.abc import Collection, Iterable
from pathlib import Path

from aya import log
from aya.errors import PostgresError
from aya.members import Member
from aya.postgres.cluster import Cluster

_OLD_DIRECTORY = "data.replaced"
_BROKEN_FILE = "data.broken"
_UNKEPT_FILE = "data.unkept"
# Segments, whole or not, backups' labels, histories, and the sums beside them (docs/adr/0018).
_ARCHIVED = re.compile(r"[0-9A-F]{8}(?:[0-9A-F]{16}(?:\.partial|\.[0-9A-F]{8}\.backup)?|\.history)(?:\.sha256)?")


def source(cluster: Cluster, partner: Member, password: str, node: str) -> str:
    """Return how `node` reaches its partner's server, to stream and to copy from it."""
    return cluster.upstream(partner.addresses, partner.postgres_port, password, node)


def _broken(cluster: Cluster) -> Path:
    return cluster.data_directory.with_name(_BROKEN_FILE)


def is_broken(cluster: Cluster) -> bool:
    """Return whether a rewind was begun and not ended: then only a copy will do."""
    return _broken(cluster).exists()


def note_unkept(cluster: Cluster) -> None:
    """Remember, on the disk, that what only this directory has is nowhere else. Raises OSError."""
    _unkept(cluster).touch()


def is_unkept(cluster: Cluster) -> bool:
    """Return whether what only this directory has is nowhere else: then it must not be rewound, or removed."""
    return _unkept(cluster).exists()


def _unkept(cluster: Cluster) -> Path:
    return cluster.data_directory.with_name(_UNKEPT_FILE)


def lost(names: Iterable[str], known: Collection[int]) -> list[str]:
    """Return the files of an archive that belong to none of the known timelines; pure."""
    return sorted(name for name in names if _ARCHIVED.fullmatch(name) and int(name[:8], 16) not in known)


def clear_archive(cluster: Cluster, known: Collection[int]) -> None:
    """Set aside what this node archived of a history that is given up. known: the primary's timelines.

    The next server that is promoted takes the first number that it does not know, and that may be one of those: its
    history would be refused by the archive, and the WAL would be kept for ever. Not worth barring the way back: what
    cannot be set aside is told.
    """
    archive = cluster.data_directory.with_name("archive")
    try:
        found = lost((file.name for file in archive.iterdir()), known)
        if found:
            # Within it, for it may be on a disk of its own; hidden, for what reads an archive takes every other name.
            aside = archive / f".lost-{time.strftime('%Y%m%dT%H%M%S')}"
            cluster.user.make_directory(aside)
            for name in found:
                (archive / name).rename(aside / name)
            log.get_logger().warning("archive.set_aside", directory=str(aside), files=len(found))
    except FileNotFoundError:
        return  # nothing was ever archived
    except OSError as error:
        log.get_logger().error("archive.not_cleared", error=str(error), hint="docs/operations/backup.md")


def is_unreachable(error: PostgresError) -> bool:
    """Return whether one of PostgreSQL's programs failed because of the way to the primary; pure."""
    return "connection to server" in error.message or "could not translate host name" in error.message


async def rewind(cluster: Cluster, upstream: str) -> None:
    """Make the data directory of a stopped former primary the primary's, by what differs. Raises PostgresError.

    Tried dry first, for one that fails half-way leaves a directory of no use behind.
    """
    source_server = f"{upstream} dbname=postgres"
    command = ("pg_rewind", f"--target-pgdata={cluster.data_directory}", f"--source-server={source_server}")
    await cluster.run_long((*command, "--dry-run"))
    _broken(cluster).touch()
    await cluster.run_long(command)
    _broken(cluster).unlink()


async def copy(cluster: Cluster, upstream: str, node: str) -> None:
    """Replace the data directory by a copy of the primary's; the old one is kept beside it until `tidy`."""
    data = cluster.data_directory
    tidy(cluster, rejoin=True)
    data.rename(data.with_name(_OLD_DIRECTORY))
    try:
        with cluster.filling():
            await cluster.run_long(cluster.copy_command(upstream, node))
            cluster.follow(upstream, node)
    except BaseException:
        tidy(cluster, rejoin=True)
        raise


def tidy(cluster: Cluster, *, rejoin: bool) -> None:
    """Remove what a copy has left behind. rejoin: it was not ended, and the old directory is put back.

    One whose rows are nowhere else is set aside instead, under a name of its own.
    """
    data = cluster.data_directory
    old = data.with_name(_OLD_DIRECTORY)
    if rejoin and old.exists():
        shutil.rmtree(data, ignore_errors=True)
        old.rename(data)
    elif not rejoin:
        if is_unkept(cluster) and old.exists():
            aside = old.with_name(f"{_UNKEPT_FILE}-{time.strftime('%Y%m%dT%H%M%S')}")
            old.rename(aside)
            log.get_logger().warning("cluster.set_aside", directory=str(aside), hint="docs/operations/failover.md")
        _unkept(cluster).unlink(missing_ok=True)
        shutil.rmtree(old, ignore_errors=True)
        _broken(cluster).unlink(missing_ok=True)
