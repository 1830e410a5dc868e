"""Reads this machine: its clock, its sleep, its networks, its Python. What asks macOS has never run on a Mac."""

from __future__ import annotations

import json
import os
import socket
import sys
from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from importlib.metadata import Distribution, distributions
from pathlib import Path

import psutil

from aya.doctor import clock, environment, network, sleep, texts
from aya.doctor.look import commands
from aya.doctor.look.configuration import own_addresses
from aya.doctor.look.place import Place
from aya.doctor.servers import ServerFacts
from aya.json_object import json_object
from aya.postgres.cluster import postmaster_pid
from aya.postgres.config import SERVERS

# Of two addresses and two ports each, and all of them silent: within a check's time.
_CONNECT_SECONDS = 1.0
_TIME_SERVER = "time.apple.com"
# UF_HIDDEN of chflags(2).
_HIDDEN = 0x8000
_QUARANTINE = "com.apple.quarantine"


def clocks(place: Place, servers: Sequence[ServerFacts]) -> clock.Seen:
    """Return the servers' clocks beside this one, and what sets this one."""
    is_mac = place.platform == "darwin"
    return clock.Seen(
        platform=place.platform,
        readings=tuple(clock.Reading(one.node, *one.clock) for one in servers),
        synchronised=texts.network_time_on(commands.text("systemsetup", "-getusingnetworktime"))
        if is_mac
        else texts.synchronised(commands.text("timedatectl", "show", "--property=NTPSynchronized")),
        offset_seconds=texts.time_offset(commands.text("sntp", _TIME_SERVER)) if is_mac else None,
        jumped_seconds=_jumped(place, servers),
    )


def _jumped(place: Place, servers: Sequence[ServerFacts]) -> float | None:
    """Return by how much the clock was set since a server of this machine began.

    The server wrote down the time by the clock of then; Linux counts a process's start since boot, so that it moves
    with the clock. macOS keeps the clock's time for both, and nothing can be told.
    """
    for one in servers if place.platform == "linux" else ():
        pid = postmaster_pid(place.home.data_directory(one.node))
        if pid is not None and one.started_at is not None:
            with suppress(psutil.Error):
                return psutil.Process(pid).create_time() - one.started_at
    return None


def sleeping(place: Place) -> sleep.Seen:
    """Return how this Mac sleeps and starts."""
    return sleep.Seen(
        nodes=tuple(node.name for node in place.nodes),
        power=texts.power_settings(commands.text("pmset", "-g")),
        filevault=texts.filevault_on(commands.text("fdesetup", "status")),
    )


def networks(place: Place) -> network.Seen:
    """Return which addresses of the partners answer."""
    folder = Path.home() / "Library/LaunchAgents"
    return network.Seen(
        ways=tuple(_ways(place)),
        macos=texts.macos_version(commands.text("sw_vers")) if place.platform == "darwin" else None,
        own_addresses=own_addresses(),
        agents=tuple(str(file) for file in folder.glob("com.aya.*.plist")),
    )


def _ways(place: Place) -> Iterator[network.Way]:
    """Try every address: the server's port, and from a server also its watchdog's."""
    serves = any(node.name in SERVERS for node in place.nodes)
    for member in place.partners:
        for address in member.addresses:
            for port in (member.postgres_port, member.agent_port) if serves else (member.postgres_port,):
                yield _way(member.name, address, port)


def _way(node: str, address: str, port: int) -> network.Way:
    try:
        socket.create_connection((address, port), timeout=_CONNECT_SECONDS).close()
    except OSError as error:
        reason = error.strerror or str(error) or "no answer"
        return network.Way(node, address, port, error.errno or 0, reason)
    return network.Way(node, address, port)


def python(place: Place) -> environment.Seen:
    """Return what is known of the Python that runs this very command."""
    is_mac = place.platform == "darwin"
    prefix = Path(sys.prefix)
    return environment.Seen(
        prefix=str(prefix),
        python=sys.version_info[:2],
        editable=tuple(sorted(_editable(distributions()))),
        hidden=tuple(_hidden(prefix)),
        quarantined=tuple(_quarantined((Path(sys.executable), Path(os.path.realpath(sys.executable)))))
        if is_mac
        else (),
        translated=texts.translated(commands.text("sysctl", "-n", "sysctl.proc_translated")) if is_mac else False,
        launchd=is_mac and any(Path("/Library/LaunchDaemons").glob("com.aya.*.plist")),
    )


def _editable(found: Iterable[Distribution]) -> Iterator[str]:
    """Return AYA's packages that were installed editable (PEP 610: direct_url.json)."""
    for one in found:
        name = str(one.metadata["Name"] or "")
        if name == "aya" or name.startswith("aya-"):
            with suppress(ValueError):
                said = json_object(json.loads(one.read_text("direct_url.json") or "{}")) or {}
                if (json_object(said.get("dir_info")) or {}).get("editable"):
                    yield name


def _hidden(prefix: Path) -> Iterator[str]:
    for file in prefix.glob("lib/python*/site-packages/*.pth"):
        with suppress(OSError):
            if getattr(file.stat(), "st_flags", 0) & _HIDDEN:
                yield str(file)


def _quarantined(files: Iterable[Path]) -> Iterator[str]:
    for file in dict.fromkeys(files):
        if _QUARANTINE in commands.text("xattr", str(file)).split():
            yield str(file)
