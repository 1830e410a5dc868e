"""What commands of macOS and Debian print, understood; pure. None, or nothing, for a text that says something else.

The forms come from the manual pages of pmset(1), launchctl(1), fdesetup(8), systemsetup(8), sntp(1), sysctl(8),
timedatectl(1) and pg_lsclusters(1), and from Homebrew's `brew services list`.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aya.processes.states import State

_SETTING = re.compile(r"^\s+(?P<name>[a-z]+)\s+(?P<value>-?[0-9]{1,9})\b", re.MULTILINE)
_LISTED = re.compile(r"^(?P<pid>[0-9]{1,9}|-)\t(?P<status>-?[0-9]{1,9}|-)\t(?P<label>\S+)$", re.MULTILINE)
_PAIR = re.compile(r"^\t?(?P<key>[a-z][a-z ]*) = (?P<value>[^\n{]+)$", re.MULTILINE)
_CLUSTER = re.compile(r"^(\d+(?:\.\d+)?)[ ]+(\S+)[ ]+([0-9]{1,5})[ ]+(\S+)[ ]+(\S+)[ ]+(\S+)", re.MULTILINE)
_OFFSET = re.compile(r"^(?P<offset>[+-][0-9]{1,12}\.[0-9]{1,12})(?:\s+\([^)]*\))?\s+\+/-", re.MULTILINE)
_VERSION = re.compile(r"\bPostgreSQL\)? (?P<version>\d+(?:\.\d+|(?:beta|rc|devel)\d*)?)")
_NAMED_VERSION = re.compile(r"^ProductVersion:\s*(?P<version>[0-9]{1,4}(?:\.[0-9]{1,4}){0,3})", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Job:
    """A job of launchd. pid: None when it does not run. status: its last exit code, negative for a signal."""

    label: str
    pid: int | None
    status: int | None


@dataclass(frozen=True, slots=True)
class BrewService:
    """A line of `brew services list`. status: started, none, stopped, error, scheduled."""

    name: str
    status: str


@dataclass(frozen=True, slots=True)
class DebianCluster:
    """A line of pg_lsclusters."""

    version: str
    name: str
    port: int
    status: str
    data_directory: str


def macos_version(text: str) -> tuple[int, ...] | None:
    """Return the version that sw_vers prints, such as (15, 1)."""
    match = _NAMED_VERSION.search(text)
    return tuple(int(part) for part in match["version"].split(".")) if match else None


def power_settings(text: str) -> dict[str, int]:
    """Return the settings that `pmset -g` lists, such as sleep and autorestart."""
    return {match["name"]: int(match["value"]) for match in _SETTING.finditer(text)}


def filevault_on(text: str) -> bool | None:
    """Return what `fdesetup status` says."""
    match = re.search(r"FileVault is (On|Off)\b", text)
    return match[1] == "On" if match else None


def network_time_on(text: str) -> bool | None:
    """Return what `systemsetup -getusingnetworktime` says."""
    match = re.search(r"Network Time: (On|Off)\b", text)
    return match[1] == "On" if match else None


def synchronised(text: str) -> bool | None:
    """Return what `timedatectl show` says: whether the clock is being set by the network."""
    match = re.search(r"^NTPSynchronized=(yes|no)$", text, re.MULTILINE)
    return match[1] == "yes" if match else None


def time_offset(text: str) -> float | None:
    """Return by how many seconds this clock is behind the server's, as sntp prints it."""
    match = _OFFSET.search(text)
    return float(match["offset"]) if match else None


def jobs(text: str) -> dict[str, Job]:
    """Return the jobs that `launchctl list` lists, by label."""
    found = (Job(match["label"], _number(match["pid"]), _number(match["status"])) for match in _LISTED.finditer(text))
    return {job.label: job for job in found}


def job_details(text: str) -> dict[str, str]:
    """Return the plain entries of the outermost level of `launchctl print`: state, path, program, last exit code."""
    return {match["key"].strip(): match["value"].strip() for match in _PAIR.finditer(text)}


def disabled_jobs(text: str) -> dict[str, bool]:
    """Return what `launchctl print-disabled` says: whether each label is disabled."""
    lines = re.finditer(r'^\s*"(?P<label>[^"\n]+)" => (?P<word>disabled|enabled|true|false)$', text, re.MULTILINE)
    return {match["label"]: match["word"] in {"disabled", "true"} for match in lines}


def unit_state(word: str) -> State:
    """Return what `systemctl is-active` says, in our words."""
    states: dict[str, State] = {
        "active": "running", "reloading": "running", "activating": "starting", "deactivating": "stopping",
        "inactive": "stopped", "failed": "failed",
    }  # fmt: skip
    return states.get(word, "unknown")


def brew_services(text: str) -> list[BrewService]:
    """Return the services that `brew services list` lists."""
    rows = [line.split() for line in text.splitlines()]
    return [BrewService(row[0], row[1]) for row in rows if len(row) > 1 and row[0] != "Name"]


def debian_clusters(text: str) -> list[DebianCluster]:
    """Return the clusters that pg_lsclusters lists."""
    found = _CLUSTER.findall(text)
    return [DebianCluster(version, name, int(port), status, data) for version, name, port, status, _, data in found]


def postgres_version(text: str) -> str | None:
    """Return the version that `postgres --version` or `pg_config --version` prints, such as 16.4 or 19beta1."""
    match = _VERSION.search(text)
    return match["version"] if match else None


def translated(text: str) -> bool:
    """Return whether `sysctl -n sysctl.proc_translated` says that this process runs under Rosetta."""
    return text.strip() == "1"


def _number(word: str) -> int | None:
    return None if word == "-" else int(word)
