"""A base that was made by hand, with the tables documents and chunks of the plan, moves into a new ALPHA.

Its rows keep their numbers, texts, labels and times. Vectors are not taken: nobody can say which model made them; the
indexer makes them anew from the chunks' own texts. The source is read only. A data directory is not started itself,
but a copy of it is, for us alone (cp --reflink, on a Mac cp -c), and removed again.
"""

from __future__ import annotations

import asyncio
import getpass
import shlex
import shutil
import subprocess
import sys
import tempfile
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import asyncpg

from aya import queries
from aya.dsn import DEFAULT_DATABASE, DatabaseSettings, parse_dsn
from aya.errors import PostgresError
from aya.home import Home, write_private_json
from aya.postgres import files, installed
from aya.postgres.binaries import OLDEST_MAJOR
from aya.postgres.cluster import Cluster, postmaster_pid
from aya.postgres.run import cluster_of
from aya.processes import ports
from aya.processes.leftovers import same_directory
from aya.settings import Config, node_settings
from aya.setup import private_server as private
from aya.setup.private_server import Private
from aya.setup.upgrade_choice import binaries_of

if TYPE_CHECKING:
    from collections.abc import Generator, Mapping

    from aya.db import Connection

_SQL = queries.load("aya.setup", "adopt.sql")
_ROLE = "aya_adopting"
_NEWEST = 18
_SECONDS = 10.0
# The contract's columns; the first ones have to be there.
_COLUMNS = {
    "documents": ("id", "content", "metadata", "category", "source", "created_at", "updated_at"),
    "chunks": ("id", "document_id", "chunk_text", "chunk_index", "metadata", "created_at"),
}
_NEEDED = {"documents": {"id", "content"}, "chunks": {"id", "document_id", "chunk_text"}}


@dataclass(frozen=True, slots=True)
class Adopted:
    """What was brought. texts, pieces: sums over the documents and over the chunks; None: there are none."""

    documents: int
    chunks: int
    texts: str | None
    pieces: str | None


def marker(home: Home, node: str) -> Path:
    """Return the file that says that a base was taken over."""
    return home.node_directory(node) / "adopted.json"


def is_dsn(source: str) -> bool:
    """Return whether a source is a DSN, and not a directory."""
    return source.startswith(("postgresql://", "postgres://"))


def why_not(source: str) -> tuple[str, str] | None:
    """Return why a source cannot be taken over, and the command to type; None: nothing is known against it."""
    if is_dsn(source):
        return asyncio.run(_why_not_dsn(parse_dsn(source)))
    data = Path(source)
    try:
        major = int((data / "PG_VERSION").read_text(encoding="ascii").strip())
    except (OSError, ValueError):
        return f"{data} is no data directory of PostgreSQL that can be read", f"ls -l {shlex.quote(str(data))}"
    if not OLDEST_MAJOR <= major <= _NEWEST:
        return f"it belongs to PostgreSQL {major}", "its own pg_upgrade first, to 16, 17 or 18"
    if postmaster_pid(data) is not None:
        seen = installed.look()
        running = next((one for one in seen.servers if same_directory(one.data, data)), None)
        return f"a server runs on {data}", installed.ending(
            running, seen.jobs, getpass.getuser()
        ) if running else f"pg_ctl stop -D {data}"
    return None


async def _why_not_dsn(settings: DatabaseSettings) -> tuple[str, str] | None:
    try:
        connection: Connection = await asyncpg.connect(settings.dsn(), timeout=_SECONDS)
    except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        return f"{settings.display()} cannot be entered: {error}", f"psql {shlex.quote(settings.display())}"
    try:
        wrong = unfit(await _shape(connection))
    finally:
        await connection.close()
    return (wrong, f"psql {shlex.quote(settings.display())} -c '\\d'") if wrong else None


async def _shape(connection: Connection) -> dict[str, set[str]]:
    found: dict[str, set[str]] = {}
    for row in await connection.fetch(_SQL["shape"]):
        found.setdefault(row["table_name"], set()).add(row["column_name"])
    return found


def unfit(shape: Mapping[str, set[str]]) -> str | None:
    """Return why tables with these columns are not the plan's; None: they are; pure."""
    if "schema_migrations" in shape:
        return "it has AYA's own schema already: use it with --dsn, or restore it from a backup"
    for table, needed in _NEEDED.items():
        missing = needed - shape.get(table, set())
        if missing:
            return (
                f"its table {table} has no {', '.join(sorted(missing))}"
                if table in shape
                else f"it has no table {table}"
            )
    return None


def take_over(home: Home, config: Config, node: str, source: str) -> Adopted:
    """Bring every row into the node's running, empty base: all of them, or none. Raises AyaError."""
    target = node_settings(home, node, environ={}).local
    if is_dsn(source):
        brought = asyncio.run(_bring(parse_dsn(source), target))
    else:
        with _copied(home, config, node, Path(source)) as settings:
            brought = asyncio.run(_bring(settings, target))
    write_private_json(marker(home, node), asdict(brought))
    return brought


async def _bring(source: DatabaseSettings, target: DatabaseSettings) -> Adopted:
    try:
        there: Connection = await asyncpg.connect(source.dsn(), timeout=_SECONDS)
        try:
            here: Connection = await asyncpg.connect(target.dsn(), timeout=_SECONDS)
            try:
                return await _exchange(there, here)
            finally:
                await here.close()
        finally:
            await there.close()
    except (OSError, asyncpg.PostgresError, asyncpg.InterfaceError) as error:
        raise PostgresError(
            f"the base was not taken over, and nothing of it is here: {error}", hint="aya init again"
        ) from error


async def _exchange(there: Connection, here: Connection) -> Adopted:
    # One moment of the source, whoever writes there meanwhile.
    async with there.transaction(isolation="repeatable_read", readonly=True), here.transaction():
        shape = await _shape(there)
        if wrong := unfit(shape):
            raise PostgresError(f"the base cannot be taken over: {wrong}", hint="docs/operations/install.md")
        arrived, sent = await _digest(here), await _digest(there)
        if arrived.documents:
            # Those of a call that was cut off before it could write down that they are here: all of them, or none.
            if (arrived.documents, arrived.texts) == (sent.documents, sent.texts):
                return arrived
            raise PostgresError("this node has documents already", hint="aya import, or another --home")
        for table, wanted in _COLUMNS.items():
            columns = [column for column in wanted if column in shape[table]]
            with tempfile.TemporaryFile() as file:
                await there.copy_from_table(table, schema_name="public", columns=columns, output=file)
                file.seek(0)
                await here.copy_to_table(table, schema_name="public", columns=columns, source=file)
        await here.fetch(_SQL["next_numbers"])
        arrived = await _digest(here)
        if arrived != sent:
            raise PostgresError("what arrived is not what was sent, and is given up", hint="aya init again")
    return arrived


async def _digest(connection: Connection) -> Adopted:
    (said,) = await connection.fetch(_SQL["digest"])
    return Adopted(said["documents"], said["chunks"], said["texts"], said["pieces"])


@contextmanager
def _copied(home: Home, config: Config, node: str, data: Path) -> Generator[DatabaseSettings]:
    """Lend a server on a copy of a data directory, with settings of ours: those of its owner name files elsewhere."""
    known = cluster_of(home, config, node)
    major = int((data / "PG_VERSION").read_text(encoding="ascii").strip())
    binaries = binaries_of(home, config, known.user, major, config.pg_config)
    directory = home.node_directory(node) / "adopting"
    sockets = home.runtime_directory / "adopt"
    cluster = Cluster(binaries, directory / "data", known.config, known.user)
    where = Private(sockets, ports.choose((), str(directory)), "")
    if directory.exists():
        private.end_leftover(cluster, sockets)
        shutil.rmtree(directory)
    try:
        known.user.make_directory(directory)
        known.user.make_directory(sockets)
        _copy(data, cluster)
        _single(cluster)
        with private.running(cluster, where, directory / "server.log"):
            yield DatabaseSettings(((str(sockets), where.port),), DEFAULT_DATABASE, _ROLE, None)
    finally:
        shutil.rmtree(directory, ignore_errors=True)


def _copy(data: Path, cluster: Cluster) -> None:
    # L: what a link leads to is copied, too (WAL, a tablespace): the copy must not work in the source.
    clone = ("-RLp", "-c") if sys.platform == "darwin" else ("-RLp", "--reflink=auto")
    try:
        subprocess.run(["/bin/cp", *clone, str(data), str(cluster.data_directory)], check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise PostgresError(
            f"{data} cannot be copied: {error}", hint=f"df -h; ls -l {shlex.quote(str(data))}"
        ) from error
    for path in (cluster.data_directory, *cluster.data_directory.rglob("*")):
        cluster.user.own(path)
    cluster.data_directory.chmod(0o700)
    for name in ("postmaster.pid", "postmaster.opts", "standby.signal", "recovery.signal", "postgresql.auto.conf"):
        (cluster.data_directory / name).unlink(missing_ok=True)
    files.write_text(cluster.data_directory / "postgresql.conf", "unix_socket_permissions = 0700\n", cluster.user)
    # Nobody but PostgreSQL's user enters the socket's directory, and nothing listens elsewhere.
    files.write_text(cluster.data_directory / "pg_hba.conf", "local all all trust\n", cluster.user)


def _single(cluster: Cluster) -> None:
    """Make the role by which we enter: in single-user mode, where nobody has to know the owner's name."""
    # There a statement ends with its line.
    statement = " ".join(line for line in _SQL["role"].splitlines() if not line.startswith("--"))
    command = [cluster.binaries.program("postgres"), "--single", "-D", str(cluster.data_directory), "template1"]
    done = subprocess.run(
        command, input=f"{statement}\n".encode(), capture_output=True, cwd="/", check=False,
        env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"}, **cluster.user.process_identity(),
    )  # fmt: skip
    if done.returncode or b"ERROR" in done.stderr:
        raise PostgresError(
            f"the copy does not start: {done.stderr.decode(errors='replace').strip()[-300:]}",
            hint="docs/operations/install.md",
        )
