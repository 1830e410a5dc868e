"""The manager that serves a home, made for the services that a verb is about; everything that refuses does so here."""

from __future__ import annotations

import os
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aya.errors import ConfigError
from aya.home import Home
from aya.launchctl import assemble, beside, jobs, systemctl, venv
from aya.launchctl.jobs import Job, Kind, Places
from aya.launchctl.launchd import Launchd
from aya.launchctl.manager import Manager, kind
from aya.launchctl.program import Launchctl, NothingLoaded
from aya.launchctl.ready import await_ready
from aya.launchctl.systemctl import Systemd, units_directory
from aya.local import layout
from aya.settings import Config


@dataclass(frozen=True, slots=True)
class Setup:
    """A home, the nodes that were named, and the command that was typed."""

    home: Home
    config: Config
    nodes: Sequence[str] | None
    typed: str
    launchctl: Launchctl = beside.LAUNCHCTL
    systemctl: Launchctl = beside.SYSTEMCTL
    where: Places | None = None

    def for_install(self, name: str, asked: Kind | None, *, dry_run: bool) -> Manager:
        """Return the manager that installs; AyaError where it must not. A dry run refuses only what cannot be shown."""
        chosen = assemble.chosen(self.home, self.nodes)
        if name == "launchd":
            found = assemble.for_launchd(self.home, self.config, chosen, asked, self._places())
            if not dry_run:
                self._require_installable([one.name for one in chosen], found)
            return self._launchd(found, self._launchctl_or_none(name))
        written = layout.described(self.home, self.config, chosen)
        processes = [process for process, _ in written]
        folder = units_directory(os.environ, Path.home())
        assemble.require_own_units(folder, processes)
        if not dry_run:
            systemctl.require(self.systemctl)
            assemble.require_data(self.home, self.config, chosen)
            beside.require_nobody_else(self.home, processes)
            layout.processes(self.home, self.config, chosen)
        return Systemd(processes, self.systemctl, folder)

    def of_installed(self, name: Literal["launchd", "systemd"], *, changes: bool, starts: bool) -> Manager:
        """Return the manager of what is installed. starts: it will start something, and nobody else may run it."""
        assemble.require_known(self.nodes)
        if name == "launchd":
            found = assemble.installed(self.home, self._places(), self.nodes)
            if changes:
                jobs.require_privilege(found, os.geteuid(), self.typed)
            if starts:
                beside.require_nobody_else(self.home, [job.process for job in found])
            return self._launchd(found, self.launchctl)
        folder = units_directory(os.environ, Path.home())
        processes = assemble.installed_units(self.home, folder, self.nodes)
        if changes or not processes:
            systemctl.require(self.systemctl)
        if starts:
            beside.require_nobody_else(self.home, processes)
        return Systemd(processes, self.systemctl, folder)

    def notes(self, name: str) -> list[str]:
        """Return what a person should know of this machine before they rely on it; nothing is changed."""
        owner = assemble.owner_of(self.home)
        program = Path(sys.executable)
        if name == "launchd":
            return [f"{program}: {problem}" for problem in venv.problems(program, venv.editable(), owner.home)]
        if systemctl.lingers(owner.name):
            return []
        return [f"the services end when {owner.name} logs out: loginctl enable-linger {owner.name} keeps them"]

    def _require_installable(self, names: Sequence[str], found: Sequence[Job]) -> None:
        jobs.require_privilege(found, os.geteuid(), self.typed)
        notes = self.notes("launchd")
        if notes:
            raise ConfigError(
                f"launchd could not rely on {'; '.join(notes)}",
                hint="uv sync --no-editable --extra node, in a folder such as /opt/aya; then install from there",
            )
        assemble.require_data(self.home, self.config, [self.home.node(name) for name in names])
        assemble.require_own_files(self.home, found)
        assemble.require_one_kind(found, self._places())
        beside.require_nobody_else(self.home, [job.process for job in found])

    def _launchd(self, found: Sequence[Job], launchctl: Launchctl) -> Launchd:
        return Launchd(
            found,
            launchctl,
            uid=os.geteuid(),
            folders=(self._places().daemons, self._places().agents),
            ready=lambda job: await_ready(self.home, self.config, job.process),
        )

    def _launchctl_or_none(self, name: str) -> Launchctl:
        return self.launchctl if name == kind() or self.launchctl is not beside.LAUNCHCTL else NothingLoaded()

    def _places(self) -> Places:
        return self.where or jobs.places(assemble.owner_of(self.home))
