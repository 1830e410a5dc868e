"""What launchctl prints, as values; pure.

`launchctl print` is made for people, and its manual says that it may change: whatever is not found is None, nothing
raises. Only lines that are indented once are the service's own; deeper ones are of its coalitions and endpoints, which
have a `state` and a `pid` of theirs.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from aya.processes.states import State

_OWN = re.compile(r"^\t(?P<key>[a-z][a-z ]*?) = (?P<value>.*)$", re.MULTILINE)
_OVERRIDE = re.compile(r'^\s*"(?P<label>[^"]+)" => (?P<value>\w+)', re.MULTILINE)
_ROW = re.compile(r"^(?P<pid>-|\d+)\t(?P<status>-?\d+)\t(?P<label>\S+)$", re.MULTILINE)
_STATES: dict[str, State] = {
    "running": "running",
    "spawning": "starting",
    "xpcproxy": "starting",
    "spawn scheduled": "restarting",
    "waiting": "stopped",
    "not running": "stopped",
    "exited": "exited",
    "SIGTERMed": "stopping",
    "SIGKILLed": "stopping",
}


@dataclass(frozen=True, slots=True)
class Printed:
    """What launchd knows of one service.

    exit_code: of its last run that ended by itself. exit_signal: the number of the signal that ended it. runs: how
    often it was started since it was loaded. throttle_seconds: between two starts. path: of its plist.
    """

    state: State
    pid: int | None = None
    exit_code: int | None = None
    exit_signal: int | None = None
    runs: int | None = None
    throttle_seconds: int | None = None
    exit_timeout_seconds: int | None = None
    path: str | None = None


def printed(text: str) -> Printed:
    """Return what `launchctl print DOMAIN/LABEL` says."""
    own: dict[str, str] = {}
    for line in _OWN.finditer(text):
        own.setdefault(line["key"], line["value"].strip())
    return Printed(
        state=_STATES.get(own.get("state", ""), "unknown"),
        pid=_number(own.get("pid")),
        exit_code=_number(own.get("last exit code")),
        exit_signal=_signal(own.get("last terminating signal")),
        runs=_number(own.get("runs")),
        throttle_seconds=_number(own.get("minimum runtime")),
        exit_timeout_seconds=_number(own.get("exit timeout")),
        path=own.get("path"),
    )


def disabled(text: str) -> frozenset[str]:
    """Return the labels that `launchctl print-disabled DOMAIN` calls disabled (true before macOS 13)."""
    return frozenset(line["label"] for line in _OVERRIDE.finditer(text) if line["value"] in {"disabled", "true"})


def listed(text: str) -> dict[str, int | None]:
    """Return the labels of `launchctl list` with their pids; None for one that does not run."""
    return {line["label"]: _number(line["pid"]) for line in _ROW.finditer(text)}


def _number(value: str | None) -> int | None:
    """Return the number that a value begins with: "78: EX_CONFIG" is 78, "(never exited)" is None."""
    found = re.match(r"-?[0-9]+", value or "")
    return int(found[0]) if found and len(found[0]) < 20 else None  # noqa: PLR2004 - no count has so many digits


def _signal(value: str | None) -> int | None:
    """Return 9 of "Killed: 9"."""
    found = re.search(r"([0-9]{1,3})\s*$", value or "")
    return int(found[1]) if found else None
