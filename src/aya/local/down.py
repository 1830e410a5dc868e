"""`aya down`: stop everything of this home, and look whether anything is left."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass

from aya.errors import AyaError
from aya.home import Home
from aya.launchctl import beside
from aya.local import plan
from aya.local.lock import exclusive
from aya.processes import leftovers, plist
from aya.processes.lint import parse_plist
from aya.processes.plist import Process
from aya.processes.supervisor import Supervisor

_LOCK_SECONDS = 10.0


@dataclass(frozen=True, slots=True)
class Stopped:
    """What `down` did: the names of what ran before; empty when nothing did."""

    names: tuple[str, ...]


def down(home: Home) -> Stopped:
    """Stop every process of this home, in reverse order of their start.

    Returns when a look at the whole machine finds none of them. Raises AyaError listing those that resist, and where
    launchd or systemd runs them, which would start them again.
    """
    if not home.path.is_dir():
        return Stopped(())
    beside.require_unmanaged(home, "aya down")
    with exclusive(home, "aya down", wait_seconds=_LOCK_SECONDS):
        names = _names(leftovers.find(home))
        left = Supervisor(home).shut_down(_written(home))
        if left:
            listed = ", ".join(f"{one.name} (pid {one.pid})" for one in left)
            raise AyaError(f"could not be stopped: {listed}", hint=f"kill {' '.join(str(one.pid) for one in left)}")
        shutil.rmtree(home.runtime_directory, ignore_errors=True)
        return Stopped(names)


def _names(found: Sequence[leftovers.Leftover]) -> tuple[str, ...]:
    """Return the names of the services, and of servers that run without their wrapper; pure."""
    services = {one.name for one in found if one.kind == "service"}
    wrapped = {f"postgres {label.split('.')[2]}" for label in services if label.endswith((".postgres", ".watchdog"))}
    servers = {one.name for one in found if one.kind == "postgres"} - wrapped
    return (*sorted(services), *sorted(servers))


def _written(home: Home) -> list[Process]:
    """Return the processes as they were started: from the plists on disk, which later settings do not change."""
    files = [file for node in plan.NODES for file in (home.node_directory(node) / "launchd").glob("*.plist")]
    return [plist.to_process(parse_plist(file.read_bytes())) for file in files]
