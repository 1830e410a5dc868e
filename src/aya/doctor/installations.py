"""Every PostgreSQL of a machine: installed, running, and started by itself; pure.

Once, 16 and 18 ran side by side on ALPHA and fought over the port and over auto-start. What ends that is said, and
never done by us: it is somebody's server.
"""

from __future__ import annotations

import re
import shlex
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding

CONTRACT_PORT = 5432
Manager = Literal["homebrew", "launchd", "systemd", "debian", "aya", "person"]


@dataclass(frozen=True, slots=True)
class Installed:
    """One installation. directory: of its programs. version: such as 18.4; None when it does not say."""

    directory: str
    version: str | None

    @property
    def major(self) -> str | None:
        """Return its major version, such as "18"."""
        match = re.match(r"\d+", self.version or "")
        return match[0] if match else None


@dataclass(frozen=True, slots=True)
class Running:
    """One postmaster. version, data_directory, port: None when the system does not tell us.

    programs: the directory of its programs. manager, unit: who started it: a job's label, a systemd unit, "16/main" of
    pg_lsclusters, another AYA_HOME; unit is empty for a person. ours: of this home, restored clusters included.
    """

    pid: int
    version: str | None = None
    data_directory: str | None = None
    port: int | None = None
    user: str = ""
    programs: str = ""
    manager: Manager = "person"
    unit: str = ""
    ours: bool = False


@dataclass(frozen=True, slots=True)
class AutoStart:
    """A job that starts a PostgreSQL by itself. label: of launchd, a systemd unit, or "16/main" of Debian.

    domain: of launchd: system, or gui/501.
    """

    label: str
    manager: Manager
    data_directory: str | None = None
    domain: str = "system"


@dataclass(frozen=True, slots=True)
class Holder:
    """Who listens on a port that a server of ours should have."""

    node: str
    port: int
    pid: int | None
    name: str


@dataclass(frozen=True, slots=True)
class Seen:
    """own: the installation that this home's servers run by. data_directories: of this home's nodes.

    tools: the installation of the psql that is first in PATH. user: who we are.
    """

    installed: tuple[Installed, ...] = ()
    running: tuple[Running, ...] = ()
    jobs: tuple[AutoStart, ...] = ()
    holders: tuple[Holder, ...] = ()
    own: Installed | None = None
    tools: Installed | None = None
    data_directories: tuple[str, ...] = ()
    user: str = ""


def judge(seen: Seen) -> list[Finding]:
    """Return the double installations, each with the commands that end it."""
    return [
        *_of_directories(seen),
        *_of_ports(seen),
        *_of_running(seen),
        *_of_jobs(seen),
        *_of_installed(seen),
    ]


def describe(server: Running) -> str:
    """Return a server in words: pid, version, data directory, port and who started it."""
    where = f" on {server.data_directory}" if server.data_directory else ""
    port = f", port {server.port}" if server.port else ""
    return f"PostgreSQL {server.version or 'of an unknown version'} (pid {server.pid}){where}{port}, {_started(server)}"


def _started(server: Running) -> str:
    match server.manager:
        case "homebrew":
            return f"started by brew services ({server.unit})"
        case "launchd":
            return f"started by launchd ({server.unit})"
        case "systemd":
            return f"started by systemd ({server.unit})"
        case "debian":
            return f"Debian's cluster {server.unit}"
        case "aya":
            return f"started by AYA in {server.unit}"
        case "person":
            return f"started by hand by {server.user}" if server.user else "started by hand"


def ending(server: Running, seen: Seen) -> str:
    """Return the commands that stop a server and keep it from starting again; its data stays."""
    match server.manager:
        case "homebrew" | "launchd" | "systemd" | "debian":
            known = next((job for job in seen.jobs if job.label == server.unit), None)
            return disabling(known or AutoStart(server.unit, server.manager))
        case "aya":
            return f"aya --home {shlex.quote(server.unit)} down"
        case "person":
            pass
    if not server.data_directory:
        return f"sudo kill -INT {server.pid}"
    program = f"{server.programs}/pg_ctl" if server.programs else "pg_ctl"
    stop = f"{shlex.quote(program)} stop --mode=fast --pgdata={shlex.quote(server.data_directory)}"
    return stop if server.user in {"", seen.user} else f"cd /; sudo -u {shlex.quote(server.user)} {stop}"


def disabling(job: AutoStart) -> str:
    """Return the commands that stop a job's server and keep it from starting again; its data stays."""
    label = shlex.quote(job.label)
    if job.manager == "homebrew":
        return f"brew services stop {shlex.quote(job.label.removeprefix('homebrew.mxcl.'))}"
    if job.manager == "systemd":
        return f"sudo systemctl disable --now {label}"
    if job.manager == "debian":
        version, _, name = job.label.partition("/")
        words = f"{shlex.quote(version)} {shlex.quote(name)}"
        start = shlex.quote(f"/etc/postgresql/{version}/{name}/start.conf")
        return f"echo manual | sudo tee {start}; sudo pg_ctlcluster {words} stop"
    domain = shlex.quote(f"{job.domain}/{job.label}")
    return f"sudo launchctl disable {domain}; sudo launchctl bootout {domain}"


def _of_directories(seen: Seen) -> list[Finding]:
    """Return those who work in a data directory of this home without being its server."""
    found: list[Finding] = []
    for directory in seen.data_directories:
        there = [server for server in seen.running if server.data_directory == directory]
        jobs = [job for job in seen.jobs if job.data_directory == directory]
        strange = [server for server in there if not server.ours]
        if strange and len(there) > 1:
            what = f"{describe(strange[0])}, beside pid {next(one.pid for one in there if one is not strange[0])}"
            found.append(finding("installations.two-on-one-directory", what, ending(strange[0], seen)))
        found += [
            finding(
                "installations.two-on-one-directory", f"{job.label} starts a server on {directory} too", disabling(job)
            )
            for job in jobs
        ]
    return found


def _of_ports(seen: Seen) -> list[Finding]:
    found: list[Finding] = []
    for holder in seen.holders:
        server = next((one for one in seen.running if one.pid == holder.pid), None)
        who = describe(server) if server else f"{holder.name} (pid {holder.pid or 'unknown'})"
        end = ending(server, seen) if server else _ending_of(holder)
        what = f"port {holder.port} of node {holder.node} is held by {who}"
        found.append(finding("installations.port-taken", what, f"{end}; then aya up", node=holder.node))
    return found


def _ending_of(holder: Holder) -> str:
    return f"kill {holder.pid}" if holder.pid else f"sudo lsof -nP -iTCP:{holder.port} -sTCP:LISTEN shows it; end it"


def _of_running(seen: Seen) -> list[Finding]:
    told = {holder.pid for holder in seen.holders}
    strange = [server for server in seen.running if not server.ours and server.pid not in told]
    return [_foreign(server, seen) for server in strange]


def _foreign(server: Running, seen: Seen) -> Finding:
    """Return a server that is not ours. Another AYA_HOME may run beside this one: its ports are its own."""
    found = finding("installations.foreign-server", describe(server), ending(server, seen))
    return replace(found, severity="note") if server.manager == "aya" and server.port != CONTRACT_PORT else found


def _of_jobs(seen: Seen) -> list[Finding]:
    """Return the jobs whose server does not run now, or the ending of which has not been said with it."""
    said = {server.unit for server in seen.running if not server.ours}
    elsewhere = [job for job in seen.jobs if job.label not in said and job.data_directory not in seen.data_directories]
    return [
        finding(
            "installations.autostart",
            f"{job.label} ({job.manager}) starts another PostgreSQL by itself"
            + (f" on {job.data_directory}" if job.data_directory else ""),
            disabling(job),
        )
        for job in elsewhere
    ]


def _of_installed(seen: Seen) -> list[Finding]:
    found: list[Finding] = []
    majors = {one.major for one in (*seen.installed, *((seen.own,) if seen.own else ())) if one.major}
    if len(majors) > 1:
        listed = ", ".join(f"{one.version} in {one.directory}" for one in _shown(seen))
        what = f"PostgreSQL {' and '.join(sorted(majors, key=int))} are installed: {listed}"
        hint = f"put {shlex.quote(seen.own.directory)} first in PATH" if seen.own else "which -a psql"
        found.append(finding("installations.several-majors", what, hint))
    if seen.own and seen.own.major and seen.tools and seen.tools.major and int(seen.tools.major) < int(seen.own.major):
        what = f"psql and pg_dump in PATH are of {seen.tools.version}, the servers of {seen.own.version}"
        hint = f"export PATH={shlex.quote(seen.own.directory)}:$PATH"
        found.append(finding("installations.wrong-tools", what, hint))
    return found


def _shown(seen: Seen) -> Sequence[Installed]:
    everything = (*((seen.own,) if seen.own else ()), *seen.installed)
    return list({one.directory: one for one in everything if one.version}.values())
