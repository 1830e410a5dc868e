"""A restore: a base backup is copied, rolled forward by the archive to a moment, and looked into.

The running cluster is not touched: what is not archived yet is read from its pg_wal, as a file. The new cluster listens
on this machine alone, archives nothing and lets nobody write before a person says so.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import asyncpg

from aya import queries
from aya.backup import archive, manifest, restored, wal
from aya.backup.archive import Progress
from aya.backup.catalogue import Backup
from aya.backup.create import Place, size_text, told, tree_size
from aya.backup.install import get_command, interpreter
from aya.backup.restored import Restored
from aya.backup.target import Target, choose
from aya.dsn import DEFAULT_DATABASE, DatabaseSettings
from aya.errors import BackupError, PostgresError
from aya.postgres import files
from aya.postgres.cluster import Cluster
from aya.postgres.config import GUARD_FILE, Guard, guard_text, quoted
from aya.postgres.run import server_environment
from aya.processes import ports as free_ports

_SQL = queries.load("aya.backup")
_STAMP = "%Y%m%dT%H%M%SZ"
_LOOK_SECONDS = 0.1
_TOLD_SECONDS = 2.0
_CONNECT_SECONDS = 2.0
_ROOM = 1.1


@dataclass(frozen=True, slots=True)
class _Server:
    """The cluster that is being restored."""

    name: str
    cluster: Cluster
    log: Path


async def restore(where: Place, target: Target, progress: Progress, backup: str | None = None) -> Restored:
    """Restore a node to a moment and return what was reached; the new cluster runs then.

    backup: begin with that one; None: the newest good one that fits. A try that fails leaves nothing behind. Raises
    BackupError, PostgresError.
    """
    with where.locked("aya restore"):
        base = where.catalogue.get(backup) if backup else _chosen(where, target)
        _require_whole(where, base, target)
        _require_room(where, base)
        return await _restore(where, target, base, progress)


def _chosen(where: Place, target: Target) -> Backup:
    backups = where.catalogue.all()
    found = archive.names(where.archive)
    size = archive.segment_size(where.archive, found, backups)
    return choose(backups, target, archive.line(where.archive, found, size), where.node)


def _require_whole(where: Place, base: Backup, target: Target) -> None:
    """Raise BackupError where a recovery to the end would take a gap for the end; to a moment, it says so itself."""
    missing = archive.gaps(where.archive, [base], archive.names(where.archive))
    if missing and target == Target():
        first = wal.segment_of(missing[0][0], base.segment_bytes)
        end = wal.lsn_text(first.number * base.segment_bytes) if first else ""
        raise BackupError(
            f"the archive lacks {missing[0][0]}: what comes behind it cannot be reached from backup {base.name}",
            hint=f"aya backup list, for a later one; what is before {end}: aya restore --to-time",
        )


def _require_room(where: Place, base: Backup) -> None:
    free = shutil.disk_usage(where.home.path).free
    if free < base.size * _ROOM:
        raise BackupError(
            f"{where.home.path} has {size_text(free)} free, and the backup has {size_text(base.size)}",
            hint="aya restore --list, then aya restore --drop NAME",
        )


async def _restore(where: Place, target: Target, base: Backup, progress: Progress) -> Restored:
    home = where.home
    name = f"{where.node}-{datetime.now(UTC).strftime(_STAMP)}"
    port = free_ports.choose(restored.ports(home), str(home.path))
    made = restored.cluster(home, name, port, where.cluster)
    folder = restored.directory(home, name)
    home.restored_directory.mkdir(mode=0o755, exist_ok=True)
    try:
        folder.mkdir(mode=0o755)
    except FileExistsError as error:
        raise BackupError(f"{folder} is there already", hint="the same again, in a second") from error
    server = _Server(name, made, folder / "postgres.log")
    try:
        await _copy(where, base, made, progress)
        _prepare(where, made, target)
        row = await _recover(where, server, target, progress)
        one = Restored(name, where.node, port, base.name, target.words, **row)
        restored.save(home, one)
    except BaseException:
        with suppress(BackupError, PostgresError):
            made.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return one


async def _copy(where: Place, base: Backup, made: Cluster, progress: Progress) -> None:
    """Copy the base backup, by the system's own cp: it clones where the file system can."""
    source = where.catalogue.data(base.name)
    progress(f"copying backup {base.name}, {size_text(base.size)}")
    made.user.make_directory(made.data_directory)
    options = "-cRp" if sys.platform == "darwin" else "-Rp"
    command = ("/bin/cp", options, f"{source}/.", str(made.data_directory))
    await told(made.run_long(command), lambda: f"{size_text(tree_size(made.data_directory))} copied", progress)
    progress("checking the copy")
    await asyncio.to_thread(manifest.check, made.data_directory, progress)


def _prepare(where: Place, made: Cluster, target: Target) -> None:
    python = interpreter(made.user)
    if python is None:
        raise BackupError(f"there is no Python that {made.user.name} can run", hint="apt-get install python3")
    live = where.cluster.data_directory / "pg_wal" if where.cluster.exists() else None
    settings = {
        "restore_command": get_command(where.home.node_directory(where.node), python, live),
        "recovery_target_timeline": "latest",
        "recovery_target_action": "promote",
        **target.settings(),
    }
    lines = "".join(f"{name} = {quoted(value)}\n" for name, value in settings.items())
    made.configure()
    # In the watchdog's own file: should it look after this cluster one day, nothing of it stays.
    files.write_text(made.data_directory / GUARD_FILE, guard_text(Guard(read_only=True)) + lines, made.user)
    files.write_text(made.data_directory / "recovery.signal", "", made.user)
    # Of a copy that was made on the standby.
    (made.data_directory / "standby.signal").unlink(missing_ok=True)


async def _recover(where: Place, server: _Server, target: Target, progress: Progress) -> dict[str, Any]:
    """Start the server, wait until it has reached the target and opened, and return what it reached."""
    progress(f"rolling forward to {target.words}")
    process = _started(server)
    try:
        return await _rolled_forward(where, server, process, target, progress)
    except BaseException:
        # An immediate end; what it has made is removed.
        process.send_signal(signal.SIGQUIT)
        process.wait()
        raise


async def _rolled_forward(
    where: Place, server: _Server, process: subprocess.Popen[bytes], target: Target, progress: Progress
) -> dict[str, Any]:
    settings = restored.superuser(where.home, where.node, server.cluster)
    last = time.monotonic()
    while True:
        row = await _look(settings)
        if row is not None and not row["in_recovery"]:
            return await _reached(where, server, row)
        if row is None and process.poll() is not None:
            raise _ended(where, server, target)
        if time.monotonic() - last > _TOLD_SECONDS:
            last = time.monotonic()
            progress(f"rolled forward to {row['reached']}, {row['committed_at']}" if row else "the server recovers")
        await asyncio.sleep(_LOOK_SECONDS)


def _started(server: _Server) -> subprocess.Popen[bytes]:
    """Start the server in a session of its own: it outlives this command."""
    server.log.touch(mode=0o600)
    with server.log.open("ab") as output:
        return subprocess.Popen(
            server.cluster.command(),
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd="/",
            env=server_environment(os.environ),
            start_new_session=True,
            **server.cluster.user.process_identity(),
        )


async def _look(settings: DatabaseSettings) -> dict[str, Any] | None:
    """Return how far the server is; None when it does not let us in. Raises BackupError when it never will."""
    try:
        connection = await asyncpg.connect(settings.dsn(), timeout=_CONNECT_SECONDS, command_timeout=60)
    except asyncpg.InvalidPasswordError as error:
        raise BackupError(
            "the restored server refuses our password: it was another one at that moment",
            hint="put the secrets.json of that time beside the node's, and try again",
        ) from error
    except (OSError, TimeoutError, asyncpg.PostgresError):
        return None
    try:
        return dict(await connection.fetchrow(_SQL["progress"]) or {})
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError):
        return None
    finally:
        connection.terminate()


async def _reached(where: Place, server: _Server, row: dict[str, Any]) -> dict[str, Any]:
    counts = await ask(restored.superuser(where.home, where.node, server.cluster, DEFAULT_DATABASE), "counts")
    committed = row["committed_at"]
    return {
        "reached": str(row["reached"]),
        "committed_at": committed.isoformat() if committed else None,
        "timeline": int(row["timeline"]),
        "documents": counts.get("documents"),
        "chunks": counts.get("chunks"),
    }


async def ask(settings: DatabaseSettings, query: str) -> dict[str, Any]:
    """Return the row of a named query; empty when the database or its tables are not there."""
    try:
        connection = await asyncpg.connect(settings.dsn(), timeout=_CONNECT_SECONDS)
    except asyncpg.InvalidCatalogNameError:
        return {}
    try:
        return dict(await connection.fetchrow(_SQL[query]) or {})
    except asyncpg.UndefinedTableError:
        return {}
    finally:
        connection.terminate()


def _ended(where: Place, server: _Server, target: Target) -> BackupError:
    """Return why a recovery has ended before its target, by the server's own last words."""
    try:
        lines = server.log.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        lines = []
    verify = f"aya backup verify --node {where.node}"
    damaged = next((line for line in lines if "is damaged" in line), None)
    if damaged:
        return BackupError(f"the archive is damaged: {damaged.removeprefix('aya: ')}", hint=verify)
    if any("recovery ended before configured recovery target was reached" in line for line in lines):
        last = next(
            (line.split("log time ")[-1] for line in reversed(lines) if "last completed transaction" in line), ""
        )
        until = f"; the last transaction in it is of {last}" if last else ""
        return BackupError(f"the archive ends before {target.words}{until}", hint=f"aya restore --latest, or {verify}")
    fatal = next(
        (line.split("FATAL:")[-1].strip() for line in lines if "FATAL:" in line and "starting up" not in line), ""
    )
    return BackupError(f"the recovery failed: {fatal or 'the server ended'}", hint=verify)


async def drill(where: Place, progress: Progress) -> tuple[Restored, dict[str, int]]:
    """Restore everything, read it and search in it, and remove the new cluster again; return what was found.

    Raises BackupError when the restored rows are not as they should be; the cluster is gone then, too.
    """
    one = await restore(where, Target(), progress)
    try:
        progress("reading and searching")
        server = restored.cluster(where.home, one.name, one.port, where.cluster)
        settings = restored.superuser(where.home, where.node, server, DEFAULT_DATABASE)
        found: dict[str, int] = {**await ask(settings, "drill"), **await ask(settings, "nearest")}
    finally:
        restored.drop(where.home, one.name, where.cluster)
    if not found or found["orphans"] or found["nearest"] < found["expected"]:
        raise BackupError(
            f"the restored rows are not as they should be: {found or 'there are no tables'}",
            hint=f"aya backup verify --node {where.node}",
        )
    return one, found
