"""Who started a PostgreSQL, from what the system tells of its process; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aya.doctor.installations import Manager
from aya.doctor.texts import DebianCluster

# launchd sets it to the job's label; a terminal's children have "0" or application.…
_LAUNCHD_LABEL = "XPC_SERVICE_NAME"
_HOMEBREW = "homebrew.mxcl."
_UNIT = re.compile(r"/([^/\s]*postgres[^/\s]*)\.service\b", re.IGNORECASE)
_NODE = re.compile(r"(?P<home>/.+)/nodes/(?:alpha|beta|air)/data")
_DEBIAN_UNIT = re.compile(r"postgresql@(?P<version>[\d.]+)-(?P<name>.+)")


@dataclass(frozen=True, slots=True)
class Process:
    """What the system tells of a postmaster; empty where it does not tell us.

    cgroup: /proc/PID/cgroup on Linux. label: of launchd's job that has this pid (launchctl list).
    """

    arguments: Sequence[str] = ()
    environment: Mapping[str, str] | None = None
    directory: str = ""
    cgroup: str = ""
    label: str = ""


def manager(seen: Process, data_directory: str | None, clusters: Sequence[DebianCluster]) -> tuple[Manager, str]:
    """Return who looks after a server, and under which name. clusters: as pg_lsclusters lists them."""
    environment = seen.environment or {}
    # Of another user's process the environment is not told, but its directory may speak.
    told = _NODE.fullmatch(data_directory or "") if seen.environment is None else None
    if home := environment.get("AYA_HOME") or (told and told["home"]):
        return "aya", home
    label = seen.label or environment.get(_LAUNCHD_LABEL, "0")
    if label.startswith(_HOMEBREW):
        return "homebrew", label
    if label != "0" and not label.startswith("application."):
        return "launchd", label
    for cluster in clusters:
        if data_directory and cluster.data_directory == data_directory:
            return "debian", f"{cluster.version}/{cluster.name}"
    if match := _UNIT.search(seen.cgroup):
        debian = _DEBIAN_UNIT.fullmatch(match[1])
        return ("debian", f"{debian['version']}/{debian['name']}") if debian else ("systemd", match[1])
    return "person", ""


def data_directory(seen: Process) -> str | None:
    """Return where a postmaster works: it changes into its data directory (its -D may be the configuration's)."""
    return seen.directory or option(seen.arguments, "-D", "--pgdata")


def option(arguments: Sequence[str], short: str, long: str) -> str | None:
    """Return the value of an option, however it is written: -D x, -Dx, --pgdata=x, --pgdata x."""
    for place, word in enumerate(arguments[1:], start=1):
        if word in {short, long}:
            return arguments[place + 1] if place + 1 < len(arguments) else None
        if word.startswith(f"{long}="):
            return word.removeprefix(f"{long}=")
        if word.startswith(short) and not word.startswith("--") and len(word) > len(short):
            return word.removeprefix(short)
    return None


def port(arguments: Sequence[str], lock: str) -> int | None:
    """Return a postmaster's port. lock: its postmaster.pid, whose fourth line it is; empty when it cannot be read."""
    lines = lock.split("\n")
    words = [lines[3] if len(lines) > 3 else "", option(arguments, "-p", "--port") or ""]  # noqa: PLR2004 - the fourth
    return next((int(word) for word in words if re.fullmatch(r"[0-9]{1,5}", word.strip())), None)


def listening(text: str) -> list[tuple[int, str]]:
    """Return who listens, as `lsof -F pc` prints it: pid and name."""
    lines = re.finditer(r"^p([0-9]{1,9})\n(?:[^pc\n][^\n]*\n)*c([^\n]*)", text, re.MULTILINE)
    return [(int(match[1]), match[2]) for match in lines]
