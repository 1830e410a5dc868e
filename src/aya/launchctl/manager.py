"""What `aya launchd` asks of launchd and of systemd alike, and which of them this machine has."""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from aya.processes.states import State

Verb = Literal["install", "uninstall", "start", "stop", "restart"]
# As launchd and systemd tell it, beside what a supervisor can: a file that is not there, or is there and not loaded.
Managed = State | Literal["not installed", "not loaded", "disabled"]
Report = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class ServiceState:
    """One service, as its manager knows it.

    state: "not installed", "not loaded" and "disabled" beside those of aya.processes.states. last_exit: in words, None
    when nobody knows. runs: how often it was started since it was loaded. file: its plist or its unit.
    """

    label: str
    node: str
    service: str
    state: Managed
    pid: int | None
    last_exit: str | None
    runs: int | None
    throttle_seconds: int | None
    file: str


class Manager(Protocol):
    """A manager of the services it was made for. Every call may be repeated; ServiceManagerError says what to do."""

    name: str

    def steps(self, verb: Verb) -> list[str]:
        """Return what `carry_out` would do, one line each; nothing is changed."""
        ...

    def texts(self) -> dict[Path, str]:
        """Return what would be written, by file."""
        ...

    def carry_out(self, verb: Verb, report: Report) -> list[str]:
        """Do it, telling each step; return what was done, empty when all was so already."""
        ...

    def strays(self) -> list[str]:
        """Return what it runs by our labels though nothing of it is installed any more, as its command names them."""
        ...

    def states(self) -> Sequence[ServiceState]:
        """Return every service as it is."""
        ...


def kind(platform: str = sys.platform) -> Literal["launchd", "systemd"]:
    """Return which of the two a platform has."""
    return "launchd" if platform == "darwin" else "systemd"
