"""A fresh primary gets its roles, database, extension and slot; every step may be repeated."""

from __future__ import annotations

import pytest
from tests.conftest import Server

from aya import db
from aya.dsn import DatabaseSettings
from aya.errors import DatabaseRefused, DatabaseUnavailable
from aya.postgres.cluster import SUPERUSER
from aya.postgres.config import replication_role, slot_name
from aya.postgres.provision import CLIENT_ROLES, ROLES, new_secrets, provision_primary, superuser_settings

pytestmark = pytest.mark.database


async def ask(settings: DatabaseSettings, query: str, *arguments: object) -> object:
    """Return the first value that a query answers."""
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-test")
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()


def test_every_role_gets_a_password_of_its_own() -> None:
    """Long, different, and those that exist are kept."""
    fresh = new_secrets({"aya_user": "kept"})
    assert set(fresh) == {SUPERUSER, *ROLES}
    assert fresh["aya_user"] == "kept"
    assert len(set(fresh.values())) == len(fresh)
    assert all(len(word) >= 32 for role, word in fresh.items() if role != "aya_user")


async def test_doing_it_again_changes_nothing(server: Server, empty_database: DatabaseSettings) -> None:
    """`aya up` provisions at every start: data, slot and passwords stay."""
    await ask(empty_database, "CREATE TABLE kept AS SELECT 1")
    await provision_primary(server.cluster, server.secrets, database=empty_database.database)
    assert await ask(empty_database, "SELECT count(*) FROM kept") == 1
    superuser = superuser_settings(server.cluster, server.secrets[SUPERUSER])
    assert (
        await ask(superuser, "SELECT count(*) FROM pg_replication_slots WHERE slot_name = $1", slot_name("beta")) == 1
    )


async def test_a_new_password_replaces_the_old(server: Server, empty_database: DatabaseSettings) -> None:
    """When secrets.json was lost, the next start makes new ones, with any sign in them."""
    changed = {**server.secrets, "aya_mcp": 'it\'s "new" \\ ü%s'}
    try:
        await provision_primary(server.cluster, changed, database=empty_database.database)
        with pytest.raises(DatabaseRefused):
            await ask(server.settings(empty_database.database, "aya_mcp"), "SELECT 1")
        new = Server(server.cluster, changed).settings(empty_database.database, "aya_mcp")
        assert await ask(new, "SELECT 1") == 1
    finally:
        await provision_primary(server.cluster, server.secrets, database=empty_database.database)


async def test_no_role_has_more_than_its_purpose(server: Server) -> None:
    """None is a superuser or makes roles and databases; those of the two servers replicate."""
    query = """SELECT array_agg(rolname::text ORDER BY rolname) FROM pg_roles
               WHERE rolname LIKE 'aya%' AND (rolsuper OR rolcreaterole OR rolcreatedb OR rolbypassrls)"""
    superuser = superuser_settings(server.cluster, server.secrets[SUPERUSER])
    assert await ask(superuser, query) is None
    replicating = (
        "SELECT array_agg(rolname::text ORDER BY rolname) FROM pg_roles WHERE rolname LIKE 'aya%' AND rolreplication"
    )
    assert await ask(superuser, replicating) == ["aya_replica_alpha", "aya_replica_beta"]


async def test_the_database_is_closed_to_all_but_its_clients(server: Server, empty_database: DatabaseSettings) -> None:
    """A role that is not named may not connect, and a named one may not make temporary tables for nothing."""
    name = empty_database.database
    superuser = superuser_settings(server.cluster, server.secrets[SUPERUSER])
    for role in CLIENT_ROLES:
        assert await ask(superuser, "SELECT has_database_privilege($1, $2, 'CONNECT')", role, name)
    assert not await ask(superuser, "SELECT has_database_privilege('public', $1, 'CONNECT')", name)
    with pytest.raises(DatabaseRefused, match="permission denied for database"):
        await ask(server.settings(name, replication_role("beta")), "SELECT 1")
    with pytest.raises(DatabaseRefused, match="permission denied to create temporary tables"):
        await ask(server.settings(name, "aya_mcp"), "CREATE TEMPORARY TABLE mine (id integer)")


@pytest.mark.parametrize("role", CLIENT_ROLES)
async def test_every_client_commits_durably(server: Server, empty_database: DatabaseSettings, role: str) -> None:
    """The role's own setting says so, whatever the server's default becomes."""
    assert await ask(server.settings(empty_database.database, role), "SHOW synchronous_commit") == "on"


async def test_the_owner_has_its_database_and_pgvector(empty_database: DatabaseSettings) -> None:
    """The extension is there before the first migration, which needs no superuser."""
    assert await ask(empty_database, "SELECT '[1,2]'::vector <=> '[1,2]'::vector") == 0
    owner = "SELECT pg_get_userbyid(datdba) FROM pg_database WHERE datname = current_database()"
    assert await ask(empty_database, owner) == "aya_user"


async def test_a_name_with_odd_signs_is_quoted(server: Server) -> None:
    """A database's name is data to the server, never SQL."""
    name = 'odd "name"; DROP TABLE x; --'
    try:
        await provision_primary(server.cluster, server.secrets, database=name)
        assert await ask(server.settings(name), "SELECT current_database()") == name
    finally:
        quoted = name.replace('"', '""')
        await server.run_as_superuser(f'DROP DATABASE "{quoted}" WITH (FORCE)')


async def test_a_server_that_is_down_or_refuses_says_so(server: Server) -> None:
    """Both errors name the server, and neither the password."""
    with pytest.raises(DatabaseRefused, match="password authentication failed") as caught:
        await provision_primary(server.cluster, {**server.secrets, SUPERUSER: "not the one"})
    assert "not the one" not in str(caught.value)
    down = DatabaseSettings((("127.0.0.1", 9),), "d", "u", "not the one")
    with pytest.raises(DatabaseUnavailable, match="cannot be reached"):
        await ask(down, "SELECT 1")
