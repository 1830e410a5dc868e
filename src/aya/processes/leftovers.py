"""What runs of one AYA_HOME, found by what it is and not by what we remember: kill -9 and power cuts lose memories.

supervisord     its command line names this home's supervisord.conf
service         supervisord gave it a label com.aya.…, and its AYA_HOME is this one
postgres        a postgres whose working directory is a data directory of this home

Processes of another AYA_HOME, of a person's shell and of launchd match none of these, and are never touched.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import psutil

from aya.home import Home

Kind = Literal["supervisord", "service", "postgres"]

SERVICE_SECONDS = 30.0
POSTGRES_SECONDS = 120.0
_QUIT_SECONDS = 10.0
_KILL_SECONDS = 5.0
_POLL_SECONDS = 0.1
_ATTRIBUTES = ("name", "cmdline", "environ", "cwd", "ppid")


@dataclass(frozen=True, slots=True)
class Leftover:
    """One process of a home. name: its label, or "postgres alpha", or "supervisord"."""

    pid: int
    parent: int
    kind: Kind
    name: str

    @property
    def wraps_postgres(self) -> bool:
        """Return whether it runs a server, which needs a checkpoint's time to end."""
        return self.kind == "service" and self.name.endswith((".postgres", ".watchdog"))


@dataclass(frozen=True, slots=True)
class Seen:
    """What the system tells of a process; empty where it does not tell us."""

    pid: int
    parent: int
    name: str
    arguments: Sequence[str]
    environment: Mapping[str, str]
    directory: str


def configuration_file(home: Home) -> Path:
    """Return where the home's supervisord.conf is."""
    return home.path / "supervisor" / "supervisord.conf"


def classify(home: Home, seen: Seen) -> Leftover | None:
    """Return what `seen` is to this home, None when it is nothing of it; pure but for resolving symlinks."""
    if "supervisor.supervisord" in seen.arguments and str(configuration_file(home)) in seen.arguments:
        return Leftover(seen.pid, seen.parent, "supervisord", "supervisord")
    label = seen.environment.get("SUPERVISOR_PROCESS_NAME", "")
    if label.startswith("com.aya.") and same_directory(seen.environment.get("AYA_HOME", ""), home.path):
        return Leftover(seen.pid, seen.parent, "service", label)
    directory = Path(seen.directory)
    if (
        seen.name.startswith("postgres")
        and directory.name == "data"
        # Asked this way round: the nodes' directory may be a link to another disk.
        and same_directory(directory, home.data_directory(directory.parent.name))
    ):
        return Leftover(seen.pid, seen.parent, "postgres", f"postgres {directory.parent.name}")
    return None


def same_directory(path: str | Path, other: Path) -> bool:
    """Return whether two paths lead to the same place, symlinks resolved; an empty one leads nowhere."""
    return bool(str(path)) and os.path.realpath(path) == os.path.realpath(other)


def find(home: Home) -> list[Leftover]:
    """Return every process of this home, ours included if we were one. Zombies have ended: they do not count."""
    found = (classify(home, seen) for seen in _everything())
    return [leftover for leftover in found if leftover is not None]


def _everything() -> list[Seen]:
    own = os.getpid()
    return [
        Seen(
            pid=process.pid,
            parent=process.info["ppid"] or 0,
            name=process.info["name"] or "",
            arguments=process.info["cmdline"] or (),
            environment=process.info["environ"] or {},
            directory=process.info["cwd"] or "",
        )
        for process in psutil.process_iter(list(_ATTRIBUTES))
        if process.pid != own
    ]


def end(home: Home) -> list[Leftover]:
    """End what runs of this home, politely and in order; return what could not be ended.

    supervisord goes first, or it would start again what we stop. A server is asked for a fast shutdown (SIGINT), at
    last for an immediate one (SIGQUIT), and is never killed with -9: its own children would be left alone.
    """
    if not find(home):
        return []
    _ask(home, lambda one: one.kind == "supervisord", signal.SIGTERM, POSTGRES_SECONDS + SERVICE_SECONDS)
    _ask(home, lambda one: one.kind == "supervisord", signal.SIGKILL, _KILL_SECONDS)
    _ask(home, lambda one: one.kind == "service" and not one.wraps_postgres, signal.SIGTERM, SERVICE_SECONDS)
    _ask(home, lambda one: one.wraps_postgres, signal.SIGTERM, POSTGRES_SECONDS)
    _ask(home, lambda one: one.kind == "service", signal.SIGKILL, _KILL_SECONDS)
    _ask(home, lambda one: one.kind == "postgres", signal.SIGINT, POSTGRES_SECONDS)
    _ask(home, lambda one: one.kind == "postgres", signal.SIGQUIT, _QUIT_SECONDS)
    return find(home)


def _ask(home: Home, chosen: Callable[[Leftover], bool], signum: signal.Signals, seconds: float) -> None:
    """Send a signal to the chosen processes and wait until they are gone, or the time is up."""
    everything = [one for one in find(home) if chosen(one)]
    heads = _heads(everything)
    for one in heads:
        _signal(one.pid, signum)
    deadline = time.monotonic() + seconds
    while heads and time.monotonic() < deadline:
        time.sleep(_POLL_SECONDS)
        remaining = {one.pid for one in find(home)}
        heads = [one for one in heads if one.pid in remaining]


def _heads(group: Collection[Leftover]) -> list[Leftover]:
    """Return those whose parent is not in the group: of a server the postmaster, not its children; pure."""
    pids = {one.pid for one in group}
    return [one for one in group if one.parent not in pids]


def _signal(pid: int, signum: signal.Signals) -> None:
    try:
        # One that was frozen (SIGSTOP) cannot hear anything else.
        os.kill(pid, signal.SIGCONT)
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return
