"""A simulation of launchd: it answers as launchctl does and runs real processes by the rules of launchd.plist(5).

It is what a Mac would do as far as Apple writes it down, and no launchd: nothing here has been compared with one.

RunAtLoad, KeepAlive    started when loaded; again after every end, or with SuccessfulExit false after a failure only
ThrottleInterval        two starts are at least so far apart
ExitTimeOut             bootout and `kickstart -k` send TERM, and KILL when the time is up
AbandonProcessGroup     false: what is left of the process group gets TERM when the main process has ended (launchd-842)
EnvironmentVariables    exactly these, and XPC_SERVICE_NAME; nothing is inherited
WorkingDirectory, Umask, SoftResourceLimits, UserName      as the plist says
StandardOutPath         opened for appending; launchd never rotates; one that cannot be opened is exit code 78
bootstrap               refuses with 5 whatever it refuses, which is launchctl's way
"""

from __future__ import annotations

import os
import pwd
import signal
import subprocess
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from aya.launchctl.program import Answer
from aya.processes.lint import parse_plist

POLL_SECONDS = 0.02
EX_CONFIG = 78
FIVE = Answer(5, err="Bootstrap failed: 5: Input/output error\nTry re-running the command as root for richer errors.")


@dataclass
class Service:
    """One loaded job. starts: when each of its processes began (monotonic)."""

    plist: dict[str, Any]
    path: str
    domain: str
    starts: list[float] = field(default_factory=list[float])
    process: subprocess.Popen[bytes] | None = None
    code: int | None = None
    asked: bool = False
    ending: bool = False

    @property
    def label(self) -> str:
        """Return its label."""
        return str(self.plist["Label"])

    @property
    def throttle(self) -> float:
        """Return how far its starts are apart, in seconds."""
        return float(self.plist.get("ThrottleInterval", 10))

    def wants_to_run(self) -> bool:
        """Return whether it is to be started as soon as the throttle allows."""
        if self.asked or (not self.starts and self.plist.get("RunAtLoad")):
            return True
        keep = self.plist.get("KeepAlive")
        if keep is True:
            return True
        return isinstance(keep, dict) and (self.code is None or (self.code != 0) is (keep["SuccessfulExit"] is False))

    def spawn(self) -> None:
        """Start its process; one that cannot be set up ends with 78."""
        self.asked = False
        self.starts.append(time.monotonic())
        try:
            self.process = _spawned(self.plist)
        except (OSError, KeyError):
            self.code = EX_CONFIG

    def reap(self) -> None:
        """Take note of an end, and end what is left of the process group."""
        if self.process is not None and self.process.poll() is not None:
            self.code, pid, self.process = self.process.returncode, self.process.pid, None
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(pid, signal.SIGTERM)

    def printed(self) -> str:
        """Return what `launchctl print` says of it."""
        if self.process is not None:
            state = "SIGTERMed" if self.ending else "running"
        else:
            state = "spawn scheduled" if self.wants_to_run() else "not running"
        lines = [
            f"path = {self.path}",
            f"state = {state}",
            f"program = {self.plist['ProgramArguments'][0]}",
            "arguments = {\n\t\tstate = not the service's\n\t}",
            f"minimum runtime = {self.throttle:.0f}",
            f"exit timeout = {self.plist.get('ExitTimeOut', 20)}",
            f"runs = {len(self.starts)}",
            *([f"pid = {self.process.pid}"] if self.process is not None else []),
            self._last(),
        ]
        return f"{self.domain}/{self.label} = {{\n\t" + "\n\t".join(lines) + "\n}\n"

    def _last(self) -> str:
        if self.code is None:
            return "last exit code = (never exited)"
        if self.code < 0:
            return f"last terminating signal = {signal.strsignal(-self.code)}: {-self.code}"
        return f"last exit code = {self.code}" + (": EX_CONFIG" if self.code == EX_CONFIG else "")


def _spawned(plist: dict[str, Any]) -> subprocess.Popen[bytes]:
    command = list(plist["ProgramArguments"])
    files = plist.get("SoftResourceLimits", {}).get("NumberOfFiles")
    if files is not None:
        command = ["/bin/sh", "-c", f'ulimit -S -n {files} && exec "$@"', "sh", *command]
    user = plist.get("UserName")
    other = None if user == pwd.getpwuid(os.geteuid()).pw_name else user
    with Path(plist["StandardOutPath"]).open("ab") as out, Path(plist["StandardErrorPath"]).open("ab") as err:
        return subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=out,
            stderr=err,
            cwd=plist.get("WorkingDirectory", "/"),
            env={**plist.get("EnvironmentVariables", {}), "XPC_SERVICE_NAME": plist["Label"]},
            umask=plist.get("Umask", 0o022),
            start_new_session=True,
            user=other,
        )


class Simulation:
    """The simulated launchd, and the launchctl that speaks to it. Use it as a context: it ends what it started.

    owner: uid and gid that the files of daemons must have. calls: what was asked, for the tests to look at.
    """

    def __init__(self, *, owner: tuple[int, int] = (0, 0), gui: bool = True) -> None:
        self.owner = owner
        self._gui = gui
        self._services: dict[str, Service] = {}
        self._disabled: set[str] = set()
        self._lock = threading.RLock()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._look_after, name="launchd")
        self.calls: list[tuple[str, ...]] = []

    def __enter__(self) -> Self:
        """Begin to look after services."""
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        """End everything."""
        for target in list(self._services):
            self.run("bootout", target)
        while self._services:
            time.sleep(POLL_SECONDS)
        self._over.set()
        self._thread.join()

    def service(self, label: str) -> Service:
        """Return one loaded job."""
        return next(one for one in self._services.values() if one.label == label)

    def run(self, *arguments: str) -> Answer:
        """Answer as launchctl does."""
        self.calls.append(arguments)
        verb, *rest = arguments
        with self._lock:
            commands: dict[str, Callable[..., Answer]] = {
                "bootstrap": self._bootstrap,
                "bootout": self._bootout,
                "kickstart": self._kickstart,
                "enable": self._enable,
                "disable": self._disable,
                "print": self._print,
                "print-disabled": self._print_disabled,
                "list": self._list,
            }
            return commands[verb](*rest)

    def _bootstrap(self, domain: str, path: str) -> Answer:
        if domain != "system" and not self._gui:
            return Answer(125, err="Bootstrap failed: 125: Domain does not support specified action")
        try:
            status = Path(path).stat()
            plist = parse_plist(Path(path).read_bytes())
        except (OSError, ValueError):
            return FIVE
        target = f"{domain}/{plist['Label']}"
        wrong = domain == "system" and (status.st_uid, status.st_gid) != self.owner
        if wrong or status.st_mode & 0o022 or target in self._disabled or target in self._services:
            return FIVE
        self._services[target] = Service(plist, path, domain)
        return Answer(0)

    def _bootout(self, target: str) -> Answer:
        if target not in self._services:
            return Answer(3, err="Boot-out failed: 3: No such process")
        self._end(self._services[target])
        # It returns before the service is gone, as launchctl does.
        return Answer(36, err="Boot-out failed: 36: Operation now in progress")

    def _kickstart(self, *arguments: str) -> Answer:
        one = self._services.get(arguments[-1])
        if one is None:
            label = arguments[-1].rpartition("/")[2]
            return Answer(113, err=f'Could not find service "{label}" in domain for system')
        one.asked = True
        if "-k" in arguments and one.process is not None:
            threading.Thread(target=self._kill, args=(one.process, one.plist.get("ExitTimeOut", 20))).start()
        return Answer(0)

    def _enable(self, target: str) -> Answer:
        self._disabled.discard(target)
        return Answer(0)

    def _disable(self, target: str) -> Answer:
        self._disabled.add(target)
        return Answer(0)

    def _print(self, target: str) -> Answer:
        if target == "system" or (target.startswith("gui/") and target.count("/") == 1):
            known = target == "system" or self._gui
            return (
                Answer(0, f"{target} = {{\n}}\n") if known else Answer(112, err=f"Could not find domain for {target}")
            )
        one = self._services.get(target)
        if one is None:
            return Answer(113, err=f'Bad request.\nCould not find service "{target}" in domain for system')
        return Answer(0, one.printed())

    def _print_disabled(self, domain: str) -> Answer:
        labels = [target.removeprefix(f"{domain}/") for target in self._disabled if target.startswith(f"{domain}/")]
        lines = "".join(f'\t\t"{label}" => disabled\n' for label in labels)
        return Answer(0, f'\tdisabled services = {{\n{lines}\t\t"com.apple.x" => enabled\n\t}}\n')

    def _list(self) -> Answer:
        rows = [f"{one.process.pid if one.process else '-'}\t0\t{one.label}\n" for one in self._services.values()]
        return Answer(0, "PID\tStatus\tLabel\n" + "".join(rows))

    def _end(self, one: Service) -> None:
        if one.ending:
            return
        one.ending = True
        if one.process is not None:
            threading.Thread(target=self._kill, args=(one.process, one.plist.get("ExitTimeOut", 20))).start()

    @staticmethod
    def _kill(process: subprocess.Popen[bytes], seconds: float) -> None:
        """TERM, and KILL when the time is up."""
        with suppress(ProcessLookupError):
            os.kill(process.pid, signal.SIGTERM)
        until = time.monotonic() + seconds
        while process.returncode is None:
            if time.monotonic() > until:
                with suppress(ProcessLookupError):
                    os.kill(process.pid, signal.SIGKILL)
                return
            time.sleep(POLL_SECONDS)

    def _look_after(self) -> None:
        while not self._over.is_set():
            with self._lock:
                for target, one in list(self._services.items()):
                    one.reap()
                    if one.ending and one.process is None:
                        del self._services[target]
                    elif one.process is None and one.wants_to_run() and self._may_start(one):
                        one.spawn()
            time.sleep(POLL_SECONDS)

    @staticmethod
    def _may_start(one: Service) -> bool:
        return not one.starts or time.monotonic() - one.starts[-1] >= one.throttle
