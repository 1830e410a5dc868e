"""Looks for this home's own secrets where they do not belong. What is found is told by its name alone."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from aya.doctor.look.place import Place
from aya.doctor.secrets import Leak, names_in
from aya.errors import AyaError
from aya.processes import leftovers
from aya.secret_file import read_password

PLIST_FOLDERS = (Path("/Library/LaunchDaemons"), Path("/Library/LaunchAgents"))
# Of each log, its end: a search of everything takes longer than a person waits.
_TAIL_BYTES = 8 * 1024 * 1024


def known(place: Place) -> dict[str, str]:
    """Return the secrets of a home by whose they are, such as "aya_user of alpha"; of equal ones the first name."""
    found: dict[str, str] = {}
    for node in place.all_nodes:
        for role, word in place.secrets(node.name).items():
            if word not in found.values():
                found[f"{role} of {node.name}"] = word
    if place.config.primary_password_file:
        with suppress(AyaError):
            found["aya_sync at the primary"] = read_password(place.config.primary_password_file, "aya_sync")
    return found


def plist_files(place: Place) -> list[Path]:
    """Return AYA's plists: in the home, and where launchd looks."""
    own = [file for node in place.all_nodes for file in (place.home.node_directory(node.name) / "launchd").glob("*")]
    folders = (*PLIST_FOLDERS, Path.home() / "Library/LaunchAgents")
    return [*own, *(file for folder in folders for file in folder.glob("com.aya.*.plist"))]


def leaks(place: Place) -> list[Leak]:
    """Return every place where a secret stands that should not."""
    secrets = known(place)
    return [*_in_files(place, secrets), *_in_processes(place, secrets)] if secrets else []


def _in_files(place: Place, secrets: dict[str, str]) -> Iterator[Leak]:
    home = place.home
    for file in plist_files(place):
        yield from (Leak("plist", str(file), name) for name in names_in(_tail(file), secrets))
    for file in (home.config_file, leftovers.configuration_file(home)):
        yield from (Leak("configuration", str(file), name) for name in names_in(_tail(file), secrets))
    folders = [home.log_directory(node.name) for node in place.all_nodes]
    for folder in (*folders, home.path / "supervisor"):
        for file in (*folder.glob("*.log"), *folder.glob("*.log.*")):
            yield from (Leak("log", str(file), name) for name in names_in(_tail(file), secrets))


def _tail(file: Path) -> bytes:
    try:
        with file.open("rb") as stream:
            stream.seek(max(0, stream.seek(0, 2) - _TAIL_BYTES))
            return stream.read(_TAIL_BYTES)
    except OSError:
        return b""


def _in_processes(place: Place, secrets: dict[str, str]) -> Iterator[Leak]:
    services = {one.pid: one.name for one in leftovers.find(place.home)}
    for process in psutil.process_iter(["name", "cmdline"]):
        arguments = "\0".join(process.info["cmdline"] or ()).encode("utf-8", "surrogateescape")
        where = f"{services.get(process.pid, process.info['name'])} (pid {process.pid})"
        yield from (Leak("arguments", where, name, process.pid) for name in names_in(arguments, secrets))
        if process.pid in services:
            with suppress(psutil.Error, OSError):
                words = "\0".join(process.environ().values()).encode("utf-8", "surrogateescape")
                yield from (Leak("environment", where, name, process.pid) for name in names_in(words, secrets))
