"""Asks a running server what `aya.doctor.servers` holds: one connection, nothing written."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg

from aya import db, migrations, queries
from aya.doctor import clock
from aya.doctor.durability import WANTED
from aya.doctor.servers import Access, Idle, Overridden, Prepared, RoleSetting, ServerFacts, Slot
from aya.dsn import DatabaseSettings
from aya.errors import SchemaMismatch
from aya.postgres import kept
from aya.postgres.cluster import SUPERUSER
from aya.postgres.config import ClusterConfig, settings_text
from aya.postgres.provision import CLIENT_ROLES

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.doctor.look")
_SECONDS = 3.0
# What AYA writes into every cluster of its own, by name.
_WRITTEN = re.findall(r"^(\w+) = ", settings_text(ClusterConfig(5432, Path("/"))), re.MULTILINE)
# What a role may not see, or a base that is not AYA's lacks, is left out.
_HIDDEN = (asyncpg.InsufficientPrivilegeError, asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError)


async def facts(settings: DatabaseSettings, node: str) -> ServerFacts:
    """Return what a server says of itself. Raises AyaError when it does not answer."""
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-doctor", command_timeout=_SECONDS)
        try:
            return await _facts(connection, settings, node)
        finally:
            # Not close(), which waits for the server: a frozen one would keep us.
            connection.terminate()


async def _facts(connection: Connection, settings: DatabaseSettings, node: str) -> ServerFacts:
    before = time.time()
    theirs = await connection.fetchval(_SQL["clock"])
    reading = clock.offset(before, theirs, time.time())
    server: dict[str, Any] = dict((await _rows(connection, "server"))[0])
    schema = next(iter(await _rows(connection, "schema")), None)
    model = next(iter(await _rows(connection, "model")), None)
    ours = settings.user == SUPERUSER
    return ServerFacts(
        node,
        {row["name"]: row["setting"] for row in await _rows(connection, "settings", list(WANTED))},
        **server,
        ours=ours,
        schema=schema["version"] if schema else None,
        schema_aya=schema["aya_version"] if schema else None,
        schema_error=await _schema_error(connection, node) if ours else None,
        model=(model["fingerprint"], model["model"]) if model else None,
        access=tuple(Access(**row) for row in await _rows(connection, "access")),
        kept=await _kept(connection, settings.database),
        overridden=tuple(Overridden(**row) for row in await _rows(connection, "overridden", _WRITTEN)) if ours else (),
        pending=tuple(row["name"] for row in await _rows(connection, "pending")),
        slots=tuple(Slot(**row) for row in await _rows(connection, "slots")),
        prepared=tuple(Prepared(**row) for row in await _rows(connection, "prepared")),
        idle=tuple(Idle(**row) for row in await _rows(connection, "idle")),
        index_left=bool(await connection.fetchval(_SQL["index_left"])),
        clock=reading,
        database=settings.database,
    )


async def _rows(connection: Connection, query: str, *arguments: object) -> Sequence[asyncpg.Record]:
    try:
        return await connection.fetch(_SQL[query], *arguments)
    except _HIDDEN:
        return ()


async def _kept(connection: Connection, database: str) -> tuple[RoleSetting, ...]:
    try:
        found = await kept.weak(connection, CLIENT_ROLES, database)
    except _HIDDEN:
        return ()
    return tuple(RoleSetting(one.whose, one.name, one.value, one.taken_back) for one in found)


async def _schema_error(connection: Connection, node: str) -> tuple[str, str] | None:
    try:
        await migrations.check(connection, node=node)
    except SchemaMismatch as error:
        return error.message, error.hint or "aya migrate"
    return None
