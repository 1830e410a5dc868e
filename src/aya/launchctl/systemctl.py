"""The same services as user units of systemd, on Linux: `systemctl --user`."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from aya.errors import ServiceManagerError
from aya.launchctl.exits import ended
from aya.launchctl.manager import Managed, Report, ServiceState, Verb
from aya.launchctl.program import Launchctl
from aya.processes import systemd
from aya.processes.plist import Process
from aya.processes.states import State

_SHOWN = ("LoadState", "ActiveState", "SubState", "MainPID", "ExecMainCode", "ExecMainStatus", "NRestarts")
_STATES: dict[tuple[str, str], State] = {
    ("active", "running"): "running",
    ("activating", "start"): "starting",
    ("activating", "auto-restart"): "restarting",
    ("failed", "failed"): "failed",
    ("inactive", "dead"): "stopped",
}
# waitid(2): how the last process ended, as systemd shows it.
_EXITED, _KILLED, _DUMPED = "1", "2", "3"


def units_directory(environ: Mapping[str, str], home: Path) -> Path:
    """Return where a user's own units are (systemd.unit(5))."""
    return Path(environ.get("XDG_CONFIG_HOME") or home / ".config") / "systemd" / "user"


def require(systemctl: Launchctl) -> None:
    """Raise ServiceManagerError where no user's manager of systemd answers."""
    asked = systemctl.run("show", "--property=Version")
    if asked.code != 0 or "Version=" not in asked.out:
        why = " ".join(asked.text.split()) or f"exit code {asked.code}"
        raise ServiceManagerError(
            f"no systemd of this user answers here ({why}): only `aya up` can run the nodes",
            hint="aya up --detach",
        )


_Step = tuple[str, Callable[[], None]]


def _writing(file: Path, text: str) -> _Step:
    def write() -> None:
        file.parent.mkdir(parents=True, exist_ok=True)
        partial = file.with_name(f".{file.name}.partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(file)

    return f"write {file}", write


def _removing(file: Path) -> _Step:
    return f"remove {file}", lambda: file.unlink(missing_ok=True)


class Systemd:
    """systemd's user manager, for the processes it is given in starting order."""

    name = "systemd"

    def __init__(self, processes: Sequence[Process], systemctl: Launchctl, folder: Path) -> None:
        self._units = {folder / f"{process.label}.service": process for process in processes}
        self._systemctl = systemctl

    def texts(self) -> dict[Path, str]:
        """Return the units as they would be written."""
        return {file: systemd.unit(process) for file, process in self._units.items()}

    def steps(self, verb: Verb) -> list[str]:
        """Return what would be done."""
        return [text for text, _ in self._planned(verb)]

    def carry_out(self, verb: Verb, report: Report) -> list[str]:
        """Do it. Services that run as their unit says are left alone by `install` and `start`."""
        require(self._systemctl)
        planned = self._planned(verb)
        for text, act in planned:
            report(text)
            act()
        return [text for text, _ in planned]

    def strays(self) -> list[str]:
        """Return none: a unit without a file is gone with its process."""
        return []

    def states(self) -> list[ServiceState]:
        """Return what systemd knows of each unit."""
        return [self._state(file, process) for file, process in self._units.items()]

    def _planned(self, verb: Verb) -> list[_Step]:
        names = [file.name for file in self._units]
        match verb:
            case "install":
                changed = self._unwritten()
                anew = [
                    *(_writing(file, text) for file, text in changed.items()),
                    self._ordering("daemon-reload"),
                    self._ordering("restart", *(file.name for file in changed)),
                ]
                return [*(anew if changed else []), self._ordering("enable", "--now", *names)]
            case "uninstall":
                removals = [_removing(file) for file in self._units]
                return [
                    self._ordering("disable", "--now", *reversed(names)),
                    *removals,
                    self._ordering("daemon-reload"),
                ]
            case "stop":
                return [self._ordering("stop", *reversed(names))]
            case "start" | "restart":
                return [self._ordering(verb, *names)]

    def _unwritten(self) -> dict[Path, str]:
        return {
            file: text
            for file, text in self.texts().items()
            if not file.exists() or file.read_text(encoding="utf-8", errors="replace") != text
        }

    def _ordering(self, *arguments: str) -> _Step:
        return f"systemctl --user {' '.join(arguments)}", lambda: self._order(arguments)

    def _order(self, arguments: Sequence[str]) -> None:
        answer = self._systemctl.run(*arguments)
        if answer.code != 0 and "does not exist" not in answer.text and "not loaded" not in answer.text:
            raise ServiceManagerError(
                f"systemctl --user {arguments[0]} failed: {' '.join(answer.text.split()) or answer.code}",
                hint="aya launchd status, then aya launchd logs SERVICE",
            )

    def _state(self, file: Path, process: Process) -> ServiceState:
        answer = self._systemctl.run("show", file.name, *(f"--property={name}" for name in _SHOWN))
        told = dict(line.split("=", 1) for line in answer.out.splitlines() if "=" in line)
        loaded = told.get("LoadState") == "loaded"
        absent: Managed = "not loaded" if file.exists() else "not installed"
        active = told.get("ActiveState", ""), told.get("SubState", "")
        restarts = told.get("NRestarts", "")
        return ServiceState(
            label=process.label,
            node=process.node,
            service=process.service,
            state=_state_of(*active) if loaded else absent,
            pid=int(told["MainPID"]) or None if told.get("MainPID", "").isdigit() else None,
            last_exit=_last_exit(told.get("ExecMainCode", ""), told.get("ExecMainStatus", "")) if loaded else None,
            runs=int(restarts) + 1 if loaded and restarts.isdigit() else None,
            throttle_seconds=process.throttle_seconds,
            file=str(file),
        )


def _state_of(active: str, sub: str) -> State:
    ending: State = "stopping" if active == "deactivating" else "unknown"
    return _STATES.get((active, sub), ending)


def _last_exit(code: str, status: str) -> str:
    number = int(status) if status.isdigit() else 0
    if code == _EXITED:
        return ended(number, None)
    return ended(None, number if code in {_KILLED, _DUMPED} else None)


def lingers(user: str, root: Path = Path("/var/lib/systemd/linger")) -> bool:
    """Return whether the user's manager also runs while they are not logged in."""
    return os.path.lexists(root / user)
