"""Which PostgreSQL there is on this machine: installations, running servers, and the jobs that start them.

What text means is told by pure functions (`installation`, `server`, `job`); `look` asks the system. launchd is only
read where there is one; that part has never run on a Mac.
"""

from __future__ import annotations

import itertools
import os
import re
import sys
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import psutil

from aya.processes.lint import parse_plist

_LAUNCHD = ("~/Library/LaunchAgents", "/Library/LaunchAgents", "/Library/LaunchDaemons")
_SYSTEMD = "/etc/systemd/system/multi-user.target.wants"
# Where installers put the programs; the first group of each pattern is the major version.
_KINDS = (
    (
        "Homebrew",
        r"/(?:opt/homebrew|usr/local|home/linuxbrew/\.linuxbrew)/(?:opt|Cellar)/postgresql@(\d+)/(?:[^/]+/)?bin",
    ),
    ("Postgres.app", r"/Applications/Postgres\.app/Contents/Versions/(\d+)/bin"),
    ("EDB", r"/Library/PostgreSQL/(\d+)/bin"),
    ("Debian", r"/usr/lib/postgresql/(\d+)/bin"),
)
_GLOBS = (
    "opt/homebrew/opt/postgresql@*/bin",
    "usr/local/opt/postgresql@*/bin",
    "Applications/Postgres.app/Contents/Versions/*/bin",
    "Library/PostgreSQL/*/bin",
    "usr/lib/postgresql/*/bin",
)


@dataclass(frozen=True, slots=True)
class Installation:
    """One installed PostgreSQL. kind: who installed it. directory: of its programs."""

    kind: str
    major: int
    directory: str


@dataclass(frozen=True, slots=True)
class Running:
    """One server. data: its directory; port, major: None where another user's files say it."""

    pid: int
    user: str
    data: str
    port: int | None
    major: int | None

    @property
    def sentence(self) -> str:
        """Return it in words."""
        version = f"PostgreSQL {self.major}" if self.major else "a PostgreSQL"
        port = f" on port {self.port}" if self.port else ""
        return f"{version}{port} runs on {self.data or 'a directory of another user'} (pid {self.pid}, {self.user})"


@dataclass(frozen=True, slots=True)
class Job:
    """What starts a server when the machine starts or somebody logs in. ends: the command that ends it for good."""

    label: str
    by: str
    data: str
    ends: str

    @property
    def sentence(self) -> str:
        """Return it in words."""
        return f"{self.by} starts {self.label}" + (f" on {self.data}" if self.data else "") + " by itself"


@dataclass(frozen=True, slots=True)
class Look:
    """All that was found."""

    installations: tuple[Installation, ...]
    servers: tuple[Running, ...]
    jobs: tuple[Job, ...]


def installation(directory: str) -> Installation | None:
    """Return whose programs are in a directory; None for one that no installer makes; pure."""
    for kind, pattern in _KINDS:
        if match := re.fullmatch(pattern, directory):
            return Installation(kind, int(match[1]), directory)
    return None


def data_directory(arguments: Sequence[str]) -> str:
    """Return what a command line says that a server runs on; empty when it does not say; pure."""
    after = [following for option, following in itertools.pairwise(arguments) if option in {"-D", "--pgdata"}]
    joined = [part.partition("=")[2] for part in arguments if part.startswith("--pgdata=")]
    glued = [part[2:] for part in arguments if part.startswith("-D") and len(part) > len("-D")]
    return next(iter((*after, *joined, *glued)), "")


def launchd_job(label: str, arguments: Sequence[str], file: str) -> Job | None:
    """Return a launchd job that starts a PostgreSQL of somebody else; None for any other, and for ours; pure."""
    programs = {Path(part).name for part in arguments}
    if label.startswith("com.aya.") or not programs & {"postgres", "pg_ctl", "postmaster"}:
        return None
    if label.startswith("homebrew.mxcl."):
        return Job(
            label, "Homebrew", data_directory(arguments), f"brew services stop {label.removeprefix('homebrew.mxcl.')}"
        )
    sudo, domain = ("sudo ", "system") if "/LaunchDaemons/" in file else ("", "gui/$(id -u)")
    ends = f"{sudo}launchctl bootout {domain}/{label}; {sudo}launchctl disable {domain}/{label}"
    return Job(label, "launchd", data_directory(arguments), ends)


def systemd_job(unit: str) -> Job | None:
    """Return a systemd unit that starts a PostgreSQL at boot; None for any other; pure."""
    if not re.fullmatch(r"postgresql(@[\w.-]+|-\d+)?\.service", unit):
        return None
    return Job(unit, "systemd", "", f"sudo systemctl disable --now {unit}")


def ending(server: Running, jobs: Iterable[Job], me: str) -> str:
    """Return the command that ends a server: of the job that started it, else by its own programs; pure.

    me: the user who types it.
    """
    for job in jobs:
        if job.data and job.data == server.data:
            return job.ends
    if match := re.fullmatch(r"(/.+)/nodes/(?:alpha|beta|air)/data", server.data):
        return f"aya --home '{match[1]}' down"
    if re.fullmatch(r"/var/lib/postgresql/\d+/[\w-]+", server.data):
        _, major, name = server.data.rsplit("/", 2)
        return f"sudo pg_ctlcluster {major} {name} stop"
    sudo = "" if server.user == me else f"sudo -u {server.user} "
    return f"{sudo}pg_ctl stop -D '{server.data}'" if server.data else f"sudo kill -INT {server.pid}"


def look(platform: str = sys.platform) -> Look:
    """Look at this machine; what may not be read is left out, never an error."""
    directories = [str(found) for pattern in _GLOBS for found in sorted(Path("/").glob(pattern))]
    found = tuple(one for one in map(installation, directories) if one)
    return Look(found, tuple(_servers()), tuple(_launchd_jobs() if platform == "darwin" else _systemd_jobs()))


def _servers() -> Iterable[Running]:
    for process in psutil.process_iter(["name", "cmdline", "cwd", "username", "uids"]):
        if not (process.info["name"] or "").startswith("postgres"):
            continue
        try:
            parent = process.parent()
            if parent is not None and parent.name().startswith("postgres"):
                continue
        except psutil.Error:
            continue
        data = process.info["cwd"] or data_directory(process.info["cmdline"] or ())
        owner = process.info["uids"].real if process.info["uids"] else None
        if not data and os.geteuid() in {0, owner}:
            continue  # we would see where it works: it is ending
        yield Running(process.pid, process.info["username"] or "?", data, _port(data), _major(data))


def _port(data: str) -> int | None:
    # The fourth line of postmaster.pid (https://www.postgresql.org/docs/18/storage-file-layout.html).
    lines = _text(Path(data) / "postmaster.pid").split("\n")
    return int(lines[3]) if len(lines) > 3 and lines[3].isdecimal() else None  # noqa: PLR2004 - the line's number


def _major(data: str) -> int | None:
    said = _text(Path(data) / "PG_VERSION").strip()
    return int(said) if said.isdecimal() else None


def _text(file: Path) -> str:
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""


def _launchd_jobs() -> Iterable[Job]:
    for file in (one for folder in _LAUNCHD for one in sorted(Path(folder).expanduser().glob("*.plist"))):
        try:
            plist = parse_plist(file.read_bytes())
        except (OSError, ValueError):
            continue
        arguments = [str(part) for part in plist.get("ProgramArguments", [])]
        if job := launchd_job(str(plist.get("Label", file.stem)), arguments, str(file)):
            yield job


def _systemd_jobs() -> Iterable[Job]:
    return filter(None, (systemd_job(link.name) for link in sorted(Path(_SYSTEMD).glob("*"))))
