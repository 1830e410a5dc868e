"""What may befall the nodes of this machine, done to their real processes: for whoever wants to see that.

Only the processes of this home are touched. A node that was killed stays so until it is healed: the supervisor knows.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from contextlib import suppress

import psutil

from aya.errors import AyaError, UsageError
from aya.home import Home
from aya.postgres.cluster import postmaster_pid
from aya.postgres.config import SERVERS
from aya.processes.rpc import Running
from aya.processes.supervisor import Supervisor

LINK = "link"
_GONE_SECONDS = 10.0
_POLL_SECONDS = 0.05


class Faults:
    """The faults of one home. Every call raises AyaError, with the next command, when nothing of it runs."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._supervisor = Supervisor(home)

    def kill(self, node: str) -> list[str]:
        """End everything of a node in one moment, as a plug that is pulled does; return what was ended."""
        services = self._of(node)
        everything = self._family(node, services)
        # Stopped first: none of them sees another one go, or writes a last word.
        _each(everything, psutil.Process.suspend)
        for service in services:
            self._supervisor.rpc().stop(service.label)
        _each(everything, psutil.Process.kill)
        self._until(node, lambda one: not one.pid, "did not end")
        return [service.label for service in services]

    def freeze(self, node: str) -> list[str]:
        """Have everything of a node stand still (SIGSTOP), as a machine that hangs or sleeps does."""
        services = self._of(node)
        _each(self._family(node, services), psutil.Process.suspend)
        return [service.label for service in services]

    def cut(self) -> list[str]:
        """Cut the link between alpha and beta."""
        return self._signal_links(signal.SIGUSR1)

    def offline(self, node: str) -> list[str]:
        """Cut a node's way to the others."""
        return self._signal_links(signal.SIGUSR1, (node,))

    def online(self, node: str) -> list[str]:
        """Give it back."""
        return self._signal_links(signal.SIGUSR2, (node,))

    def heal(self, what: str) -> list[str]:
        """Undo it: the link is whole again, or the node's processes go on, or are started again."""
        if what == LINK:
            return self._signal_links(signal.SIGUSR2)
        services = self._known(what)
        _each(self._family(what, services), psutil.Process.resume)
        for service in services:
            self._supervisor.rpc().start(service.label)
        return [service.label for service in services]

    def _signal_links(self, signum: signal.Signals, nodes: tuple[str, ...] = SERVERS) -> list[str]:
        links = [one for node in nodes for one in self._known(node) if one.label.endswith(f".{LINK}") and one.pid]
        if not links:
            raise AyaError(f"no link of {' or '.join(nodes)} runs on this machine", hint="aya up")
        for link in links:
            os.kill(link.pid or 0, signum)
        return [link.label for link in links]

    def _known(self, node: str) -> list[Running]:
        found = [one for label, one in self._supervisor.processes().items() if label.startswith(f"com.aya.{node}.")]
        if not found:
            raise UsageError(f"nothing of node {node} runs on this machine", hint="aya up, then aya status")
        return found

    def _of(self, node: str) -> list[Running]:
        found = [one for one in self._known(node) if one.pid]
        if not found:
            raise UsageError(f"node {node} does not run", hint=f"aya dev heal {node}")
        return found

    def _family(self, node: str, services: Iterable[Running]) -> list[psutil.Process]:
        pids = [service.pid for service in services] + [postmaster_pid(self._home.data_directory(node))]
        family: dict[int, psutil.Process] = {}
        for pid in pids:
            with suppress(psutil.Error):
                if pid:
                    parent = psutil.Process(pid)
                    family |= {one.pid: one for one in (parent, *parent.children(recursive=True))}
        return list(family.values())

    def _until(self, node: str, holds: Callable[[Running], bool], otherwise: str) -> None:
        until = time.monotonic() + _GONE_SECONDS
        while not all(holds(one) for one in self._known(node)):
            if time.monotonic() > until:
                raise AyaError(f"node {node} {otherwise} within {_GONE_SECONDS:.0f} s", hint="aya status")
            time.sleep(_POLL_SECONDS)


def _each(processes: Iterable[psutil.Process], act: Callable[[psutil.Process], object]) -> None:
    for process in processes:
        with suppress(psutil.Error):
            act(process)
