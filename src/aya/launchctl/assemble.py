"""From a home to what is installed of it, and back from what is installed to the jobs of this home."""

from __future__ import annotations

import os
import pwd
from collections.abc import Iterable, Sequence
from pathlib import Path

from aya.errors import ConfigError, UsageError
from aya.home import Home, Node
from aya.launchctl import jobs
from aya.launchctl.jobs import Job, Kind, Owner, Places
from aya.local import clusters, layout, plan
from aya.processes import plist, systemd
from aya.processes.leftovers import same_directory
from aya.processes.lint import parse_plist
from aya.processes.plist import Process
from aya.settings import Config


def owner_of(home: Home) -> Owner:
    """Return whose the home is: under sudo it is still the user's, and so are the services."""
    uid = -1
    try:
        uid = home.path.stat().st_uid
        entry = pwd.getpwuid(uid)
    except OSError as error:
        raise ConfigError(f"{home.path} is not there", hint="aya up --detach, or another --home") from error
    except KeyError as error:
        raise ConfigError(
            f"{home.path} belongs to user id {uid}, who has no name on this machine",
            hint=f"sudo chown -R USER {home.path}",
        ) from error
    return Owner(entry.pw_name, entry.pw_uid, entry.pw_gid, Path(entry.pw_dir))


def chosen(home: Home, names: Sequence[str] | None) -> list[Node]:
    """Return the nodes named, else all that the home has. ConfigError where there are none, UsageError for others."""
    nodes = home.nodes()
    if not nodes:
        raise ConfigError(f"{home.path} has no nodes yet", hint="aya up --detach makes them; then aya down")
    unknown = [name for name in names or () if name not in nodes]
    if unknown:
        raise UsageError(f"{home.path} has no node {unknown[0]!r}", hint=f"--nodes {','.join(nodes)}")
    return [node for name, node in nodes.items() if names is None or name in names]


def require_known(names: Sequence[str] | None) -> None:
    """Raise UsageError for a name that no node has; pure."""
    unknown = [name for name in names or () if name not in plan.NODES]
    if unknown:
        raise UsageError(f"there is no node {unknown[0]!r}", hint=f"--nodes {','.join(plan.NODES)}")


def require_data(home: Home, config: Config, nodes: Iterable[Node]) -> None:
    """Raise ConfigError for a node whose PostgreSQL is not there: a service cannot make it."""
    for node in nodes if config.dsn is None else ():
        made = (home.data_directory(node.name) / "PG_VERSION").exists()
        if not made or clusters.marker(home, node.name).exists():
            raise ConfigError(
                f"node {node.name} has no PostgreSQL in {home.data_directory(node.name)}",
                hint=f"aya up --nodes {node.name} --detach makes it; then aya down",
            )


def for_launchd(home: Home, config: Config, nodes: Iterable[Node], asked: Kind | None, where: Places) -> list[Job]:
    """Return the jobs of these nodes, in starting order. Raises UsageError and ConfigError as aya.launchctl.jobs."""
    owner = owner_of(home)
    found: list[Job] = []
    for node in nodes:
        names = {**layout.placeholders(home, config, node), "user_home": str(owner.home)}
        kind = jobs.kind_of(node.name, asked, config.members)
        found += [
            jobs.job(plist.template(service), names, kind, owner, where) for service in plan.services(node, config)
        ]
    return found


def require_own_files(home: Home, found: Iterable[Job]) -> None:
    """Raise ConfigError where a file is another home's: labels are the machine's, and one home has them."""
    for job in found:
        other = _home_of(job.file)
        if other and not same_directory(other, home.path):
            raise ConfigError(f"{job.file} is of the home {other}", hint=f"aya --home {other} launchd uninstall")


def require_one_kind(found: Iterable[Job], where: Places) -> None:
    """Raise ConfigError where a job is installed as the other kind: launchd would run it twice."""
    for job in found:
        kind, folder = ("agent", where.agents) if job.kind == "daemon" else ("daemon", where.daemons)
        other = folder / job.file.name
        if other.exists():
            what = f"{other} has the same service as {kind}: both would be started"
            raise ConfigError(what, hint="aya launchd uninstall, then again")


def installed(home: Home, where: Places, names: Sequence[str] | None = None) -> list[Job]:
    """Return the jobs of this home whose files are installed, in starting order; of these nodes, or all."""
    owner = owner_of(home)
    folders: tuple[tuple[Path, Kind], ...] = ((where.daemons, "daemon"), (where.agents, "agent"))
    found = [
        _read(file, kind, owner, where)
        for folder, kind in folders
        for file in folder.glob("com.aya.*.plist")
        if same_directory(_home_of(file) or "", home.path)
    ]
    return [job for job in in_order(found) if names is None or job.process.node in names]


def _read(file: Path, kind: Kind, owner: Owner, where: Places) -> Job:
    content = file.read_bytes()
    try:
        process = plist.to_process(parse_plist(content))
    except ConfigError as error:
        raise ConfigError(f"{file}: {error.message}", hint="aya launchd install writes it anew") from error
    return Job(
        process=process,
        kind=kind,
        domain="system" if kind == "daemon" else f"gui/{owner.uid}",
        file=file,
        content=content,
        owner=where.root if kind == "daemon" else (owner.uid, owner.gid),
    )


def _home_of(file: Path) -> str | None:
    """Return the AYA_HOME of an installed plist; None when it is not there or is none of ours."""
    try:
        return str(parse_plist(file.read_bytes())["EnvironmentVariables"]["AYA_HOME"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def in_order(found: Iterable[Job]) -> list[Job]:
    """Return jobs in starting order; pure."""
    return sorted(found, key=lambda job: _place(job.process))


def _place(process: Process) -> tuple[int, int]:
    order = plan.order(process.node)
    return plan.NODES.index(process.node), order.index(process.service) if process.service in order else len(order)


def installed_units(home: Home, folder: Path, names: Sequence[str] | None = None) -> list[Process]:
    """Return the processes of this home that have a unit in `folder`, in starting order; of these nodes, or all."""
    written = (
        file
        for node in plan.NODES
        for file in (home.node_directory(node) / "launchd").glob("*.plist")
        if (folder / f"{file.stem}.service").exists()
    )
    processes = sorted((plist.to_process(parse_plist(file.read_bytes())) for file in written), key=_place)
    return [
        process
        for process in processes
        if (names is None or process.node in names) and _is_unit_of(folder / f"{process.label}.service", process)
    ]


def _is_unit_of(file: Path, process: Process) -> bool:
    """Return whether a unit is of this very home: labels are the user's, and another home may have them."""
    try:
        text = file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return False
    wanted = [line for line in systemd.unit(process).splitlines() if line.startswith('Environment="AYA_HOME=')]
    return any(line in text.splitlines() for line in wanted)


def require_own_units(folder: Path, processes: Iterable[Process]) -> None:
    """Raise ConfigError where a unit of that name is another home's."""
    for process in processes:
        file = folder / f"{process.label}.service"
        if os.path.lexists(file) and not _is_unit_of(file, process):
            raise ConfigError(f"{file} is of another home", hint="aya --home THAT_HOME launchd uninstall")
