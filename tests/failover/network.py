"""Hosts on one machine: a network namespace each, joined by a bridge; links that are really cut. Needs root and Linux.

The tests and their clients are on the bridge itself. A packet that is lost is lost silently, as on a real network: its
destination's hardware address is made a wrong one, so that it arrives nowhere.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

_NOWHERE = "02:00:00:00:00:fe"


def is_possible() -> bool:
    """Return whether namespaces can be made here: tried, not guessed."""
    if os.geteuid() != 0:
        return False
    name = f"aya-try-{os.getpid()}"
    try:
        _ip("netns", "add", name)
        _ip("netns", "delete", name)
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _ip(*arguments: str) -> None:
    subprocess.run(["ip", *arguments], check=True, capture_output=True, timeout=10)  # noqa: S607 - a test's


class Network:
    """Some hosts. addresses: by host; `client` is the bridge's own."""

    def __init__(self, hosts: Sequence[str]) -> None:
        self._tag = f"a{os.getpid() % 100000}"
        # Of the range of a tailnet: the embedded server has no TLS.
        self._subnet = f"100.{64 + os.getpid() % 64}.{os.getpid() // 64 % 250}"
        self.addresses = {host: f"{self._subnet}.{number}" for number, host in enumerate(hosts, 1)}
        # A second way to each, as a tailnet is.
        self.relayed = {host: f"{self._subnet}.{100 + number}" for number, host in enumerate(hosts, 1)}
        self.client = f"{self._subnet}.254"

    def space(self, host: str) -> str:
        """Return the name of a host's namespace."""
        return f"{self._tag}-{host}"

    def _port(self, host: str) -> str:
        return f"{self._tag}{host[:2]}"

    def inside(self, host: str) -> list[str]:
        """Return what a command line begins with to run on a host."""
        return ["ip", "netns", "exec", self.space(host)]

    def make(self) -> None:
        """Make them, all links whole."""
        _ip("link", "add", self._tag, "type", "bridge")
        _ip("address", "add", f"{self.client}/24", "dev", self._tag)
        _ip("link", "set", self._tag, "up")
        for host, address in self.addresses.items():
            space, port = self.space(host), self._port(host)
            _ip("netns", "add", space)
            _ip("link", "add", port, "type", "veth", "peer", "name", "eth0", "netns", space)
            _ip("link", "set", port, "master", self._tag, "up")
            _ip("-n", space, "address", "add", f"{address}/24", "dev", "eth0")
            _ip("-n", space, "address", "add", f"{self.relayed[host]}/24", "dev", "eth0")
            _ip("-n", space, "link", "set", "eth0", "up")
            _ip("-n", space, "link", "set", "lo", "up")
            for other, relayed in self.relayed.items():
                if other != host:
                    # Answers come back by the way on which was asked, as by an interface of its own.
                    _ip("-n", space, "route", "add", relayed, "dev", "eth0", "src", self.relayed[host])

    def remove(self) -> None:
        """Remove them; what still runs there loses its network."""
        for host in self.addresses:
            # First, and by itself: with its namespace it would be gone later, and its name taken until then.
            for removed in (("link", "delete", self._port(host)), ("netns", "delete", self.space(host))):
                with suppress(subprocess.CalledProcessError):
                    _ip(*removed)
        with suppress(subprocess.CalledProcessError):
            _ip("link", "delete", self._tag)

    def lose(self, sender: str, receiver: str, *, relayed: bool = True, direct: bool = True) -> None:
        """Lose what one host sends to another from now on, by either way. receiver: a host, or "client"."""
        for address in self._ways(receiver, relayed=relayed, direct=direct):
            wrong = ("lladdr", _NOWHERE, "nud", "permanent", "dev", "eth0")
            _ip("-n", self.space(sender), "neigh", "replace", address, *wrong)

    def deliver(self, sender: str, receiver: str) -> None:
        """Lose no more of it."""
        for address in self._ways(receiver, relayed=True, direct=True):
            with suppress(subprocess.CalledProcessError):
                _ip("-n", self.space(sender), "neigh", "delete", address, "dev", "eth0")

    def _ways(self, receiver: str, *, relayed: bool, direct: bool) -> list[str]:
        if receiver == "client":
            return [self.client]
        ways = [self.addresses[receiver]] if direct else []
        return ways + ([self.relayed[receiver]] if relayed else [])

    def isolate(self, host: str) -> None:
        """Pull a host's plug: it reaches nobody, and nobody reaches it."""
        for other in (*(each for each in self.addresses if each != host), "client"):
            self.lose(host, other)

    def heal(self) -> None:
        """Have every link whole."""
        for sender in self.addresses:
            for receiver in (*self.addresses, "client"):
                if sender != receiver:
                    self.deliver(sender, receiver)


@contextmanager
def network(*hosts: str) -> Generator[Network]:
    """Lend hosts that are removed afterwards."""
    made = Network(hosts)
    try:
        made.make()
        yield made
    finally:
        made.remove()


def spawn(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    """Start a process in a session of its own, its output in a file."""
    with log.open("ab") as output:
        return subprocess.Popen(
            list(command), env=dict(environment), stdin=subprocess.DEVNULL, stdout=output, stderr=output,
            start_new_session=True, cwd="/",
        )  # fmt: skip
