"""The supervisord of one AYA_HOME: it starts the node's processes, keeps them alive and stops them.

AYA_HOME/supervisor/ has its configuration, log and pid; its socket is in the home's runtime directory, because the
path of a socket must be short.
"""

from __future__ import annotations

import os
import pwd
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import psutil

from aya.errors import AyaError, ConfigError
from aya.home import Home
from aya.processes import leftovers, render
from aya.processes.plist import SERVERS, Process
from aya.processes.rpc import Rpc, Running, SupervisorUnavailable

_START_SECONDS = 20.0
_SPARE_SECONDS = 15.0
_LONGEST_EXIT_SECONDS = 120.0
_POLL_SECONDS = 0.1
_DEFAULT_FILES = 1024
# What a service may know of the shell that `aya up` was typed in. DB_HOST and its like would lead it elsewhere.
_INHERITED = ("PATH", "HOME", "USER", "LOGNAME", "TMPDIR", "XDG_CACHE_HOME", "SSL_CERT_FILE", "SSL_CERT_DIR",
              "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy")  # fmt: skip
_INHERITED_PREFIXES = ("AYA_", "HF_")
_OWN = ("AYA_HOME", "AYA_NODE", "AYA_DEBUG")


class Supervisor:
    """One supervisord. Everything but `start` and `apply` may be called when it does not run."""

    def __init__(self, home: Home) -> None:
        directory = home.path / "supervisor"
        self._home = home
        self.files = render.Files(
            configuration=leftovers.configuration_file(home),
            socket=home.runtime_directory / "supervisor.sock",
            pidfile=directory / "supervisord.pid",
            log=directory / "supervisord.log",
        )

    def rpc(self, timeout_seconds: float = 2.0) -> Rpc:
        """Return the calls to it, with a deadline each."""
        return Rpc(self.files.socket, timeout_seconds=timeout_seconds)

    def answers(self) -> bool:
        """Return whether it runs and can be asked."""
        try:
            return self.rpc().pid() > 0
        except AyaError:
            return False

    def watch(self) -> Callable[[], bool]:
        """Return a function that tells whether the supervisord that runs now is still there, busy or not."""
        process = psutil.Process(self.rpc().pid())

        def lives() -> bool:
            try:
                return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
            except psutil.Error:
                return False

        return lives

    def processes(self, timeout_seconds: float = 2.0) -> dict[str, Running]:
        """Return what it knows of its processes, by label; empty when it does not run."""
        try:
            return {one.label: one for one in self.rpc(timeout_seconds).processes()}
        except SupervisorUnavailable:
            return {}

    def configured(self, processes: Sequence[Process]) -> bool:
        """Return whether its configuration on disk is exactly these processes."""
        try:
            return self.files.configuration.read_text(encoding="utf-8") == self._text(processes)
        except OSError:
            return False

    def apply(self, processes: Sequence[Process]) -> None:
        """Give it these processes; start it when it does not run. Changed ones are stopped, none is started."""
        self._write(processes)
        if not self.answers():
            leftovers.end(self._home)
            self._start()
            return
        rpc = self.rpc()
        added, changed, removed = rpc.reload()
        known = self.processes()
        for label in (*changed, *removed):
            rpc.stop(label)
            self._wait_stopped([label], _LONGEST_EXIT_SECONDS)
            rpc.remove(label)
        for label in (*added, *changed):
            if label not in known or label in changed:
                rpc.add(label)

    def shut_down(self, processes: Sequence[Process]) -> list[leftovers.Leftover]:
        """Stop everything of this home, in reverse order, and supervisord itself; return what could not be ended."""
        try:
            self._stop(processes)
            self.rpc().shut_down()
            self._wait(lambda: not self._supervisord(), _SPARE_SECONDS)
        except AyaError:
            pass  # it does not run, or is frozen: what it left behind is ended below
        return leftovers.end(self._home)

    def _supervisord(self) -> bool:
        return any(one.kind == "supervisord" for one in leftovers.find(self._home))

    def _stop(self, processes: Sequence[Process]) -> None:
        """Stop all services at once, and then all servers: supervisord by itself takes a second for each, in turn."""
        servers = [process for process in processes if process.service in SERVERS]
        for group in ([process for process in processes if process not in servers], servers):
            known = self.processes()
            labels = [process.label for process in group if process.label in known]
            for label in labels:
                self.rpc().stop(label)
            self._wait_stopped(labels, max((process.exit_timeout_seconds for process in group), default=0))

    def _wait_stopped(self, labels: Sequence[str], exit_timeout_seconds: float) -> None:
        def stopped() -> bool:
            known = self.processes()
            return not any(known[label].pid or known[label].state == "stopping" for label in labels if label in known)

        if not self._wait(stopped, exit_timeout_seconds + _SPARE_SECONDS):
            raise AyaError(f"{', '.join(labels)} did not stop in time", hint="aya down, then aya up")

    @staticmethod
    def _wait(done: Callable[[], bool], seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while not done():
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        return True

    def _text(self, processes: Sequence[Process]) -> str:
        wanted = max((process.files_limit or 0 for process in processes), default=0) or _DEFAULT_FILES
        hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        limit = wanted if hard == resource.RLIM_INFINITY else min(wanted, hard)
        return render.configuration(self.files, processes, files_limit=limit, user=pwd.getpwuid(os.geteuid()).pw_name)

    def _write(self, processes: Sequence[Process]) -> None:
        text = self._text(processes)
        self.files.configuration.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        own_directory(self.files.socket.parent)
        partial = self.files.configuration.with_suffix(".partial")
        partial.write_text(text, encoding="utf-8")
        partial.replace(self.files.configuration)

    def _start(self) -> None:
        """Start supervisord as a daemon, and wait until it answers."""
        # utf8: it reads its configuration in the locale's encoding. -W: its warnings are not for a person's terminal.
        command = [sys.executable, "-X", "utf8", "-W", "ignore", "-m", "supervisor.supervisord", "-c",
                   str(self.files.configuration)]  # fmt: skip
        try:
            done = subprocess.run(
                command,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                cwd="/",
                env=inherited(os.environ),
                timeout=_START_SECONDS,
                check=False,
            )
        except (OSError, subprocess.SubprocessError) as error:
            raise AyaError(f"the supervisor could not be started: {error}", hint="aya up") from error
        if done.returncode != 0:
            said = " / ".join((done.stderr or done.stdout).strip().splitlines()[:2])
            raise AyaError(f"the supervisor could not be started: {said}", hint=f"less '{self.files.log}'")
        self._wait_answering()

    def _wait_answering(self) -> None:
        if not self._wait(self.answers, _START_SECONDS):
            raise AyaError(f"the supervisor does not answer on {self.files.socket}", hint=f"less '{self.files.log}'")


def inherited(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what supervisord, and so every service, inherits of a person's shell; pure."""
    return {
        name: value
        for name, value in environ.items()
        if (name in _INHERITED or name.startswith(_INHERITED_PREFIXES)) and name not in _OWN
    }


def own_directory(path: Path) -> None:
    """Make a directory for sockets, and refuse one that somebody else made first under that name in /tmp.

    Mode 711: PostgreSQL's user passes through to its own directory inside; nobody lists it.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    path.mkdir(mode=0o711, exist_ok=True)
    status = path.lstat()
    if path.is_symlink() or not path.is_dir() or status.st_uid != os.geteuid():
        raise ConfigError(f"{path} belongs to somebody else", hint=f"remove {path}, or choose another --home")
    path.chmod(0o711)
