"""Reads what `aya.doctor.configuration` judges."""

from __future__ import annotations

import os
import shlex
import shutil
import socket
import sys
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path
from typing import TypeVar

import psutil

from aya.doctor.configuration import Seen, file_system_of
from aya.doctor.look.place import Place
from aya.dsn import parse_dsn
from aya.errors import AyaError
from aya.home import Home, Node
from aya.postgres.binaries import Binaries, embedded, installed
from aya.settings import Config, load_config

Answer = TypeVar("Answer")


def read(home: Home, platform: str = sys.platform) -> tuple[Place, Seen]:
    """Return the home as far as it can be read, and what is to be judged of it. Nothing is made.

    platform: sys.platform, or a test's.
    """
    config, config_error = _tried(lambda: _config(home), Config(), "edit aya.toml")
    known, state_error = _tried(home.nodes, dict[str, Node](), f"ls -ld '{home.path}'")
    nothing = dict[str, str]()
    secrets = [_tried(partial(home.secrets, name), nothing, "aya down, then restore it")[1] for name in known]
    nodes = tuple(known.values())
    seen = Seen(
        path=str(home.path),
        config_file=str(home.config_file),
        config_error=config_error,
        state_error=state_error,
        secrets_errors=tuple(error for error in secrets if error),
        nodes=nodes,
        members=tuple(config.members.values()),
        clients=config.clients,
        witnesses=tuple(name for name, _ in config.witnesses),
        hooks_missing=tuple(hook for hook in config.alerts.commands if not _is_program(hook)),
        user_home=str(Path.home()) if platform == "darwin" else None,
    )
    return Place(home, config, nodes, nodes, platform), seen


def _config(home: Home) -> Config:
    config = load_config(home)
    if config.dsn:
        parse_dsn(config.dsn)
    return config


def _tried(work: Callable[[], Answer], otherwise: Answer, hint: str) -> tuple[Answer, tuple[str, str] | None]:
    """Return what `work` returns; or otherwise, with what went wrong and the next command."""
    try:
        return work(), None
    except AyaError as error:
        return otherwise, (error.message, error.hint or hint)
    except OSError as error:
        return otherwise, (f"{error.filename} cannot be read: {error.strerror}", hint)


def _is_program(command: str) -> bool:
    """Return whether the first word of a command can be run."""
    try:
        words = shlex.split(command)
    except ValueError:
        return False
    return bool(words) and shutil.which(words[0]) is not None


def postgres_error(place: Place) -> tuple[str, str] | None:
    """Return why the configured PostgreSQL cannot be used; None when it can, or none of ours is to be run."""
    if place.config.dsn:
        return None
    try:
        postgres(place)
    except AyaError as error:
        return error.message, error.hint or "edit aya.toml"
    return None


def postgres(place: Place) -> Binaries:
    """Return the configured PostgreSQL. Raises AyaError when it cannot be used."""
    config = place.config
    return installed(config.pg_config) if config.pg_config else embedded(config.postgres_major)


def file_system(path: str) -> str:
    """Return the type of the file system that a path is, or would be, on."""
    mounts = [(one.mountpoint, one.fstype) for one in psutil.disk_partitions(all=True)]
    return file_system_of(os.path.realpath(path), mounts)


def resolve(names: Iterable[str]) -> dict[str, tuple[str, ...]]:
    """Return the addresses that each name has; none for one that resolves to nothing. A socket's path is its own."""
    return {name: (name,) if name.startswith("/") else _resolved(name) for name in names}


def _resolved(name: str) -> tuple[str, ...]:
    try:
        found = socket.getaddrinfo(name, None, type=socket.SOCK_STREAM)
    except (OSError, UnicodeError):
        return ()
    return tuple(dict.fromkeys(str(one[4][0]).partition("%")[0] for one in found))


def own_addresses() -> frozenset[str]:
    """Return the IP addresses of this machine's interfaces."""
    families = (socket.AF_INET, socket.AF_INET6)
    found = (one for many in psutil.net_if_addrs().values() for one in many if one.family in families)
    return frozenset(one.address.partition("%")[0] for one in found)
