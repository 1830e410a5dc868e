"""Who holds a data directory: one wrapper at a time, its lock file, and every postgres that works in it."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path

import psutil

from aya.errors import PostgresError
from aya.postgres import files
from aya.postgres.lockfile import Observation
from aya.processes.leftovers import same_directory

_WRAPPER = "aya.postgres.run"


@contextmanager
def alone(data_directory: Path) -> Generator[None]:
    """Be the only wrapper of a data directory for as long as the block lasts; PostgresError when another one is.

    Between a look at postmaster.pid and its removal nobody else may start a server that writes its own. The lock goes
    with the process (flock), the server does not inherit it, and its file, beside the data directory, is ours alone:
    whoever can open it could keep every server from starting.
    """
    file = data_directory.with_name("postgres.lock")
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise PostgresError(f"{data_directory} is being served by another {_WRAPPER}", hint="aya status") from error
        yield
    finally:
        os.close(handle)


def observe(data_directory: Path, environ: Mapping[str, str]) -> Observation:
    """Look at the lock file and at every postgres that works in the directory."""
    servers = _servers(data_directory)
    pid = _locked_by(data_directory)
    if pid is None:
        return Observation(None, others=tuple(servers))
    owner = servers.get(pid)
    return Observation(
        locked_by=pid,
        is_server=owner is not None or _unreadable_postgres(pid),
        is_ours=owner is not None and _same_node(owner, environ),
        supervised=owner is not None and _is_supervised(owner),
        others=tuple(other for other in servers if other != pid),
    )


def forget(data_directory: Path) -> None:
    """Remove a lock that no PostgreSQL holds, and that of its socket, which names the same process.

    Only after `decide` said so. The file's lines: pid, data directory, start time, port, the socket's directory
    (https://www.postgresql.org/docs/18/storage-file-layout.html).
    """
    lock = data_directory / "postmaster.pid"
    try:
        pid, _, _, port, sockets, *_ = files.read_text(lock).split("\n")
        beside = Path(sockets) / f".s.PGSQL.{port}.lock"
        if sockets and files.read_text(beside).split("\n", 1)[0] == pid:
            beside.unlink(missing_ok=True)
    except (OSError, ValueError):
        pass  # it was never written to its end, or has no socket
    lock.unlink(missing_ok=True)


def _locked_by(data_directory: Path) -> int | None:
    try:
        pid = int(files.read_text(data_directory / "postmaster.pid").split("\n", 1)[0])
    except (OSError, ValueError):
        return None
    # Our own pid or our parent's: after a reboot the numbers begin again.
    return pid if psutil.pid_exists(pid) and pid not in {os.getpid(), os.getppid()} else None


def _servers(data_directory: Path) -> dict[int, psutil.Process]:
    found: dict[int, psutil.Process] = {}
    for process in psutil.process_iter(["name", "cwd"]):
        name, directory = process.info["name"] or "", process.info["cwd"]
        if name.startswith("postgres") and directory and same_directory(directory, data_directory):
            found[process.pid] = process
    return found


def _unreadable_postgres(pid: int) -> bool:
    """Return whether it is a postgres of another user, whose directory we cannot see: it may be this one."""
    try:
        process = psutil.Process(pid)
        if not process.name().startswith("postgres"):
            return False
        process.cwd()
    except psutil.AccessDenied:
        return True
    except psutil.Error:
        return False
    return False


def _same_node(process: psutil.Process, environ: Mapping[str, str]) -> bool:
    try:
        theirs = process.environ()
    except (psutil.Error, OSError):
        return False
    return all(environ.get(name) and theirs.get(name) == environ[name] for name in ("AYA_HOME", "AYA_NODE"))


def _is_supervised(process: psutil.Process) -> bool:
    try:
        parent = process.parent()
        return parent is not None and _WRAPPER in parent.cmdline()
    except psutil.Error:
        return False
