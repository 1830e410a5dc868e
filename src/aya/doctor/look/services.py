"""Reads the plists of a home, what runs of it, and how large its logs are."""

from __future__ import annotations

import os
import pwd
import stat
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from aya.doctor import texts
from aya.doctor.look import commands
from aya.doctor.look.place import Place
from aya.doctor.look.secrets import PLIST_FOLDERS
from aya.doctor.services import LaunchdJob, Log, Plist, Running
from aya.errors import AyaError
from aya.home import Node
from aya.local import layout, plan
from aya.processes import leftovers, plist
from aya.processes.lint import parse_plist, problems
from aya.processes.supervisor import Supervisor

# What an installation for launchd may add to what `aya up` writes.
_ADDED = frozenset({"UserName", "GroupName"})


def plists(place: Place) -> list[Plist]:
    """Return the plists of these nodes: those of the home, and those where launchd looks."""
    found: list[Plist] = []
    for node in place.nodes:
        own = place.home.node_directory(node.name) / "launchd"
        folders = ((own, False), *((folder, True) for folder in _folders()))
        for folder, installed in folders:
            files = sorted(folder.glob(f"com.aya.{node.name}.*.plist"))
            found += [_plist(place, node, file, installed=installed) for file in files]
    return found


def _folders() -> tuple[Path, ...]:
    return (*PLIST_FOLDERS, Path.home() / "Library/LaunchAgents")


def _plist(place: Place, node: Node, file: Path, *, installed: bool) -> Plist:
    seen = file.lstat()
    mode, owner = stat.S_IMODE(seen.st_mode), seen.st_uid
    try:
        there = parse_plist(file.read_bytes())
    except (OSError, ValueError) as error:
        return Plist(str(file), node.name, (str(error),), installed=installed, owner=owner, mode=mode)
    wrong = [*problems(there), *_plutil(place, file)]
    wanted = _rendered(place, node, file.stem.rpartition(".")[2])
    differs = wanted is None or {key: value for key, value in there.items() if key not in _ADDED} != wanted
    return Plist(str(file), node.name, tuple(wrong), differs, installed, owner, mode)


def _rendered(place: Place, node: Node, service: str) -> dict[str, object] | None:
    """Return what this version would write; None for a service that the node does not have any more."""
    if service not in plan.services(node, place.config):
        return None
    try:
        names = layout.placeholders(place.home, place.config, node)
        return plist.substitute(plist.template(service), {**names, "user_home": _home_of_owner(place)})
    except AyaError:
        return None


def _home_of_owner(place: Place) -> str:
    """Return the home directory of whose AYA_HOME it is, who may not be who asks (sudo)."""
    try:
        owner = place.home.path.stat().st_uid
        return str(Path.home()) if owner == os.geteuid() else pwd.getpwuid(owner).pw_dir
    except (OSError, KeyError):
        return str(Path.home())


def _plutil(place: Place, file: Path) -> list[str]:
    printed = commands.run("plutil", "-lint", "-s", str(file)) if place.platform == "darwin" else None
    return [" ".join(printed.text.split())] if printed and printed.code else []


def running(place: Place) -> list[Running]:
    """Return the services of these nodes as their supervisor, or systemd, sees them; of launchd see `launchd_jobs`."""
    if launchd_labels():
        return []
    if _units():
        return _of_systemd(place)
    known = Supervisor(place.home).processes()
    orphans = {one.name for one in leftovers.find(place.home)} if not known else set[str]()
    found: list[Running] = []
    for node in place.nodes:
        for name in plan.services(node, place.config):
            label = f"com.aya.{node.name}.{name}"
            state = known[label].state if label in known else "orphaned" if label in orphans else "stopped"
            found.append(Running(node.name, name, state))
    return found


def _units() -> list[str]:
    """Return AYA's user units of systemd: com.aya.NODE.SERVICE.service."""
    return sorted(file.name for file in (Path.home() / ".config/systemd/user").glob("com.aya.*.*.service"))


def _of_systemd(place: Place) -> list[Running]:
    nodes = {node.name for node in place.nodes}
    found: list[Running] = []
    for unit in _units():
        _, _, node, service, *_ = unit.split(".")
        if node in nodes:
            word = commands.text("systemctl", "--user", "is-active", unit).strip()
            found.append(Running(node, service, texts.unit_state(word)))
    return found


def is_resting(place: Place) -> bool:
    """Return whether a person has stopped this home: not a process of it is left."""
    installed = launchd_labels() or _units()
    return bool(place.all_nodes) and not installed and not leftovers.find(place.home)


def launchd_labels() -> list[tuple[str, str]]:
    """Return AYA's jobs where launchd looks: label and domain."""
    return [
        (file.stem, "system" if folder.name == "LaunchDaemons" else f"gui/{os.getuid()}")
        for folder in _folders()
        for file in sorted(folder.glob("com.aya.*.plist"))
    ]


def launchd_jobs() -> list[LaunchdJob]:
    """Return what launchd says of AYA's jobs. Never run on a Mac."""
    found: list[LaunchdJob] = []
    for label, domain in launchd_labels():
        said = texts.job_details(commands.text("launchctl", "print", f"{domain}/{label}"))
        status = said.get("last exit code", "").partition(":")[0].strip()
        number = int(status[:9]) if status.removeprefix("-")[:8].isdecimal() else None
        found.append(LaunchdJob(label, domain, said.get("state", "not loaded"), number))
    return found


def logs(place: Place) -> Iterator[Log]:
    """Return the logs of a home."""
    folders: list[tuple[Path, str | None]] = [(place.home.log_directory(node.name), node.name) for node in place.nodes]
    for folder, node in (*folders, (place.home.path / "supervisor", None)):
        for file in (*folder.glob("*.log"), *folder.glob("*.log.*")):
            with suppress(OSError):
                yield Log(str(file), file.lstat().st_size, node)
