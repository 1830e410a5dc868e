"""Roles, database and extension of a fresh primary: one role per purpose, and every step safe to repeat.

aya_user        owns the database; migrations, the command line, a person in psql
aya_mcp         the MCP server: documents and chunks
aya_indexer     the indexer: reads documents, writes chunks
aya_sync        AIR's sync daemon: here on AIR, and at the primary
aya_replica_N   streaming replication to node N, nothing else
aya_watchdog    enters, and looks whether the server answers
"""

from __future__ import annotations

import secrets as random_secrets
from typing import TYPE_CHECKING

from aya import db, queries
from aya.dsn import DEFAULT_DATABASE, OWNER, DatabaseSettings
from aya.postgres import kept, scram
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import SERVERS, SYNC_ROLE, WATCHDOG_ROLE, replication_role, slot_name
from aya.settings import as_role

if TYPE_CHECKING:
    from collections.abc import Callable

    from aya.db import Connection

MCP_ROLE = "aya_mcp"
INDEXER_ROLE = "aya_indexer"
CLIENT_ROLES = (OWNER, MCP_ROLE, INDEXER_ROLE, SYNC_ROLE)
REPLICATION_ROLES = tuple(replication_role(node) for node in SERVERS)
ROLES = (*CLIENT_ROLES, *REPLICATION_ROLES, WATCHDOG_ROLE)
_SQL = queries.load("aya.postgres", "roles.sql")
_SECRET_BYTES = 24
# What pg_rewind reads the source by, when not as a superuser (its manual page, Notes).
_REWIND_FUNCTIONS = (
    "pg_ls_dir(text, boolean, boolean)",
    "pg_stat_file(text, boolean)",
    "pg_read_binary_file(text)",
    "pg_read_binary_file(text, bigint, bigint, boolean)",
)


def new_secrets(existing: dict[str, str]) -> dict[str, str]:
    """Return `existing` with a fresh password for every role that has none."""
    fresh = {role: random_secrets.token_urlsafe(_SECRET_BYTES) for role in (SUPERUSER, *ROLES)}
    return {**fresh, **existing}


async def provision_primary(
    cluster: Cluster,
    secrets: dict[str, str],
    *,
    database: str = DEFAULT_DATABASE,
    entered: Callable[[str], DatabaseSettings] | None = None,
) -> None:
    """Make sure the roles, the database with pgvector and the standby's slot exist on a running primary.

    secrets: passwords by role, the superuser's included. entered: how the superuser enters a database of it; None: on
    the cluster's own port. Raises DatabaseError.
    """

    def reached(name: str) -> DatabaseSettings:
        return entered(name) if entered else superuser_settings(cluster, secrets[SUPERUSER], name)

    maintenance = reached("postgres")
    with db.translated(maintenance):
        connection = await db.connect(maintenance, application_name="aya-provision")
        try:
            for role in ROLES:
                await _ensure_role(connection, role, secrets[role])
            await _ensure_database(connection, database)
            await kept.mend(connection, CLIENT_ROLES, database)
            if not await connection.fetchval(_SQL["slot_exists"], slot_name("beta")):
                await connection.execute(_SQL["create_slot"], slot_name("beta"))
        finally:
            await connection.close()
        inside = await db.connect(reached(database), application_name="aya-provision")
        try:
            await inside.execute(_SQL["create_vector_extension"])
            await inside.execute(_SQL["let_follow_timelines"])
        finally:
            await inside.close()


def superuser_settings(cluster: Cluster, password: str, database: str = "postgres") -> DatabaseSettings:
    """Return how the superuser reaches a cluster on this machine."""
    return DatabaseSettings(((cluster.config.local_address, cluster.config.port),), database, SUPERUSER, password)


def owner_settings(cluster: Cluster, secrets: dict[str, str], database: str = DEFAULT_DATABASE) -> DatabaseSettings:
    """Return how the database's owner reaches it on this machine."""
    return as_role(superuser_settings(cluster, "", database), OWNER, secrets[OWNER])


async def _ensure_role(connection: Connection, role: str, password: str) -> None:
    attribute = "REPLICATION" if role in REPLICATION_ROLES else ""
    if not await connection.fetchval(_SQL["role_exists"], role):
        await _run(connection, "create_role_statement", role, _verifier(password), attribute)
    elif not scram.matches(password, await connection.fetchval(_SQL["stored_password"], role)):
        await _run(connection, "set_password_statement", role, _verifier(password))
    if role in REPLICATION_ROLES:
        for function in _REWIND_FUNCTIONS:
            await _run(connection, "let_rewind_statement", function, role)
    if role in {MCP_ROLE, OWNER}:
        await _run(connection, "let_read_statistics_statement", role)
    if role in CLIENT_ROLES:
        await _run(connection, "pin_synchronous_commit_statement", role)


def _verifier(password: str) -> str:
    return scram.verifier(password, random_secrets.token_bytes(scram.SALT_BYTES))


async def _ensure_database(connection: Connection, database: str) -> None:
    if not await connection.fetchval(_SQL["database_exists"], database):
        await _run(connection, "create_database_statement", database, OWNER)
    for closed in (database, "postgres", "template1"):
        await _run(connection, "close_database_statement", closed)
    for role in CLIENT_ROLES:
        await _run(connection, "open_database_statement", database, role)
    # pg_rewind's and the watchdog's
    for role in (*REPLICATION_ROLES, WATCHDOG_ROLE):
        await _run(connection, "open_database_statement", "postgres", role)


async def _run(connection: Connection, statement: str, *arguments: str) -> None:
    """Have the server quote the names, then run what it returned (utility statements take no parameters)."""
    await connection.execute(await connection.fetchval(_SQL[statement], *arguments))
