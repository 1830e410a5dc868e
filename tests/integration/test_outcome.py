"""Kept, not kept, unknown: what a client is told of a commit whose wait for the standby was ended by force."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import suppress
from typing import Any

import asyncpg
import pytest
from tests.conftest import Server
from tests.integration.conftest import Victim

from aya import db, errors, outcome, reach
from aya.db import Database
from aya.dsn import DEFAULT_DATABASE, DatabaseSettings
from aya.postgres.provision import CLIENT_ROLES
from aya.reach import Client, Reached
from aya.settings import as_role

pytestmark = pytest.mark.database
CLIENT = Client("aya-test", 30.0)
_WAITING = """
SELECT pid FROM pg_stat_activity, pg_sleep(0.02) WHERE wait_event = 'SyncRep' AND application_name = 'aya-test'
"""
Write = Callable[[DatabaseSettings, str], Coroutine[Any, Any, None]]
Force = Callable[[Victim, int], Awaitable[None]]


@pytest.fixture
async def settings(victim: Victim) -> DatabaseSettings:
    """A database on a server that waits for a standby which is not there."""
    found = victim.settings(DEFAULT_DATABASE)
    connection = await asyncpg.connect(found.dsn())
    await connection.execute("DROP TABLE IF EXISTS kept; CREATE TABLE kept (key text)")
    await connection.close()
    await victim.set("synchronous_standby_names", "absent")
    return found


async def cancel(victim: Victim, pid: int) -> None:
    """Cancel the statement, as a person or a time limit may."""
    await victim.run_as_superuser(f"SELECT pg_cancel_backend({pid})")


async def terminate(victim: Victim, pid: int) -> None:
    """End the session."""
    await victim.run_as_superuser(f"SELECT pg_terminate_backend({pid})")


async def kill(victim: Victim, _pid: int) -> None:
    """Pull the plug."""
    victim.kill()


async def in_transaction(settings: DatabaseSettings, key: str) -> None:
    """Write as the document verbs do."""
    async with (
        Database(settings, application_name="aya-test") as opened,
        opened.transaction() as connection,
    ):
        await connection.execute("INSERT INTO kept VALUES ($1)", key)


async def by_itself(settings: DatabaseSettings, key: str) -> None:
    """Write with one statement that commits by itself."""
    with db.translated(settings):
        connection = await reach.connect(settings, CLIENT)
        try:
            async with outcome.told(connection):
                await connection.execute("INSERT INTO kept VALUES ($1)", key)
        finally:
            connection.terminate()


async def waiting_pid(victim: Victim) -> int:
    """Wait until a commit waits for the standby, and return whose."""
    connection = await asyncpg.connect(victim.settings("postgres", "postgres").dsn())
    try:
        async with asyncio.timeout(20):
            while (pid := await connection.fetchval(_WAITING)) is None:
                pass
        return int(pid)
    finally:
        await connection.close()


async def rows(victim: Victim, settings: DatabaseSettings) -> int:
    """Return how many rows there are, once the server runs again."""
    if victim.cluster.postmaster_pid() is None or not victim.processes():
        victim.start()
    connection = await asyncpg.connect(settings.dsn())
    try:
        return int(await connection.fetchval("SELECT count(*) FROM kept"))
    finally:
        await connection.close()


@pytest.mark.parametrize("write", [in_transaction, by_itself])
@pytest.mark.parametrize(
    ("force", "words"),
    [(cancel, "canceling wait for synchronous replication"), (terminate, "unknown"), (kill, "unknown")],
)
async def test_a_commit_that_was_not_waited_for_is_neither_kept_nor_lost(
    victim: Victim,
    settings: DatabaseSettings,
    force: Force,
    words: str,
    write: Write,
) -> None:
    """Cancelled it comes back as a success with a warning, ended as an error; the row is there in both cases."""
    writing = asyncio.create_task(write(settings, "x"))
    await force(victim, await waiting_pid(victim))
    with pytest.raises(errors.OutcomeUnknown, match=words) as caught:
        await writing
    assert caught.value.retryable
    assert not isinstance(caught.value, errors.DatabaseError)
    assert await rows(victim, settings) == 1


async def test_a_server_that_does_not_answer_a_commit_in_time_leaves_its_outcome_open(
    settings: DatabaseSettings,
) -> None:
    """The statement's time limit ends the wait here, not there: the commit may still come true."""
    with db.translated(settings):
        connection = await reach.connect(settings, Client("aya-test", 1.0))
        with pytest.raises(errors.OutcomeUnknown, match="no answer"):
            async with outcome.transaction(connection):
                await connection.execute("INSERT INTO kept VALUES ('x')")
        assert connection.is_closed()


async def lost_before(connection: Reached, server: Server, pid: int) -> None:
    """Write, and lose the connection before the commit is sent."""
    async with outcome.transaction(connection):
        await connection.execute("INSERT INTO kept VALUES ('x')")
        await server.run_as_superuser(f"SELECT pg_terminate_backend({pid}, 5000)")
        with suppress(*reach.FAILED):
            await connection.execute("SELECT 1")


async def test_what_never_was_sent_is_known_to_be_lost(victim: Victim, settings: DatabaseSettings) -> None:
    """A connection that ends within the transaction takes it along: a plain failure."""
    await victim.set("synchronous_standby_names", "")
    connection = await reach.connect(settings, CLIENT)
    pid = await connection.fetchval("SELECT pg_backend_pid()")
    with pytest.raises(errors.DatabaseUnavailable), db.translated(settings):
        await lost_before(connection, victim, pid)
    assert await rows(victim, settings) == 0


@pytest.mark.parametrize(
    ("statement", "kind"),
    [
        ("INSERT INTO kept SELECT 1 / 0", errors.DatabaseError),
        ("INSERT INTO nowhere VALUES (1)", errors.SchemaMismatch),
        ("SET TRANSACTION READ ONLY; INSERT INTO kept VALUES ('x')", errors.DatabaseReadOnly),
    ],
)
async def test_what_the_server_refused_is_a_failure(
    settings: DatabaseSettings, statement: str, kind: type[errors.AyaError]
) -> None:
    """An answer is an answer; the connection lives on."""
    connection = await reach.connect(settings, CLIENT)
    try:
        with pytest.raises(kind), db.translated(settings):
            async with outcome.told(connection):
                await connection.execute(statement)
        with pytest.raises(asyncpg.InterfaceError):
            async with outcome.told(connection):
                await connection.execute("SELECT $1::int", 1, 2)
        assert await connection.fetchval("SELECT 1") == 1
    finally:
        connection.terminate()


async def test_a_commit_that_was_acknowledged_is_a_success(victim: Victim, settings: DatabaseSettings) -> None:
    """The outcome is known; a transaction that only reads waits for nobody."""
    async with Database(settings, application_name="aya-test") as opened, opened.transaction(readonly=True) as reading:
        assert await reading.fetchval("SELECT count(*) FROM kept") == 0
    await victim.set("synchronous_standby_names", "")
    await in_transaction(settings, "x")
    assert await rows(victim, settings) == 1


@pytest.mark.parametrize("role", CLIENT_ROLES)
async def test_every_client_waits_for_the_standby_whatever_the_server_would_have_it_do(
    victim: Victim, settings: DatabaseSettings, role: str
) -> None:
    """The server's default is off, which would acknowledge what nobody has flushed; the role's own setting wins."""
    await victim.set("synchronous_commit", "off")
    await victim.set("synchronous_standby_names", "absent")
    connection = await reach.connect(as_role(settings, role, victim.secrets[role]), CLIENT)
    writing = asyncio.create_task(connection.execute("SELECT pg_logical_emit_message(true, 'test', '')"))
    try:
        assert await waiting_pid(victim) == connection.get_server_pid()
    finally:
        connection.terminate()
        await asyncio.gather(writing, return_exceptions=True)


async def test_a_commit_that_the_server_answers_by_rolling_back_is_a_failure(
    victim: Victim, settings: DatabaseSettings
) -> None:
    """An error that was passed over within a transaction spoils it: COMMIT is answered ROLLBACK, and no error comes."""
    await victim.set("synchronous_standby_names", "")
    async with Database(settings, application_name="aya-test") as opened:
        with pytest.raises(errors.DatabaseError, match="rolled the transaction back"):
            await passed_over(opened)
        async with opened.transaction() as connection:
            await connection.execute("INSERT INTO kept VALUES ('the next one')")
    assert await rows(victim, settings) == 1


async def passed_over(opened: Database) -> None:
    """Insert a row, and then take no notice of an error."""
    async with opened.transaction() as connection:
        await connection.execute("INSERT INTO kept VALUES ('x')")
        with suppress(asyncpg.DivisionByZeroError):
            await connection.execute("SELECT 1 / 0")


async def test_one_transaction_is_not_inside_another(settings: DatabaseSettings) -> None:
    """The inner commit would keep what the outer one may yet take back."""
    connection = await reach.connect(settings, CLIENT)
    try:
        async with outcome.transaction(connection, readonly=True):
            with pytest.raises(RuntimeError, match="inside another"):
                async with outcome.transaction(connection):
                    pass
    finally:
        connection.terminate()
