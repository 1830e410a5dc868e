"""XML-RPC over supervisord's socket, every call with a deadline (supervisor's own transport has none).

The calls and their answers: https://supervisord.org/api.html
"""

from __future__ import annotations

import http.client
import socket
import xmlrpc.client
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from aya.errors import AyaError
from aya.processes.states import ALIVE, State

# supervisord's words (supervisor.states) in ours: BACKOFF is the wait before it starts the process again.
_STATES: dict[str, State] = {
    "RUNNING": "running",
    "STARTING": "starting",
    "BACKOFF": "restarting",
    "STOPPING": "stopping",
    "STOPPED": "stopped",
    "EXITED": "exited",
    "FATAL": "failed",
}
_SHUTTING_DOWN = 6
_ALREADY_STARTED = 60
_NOT_RUNNING = 70


class SupervisorUnavailable(AyaError):
    """The supervisor of this home does not run, or does not answer in time."""

    retryable = True


class SupervisorRefused(AyaError):
    """The supervisor answered a call with a fault."""


@dataclass(frozen=True, slots=True)
class Running:
    """What the supervisor knows of one process. pid None: it is not running. started_at: Unix time, None if never."""

    label: str
    state: State
    pid: int | None
    started_at: float | None
    error: str

    @property
    def alive(self) -> bool:
        """Return whether the process is there, ready or not."""
        return self.state in ALIVE


class _Connection(http.client.HTTPConnection):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__("localhost", timeout=timeout_seconds)
        self._path = path

    def connect(self) -> None:
        sock = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            sock.settimeout(self.timeout)
            sock.connect(str(self._path))
        except OSError:
            # A service that asks every few seconds would leave as many to the garbage collector.
            sock.close()
            raise
        self.sock = sock


class _Transport(xmlrpc.client.Transport):
    def __init__(self, path: Path, timeout_seconds: float) -> None:
        super().__init__()
        self._path = path
        self._timeout_seconds = timeout_seconds

    def make_connection(self, host: object) -> http.client.HTTPConnection:
        del host
        return _Connection(self._path, self._timeout_seconds)


class Rpc:
    """The calls we use. Each raises SupervisorUnavailable when nobody answers within the deadline."""

    def __init__(self, path: Path, *, timeout_seconds: float = 2.0) -> None:
        self._path = path
        self._timeout_seconds = timeout_seconds

    def pid(self) -> int:
        """Return supervisord's own process id."""
        return int(self._call("getPID"))

    def processes(self) -> list[Running]:
        """Return every process it knows, running or not, in the order of their names."""
        return [_running(info) for info in self._call("getAllProcessInfo")]

    def start(self, label: str) -> None:
        """Start a process and return at once; nothing happens when it runs."""
        self._tolerant(_ALREADY_STARTED, "startProcess", label, False)  # noqa: FBT003 - positional in XML-RPC

    def stop(self, label: str) -> None:
        """Ask a process to stop and return at once; nothing happens when it does not run."""
        self._tolerant(_NOT_RUNNING, "stopProcess", label, False)  # noqa: FBT003 - positional in XML-RPC

    def reload(self) -> tuple[list[str], list[str], list[str]]:
        """Read the configuration again; return the labels added, changed and removed, none of them applied yet."""
        ((added, changed, removed),) = self._call("reloadConfig")
        return added, changed, removed

    def add(self, label: str) -> None:
        """Take up a process that the configuration has."""
        self._call("addProcessGroup", label)

    def remove(self, label: str) -> None:
        """Let go of a process that is stopped."""
        self._call("removeProcessGroup", label)

    def shut_down(self) -> None:
        """Ask supervisord to stop its processes, the last started first, and to end; again does no harm."""
        self._tolerant(_SHUTTING_DOWN, "shutdown")

    def _tolerant(self, code: int, method: str, *arguments: object) -> None:
        try:
            self._call(method, *arguments)
        except SupervisorRefused as error:
            fault = error.__cause__
            if not isinstance(fault, xmlrpc.client.Fault) or fault.faultCode != code:
                raise

    def _call(self, method: str, *arguments: object) -> Any:  # noqa: ANN401 - whatever the call answers with
        transport = _Transport(self._path, self._timeout_seconds)
        with xmlrpc.client.ServerProxy("http://localhost", transport=transport) as server:
            try:
                return getattr(server.supervisor, method)(*arguments)
            except xmlrpc.client.Fault as fault:
                said = f"the supervisor refused {method}: {fault.faultString}"
                raise SupervisorRefused(said, hint="aya down, then aya up") from fault
            except (OSError, http.client.HTTPException, xmlrpc.client.Error) as error:
                reason = str(error) or type(error).__name__
                raise SupervisorUnavailable(f"the supervisor does not answer: {reason}", hint="aya up") from error


def _running(info: dict[str, Any]) -> Running:
    state = _STATES.get(info["statename"], "unknown")
    return Running(
        label=info["name"],
        state=state,
        pid=info["pid"] or None,
        started_at=float(info["start"]) if info["start"] and state in ALIVE else None,
        error=info["spawnerr"],
    )
