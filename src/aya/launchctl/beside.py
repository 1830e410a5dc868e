"""Two supervisors for one service fight over it: who runs the services of a home already."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from pathlib import Path

from aya.errors import ServiceManagerError
from aya.home import Home
from aya.launchctl import assemble, jobs, manager
from aya.launchctl.launchd import Launchd
from aya.launchctl.manager import ServiceState
from aya.launchctl.program import Program
from aya.launchctl.systemctl import Systemd, units_directory
from aya.postgres import homebrew
from aya.processes import leftovers
from aya.processes.plist import SERVERS, Process

LAUNCHCTL = Program(("/bin/launchctl",))
SYSTEMCTL = Program(("systemctl", "--user"))
_OFF = ("not installed", "not loaded", "disabled")
_AT_REST = (*_OFF, "stopped", "failed")


def require_nobody_else(home: Home, processes: Iterable[Process]) -> None:
    """Raise ServiceManagerError where `aya up` runs services of this home, or Homebrew a PostgreSQL on the same data.

    Found by what they are: the supervisor's socket may be where only its user looks, and sudo is another one.
    """
    wanted = list(processes)
    running = sorted(one.name for one in leftovers.find(home) if one.kind == "service")
    if running:
        raise ServiceManagerError(
            f"aya up runs {', '.join(running)}: two supervisors would fight", hint="aya down, then again"
        )
    owner = assemble.owner_of(home)
    loaded = homebrew.loaded_jobs(owner_home=owner.home, uid=owner.uid)
    for process in wanted:
        data = home.data_directory(process.node)
        job = homebrew.conflicting_job(loaded, data) if process.service in SERVERS else None
        if job is not None:
            raise ServiceManagerError(
                f"launchd's job {job} runs a PostgreSQL on {data} too",
                hint=f"brew services stop {job.removeprefix('homebrew.mxcl.')}",
            )


def managed(home: Home, platform: str = sys.platform) -> dict[str, ServiceState]:
    """Return the services of this home that launchd or systemd looks after now, by label; empty when none is installed.

    Nobody is asked where no file is installed.
    """
    if not home.path.is_dir():
        return {}
    if manager.kind(platform) == "launchd":
        found = assemble.installed(home, jobs.places(assemble.owner_of(home)))
        states = Launchd(found, LAUNCHCTL, uid=os.geteuid()).states() if found else []
        return {one.label: one for one in states if one.state not in _OFF}
    folder = units_directory(os.environ, Path.home())
    units = assemble.installed_units(home, folder)
    states = Systemd(units, SYSTEMCTL, folder).states() if units else []
    return {one.label: one for one in states if one.state not in _AT_REST}


def require_unmanaged(home: Home, verb: str) -> None:
    """Raise ServiceManagerError where launchd or systemd runs services of this home: `aya up` would be a second one."""
    found = managed(home)
    if found:
        raise ServiceManagerError(
            f"{manager.kind()} runs {', '.join(found)}: {verb} would fight with it", hint="aya launchd stop, then again"
        )
