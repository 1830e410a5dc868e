"""Every error of a real server comes out as one of ours, once, with its cause; and the pool lives on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, closing, suppress
from dataclasses import replace

import asyncpg
import pytest
from tests.conftest import Server, free_port

from aya import db, errors
from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.postgres.provision import MCP_ROLE

pytestmark = pytest.mark.database

PASSWORD = "hunter2"


def pool(settings: DatabaseSettings) -> Database:
    """Return a pool for one test."""
    return Database(settings, application_name="aya-test")


async def run(settings: DatabaseSettings, statement: str, *arguments: object) -> object:
    """Return the first value that a statement answers, through a pool of its own."""
    async with pool(settings) as database, database.connection() as connection:
        return await connection.fetchval(statement, *arguments)


def raising(state: str) -> str:
    """Return a statement that fails with an SQLSTATE, for errors that a test cannot bring about."""
    return f"DO $$ BEGIN RAISE EXCEPTION 'as told' USING ERRCODE = '{state}'; END $$"


FROM_THE_SERVER = [
    ("no such table", "SELECT * FROM nowhere", errors.SchemaMismatch, 'relation "nowhere" does not exist'),
    ("no such column", "SELECT colour FROM documents", errors.SchemaMismatch, "colour"),
    ("no such function", "SELECT aya_nothing()", errors.SchemaMismatch, "aya_nothing"),
    ("no such type", "SELECT 1::nonesuch", errors.DatabaseError, "nonesuch"),
    ("a constraint", "INSERT INTO documents (content) VALUES (NULL)", errors.DatabaseError, "null value"),
    ("a value too long", "INSERT INTO documents (category) VALUES (repeat('x', 51))", errors.DatabaseError, "too long"),
    ("not the owner's", "SELECT pg_read_file('/etc/passwd')", errors.DatabaseRefused, "permission denied"),
    ("disk full", raising("53100"), errors.DatabaseFull, "as told"),
    ("out of memory", raising("53200"), errors.DatabaseFull, "as told"),
    ("shutting down", raising("57P01"), errors.DatabaseUnavailable, "as told"),
    ("starting up", raising("57P03"), errors.DatabaseUnavailable, "as told"),
    ("lost", raising("08006"), errors.DatabaseUnavailable, "as told"),
    ("cancelled", raising("57014"), errors.DatabaseError, "as told"),
]


@pytest.mark.parametrize(
    ("statement", "kind", "words"), [row[1:] for row in FROM_THE_SERVER], ids=[row[0] for row in FROM_THE_SERVER]
)
async def test_what_the_server_says_is_said_in_our_words(
    database: DatabaseSettings, statement: str, kind: type[errors.AyaError], words: str
) -> None:
    """The message names the database and the reason, the hint the next command, the cause is the driver's."""
    with pytest.raises(errors.DatabaseError, match=words) as caught:
        await run(database, statement)
    assert type(caught.value) is kind
    assert database.display() in caught.value.message
    assert caught.value.hint
    assert isinstance(caught.value.__cause__, asyncpg.PostgresError)


@pytest.mark.parametrize("number", [2**31, 10**12])
async def test_a_number_that_no_column_holds_is_no_outage(database: DatabaseSettings, number: int) -> None:
    """`aya show 999999999999` fails, and is not tried again as if the server were gone."""
    with pytest.raises(errors.DatabaseError, match="out of int32 range") as caught:
        await run(database, "SELECT id FROM documents WHERE id = $1", number)
    assert not caught.value.retryable


async def test_a_wrong_password_is_refused_and_never_repeated(database: DatabaseSettings) -> None:
    """The sentence names the role, not the word."""
    with pytest.raises(errors.DatabaseRefused, match="refused aya_user: password authentication failed") as caught:
        await run(replace(database, password=PASSWORD), "SELECT 1")
    assert PASSWORD not in caught.value.message


async def test_a_database_that_does_not_exist_says_how_to_make_it(database: DatabaseSettings) -> None:
    """Before the first `aya up`, or after a typing mistake."""
    with pytest.raises(errors.SchemaMismatch, match="the database does not exist") as caught:
        await run(replace(database, database="nowhere"), "SELECT 1")
    assert "aya up" in (caught.value.hint or "")


async def test_a_server_that_is_down_is_unavailable(database: DatabaseSettings) -> None:
    """Nobody listens: retryable, without a traceback; a host that has no address too."""
    with pytest.raises(errors.DatabaseUnavailable, match="cannot be reached") as caught:
        await run(replace(database, hosts=(("127.0.0.1", free_port()),)), "SELECT 1")
    assert caught.value.retryable
    with pytest.raises(errors.DatabaseUnavailable, match="cannot be reached"):
        await run(replace(database, hosts=(("no-such-host.invalid", 5432),)), "SELECT 1")


async def test_the_second_host_is_tried_when_the_first_is_down(database: DatabaseSettings) -> None:
    """Two addresses of one server are two chances."""
    both = replace(database, hosts=(("127.0.0.1", free_port()), *database.hosts))
    assert await run(both, "SELECT 1") == 1


async def test_a_standby_is_no_place_to_write(database: DatabaseSettings) -> None:
    """A read-only transaction answers as a standby does."""
    async with pool(database) as opened:
        with pytest.raises(errors.DatabaseReadOnly, match=r"read-only \(a standby\)"):
            async with opened.transaction(readonly=True) as connection:
                await connection.execute("INSERT INTO documents (content) VALUES ('x')")
        async with opened.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM documents") == 0
    with pytest.raises(errors.DatabaseUnavailable):
        await run(replace(database, options=(("target_session_attrs", "standby"),)), "SELECT 1")


async def test_a_pool_recovers_from_a_lost_connection(database: DatabaseSettings, server: Server) -> None:
    """The call under way fails, the next one has a new connection."""
    async with pool(database) as opened:
        async with opened.connection() as connection:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
        await server.run_as_superuser(f"SELECT pg_terminate_backend({pid}, 5000)")
        async with opened.connection() as connection:
            assert await connection.fetchval("SELECT pg_backend_pid()") != pid
        with pytest.raises(errors.DatabaseUnavailable):
            async with opened.connection() as connection:
                await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
        async with opened.transaction() as connection:
            assert await connection.fetchval("SELECT 1") == 1


@asynccontextmanager
async def never_closing(target: int) -> AsyncGenerator[int]:
    """Pass bytes on to a port of this machine, and keep the client's side open when the server has closed; its port."""

    async def copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while data := await reader.read(65536):
                writer.write(data)

    async def both(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        server_reader, server_writer = await asyncio.open_connection("127.0.0.1", target)
        with closing(writer), closing(server_writer):
            await asyncio.gather(copy(reader, server_writer), copy(server_reader, writer))

    async with await asyncio.start_server(both, "127.0.0.1", 0) as proxy:
        yield proxy.sockets[0].getsockname()[1]


async def test_a_query_on_a_connection_that_is_ending_is_a_lost_connection(
    database: DatabaseSettings, server: Server
) -> None:
    """Between the server's farewell and the end of the connection the driver speaks of its own states."""
    ((_, port),) = database.hosts
    async with never_closing(port) as passing:
        with db.translated(database):
            settings = replace(database, hosts=(("127.0.0.1", passing),))
            connection = await db.connect(settings, application_name="aya-test")
        try:
            pid = await connection.fetchval("SELECT pg_backend_pid()")
            await server.run_as_superuser(f"SELECT pg_terminate_backend({pid}, 5000)")
            with pytest.raises(errors.DatabaseUnavailable) as caught, db.translated(database):
                await _until_it_fails(connection)
        finally:
            connection.terminate()
    assert isinstance(caught.value.__cause__, asyncpg.InternalClientError)


async def _until_it_fails(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    while True:
        with suppress(TimeoutError):  # the farewell may come when the query is on its way: then it has no end
            await connection.fetchval("SELECT 1", timeout=1)


async def test_a_role_out_of_connections_is_full_for_a_while(database: DatabaseSettings, server: Server) -> None:
    """Retryable, and the reason is the server's own."""
    settings = server.settings(database.database, MCP_ROLE)
    await server.run_as_superuser(f"ALTER ROLE {MCP_ROLE} CONNECTION LIMIT 0")
    try:
        with pytest.raises(errors.DatabaseFull, match="too many connections for role") as caught:
            await run(settings, "SELECT 1")
        assert caught.value.retryable
    finally:
        await server.run_as_superuser(f"ALTER ROLE {MCP_ROLE} CONNECTION LIMIT -1")
    assert await run(settings, "SELECT 1") == 1


@pytest.mark.parametrize("kind", [errors.SchemaMismatch, KeyError])
async def test_a_transaction_is_whole_or_nothing(database: DatabaseSettings, kind: type[Exception]) -> None:
    """An error inside, of the database or not, rolls everything back, and comes out as it is."""

    async def fail_half_way(opened: Database) -> None:
        async with opened.transaction() as connection:
            await connection.execute("INSERT INTO documents (content) VALUES ('half')")
            if kind is KeyError:
                raise KeyError
            await connection.execute("SELECT * FROM nowhere")

    async with pool(database) as opened:
        with pytest.raises(kind):
            await fail_half_way(opened)
        async with opened.connection() as connection:
            assert await connection.fetchval("SELECT count(*) FROM documents") == 0


async def test_a_database_without_pgvector_is_not_a_traceback(server: Server) -> None:
    """A database of somebody else's, without the extension, is refused in words."""
    await server.run_as_superuser("CREATE DATABASE aya_bare OWNER aya_user TEMPLATE template0")
    try:
        with pytest.raises(errors.SchemaMismatch, match="no pgvector") as caught:
            await run(server.settings("aya_bare"), "SELECT 1")
        assert caught.value.hint
    finally:
        await server.run_as_superuser("DROP DATABASE aya_bare WITH (FORCE)")


async def test_a_pool_that_was_never_used_closes_at_once(database: DatabaseSettings) -> None:
    """Nothing is opened before it is needed."""
    opened = pool(replace(database, hosts=(("127.0.0.1", free_port()),)))
    await opened.close()


async def test_jsonb_and_vectors_are_values(database: DatabaseSettings) -> None:
    """A connection of the pool speaks jsonb and vector; NaN is no JSON."""
    async with pool(database) as opened, opened.connection() as connection:
        value = {"ü": [1, None, True], "deep": {"a": "b"}}
        assert await connection.fetchval("SELECT $1::jsonb", value) == value
        vector = await connection.fetchval("SELECT '[1,2]'::vector")
        assert vector.to_list() == [1.0, 2.0]
        with pytest.raises(asyncpg.DataError):
            await connection.fetchval("SELECT $1::jsonb", float("nan"))


async def test_the_servers_view_names_the_program(database: DatabaseSettings) -> None:
    """pg_stat_activity tells whose connection it is."""
    assert await run(database, "SELECT current_setting('application_name')") == "aya-test"
    with db.translated(database):
        connection = await db.connect(database, application_name="aya-other")
        assert await connection.fetchval("SELECT current_setting('application_name')") == "aya-other"
        await connection.close()
