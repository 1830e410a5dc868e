"""Whole machines on one: each with a network, processes and a name of its own (Linux namespaces). Needs root and Linux.

Every machine has the usual ports, its own loopback and the files of a person's home; a pulled plug ends every process
there in one moment. `scp` between them is a script that copies, for no machine here lets anybody log in.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Generator, Sequence
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import psutil
from tests.failover.network import Network, network
from tests.runbook import AYA, Follower, terminal

from aya.home import Home

# The first process of a machine takes every process that has lost its parent, as init does.
_INIT = """
import os, time
while True:
    try:
        os.wait()
    except ChildProcessError:
        time.sleep(0.05)
"""
_SCP = """#!/bin/sh
# scp FILE HOST:
set -e
host=$(printf %s "${2%:}" | tr A-Z a-z)
cp "$1" "{machines}/$host/"
chmod 600 "{machines}/$host/$1"
"""
_SECONDS = 200
# Where CI runs on Linux they may not be skipped.
NEEDED = os.environ.get("CI") == "true" and sys.platform == "linux"


class Machine(Follower):
    """One machine, on. addresses: what is written on the page, and what it is here."""

    def __init__(self, folder: Path, made: Network, host: str, addresses: dict[str, str]) -> None:
        self.folder = folder / host
        super().__init__(Home(self.folder / "aya home"))
        self.name = host
        self._network, self._addresses = made, addresses
        self.environ |= {"PATH": f"{folder / 'bin'}:{self.environ['PATH']}", "HOME": str(self.folder)}
        self._process: subprocess.Popen[bytes] | None = None

    def switch_on(self) -> None:
        """Begin it: nothing runs there yet but its first process."""
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        unshare = ("unshare", "--pid", "--fork", "--kill-child", "--mount-proc", "--ipc", "--uts")
        self._process = subprocess.Popen(
            [*self._network.inside(self.name), *unshare, sys.executable, "-c", _INIT],
            env={"PATH": os.environ["PATH"]}, stdin=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL, cwd="/",
        )  # fmt: skip
        deadline = time.monotonic() + 10
        while not psutil.Process(self._process.pid).children():
            assert time.monotonic() < deadline, "the machine was not switched on"
            time.sleep(0.01)

    @property
    def _first(self) -> int:
        assert self._process is not None, f"{self.name} is off"
        (first,) = psutil.Process(self._process.pid).children()
        return first.pid

    def pull_the_plug(self) -> None:
        """End everything that runs there in one moment; its disk stays."""
        if self._process is not None:
            with suppress(ValueError, psutil.Error):
                psutil.Process(self._first).kill()
            self._process.kill()
            self._process.wait(10)
            self._process = None

    def move_to(self, address: str) -> None:
        """Have another address, one of those written on the page, and the former ones no more."""
        self.type(f"ip address flush dev eth0; ip address add {address}/24 dev eth0")

    def stands_for(self, host: str) -> None:
        """Have what is sent to another machine, which is no more."""
        gone = self.folder.parent / host
        shutil.rmtree(gone)
        gone.symlink_to(self.folder)

    def lose_the_disk(self) -> None:
        """Have nothing left of it: a new machine stands there."""
        shutil.rmtree(self.folder)

    def type(
        self, commands: str, *, owner: bool = False, expect: int | None = 0, answer: str = "y", **names: str
    ) -> str:
        """Type commands there, the page's addresses replaced by those of here. Nobody types as the owner here."""
        assert not owner
        for name, value in (self._addresses | names).items():
            commands = commands.replace(name, value)
        enter = (
            "nsenter",
            f"--target={self._first}",
            "--net",
            "--pid",
            "--mount",
            "--ipc",
            "--uts",
            f"--wd={self.folder}",
            "--",
        )
        with terminal(answer) as typed:
            done = subprocess.run(
                [*enter, "/bin/sh", "-ec", commands], stdin=typed, capture_output=True, text=True,
                env=self.environ, timeout=_SECONDS, check=False,
            )  # fmt: skip
        assert expect is None or done.returncode == expect, f"{self.name}$ {commands}\n{done.stdout}{done.stderr}"
        return done.stdout + done.stderr


@contextmanager
def machines(folder: Path, written: dict[str, str], hosts: Sequence[str]) -> Generator[dict[str, Machine]]:
    """Lend machines, all on. written: the page's addresses, with the host that has them; "": none has it yet."""
    assert AYA.exists()
    with network(*hosts) as made, ExitStack() as stack:
        subnet = made.client.rpartition(".")[0]
        addresses = {page: made.addresses.get(host, f"{subnet}.200") for page, host in written.items()}
        scp = folder / "bin" / "scp"
        scp.parent.mkdir()
        scp.write_text(_SCP.replace("{machines}", str(folder)), encoding="utf-8")
        scp.chmod(0o755)
        found = {host: Machine(folder, made, host, addresses) for host in hosts}
        for machine in found.values():
            stack.callback(machine.pull_the_plug)
            machine.switch_on()
        yield found


def said(machine: Machine) -> dict[str, Any]:
    """Return what `aya status` says of the machine's node."""
    printed = machine.type("aya status --json 2> /dev/null", expect=None)
    found: dict[str, Any] = json.loads(printed)["nodes"][0] if printed.startswith("{") else {}
    return found


def eventually(holds: Callable[[], bool], *there: Machine, seconds: float = 60.0) -> None:
    """Wait until something holds; else show what the machines say."""
    deadline = time.monotonic() + seconds
    while not holds():
        told = "\n".join(machine.type("aya status", expect=None) for machine in there)
        assert time.monotonic() < deadline, told
        time.sleep(0.3)


def condition(machine: Machine) -> str:
    """Return what its watchdog says, such as SYNC or ARMED; empty when it says nothing."""
    failover: dict[str, Any] = said(machine).get("failover") or {}
    return str(failover.get("condition", ""))


def are(leader: Machine, standby: Machine) -> None:
    """Wait until one leads, and the other may take over."""
    eventually(lambda: condition(leader) == "SYNC" and condition(standby) == "ARMED", leader, standby)


def finds(machine: Machine, words: str, content: str) -> None:
    """Wait until a document is found there."""
    eventually(lambda: content in machine.type(f"aya search '{words}'", expect=None), machine)
