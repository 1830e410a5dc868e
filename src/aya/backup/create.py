"""A base backup: copied by pg_basebackup, checked file by file, and only then kept."""

from __future__ import annotations

import asyncio
import fcntl
import os
from collections.abc import Awaitable, Callable, Generator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from aya.backup import archive, manifest, wal
from aya.backup.archive import Progress
from aya.backup.catalogue import PARTIAL, Backup, Catalogue, superfluous, sync_directory
from aya.backup.install import interpreter, put_words
from aya.backup.manifest import Manifest
from aya.errors import BackupError, PostgresError
from aya.home import Home
from aya.postgres import files
from aya.postgres.cluster import SUPERUSER, Cluster, conninfo_value
from aya.postgres.config import SERVERS
from aya.postgres.run import cluster_of
from aya.settings import Config

_TICK_SECONDS = 2.0
_GB, _MB = 1_000_000_000, 1_000_000
Answer = TypeVar("Answer")


@dataclass(frozen=True, slots=True)
class Place:
    """A node's server, its archive and its base backups."""

    home: Home
    node: str
    cluster: Cluster
    catalogue: Catalogue

    @property
    def archive(self) -> Path:
        """Return the directory of the WAL archive."""
        return self.home.archive_directory(self.node)

    @contextmanager
    def locked(self, purpose: str) -> Generator[None]:
        """Be the only one at work on this node's backups; BackupError, naming who else is."""
        file = self.home.node_directory(self.node) / "backup.lock"
        handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "r+", encoding="utf-8") as stream:
            try:
                fcntl.flock(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                holder = stream.read().strip() or "another aya"
                raise BackupError(
                    f"{holder} is at work on the backups of {self.node}", hint="wait until it is done, then again"
                ) from error
            stream.truncate()
            stream.write(f"{purpose} (pid {os.getpid()})\n")
            stream.flush()
            yield


def place(home: Home, config: Config, node: str) -> Place:
    """Return where a node's backups are. Raises ConfigError and BackupError for a node that has none."""
    if config.dsn is not None:
        raise BackupError(
            "the database is one of your own (AYA_DSN or dsn in aya.toml): AYA does not back it up",
            hint="back it up as its server's other databases",
        )
    home.node(node)
    if node not in SERVERS:
        raise BackupError(
            f"{node} has no archive and no backups: what it holds comes from alpha", hint="aya backup list --node alpha"
        )
    cluster = cluster_of(home, config, node)
    return Place(home, node, cluster, Catalogue.of(home, node, cluster.user))


async def create(where: Place, progress: Progress) -> Backup:
    """Make a base backup of the running server, primary or standby, check it, and return what is known of it.

    A try that fails leaves nothing to be seen. Raises BackupError, PostgresError.
    """
    cluster, catalogue = where.cluster, where.catalogue
    if not cluster.exists() or cluster.postmaster_pid() is None:
        raise BackupError(f"the server of {where.node} does not run", hint="aya up")
    with where.locked("aya backup create"):
        cluster.user.make_directory(catalogue.directory)
        catalogue.tidy()
        started = datetime.now(UTC).replace(microsecond=0)
        name = catalogue.free_name(started)
        unfinished = catalogue.directory / f".{name}{PARTIAL}"
        cluster.user.make_directory(unfinished)
        try:
            await _keep_histories(where)
            await _copy(where, unfinished, progress)
            ended = datetime.now(UTC)
            found = await verify_copy(cluster, unfinished / "data", progress)
            made = _described(where, unfinished, found, name, (started, ended))
            catalogue.keep(made, unfinished)
        finally:
            catalogue.tidy()
        return made


async def _keep_histories(where: Place) -> None:
    """Archive the timelines' histories that the server has and the archive has not.

    A server archives those of its own promotions. Of a cluster that was restored and taken over, or rewound, they came
    along, and PostgreSQL takes them for archived.
    """
    python = interpreter(where.cluster.user)
    if python is None:
        return
    for file in sorted((where.cluster.data_directory / "pg_wal").glob("*.history")):
        if not (where.archive / file.name).exists():
            words = put_words(where.home.node_directory(where.node), python, file)
            await where.cluster.run_long(words)


async def _copy(where: Place, unfinished: Path, progress: Progress) -> None:
    cluster = where.cluster
    passfile = unfinished / "pgpass"
    password = where.home.secrets(where.node)[SUPERUSER]
    files.write_text(passfile, f"*:*:*:{SUPERUSER}:{password}\n", cluster.user)
    socket = conninfo_value(str(cluster.config.socket_directory))
    # A name of its own: as a node's it would acknowledge commits.
    server = (
        f"host={socket} port={cluster.config.port} user={SUPERUSER} passfile={conninfo_value(str(passfile))}"
        " application_name=aya_backup"
    )
    command = (
        "pg_basebackup",
        f"--pgdata={unfinished / 'data'}",
        f"--dbname={server}",
        "--wal-method=stream",
        "--checkpoint=fast",
        "--manifest-checksums=SHA256",
    )
    progress("copying")
    await told(cluster.run_long(command), lambda: f"{size_text(tree_size(unfinished))} copied", progress)
    passfile.unlink()


async def verify_copy(cluster: Cluster, data: Path, progress: Progress) -> Manifest:
    """Compare every file of a copy with its manifest, and read the WAL that belongs to it.

    Raises BackupError, PostgresError.
    """
    progress(f"checking {size_text(tree_size(data))}")
    found = await asyncio.to_thread(manifest.check, data, progress)
    for one in found.ranges:
        command = ("pg_waldump", "--quiet", f"--path={data / 'pg_wal'}", f"--timeline={one.timeline}",
                   f"--start={one.start}", f"--end={one.end}")  # fmt: skip
        await told(cluster.run_long(command), lambda: "still reading the WAL", progress)
    return found


async def told(work: Awaitable[Answer], said: Callable[[], str], progress: Progress) -> Answer:
    """Wait for `work`, and say every few seconds how far it is."""
    task = asyncio.ensure_future(work)
    try:
        while not (await asyncio.wait({task}, timeout=_TICK_SECONDS))[0]:
            progress(await asyncio.to_thread(said))
    except BaseException:
        task.cancel()
        with suppress(BaseException):
            await task
        raise
    return task.result()


def _described(
    where: Place, unfinished: Path, found: Manifest, name: str, moments: tuple[datetime, datetime]
) -> Backup:
    data = unfinished / "data"
    last = max(found.ranges, key=lambda one: wal.position(one.end))
    return Backup(
        name=name,
        node=where.node,
        started_at=moments[0].isoformat(),
        ended_at=moments[1].isoformat(),
        timeline=last.timeline,
        start=min(wal.position(one.start) for one in found.ranges),
        end=wal.position(last.end),
        size=tree_size(data),
        segment_bytes=segment_bytes(where.cluster, data),
        postgresql=where.cluster.binaries.version,
        verified_at=datetime.now(UTC).isoformat(),
    )


def segment_bytes(cluster: Cluster, data: Path) -> int:
    """Return how large a segment of WAL is in that data directory."""
    for line in cluster.run_tool("pg_controldata", f"--pgdata={data}").splitlines():
        name, _, value = line.partition(":")
        if name == "Bytes per WAL segment":
            return int(value)
    raise PostgresError("pg_controldata names no segment size", hint="aya status")


def tree_size(directory: Path) -> int:
    """Return how many bytes the files under a directory have; what vanishes meanwhile is passed over."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - of thousands of files
    return total


def size_text(count: int) -> str:
    """Return bytes for people; pure."""
    return f"{count / _GB:.1f} GB" if count >= _GB else f"{count / _MB:.1f} MB"


@dataclass(frozen=True, slots=True)
class Pruned:
    """What retention has removed: names of base backups, and how many archived files."""

    backups: tuple[str, ...]
    files: int


def prune(where: Place, keep: int) -> Pruned:
    """Remove base backups beyond the `keep` newest good ones, and the WAL that is older than all that stay."""
    with where.locked("aya backup create"):
        before = where.catalogue.all()
        gone = superfluous(before, keep)
        for one in gone:
            where.catalogue.remove(one)
        if gone:
            sync_directory(where.catalogue.directory)
        staying = [one for one in before if one not in gone]
        if not staying or not all(one.is_known for one in staying):
            # Nobody knows what one of them needs.
            return Pruned(tuple(one.name for one in gone), 0)
        oldest = min(staying, key=lambda one: one.start)
        removed = archive.prune(where.archive, oldest.start, oldest.segment_bytes)
        return Pruned(tuple(one.name for one in gone), len(removed))


async def verify(where: Place, backups: Sequence[Backup], progress: Progress) -> list[Backup]:
    """Check base backups anew, write down what was found, and return them so."""
    found: list[Backup] = []
    for one in backups:
        progress(f"backup {one.name}")
        if not one.is_known:
            found.append(one)
            continue
        try:
            await verify_copy(where.cluster, where.catalogue.data(one.name), progress)
            checked = replace(one, verified_at=datetime.now(UTC).isoformat(), problem=None)
        except (BackupError, PostgresError) as error:
            checked = replace(one, problem=error.message)
        where.catalogue.write(checked)
        found.append(checked)
    return found
