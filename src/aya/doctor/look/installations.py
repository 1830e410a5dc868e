"""Finds every PostgreSQL of this machine: installed, running, and started by itself."""

from __future__ import annotations

import getpass
import os
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar, cast

import psutil

from aya.doctor import origin, texts
from aya.doctor.installations import AutoStart, Holder, Installed, Manager, Running, Seen
from aya.doctor.look import commands
from aya.doctor.look.configuration import postgres
from aya.doctor.look.place import Place
from aya.doctor.texts import DebianCluster
from aya.dsn import parse_dsn
from aya.errors import AyaError
from aya.processes import ports
from aya.processes.leftovers import same_directory
from aya.processes.lint import parse_plist

Answer = TypeVar("Answer")

_PLACES = (
    "/opt/homebrew/opt/postgresql*/bin", "/usr/local/opt/postgresql*/bin", "/Library/PostgreSQL/*/bin",
    "/Applications/Postgres.app/Contents/Versions/*/bin", "/usr/lib/postgresql/*/bin", "/usr/pgsql-*/bin",
    "/usr/local/pgsql/bin",
)  # fmt: skip
_FOLDERS = ("/Library/LaunchDaemons", "/Library/LaunchAgents", "~/Library/LaunchAgents")
# It is written in Ruby; what it would tell is mostly in the plists.
_BREW_SECONDS = 2.0
_STARTED = frozenset({"started", "error", "scheduled"})
_LOCAL = frozenset({"127.0.0.1", "localhost", "::1"})


@dataclass(frozen=True, slots=True)
class Known:
    """What the system's own managers tell. clusters: of pg_lsclusters; labels: of launchd's jobs, by pid."""

    clusters: tuple[DebianCluster, ...]
    labels: Mapping[int, str]


def look(place: Place) -> Seen:
    """Return all of them. Nothing is started or stopped."""
    known = Known(
        tuple(texts.debian_clusters(commands.text("pg_lsclusters", "--no-header"))),
        {job.pid: job.label for job in texts.jobs(commands.text("launchctl", "list")).values() if job.pid},
    )
    running = tuple(_running(place, known))
    return Seen(
        installed=tuple(_installed()),
        running=running,
        jobs=_jobs(known.clusters),
        holders=tuple(_holders(place, running)),
        own=_own(place),
        tools=_tools(),
        data_directories=tuple(os.path.realpath(place.home.data_directory(node.name)) for node in place.all_nodes),
        user=getpass.getuser(),
    )


def _installed() -> Iterator[Installed]:
    named = [path for pattern in _PLACES for path in Path("/").glob(pattern.removeprefix("/"))]
    in_path = shutil.which("postgres")
    programs = [path / "postgres" for path in named] + ([Path(in_path)] if in_path else [])
    directories = {str(Path(os.path.realpath(program)).parent) for program in programs if program.exists()}
    for directory in sorted(directories):
        yield Installed(directory, _version(f"{directory}/postgres"))


def _version(program: str) -> str | None:
    return texts.postgres_version(commands.text(program, "--version"))


def _own(place: Place) -> Installed | None:
    """Return the installation that this home's servers run by; that it cannot be used is told elsewhere."""
    if place.config.dsn or not place.all_nodes:
        return None
    try:
        found = postgres(place)
    except AyaError:
        return None
    return Installed(str(found.directory), found.version)


def _tools() -> Installed | None:
    program = shutil.which("psql")
    return Installed(str(Path(program).parent), _version(program)) if program else None


def _running(place: Place, known: Known) -> Iterator[Running]:
    for process in psutil.process_iter(["name"]):
        if not (process.info["name"] or "").startswith("postgres"):
            continue
        with suppress(psutil.Error):
            parent = process.parent()
            if parent is None or not parent.name().startswith("postgres"):
                yield _server(place, process, known)


def _server(place: Place, process: psutil.Process, known: Known) -> Running:
    seen = _process(process, known.labels.get(process.pid, ""))
    directory = origin.data_directory(seen)
    real = os.path.realpath(directory) if directory else None
    lock = _read(Path(real) / "postmaster.pid") if real else ""
    port = origin.port(seen.arguments, lock)
    manager, unit = origin.manager(seen, real, known.clusters)
    program = _of(process.exe) or ""
    return Running(
        pid=process.pid,
        version=(_version(program) if program else None)
        or (_read(Path(real) / "PG_VERSION").strip() if real else None),
        data_directory=real,
        port=port,
        user=_of(process.username) or "",
        programs=str(Path(program).parent) if program else "",
        manager=manager,
        unit=unit,
        ours=_is_ours(place, real, port),
    )


def _process(process: psutil.Process, label: str) -> origin.Process:
    with process.oneshot():
        arguments, directory = _of(process.cmdline) or [], _of(process.cwd) or ""
        environment = _of(process.environ)
    cgroup = _read(Path(f"/proc/{process.pid}/cgroup")) if sys.platform == "linux" else ""
    return origin.Process(arguments, environment, directory, cgroup, label)


def _of(ask: Callable[[], Answer]) -> Answer | None:
    """Return what the system tells, None where it does not tell us."""
    try:
        return ask()
    except (psutil.Error, OSError):
        return None


def _read(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _is_ours(place: Place, directory: str | None, port: int | None) -> bool:
    """Return whether it is a server of this home, a restored one, or the one that aya.toml names by a DSN."""
    if place.config.dsn:
        return any(host in _LOCAL and known == port for host, known in parse_dsn(place.config.dsn).hosts)
    if directory is None:
        return False
    nodes = (place.home.data_directory(node.name) for node in place.all_nodes)
    restored = place.home.restored_directory.glob("*/data")
    return any(same_directory(directory, own) for own in (*nodes, *restored))


def _holders(place: Place, running: Sequence[Running]) -> Iterator[Holder]:
    """Return who listens where a server of ours should, and is not it; also beside it, on another address.

    macOS lets one server have 127.0.0.1 and another every address of one port: clients then reach either.
    """
    own = {server.pid for server in running if server.ours}
    listeners = _listeners()
    for node in place.nodes if place.config.dsn is None else ():
        port = place.port(node)
        if ports.is_free(port):
            continue
        known = _by_lsof(port) if listeners is None else listeners.get(port, [])
        for pid, name in known:
            if pid not in own:
                yield Holder(node.name, port, pid, name)
        if not known and not any(one.ours and one.port == port for one in running):
            yield Holder(node.name, port, None, "another process")


def _listeners() -> dict[int, list[tuple[int, str]]] | None:
    """Return who listens on each port, pid and name; None where the system does not tell us (macOS, but to root)."""
    found: dict[int, list[tuple[int, str]]] = {}
    try:
        connections = psutil.net_connections("tcp")
    except psutil.Error:
        return None
    for one in connections:
        port: object = next(iter(tuple(one.laddr)[1:2]), None)
        if one.status == psutil.CONN_LISTEN and one.pid and isinstance(port, int):
            there = found.setdefault(port, [])
            if one.pid not in {pid for pid, _ in there}:
                there.append((one.pid, _name(one.pid)))
    return found


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name()
    except psutil.Error:
        return "a process"


def _by_lsof(port: int) -> list[tuple[int, str]]:
    return origin.listening(commands.text("lsof", "-nP", f"-iTCP:{port}", "-sTCP:LISTEN", "-Fpc"))


def _jobs(clusters: Sequence[DebianCluster]) -> tuple[AutoStart, ...]:
    """Return what starts a PostgreSQL by itself, each job once; its plist tells more than Homebrew's list."""
    found = {job.label: job for job in (*_brew_jobs(), *_launchd_jobs(), *_debian_jobs(clusters))}
    return tuple(found.values())


def _brew_jobs() -> Iterator[AutoStart]:
    for service in texts.brew_services(commands.text("brew", "services", "list", seconds=_BREW_SECONDS)):
        if service.name.startswith("postgresql") and service.status in _STARTED:
            yield AutoStart(f"homebrew.mxcl.{service.name}", "homebrew")


def _debian_jobs(clusters: Sequence[DebianCluster]) -> Iterator[AutoStart]:
    for cluster in clusters:
        words = _read(Path(f"/etc/postgresql/{cluster.version}/{cluster.name}/start.conf")).splitlines()
        if "auto" in {word.partition("#")[0].strip() for word in words}:
            directory = os.path.realpath(cluster.data_directory)
            yield AutoStart(f"{cluster.version}/{cluster.name}", "debian", directory)


def _launchd_jobs() -> Iterator[AutoStart]:
    """Return the jobs of PostgreSQLs that are not AYA's, and are not disabled. Never run on a Mac."""
    for folder in _FOLDERS:
        domain = "system" if folder.endswith("Daemons") else f"gui/{os.getuid()}"
        for file in Path(folder).expanduser().glob("*.plist"):
            if "postgres" in file.name.lower() and not file.name.startswith("com.aya."):
                yield from _launchd_job(file, domain)


def _launchd_job(file: Path, domain: str) -> Iterator[AutoStart]:
    try:
        plist = parse_plist(file.read_bytes())
    except (OSError, ValueError):
        return
    label = str(plist.get("Label") or file.stem)
    disabled = texts.disabled_jobs(commands.text("launchctl", "print-disabled", domain))
    if not disabled.get(label) and (plist.get("RunAtLoad") or plist.get("KeepAlive")):
        words = [str(word) for word in cast("list[object]", plist.get("ProgramArguments") or [])]
        directory = origin.option(words, "-D", "--pgdata")
        manager: Manager = "homebrew" if label.startswith("homebrew.mxcl.") else "launchd"
        yield AutoStart(label, manager, os.path.realpath(directory) if directory else None, domain)
