"""Does what a mend says, after having looked again: between the look and the deed something may have begun."""

from __future__ import annotations

import os
import re
import stat
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import psutil

from aya import db, queries
from aya.doctor.look.place import Place
from aya.doctor.mends import Chmod, DropUnfinishedIndex, ForgetLock, Mend, RemoveSocketLock, RemoveTemporary
from aya.doctor.stale import OLD_SECONDS
from aya.errors import AyaError, ConfigError
from aya.postgres import files, holders, lockfile

if TYPE_CHECKING:
    from aya.db import Connection

_INDEX = queries.load("aya.knowledge", "vector_index.sql")
_INDEX_SECONDS = 60.0


async def mend(place: Place, what: Mend) -> str:
    """Do it, and return in words what was done. Again it does nothing. Raises AyaError or OSError."""
    match what:
        case Chmod():
            return _chmod(what)
        case ForgetLock():
            return _forget(place, what)
        case RemoveSocketLock():
            return _remove_socket(place, what)
        case RemoveTemporary():
            return _remove_temporary(what)
        case DropUnfinishedIndex():
            return await _drop_index(place, what)


def _chmod(what: Chmod) -> str:
    handle = os.open(what.path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    try:
        seen = os.fstat(handle)
        # A second name may be that of a file elsewhere.
        if seen.st_uid != what.owner or (stat.S_ISREG(seen.st_mode) and seen.st_nlink > 1):
            raise AyaError(f"{what.path} is not what it was, or somebody else's", hint="aya doctor")
        os.fchmod(handle, what.mode)
    finally:
        os.close(handle)
    return str(what)


def _forget(place: Place, what: ForgetLock) -> str:
    """Remove the lock while no wrapper can start a server, and only when no PostgreSQL works there."""
    environ = {"AYA_HOME": str(place.home.path), "AYA_NODE": what.data_directory.parent.name}
    with holders.alone(what.data_directory):
        verdict = lockfile.decide(holders.observe(what.data_directory, environ))
        if verdict.action not in {"start", "remove"}:
            raise AyaError(f"{what.data_directory}: {verdict.reason}", hint="aya doctor")
        holders.forget(what.data_directory)
    return f"removed {what.data_directory / 'postmaster.pid'}"


def _remove_socket(place: Place, what: RemoveSocketLock) -> str:
    with _no_start(place, what.lock):
        pid = int(files.read_text(what.lock).split("\n", 1)[0])
        if psutil.pid_exists(pid):
            raise AyaError(f"{what.lock} names pid {pid}, which lives now", hint="aya doctor")
        Path(str(what.lock).removesuffix(".lock")).unlink(missing_ok=True)
        what.lock.unlink(missing_ok=True)
    return f"removed {what.lock} and its socket"


@contextmanager
def _no_start(place: Place, lock: Path) -> Generator[None]:
    """Keep the one server that would take a socket of that port from being started meanwhile."""
    port = re.fullmatch(r"\.s\.PGSQL\.(\d+)\.lock", lock.name)
    node = next((one for one in place.nodes if one.name == lock.parent.name), None)
    if node is None or port is None or int(port[1]) != node.postgres_port:
        yield
        return
    with holders.alone(place.home.data_directory(node.name)):
        yield


def _remove_temporary(what: RemoveTemporary) -> str:
    if time.time() - what.path.lstat().st_mtime < OLD_SECONDS:
        raise AyaError(f"{what.path} was written a moment ago", hint="aya doctor")
    what.path.unlink(missing_ok=True)
    return f"removed {what.path}"


async def _drop_index(place: Place, what: DropUnfinishedIndex) -> str:
    settings = place.servers().get(what.node)
    if settings is None or isinstance(settings, str):
        raise ConfigError(f"node {what.node} has no server that can be entered", hint="aya up")
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-doctor", command_timeout=_INDEX_SECONDS)
        try:
            await _drop(connection)
        finally:
            await db.close(connection)
    return f"dropped idx_chunks_embedding_new of {what.node}"


async def _drop(connection: Connection) -> None:
    """Drop it under the lock by which a build keeps others away."""
    if not await connection.fetchval(_INDEX["claim"]):
        raise AyaError("somebody builds the index now", hint="aya index status")
    try:
        await connection.execute(_INDEX["drop_unfinished"])
    finally:
        await connection.execute(_INDEX["release"])
