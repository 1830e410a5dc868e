"""What only a former primary has, kept in a file before its history is given up for the new primary's.

It was never acknowledged, for every acknowledged row is on the node that was promoted; but it is somebody's work all
the same. It is found in the log, not by comparing tables: the transactions that were committed behind the place where
both timelines part, and of every table the row versions that they wrote.
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import ssl
import time
from collections.abc import Sequence
from contextlib import suppress
from math import inf
from pathlib import Path
from typing import Any

import asyncpg

from aya import log
from aya.dsn import DEFAULT_DATABASE
from aya.errors import PostgresError
from aya.flush import flush
from aya.members import Member
from aya.postgres.config import replication_role
from aya_watchdog.server import SQL, Connection, Server

_CONNECT_SECONDS = 2.0
_FIRST = 1
_COMMITTED = re.compile(r"^rmgr: Transaction .* tx: +(\d+), .* desc: COMMIT ", re.MULTILINE)


def fork(ours: str, timeline: int, theirs: str, their_timeline: int) -> int | None:
    """Return where two lines of timelines part, in bytes; None when they have nothing in common; pure.

    ours, theirs: PostgreSQL's history files, a line for each timeline before the present one: its number, where it
    ended, why. That of timeline 1 is empty.
    """
    mine, other = {**ends(ours), timeline: inf}, {**ends(theirs), their_timeline: inf}
    common = [number for number in mine if number in other]
    if not common:
        return None
    parted = min(mine[max(common)], other[max(common)])
    return None if parted == inf else int(parted)


def ends(history: str) -> dict[int, float]:
    """Return where each earlier timeline of a history file ended, in bytes; pure."""
    found: dict[int, float] = {}
    for line in history.splitlines():
        number, _, rest = line.strip().partition("\t")
        if number.isdigit():
            high, _, low = rest.split("\t")[0].partition("/")
            found[int(number)] = (int(high, 16) << 32) + int(low, 16)
    return found


def committed(dump: str) -> list[int]:
    """Return the transactions whose commits pg_waldump lists; pure."""
    return [int(found) for found in _COMMITTED.findall(dump)]


async def history_of(partner: Member, password: str, node: str, timeline: int, proof: ssl.SSLContext | None) -> str:
    """Return the partner's history file of its timeline. proof: what its server has to prove.

    Raises OSError, TimeoutError or asyncpg's errors.
    """
    if timeline == _FIRST:
        return ""
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
        return await _history(connection, timeline)
    finally:
        connection.terminate()


async def _history(session: Connection, timeline: int) -> str:
    if timeline == _FIRST:
        return ""
    found: bytes = await session.fetchval(SQL["timeline_history"], f"pg_wal/{timeline:08X}.history")
    return found.decode()


async def export(server: Server, history: str, timeline: int, directory: Path) -> None:
    """Keep what only this server has in a new file of `directory`; none when there is nothing.

    history, timeline: the primary's. Raises PostgresError when it cannot be found out what that is.
    """
    async with server.connected() as session:
        own = int(await session.fetchval(SQL["timeline"]))
        forked = fork(await _history(session, own), own, history, timeline)
        end = int(await session.fetchval(SQL["position"]))
    if forked is None:
        raise PostgresError(f"this server's timeline {own} and the primary's {timeline} have no place where they part")
    if rows := await only_here(server, forked, own, end):
        file = kept(directory, rows)
        log.get_logger().warning("rows.kept", file=str(file), rows=len(rows))


async def only_here(server: Server, forked: int, timeline: int, end: int) -> list[dict[str, Any]]:
    """Return the row versions that transactions committed behind `forked` wrote, as {table, row}.

    The server runs, closed to clients; its log ends at `end`. What these transactions deleted is not among them.
    """
    if end <= forked:
        return []
    dump = await asyncio.to_thread(
        server.tool,
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
    """Write rows into a new file of `directory`, one JSON object a line, and return it once it is on the disk.

    Its name is there when all of it is; what was there stays.
    """
    directory.mkdir(mode=0o700, parents=True, exist_ok=True)
    unfinished = directory / f".only-here.{os.getpid()}"
    with suppress(FileNotFoundError):
        unfinished.unlink()
    with os.fdopen(os.open(unfinished, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w", encoding="utf-8") as stream:
        stream.writelines(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
        stream.flush()
        flush(stream.fileno())
    file = _linked(unfinished, directory)
    unfinished.unlink()
    handle = os.open(directory, os.O_RDONLY)
    try:
        flush(handle)
    finally:
        os.close(handle)
    return file


def _linked(unfinished: Path, directory: Path) -> Path:
    """Give a file a name that nothing has; another second's, if need be."""
    now = time.time()
    while True:
        file = directory / f"only-here-{time.strftime('%Y%m%dT%H%M%S', time.localtime(now))}.jsonl"
        try:
            file.hardlink_to(unfinished)
        except FileExistsError:
            now += 1
        else:
            return file
