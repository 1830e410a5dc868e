"""The processes of a node: as they are defined, as they run, and what they print; pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding
from aya.processes.states import ALIVE, State

_LARGE_BYTES = 200 * 10**6
_OF_ROOT = 0
# What others may do to a daemon's plist: nothing but read it (launchd.plist(5)).
_FORBIDDEN = 0o022


@dataclass(frozen=True, slots=True)
class Plist:
    """A plist on disk. problems: as aya.processes.lint and plutil say. differs: from what this version renders.

    installed: it is where launchd looks; then owner and mode count.
    """

    path: str
    node: str
    problems: tuple[str, ...] = ()
    differs: bool = False
    installed: bool = False
    owner: int = 0
    mode: int = 0o644


@dataclass(frozen=True, slots=True)
class Running:
    """A service of a node as its supervisor sees it."""

    node: str
    name: str
    state: State


@dataclass(frozen=True, slots=True)
class LaunchdJob:
    """A loaded job of ours. state: as launchctl prints it. status: its last exit code, None when it never ended."""

    label: str
    domain: str
    state: str
    status: int | None


@dataclass(frozen=True, slots=True)
class Log:
    """A log file."""

    path: str
    size_bytes: int
    node: str | None = None


def judge_plist(seen: Plist) -> list[Finding]:
    """Return what is wrong with one plist."""
    quoted = shlex.quote(seen.path)
    again = "aya launchd install" if seen.installed else "aya down, then aya up"
    found: list[Finding] = []
    if seen.problems:
        what = f"{seen.path}: {'; '.join(seen.problems)}"
        found.append(finding("services.plist-invalid", what, again, node=seen.node))
    elif seen.differs:
        what = f"{seen.path} is not what this version would write"
        found.append(finding("services.plist-differs", what, again, node=seen.node))
    if seen.installed and "/LaunchDaemons/" in seen.path and (seen.owner != _OF_ROOT or seen.mode & _FORBIDDEN):
        what = f"{seen.path} belongs to user {seen.owner} and has mode {seen.mode:o}"
        hint = f"sudo chown root:wheel {quoted}; sudo chmod 644 {quoted}"
        found.append(finding("services.plist-owner", what, hint, node=seen.node))
    return found


def judge_running(seen: tuple[Running, ...]) -> list[Finding]:
    """Return which services of a home do not run. Nothing runs at all: a person may want that.

    Those that lost their supervisor do run (aya.doctor.stale tells of them).
    """
    down = [one for one in seen if one.state not in {*ALIVE, "orphaned"}]
    if seen and len(down) == len(seen):
        return [finding("services.stopped", "nothing of this home runs", "aya up")]
    return [
        finding("services.down", f"{one.name} is {one.state}", "aya status, then aya up", node=one.node) for one in down
    ]


def judge_job(seen: LaunchdJob) -> list[Finding]:
    """Return whether launchd starts a job in vain."""
    if seen.state == "running" or not seen.status:
        return []
    what = f"{seen.label} ended with {seen.status}, and is {seen.state}"
    return [finding("services.job-failing", what, f"launchctl print {seen.domain}/{seen.label}")]


def judge_log(seen: Log) -> list[Finding]:
    """Return whether a log is too large."""
    if seen.size_bytes < _LARGE_BYTES:
        return []
    what = f"{seen.path} has {seen.size_bytes / 10**6:.0f} MB"
    return [finding("services.log-large", what, f": > {shlex.quote(seen.path)}", node=seen.node)]


def silent(node: str, why: str) -> Finding:
    """Return that a server does not answer, so that nothing could be asked of it."""
    return finding("services.server-silent", f"the server does not answer: {why}", "aya status, then aya up", node=node)
