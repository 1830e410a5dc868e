"""postmaster.pid: who holds a data directory, and what to do about it.

PostgreSQL removes a lock file itself when its process is gone, after checking that no child of that server still uses
the shared memory named in it. So the file is left to PostgreSQL except where it would refuse for ever: after a power
cut the pid in it may belong to a process that has nothing to do with it. Two servers on one data directory destroy it;
when in doubt, refuse.
"""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from aya.processes.leftovers import same_directory

Action = Literal["start", "remove", "end", "wait", "refuse"]
_WRAPPER = "aya.postgres.run"


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a data directory's lock.

    locked_by: the pid in postmaster.pid if that process lives. is_server: it is a PostgreSQL on this very directory.
    is_ours: we started it. supervised: the wrapper that started it still lives.
    others: servers, or children of one, that work in this directory, besides locked_by.
    """

    locked_by: int | None
    is_server: bool = False
    is_ours: bool = False
    supervised: bool = False
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why. end: ask `pid` for a fast shutdown and look again; wait: look again."""

    action: Action
    reason: str
    pid: int | None = None


def decide(seen: Observation) -> Verdict:
    """Return what to do before a server is started; pure.

    Invariant: "remove" only when no PostgreSQL at all works in the data directory.
    """
    if seen.locked_by is not None and seen.is_server:
        if seen.is_ours and not seen.supervised:
            return Verdict("end", "a server of ours lost its supervisor and does not end", seen.locked_by)
        return Verdict("refuse", f"another server runs on it (pid {seen.locked_by})")
    if seen.others:
        return Verdict("wait", f"children of an earlier server are still there (pid {seen.others[0]})")
    if seen.locked_by is not None:
        return Verdict("remove", f"its lock names pid {seen.locked_by}, which is no PostgreSQL of this directory")
    return Verdict("start", "nobody holds it")


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


def _locked_by(data_directory: Path) -> int | None:
    try:
        pid = int((data_directory / "postmaster.pid").read_text(encoding="ascii").split("\n", 1)[0])
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
