"""Reads modes, locks and what lies around in a home."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil

from aya.backup import archive_program
from aya.doctor import stale
from aya.doctor.configuration import is_network
from aya.doctor.look.configuration import file_system
from aya.doctor.look.place import Place
from aya.doctor.permissions import Entry, Holds
from aya.local.clusters import marker
from aya.postgres import files, holders
from aya.postgres.privileges import run_as
from aya.processes import leftovers

# aya.home.write_private_json and aya.postgres.files.write_text: a dot, the name, and something random.
_TEMPORARY = re.compile(r"\.(?:[\w.-]+\.json\.[a-z0-9_]{8}|[\w.-]+\.[0-9a-f]{16})")
_SET_ASIDE = re.compile(r"data\.(?:replaced|no-cluster-\d+|unkept-.+)")
_PASSWORD_IN_DSN = re.compile(r"://[^/@\s\"']*:[^/@\s\"']+@")


def entries(place: Place) -> list[Entry]:
    """Return what must be closed to others, as it is."""
    return [entry for entry in _entries(place) if entry is not None]


def _entries(place: Place) -> Iterator[Entry | None]:
    home = place.home
    # Also seen by root: a home belongs to whoever made it.
    us = _owner(home.path)
    yield _entry(home.path, "home", us)
    yield _entry(home.state_file, "secret", us)
    yield _entry(Path.home() / ".pgpass", "secret", _owner(Path.home()))
    yield _entry(home.authority_directory, "directory", us)
    if _holds_password(home.config_file):
        yield _entry(home.config_file, "secret", us)
    if place.config.primary_password_file:
        yield _entry(place.config.primary_password_file, "secret", us)
    for key in home.authority_directory.glob("*key*"):
        yield _entry(key, "secret", us)
    for node in place.nodes:
        yield from _of_node(place, node.name, us)


def _owner(path: Path) -> int:
    try:
        return path.stat().st_uid
    except OSError:
        return os.geteuid()


def _of_node(place: Place, node: str, us: int) -> Iterator[Entry | None]:
    home = place.home
    server = run_as(home.data_directory(node)).uid
    servers = us if server is None else server
    yield _entry(home.secrets_file(node), "secret", us, node)
    yield _entry(home.node_directory(node) / "watchdog.json", "secret", us, node)
    yield _entry(home.node_directory(node) / "replication.pgpass", "secret", servers, node)
    yield _entry(home.log_directory(node), "directory", us, node)
    yield _entry(home.agent_directory(node), "directory", us, node)
    for key in home.agent_directory(node).glob("*key*"):
        yield _entry(key, "secret", us, node)
    yield _entry(home.data_directory(node), "data", servers, node)
    for directory in (home.archive_directory(node), home.backup_directory(node)):
        yield _entry(directory, "directory", servers, node)


def _entry(path: Path, holds: Holds, owner: int, node: str | None = None) -> Entry | None:
    try:
        seen = path.lstat()
    except OSError:
        return None
    is_link = stat.S_ISLNK(seen.st_mode) and holds != "home"
    return Entry(path, holds, stat.S_IMODE(seen.st_mode), seen.st_uid, owner, is_link, node)


def _holds_password(config_file: Path) -> bool:
    try:
        return bool(_PASSWORD_IN_DSN.search(config_file.read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return False


def leftover(place: Place) -> stale.Seen:
    """Return what was left behind in the directories of a home."""
    return stale.Seen(
        locks=tuple(_locks(place)),
        sockets=tuple(_sockets(place.home.runtime_directory)),
        temporary=tuple(_temporary(place)),
        set_aside=tuple(_set_aside(place)),
        unfinished=tuple(file for node in place.nodes if (file := marker(place.home, node.name)).exists()),
        busy=_is_busy(place),
        orphans=tuple(_orphans(place)),
    )


def _locks(place: Place) -> Iterator[stale.Lock]:
    for node in place.nodes:
        data = place.home.data_directory(node.name)
        try:
            named = files.read_text(data / "postmaster.pid").split("\n", 1)[0].strip()
        except (OSError, ValueError):
            continue
        environ = {"AYA_HOME": str(place.home.path), "AYA_NODE": node.name}
        local = not is_network(file_system(str(data)))
        yield stale.Lock(data, node.name, named, holders.observe(data, environ), local)


def _sockets(runtime: Path) -> Iterator[stale.SocketLock]:
    for lock in runtime.glob("*/.s.PGSQL.*.lock"):
        with suppress(OSError, ValueError):
            pid = int(files.read_text(lock).split("\n", 1)[0])
            yield stale.SocketLock(lock, pid, psutil.pid_exists(pid))


def _temporary(place: Place) -> Iterator[stale.Temporary]:
    home = place.home
    folders: list[tuple[Path, str | None]] = [(home.path, None)]
    for node in place.nodes:
        own = (home.node_directory(node.name), home.data_directory(node.name), home.archive_directory(node.name))
        folders += [(folder, node.name) for folder in own]
    now = time.time()
    for folder, name in folders:
        with suppress(OSError):
            for file in folder.iterdir():
                is_copy = file.name.startswith(".") and file.name.endswith(archive_program.PARTIAL)
                seen = file.lstat() if is_copy or _TEMPORARY.fullmatch(file.name) else None
                if seen and stat.S_ISREG(seen.st_mode):
                    yield stale.Temporary(file, now - seen.st_mtime, name)


def _set_aside(place: Place) -> Iterator[stale.SetAside]:
    for node in place.nodes:
        with suppress(OSError):
            for path in place.home.node_directory(node.name).iterdir():
                if _SET_ASIDE.fullmatch(path.name) and path.is_dir():
                    yield stale.SetAside(path, size(path), node.name)
        for path in place.home.archive_directory(node.name).glob(".lost-*/"):
            yield stale.SetAside(path, size(path), node.name)


def size(directory: Path) -> int:
    """Return the bytes of all files below a directory; of those that vanish meanwhile, none."""
    total = 0
    for folder, _, names in os.walk(directory):
        for name in names:
            with suppress(OSError):
                total += (Path(folder) / name).lstat().st_size
    return total


def _is_busy(place: Place) -> bool:
    """Return whether who wrote the home's lock last is still there; the lock itself is not touched."""
    try:
        said = (place.home.path / "supervisor" / "lock").read_text(encoding="utf-8")
    except (OSError, ValueError):
        return False
    match = re.search(r"\(pid ([0-9]{1,9})\)", said)
    return match is not None and psutil.pid_exists(int(match[1]))


def _orphans(place: Place) -> Iterator[tuple[str, int]]:
    running = leftovers.find(place.home)
    if not any(one.kind == "supervisord" for one in running):
        yield from ((one.name, one.pid) for one in running if one.kind == "service")
