"""Having a client know our server: its file changed, or its own command called; and a handshake as the client would."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from aya.errors import AyaError, ConfigError, UsageError
from aya.mcp_clients import configuration
from aya.mcp_clients.clients import Client, Server, System, add_command, get_command, remove_command
from aya.mcp_probe import Probe
from aya.replacing import replace_file

_BACKUP = ".before-aya"
_PRIVATE = 0o600
_COMMAND_SECONDS = 60.0
_REVISION = "2025-11-25"
_TOOLS = {"query_aya_rag", "add_to_aya_rag"}

Outcome = Literal["added", "changed", "removed", "unchanged"]


@dataclass(frozen=True, slots=True)
class Change:
    """What is to become of a client's file. backup: where the file as it was before AYA is kept, None for a new one."""

    file: Path
    before: str
    after: str
    outcome: Outcome
    backup: Path | None


@dataclass(frozen=True, slots=True)
class Shaken:
    """How a handshake went. tools: how many the server has. seconds: from its start to the list of them.

    trouble: what a tool says that cannot do its work, None when it can.
    """

    version: str
    tools: int
    seconds: float
    trouble: str | None


def our_server(home: Path, node: str | None, program: str = sys.executable) -> Server:
    """Return how a client is to start the server of a home.

    -P keeps the client's folder, which may be anybody's repository, out of Python's search path.
    """
    if not Path(program).is_absolute():
        raise ConfigError(f"the interpreter's path is not absolute: {program!r}", hint="call aya by its whole path")
    environment = {"AYA_HOME": str(home.absolute()), **({"AYA_NODE": node} if node else {})}
    return Server(program, ("-P", "-m", "aya_mcp"), environment)


def here(environ: Mapping[str, str] = os.environ) -> tuple[System, Path]:
    """Return which system this is, and the user's directory."""
    return ("darwin" if sys.platform == "darwin" else "linux"), Path(environ.get("HOME") or Path.home())


def planned(client: Client, file: Path, server: Server, *, remove: bool) -> Change:
    """Return what would be written, and write nothing. Raises ConfigError for a file of another kind."""
    target = file.resolve()
    try:
        before = target.read_bytes().decode() if target.exists() else ""
        had = configuration.has_entry(before, client)
        change = configuration.removed(before, client) if remove else configuration.installed(before, client, server)
    except OSError as error:
        raise ConfigError(f"{file} cannot be read: {error.strerror}", hint=f"ls -l {_quoted(file)}") from error
    except ValueError as error:
        raise ConfigError(
            f"{file} cannot be changed: {error}; nothing was written",
            hint=f"mend it, or paste what aya mcp install --client {client.name} --print shows",
        ) from error
    outcome: Outcome = "removed" if remove else "changed" if had else "added"
    if change == before:
        outcome = "unchanged"
    backup = target.with_name(target.name + _BACKUP) if before else None
    return Change(target, before, change, outcome, backup)


def write(change: Change) -> None:
    """Carry a change out: the old file is kept beside it, the new one takes its place at once. Raises ConfigError."""
    if change.outcome == "unchanged":
        return
    try:
        # The first one holds what was there before AYA; later changes are ours.
        if change.backup is not None and not change.backup.exists():
            shutil.copy2(change.file, change.backup)
        replace_file(change.file, change.after, new_mode=_PRIVATE)
    except OSError as error:
        raise ConfigError(
            f"{change.file} cannot be written: {error.strerror}", hint=f"ls -ld {_quoted(change.file.parent)}"
        ) from error


def by_command(server: Server, *, remove: bool, program: str | None = None) -> Outcome:
    """Have Claude Code's own command do it, for running sessions rewrite its file all the time.

    program: where it is; looked for in PATH. Raises UsageError when it is not there, ConfigError when it fails.
    """
    program = program or shutil.which("claude")
    if program is None:
        words = shlex.join(["claude", *(remove_command() if remove else add_command(server))])
        raise UsageError("there is no `claude` in PATH", hint=f"where it is, type: {words}")
    had = _called(program, get_command(), may_fail=True)
    if remove and not had:
        return "unchanged"
    if had:
        _called(program, remove_command())
    if remove:
        return "removed"
    _called(program, add_command(server))
    return "changed" if had else "added"


def _called(program: str, arguments: Sequence[str], *, may_fail: bool = False) -> bool:
    try:
        done = subprocess.run(
            [program, *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=_COMMAND_SECONDS, check=False,
        )  # fmt: skip
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ConfigError(f"{program} cannot be called: {error}", hint=shlex.join([program, *arguments])) from error
    if done.returncode and not may_fail:
        said = (done.stderr or done.stdout).strip().splitlines()
        raise ConfigError(
            f"{Path(program).name} {' '.join(arguments[:2])} failed: {said[-1] if said else done.returncode}",
            hint=shlex.join([program, *arguments]),
        )
    return done.returncode == 0


def handshake(server: Server, clock: Callable[[], float] = time.monotonic) -> Shaken:
    """Start the server as a client does, in / and with next to no environment, and ask for its tools.

    Raises AyaError when it does not answer as a server should.
    """
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(Path.home()), **server.environment}
    began = clock()
    with Probe((server.program, *server.arguments), environment, subprocess.DEVNULL, cwd="/") as probe:
        greeting = probe.initialize(_REVISION).get("result", {})
        listed = probe.ask("tools/list").get("result", {}).get("tools", [])
        seconds = clock() - began
        tried = probe.call("list_aya_documents", {"limit": 1})
    names = {tool.get("name") for tool in listed}
    if not names >= _TOOLS:
        raise AyaError(f"the server lists {sorted(map(str, names))}", hint="aya mcp serve, and read what it says")
    trouble = str(tried["content"][0]["text"]) if tried.get("isError") else None
    return Shaken(str(greeting.get("serverInfo", {}).get("version", "")), len(names), seconds, trouble)


def _quoted(path: Path) -> str:
    return shlex.quote(str(path))
