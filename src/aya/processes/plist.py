"""From a template in launchd/ to one process of one node.

`${name}` is replaced in the parsed strings, not in the XML: a path with & or < needs no care. A placeholder that
nobody gives a value is an error, and so is any key that aya.processes.lint does not know.
"""

from __future__ import annotations

import plistlib
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.resources import files
from string import Template
from typing import Any, Literal, cast

from aya.errors import ConfigError
from aya.processes.lint import parse_plist, problems

KeepAlive = Literal["always", "on_failure"]

# What runs a PostgreSQL: the others use it, and it must outlive a crash of whoever started it.
SERVERS = ("postgres", "watchdog")
# launchd's own defaults, launchd.plist(5)
DEFAULT_THROTTLE_SECONDS = 10
DEFAULT_EXIT_TIMEOUT_SECONDS = 20
_HINT = ".venv/bin/python -m aya.processes lint launchd/"


@dataclass(frozen=True, slots=True)
class Process:
    """One process as a plist describes it.

    keep_alive: restart always, or only after an exit code other than 0. throttle_seconds: starts are at least so far
    apart. exit_timeout_seconds: from SIGTERM to SIGKILL. files_limit: soft limit of open files, None for the system's.
    background, low_priority_io, nice: how much it gives way to others. user: whom it runs as; None: whoever starts it.
    """

    label: str
    program: tuple[str, ...]
    environment: tuple[tuple[str, str], ...]
    working_directory: str
    keep_alive: KeepAlive
    throttle_seconds: int
    exit_timeout_seconds: int
    stdout: str
    stderr: str
    files_limit: int | None = None
    background: bool = False
    low_priority_io: bool = False
    nice: int | None = None
    user: str | None = None

    @property
    def service(self) -> str:
        """Return the last word of the label: postgres, embedder, indexer."""
        return self.label.rpartition(".")[2]

    @property
    def node(self) -> str:
        """Return the node's name, from the label."""
        return self.label.split(".")[-2]


def template(service: str) -> dict[str, Any]:
    """Read launchd/com.aya.SERVICE.plist; ConfigError when there is none or it does not parse."""
    file = files("aya").joinpath("launchd", f"com.aya.{service}.plist")
    try:
        return parse_plist(file.read_bytes())
    except (OSError, ValueError) as error:
        raise ConfigError(f"the plist of {service} cannot be used: {error}", hint=_HINT) from error


def substitute(plist: Mapping[str, Any], names: Mapping[str, str]) -> dict[str, Any]:
    """Return `plist` with ${name} replaced in every string of it; pure. ConfigError for a name that is not given."""
    return {key: _filled(value, names) for key, value in plist.items()}


def _filled(value: object, names: Mapping[str, str]) -> object:
    if isinstance(value, str):
        return _text(value, names)
    if isinstance(value, list):
        return [_filled(part, names) for part in cast("list[object]", value)]
    if isinstance(value, dict):
        return substitute(cast("dict[str, object]", value), names)
    return value


def _text(text: str, names: Mapping[str, str]) -> str:
    try:
        return Template(text).substitute(names)
    except KeyError as error:
        raise ConfigError(f"a plist asks for ${{{error.args[0]}}}, which has no value", hint=_HINT) from error
    except ValueError as error:
        raise ConfigError(f"a plist has a stray $ in {text!r}", hint=_HINT) from error


def to_xml(plist: Mapping[str, Any]) -> bytes:
    """Return the plist as launchd reads it; pure. ConfigError for a control character in a path."""
    try:
        return plistlib.dumps(dict(plist), sort_keys=False)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"a plist cannot hold this: {error}", hint="choose an AYA_HOME without it") from error


def to_process(plist: Mapping[str, Any]) -> Process:
    """Return what a filled-in plist describes; pure. ConfigError names every problem of it."""
    found = problems(plist)
    if found:
        raise ConfigError(f"the plist {plist.get('Label', '')}: {'; '.join(found)}", hint=_HINT)
    return Process(
        label=plist["Label"],
        program=tuple(plist["ProgramArguments"]),
        environment=tuple(plist["EnvironmentVariables"].items()),
        working_directory=plist["WorkingDirectory"],
        keep_alive="always" if plist["KeepAlive"] is True else "on_failure",
        throttle_seconds=plist.get("ThrottleInterval", DEFAULT_THROTTLE_SECONDS),
        exit_timeout_seconds=plist.get("ExitTimeOut", DEFAULT_EXIT_TIMEOUT_SECONDS),
        stdout=plist["StandardOutPath"],
        stderr=plist["StandardErrorPath"],
        files_limit=plist.get("SoftResourceLimits", {}).get("NumberOfFiles"),
        background=plist.get("ProcessType") == "Background",
        low_priority_io=plist.get("LowPriorityIO", False),
        nice=plist.get("Nice"),
        user=plist.get("UserName"),
    )
