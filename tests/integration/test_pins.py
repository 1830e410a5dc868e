"""A role may weaken what its commits are promised, for good: that is found, told and taken back."""

from __future__ import annotations

import pytest
from tests.conftest import Server

from aya.db import Database
from aya.dsn import OWNER, DatabaseSettings
from aya.errors import DatabaseRefused
from aya.postgres import kept
from aya.postgres.provision import CLIENT_ROLES, INDEXER_ROLE, MCP_ROLE, provision_primary
from aya.settings import as_role

pytestmark = pytest.mark.database


async def run(settings: DatabaseSettings, statement: str) -> str:
    """Run a statement that returns one word, or none."""
    async with Database(settings, application_name="aya-test") as opened, opened.connection() as connection:
        return str(await connection.fetchval(statement))


async def found(settings: DatabaseSettings) -> list[str]:
    """Return what is weak in a database, and how it is taken back."""
    async with Database(settings, application_name="aya-test") as opened, opened.connection() as connection:
        return [one.taken_back for one in await kept.weak(connection, CLIENT_ROLES, settings.database)]


@pytest.mark.parametrize(
    ("role", "name", "value"),
    [
        (OWNER, "synchronous_commit", "off"),
        (MCP_ROLE, "synchronous_commit", "remote_write"),
        (INDEXER_ROLE, "synchronous_commit", "FALSE"),
        (OWNER, "default_transaction_read_only", "off"),
    ],
)
async def test_a_role_that_weakens_itself_is_found_and_mended(
    server: Server, empty_database: DatabaseSettings, role: str, name: str, value: str
) -> None:
    """In one database it may, without any right, and that wins over what the role itself is pinned to."""
    database = empty_database.database
    settings = as_role(empty_database, role, server.secrets[role])
    assert await found(empty_database) == []
    await run(settings, f"ALTER ROLE {role} IN DATABASE {database} SET {name} = {value}")
    assert await run(settings, f"SHOW {name}") in {"off", "remote_write"}
    assert await found(empty_database) == [f"ALTER ROLE {role} IN DATABASE {database} RESET {name}"]
    await provision_primary(server.cluster, server.secrets, database=database)
    assert await found(empty_database) == []
    assert await run(settings, "SHOW synchronous_commit") == "on"


async def test_a_roles_own_pin_is_put_back(server: Server, empty_database: DatabaseSettings) -> None:
    """Also where it weakened itself everywhere."""
    settings = as_role(empty_database, MCP_ROLE, server.secrets[MCP_ROLE])
    try:
        await run(settings, f"ALTER ROLE {MCP_ROLE} SET synchronous_commit = off")
        assert await found(empty_database) == [f"ALTER ROLE {MCP_ROLE} RESET synchronous_commit"]
    finally:
        await provision_primary(server.cluster, server.secrets, database=empty_database.database)
    assert await found(empty_database) == []
    assert await run(settings, "SHOW synchronous_commit") == "on"


async def test_a_database_that_opens_what_is_closed_is_found(empty_database: DatabaseSettings) -> None:
    """Its owner may; a name with odd signs comes out quoted."""
    await run(empty_database, f"ALTER DATABASE {empty_database.database} SET default_transaction_read_only = off")
    assert await found(empty_database) == [
        f"ALTER DATABASE {empty_database.database} RESET default_transaction_read_only"
    ]


@pytest.mark.parametrize("setting", ["synchronous_commit = remote_apply", "default_transaction_read_only = on"])
async def test_what_promises_more_is_left_alone(empty_database: DatabaseSettings, setting: str) -> None:
    """To wait for more, or to close a database, is everybody's own affair."""
    await run(empty_database, f"ALTER ROLE {OWNER} IN DATABASE {empty_database.database} SET {setting}")
    assert await found(empty_database) == []


async def test_nobody_weakens_another(server: Server, empty_database: DatabaseSettings) -> None:
    """The server refuses that."""
    settings = as_role(empty_database, MCP_ROLE, server.secrets[MCP_ROLE])
    with pytest.raises(DatabaseRefused, match="permission denied"):
        await run(settings, f"ALTER ROLE {OWNER} SET synchronous_commit = off")


async def test_it_is_told_as_a_sentence_with_the_next_command(empty_database: DatabaseSettings) -> None:
    """As aya status shows it."""
    database = empty_database.database
    await run(empty_database, f"ALTER ROLE {OWNER} IN DATABASE {database} SET synchronous_commit = off")
    async with Database(empty_database, application_name="aya-test") as opened, opened.connection() as connection:
        (one,) = await kept.weak(connection, CLIENT_ROLES, database)
    assert one.problem == (
        f"ROLE aya_user IN DATABASE {database} has synchronous_commit = off, so a failover may lose what was"
        f" acknowledged: psql: ALTER ROLE aya_user IN DATABASE {database} RESET synchronous_commit"
    )
