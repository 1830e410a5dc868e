"""A server that is started for a moment, for us alone: on a socket in a directory of its own, or on loopback."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from aya.dsn import DatabaseSettings
from aya.errors import PostgresError
from aya.postgres import files
from aya.postgres.cluster import SUPERUSER, Cluster, postmaster_pid

if TYPE_CHECKING:
    from aya.db import Connection

# Whatever a watchdog has left in its settings: nobody is waited for, nothing is archived, and it may be written.
_OPTIONS = {
    "archive_mode": "off",
    "default_transaction_read_only": "off",
    "synchronous_standby_names": "",
    "primary_conninfo": "",
}


@dataclass(frozen=True, slots=True)
class Private:
    """Where such a server is reached. sockets: mode 700, of PostgreSQL's user. password: the superuser's."""

    sockets: Path
    port: int
    password: str

    def settings(self, database: str) -> DatabaseSettings:
        """Return how its superuser enters."""
        return DatabaseSettings(((str(self.sockets), self.port),), database, SUPERUSER, self.password)


def options(sockets: Path, port: int) -> str:
    """Return the options of a server that listens on its socket alone, as pg_ctl and pg_upgrade take them; pure."""
    said = {**_OPTIONS, "listen_addresses": "", "port": str(port), "unix_socket_directories": str(sockets)}
    return " ".join(f"-c {name}={_word(value)}" for name, value in said.items())


def _word(value: str) -> str:
    return "'" + value.replace("'", "'\\''") + "'"


@contextmanager
def running(cluster: Cluster, where: Private, log_file: Path) -> Generator[None]:
    """Start a cluster for the block, and stop it whatever happens in it."""
    log_file.touch(mode=0o600)
    cluster.user.own(log_file)
    cluster.run_tool(
        "pg_ctl", "start", "--wait", "--silent", f"--pgdata={cluster.data_directory}", f"--log={log_file}",
        f"--options={options(where.sockets, where.port)}",
    )  # fmt: skip
    try:
        yield
    finally:
        cluster.stop()


def end_leftover(cluster: Cluster, sockets: Path) -> None:
    """Stop a server that an earlier try, which was cut off, has left running on this directory.

    Raises PostgresError for a server that is not one of those: it is told by where its socket is.
    """
    pid = postmaster_pid(cluster.data_directory)
    if pid is None:
        return
    # The fifth line (https://www.postgresql.org/docs/18/storage-file-layout.html).
    lines = files.read_text(cluster.data_directory / "postmaster.pid").split("\n")
    if len(lines) < 5 or Path(lines[4]) != sockets:  # noqa: PLR2004 - the line's number
        raise PostgresError(f"a server runs on {cluster.data_directory} (pid {pid})", hint="aya down")
    cluster.stop("fast")


@asynccontextmanager
async def entered(where: Private, database: str) -> AsyncGenerator[Connection]:
    """Enter it as its superuser."""
    connection: Connection = await asyncpg.connect(where.settings(database).dsn())
    try:
        yield connection
    finally:
        await connection.close()


def password_environment(where: Private) -> Mapping[str, str]:
    """Return how PostgreSQL's own programs know the password."""
    return {"PGPASSWORD": where.password}
