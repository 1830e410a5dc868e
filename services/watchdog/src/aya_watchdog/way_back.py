"""A former primary's way back: what only it has is kept in a file, then its data directory becomes the primary's again.

What only it has was never acknowledged, for every acknowledged row is on the node that was promoted; but it is
somebody's work all the same. It is found in the log, not by comparing tables: the transactions that were committed
behind the place where the primary's timeline forks off, and of every table the row versions that they wrote.
"""

from __future__ import annotations

import json
import re
import shutil
import ssl
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import asyncpg

from aya import log
from aya.errors import PostgresError
from aya.members import Member
from aya.postgres.cluster import Cluster
from aya.postgres.config import replication_role
from aya.settings import DEFAULT_DATABASE
from aya_watchdog.server import SQL, Server

_OLD_DIRECTORY = "data.replaced"
_BROKEN_FILE = "data.broken"
_CONNECT_SECONDS = 2.0
_COMMITTED = re.compile(r"^rmgr: Transaction .* tx: +(\d+), .* desc: COMMIT ", re.MULTILINE)


def source(cluster: Cluster, partner: Member, password: str, node: str) -> str:
    """Return how `node` reaches its partner's server, to stream and to copy from it."""
    return cluster.upstream(partner.addresses, partner.postgres_port, password, node)


def fork(history: str, timeline: int) -> int | None:
    """Return where a later timeline forked off `timeline`, in bytes; None when it does not come from it; pure.

    history: PostgreSQL's file of the later one, a line for each: its number, where it ended, why.
    """
    for line in history.splitlines():
        number, _, rest = line.strip().partition("\t")
        if number == str(timeline):
            high, _, low = rest.split("\t")[0].partition("/")
            return (int(high, 16) << 32) + int(low, 16)
    return None


def committed(dump: str) -> list[int]:
    """Return the transactions whose commits pg_waldump lists; pure."""
    return [int(found) for found in _COMMITTED.findall(dump)]


async def history_of(partner: Member, password: str, node: str, timeline: int, proof: ssl.SSLContext | None) -> str:
    """Return the partner's history file of its timeline. proof: what its server has to prove.

    Raises OSError, TimeoutError or asyncpg's errors.
    """
    connection = await asyncpg.connect(
        host=list(partner.addresses),
        port=partner.postgres_port,
        user=replication_role(node),
        password=password,
        database="postgres",
        ssl=proof,
        timeout=_CONNECT_SECONDS,
    )
    try:
        found: bytes = await connection.fetchval(SQL["timeline_history"], f"pg_wal/{timeline:08X}.history")
    finally:
        connection.terminate()
    return found.decode()


async def export(server: Server, history: str, timeline: int, directory: Path) -> None:
    """Keep what only this server has in a new file of `directory`; none when there is nothing.

    history: of the primary's timeline. timeline: this server's.
    """
    forked = fork(history, timeline)
    if forked is None:
        log.get_logger().warning("export.impossible", why="the primary does not come from this server's timeline")
        return
    if rows := await only_here(server, forked):
        file = kept(directory, rows)
        log.get_logger().warning("rows.kept", file=str(file), rows=len(rows))


async def only_here(server: Server, forked: int) -> list[dict[str, Any]]:
    """Return the row versions that transactions committed behind `forked` wrote, as {table, row}.

    The server runs, closed to clients. What these transactions deleted is not among them.
    """
    async with server.connected() as session:
        end = int(await session.fetchval(SQL["position"]))
        timeline = int(await session.fetchval(SQL["timeline"]))
    if end <= forked:
        return []
    dump = server.tool(
        "pg_waldump", f"--path={server.cluster.data_directory / 'pg_wal'}", f"--timeline={timeline}",
        f"--start={_lsn(forked)}", f"--end={_lsn(end)}", "--rmgr=Transaction",
    )  # fmt: skip
    transactions = [str(each) for each in committed(dump)]
    async with server.connected(database=DEFAULT_DATABASE) as session:
        tables = [row["name"] for row in await session.fetch(SQL["tables"])]
        return [row for table in tables for row in await _written(session, table, transactions)]


async def _written(session: Any, table: str, transactions: Sequence[str]) -> list[dict[str, Any]]:  # noqa: ANN401
    statement = await session.fetchval(SQL["rows_of_statement"], table)
    found = await session.fetch(statement, transactions)
    return [{"table": table, "row": json.loads(row["row"])} for row in found]


def _lsn(position: int) -> str:
    return f"{position >> 32:X}/{position & 0xFFFFFFFF:X}"


def kept(directory: Path, rows: Sequence[dict[str, Any]]) -> Path:
    """Write rows into a new file of `directory`, one JSON object a line, and return it."""
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    file = directory / f"only-here-{time.strftime('%Y%m%dT%H%M%S')}.jsonl"
    file.touch(mode=0o600)
    file.write_text("".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows), encoding="utf-8")
    return file


def _broken(cluster: Cluster) -> Path:
    return cluster.data_directory.with_name(_BROKEN_FILE)


def is_broken(cluster: Cluster) -> bool:
    """Return whether a rewind was begun and not ended: then only a copy will do."""
    return _broken(cluster).exists()


def is_unreachable(error: PostgresError) -> bool:
    """Return whether one of PostgreSQL's programs failed because of the way to the primary; pure."""
    return "connection to server" in error.message or "could not translate host name" in error.message


async def rewind(cluster: Cluster, upstream: str) -> None:
    """Make the data directory of a stopped former primary the primary's, by what differs. Raises PostgresError.

    Tried dry first, for one that fails half-way leaves a directory of no use behind.
    """
    source_server = f"{upstream} dbname=postgres"
    command = ("pg_rewind", f"--target-pgdata={cluster.data_directory}", f"--source-server={source_server}")
    await cluster.run_long((*command, "--dry-run"))
    _broken(cluster).touch()
    await cluster.run_long(command)
    _broken(cluster).unlink()


async def copy(cluster: Cluster, upstream: str, node: str) -> None:
    """Replace the data directory by a copy of the primary's; the old one is kept beside it until `tidy`."""
    data = cluster.data_directory
    tidy(cluster, rejoin=True)
    data.rename(data.with_name(_OLD_DIRECTORY))
    try:
        with cluster.filling():
            await cluster.run_long(cluster.copy_command(upstream, node))
            cluster.follow(upstream, node)
    except BaseException:
        tidy(cluster, rejoin=True)
        raise


def tidy(cluster: Cluster, *, rejoin: bool) -> None:
    """Remove what a copy has left behind. rejoin: it was not ended, and the old directory is put back."""
    data = cluster.data_directory
    old = data.with_name(_OLD_DIRECTORY)
    if rejoin and old.exists():
        shutil.rmtree(data, ignore_errors=True)
        old.rename(data)
    elif not rejoin:
        shutil.rmtree(old, ignore_errors=True)
        _broken(cluster).unlink(missing_ok=True)
