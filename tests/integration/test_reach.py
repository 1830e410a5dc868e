"""One DSN with two servers: who answers and may be written is found, and one that hangs holds nobody up."""

from __future__ import annotations

import asyncio
import time
from contextlib import suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.conftest import free_port
from tests.integration.conftest import Victim

from aya import db, errors, reach
from aya.db import Database
from aya.dsn import DatabaseSettings, writable
from aya.postgres.provision import provision_primary
from aya.reach import Client

pytestmark = pytest.mark.database
CLIENT = Client("aya-test", 30.0)
# Far below the limit of a host: what hangs was not waited for.
AT_ONCE_SECONDS = 2.0


@pytest.fixture
async def both(victim: Victim, database: DatabaseSettings) -> DatabaseSettings:
    """A DSN with the victim first, then the server that is always well."""
    await provision_primary(victim.cluster, victim.secrets, database=database.database)
    first = ("127.0.0.1", victim.cluster.config.port)
    return writable(replace(database, hosts=(first, *database.hosts)))


async def reached(settings: DatabaseSettings) -> tuple[tuple[str, int], float]:
    """Connect and return to which host, and after how many seconds."""
    began = time.monotonic()
    connection = await reach.connect(settings, CLIENT)
    try:
        ((host, port),) = connection.where.hosts
        assert await connection.fetchval("SELECT inet_server_port()") == port
        return (host, port), time.monotonic() - began
    finally:
        await db.close(connection)


async def test_the_first_host_is_the_one_that_is_used(both: DatabaseSettings) -> None:
    """The order is kept as long as the first answers."""
    for _ in range(5):
        assert (await reached(both))[0] == both.hosts[0]


async def test_a_frozen_server_holds_nobody_up(both: DatabaseSettings, victim: Victim) -> None:
    """It takes connections and says nothing: the next is tried beside it after a moment."""
    victim.freeze()
    host, seconds = await reached(both)
    assert host == both.hosts[1]
    assert seconds < AT_ONCE_SECONDS


async def test_a_closed_server_is_passed_by(both: DatabaseSettings, victim: Victim) -> None:
    """A former primary that is fenced is read-only by default: it is no place to write."""
    await victim.set("default_transaction_read_only", "on")
    async with asyncio.timeout(10):
        while (await reached(both))[0] != both.hosts[1]:
            pass  # until the setting has come into force
    reading = replace(both, options=(("target_session_attrs", "any"),))
    assert (await reached(reading))[0] == both.hosts[0]


@pytest.mark.parametrize(("target", "place"), [("prefer-standby", 0), ("read-only", 0), ("primary", 0), ("any", 0)])
async def test_the_other_words_of_libpq_mean_what_they_mean_there(
    both: DatabaseSettings, victim: Victim, target: str, place: int
) -> None:
    """A standby that is preferred but nowhere to be found is done without."""
    await victim.set("default_transaction_read_only", "on")
    async with asyncio.timeout(10):
        while (await reached(both))[0] != both.hosts[1]:
            pass
    assert (await reached(replace(both, options=(("target_session_attrs", target),))))[0] == both.hosts[place]


async def test_a_server_that_is_silent_is_not_the_same_as_none(both: DatabaseSettings, victim: Victim) -> None:
    """Waiting helps when a server answers, or is silent; when all refuse, a person has to start them."""
    down = replace(both, hosts=(both.hosts[0], ("127.0.0.1", free_port())))
    victim.freeze()
    with pytest.raises(errors.NoneAnswers, match="no answer") as caught, db.translated(down):
        await reach.connect(down, CLIENT)
    assert caught.value.retryable
    assert (both.password or "") not in caught.value.message
    victim.thaw()
    victim.cluster.stop("immediate")
    with pytest.raises(errors.DatabaseUnavailable, match="cannot be reached") as refused, db.translated(down):
        await reach.connect(down, CLIENT)
    assert type(refused.value) is errors.DatabaseUnavailable


async def test_a_servers_own_word_comes_before_silence(both: DatabaseSettings) -> None:
    """A wrong password is told, not hidden behind a host that is down."""
    down = replace(both, hosts=(("127.0.0.1", free_port()), both.hosts[0]), password="wrong")
    with pytest.raises(errors.DatabaseRefused, match="password"), db.translated(down):
        await reach.connect(down, CLIENT)


async def test_whoever_is_not_chosen_is_hung_up_on(both: DatabaseSettings, victim: Victim) -> None:
    """A host that answers after the moment leaves no connection behind."""
    victim.freeze()
    connection = await reach.connect(both, CLIENT)
    victim.thaw()
    counted = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'aya-test'"
    here = await asyncpg.connect(replace(both, hosts=(both.hosts[0],)).dsn())
    try:
        async with asyncio.timeout(10):
            while await here.fetchval(counted):
                pass
    finally:
        await here.close()
        await db.close(connection)


async def test_a_statement_on_a_server_that_freezes_is_given_up(both: DatabaseSettings, victim: Victim) -> None:
    """Within seconds, not after the minute that a statement may take; and the next one runs elsewhere."""
    async with Database(both, application_name="aya-test") as opened:
        async with opened.connection() as connection:
            assert await connection.fetchval("SELECT inet_server_port()") == both.hosts[0][1]
        victim.freeze()
        began = time.monotonic()
        with pytest.raises(errors.DatabaseUnavailable):
            async with opened.transaction() as connection:
                await connection.fetchval("SELECT 1")
        assert time.monotonic() - began < 3 * (reach.LOOK_SECONDS + reach.HOST_SECONDS)
        async with opened.connection() as connection:
            assert await connection.fetchval("SELECT inet_server_port()") == both.hosts[1][1]


async def test_a_statement_that_only_takes_long_is_left_alone(both: DatabaseSettings) -> None:
    """The server answers others, so it is well."""
    async with Database(both, application_name="aya-test") as opened, opened.connection() as connection:
        assert await connection.fetchval("SELECT 7 FROM pg_sleep(2.5)") == 7


async def test_a_statement_waits_for_no_server_that_was_closed(both: DatabaseSettings, victim: Victim) -> None:
    """A fenced primary, cut off from its standby, would have a commit wait for ever."""
    async with Database(both, application_name="aya-test") as opened:
        waiting = asyncio.create_task(_sleep(opened))
        await asyncio.sleep(0.2)
        await victim.set("default_transaction_read_only", "on")
        with pytest.raises(errors.DatabaseUnavailable):
            await asyncio.wait_for(waiting, 10)


async def _sleep(opened: Database) -> None:
    async with opened.connection() as connection:
        await connection.execute("SELECT pg_sleep(50)")


async def test_who_gives_up_leaves_at_once_also_when_the_server_hangs(both: DatabaseSettings, victim: Victim) -> None:
    """To cancel would be to ask the server that does not answer."""
    async with Database(both, application_name="aya-test") as opened:
        waiting = asyncio.create_task(_sleep(opened))
        await asyncio.sleep(0.3)
        victim.freeze()
        began = time.monotonic()
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
    assert time.monotonic() - began < AT_ONCE_SECONDS


async def test_a_pool_leaves_a_server_that_was_closed_with_all_its_connections(
    both: DatabaseSettings, victim: Victim
) -> None:
    """The first write is refused; from then on no connection to the former primary is lent."""
    async with Database(both, application_name="aya-test") as opened:
        async with opened.connection(), opened.connection(), opened.connection():
            pass  # three to the first server
        await victim.set("default_transaction_read_only", "on")
        async with asyncio.timeout(10):
            while await _port(opened) == both.hosts[0][1]:
                pass
        async with opened.connection() as one, opened.connection() as two, opened.connection() as three:
            ports = [await each.fetchval("SELECT inet_server_port()") for each in (one, two, three)]
        assert ports == [both.hosts[1][1]] * 3


async def _port(opened: Database) -> int:
    try:
        async with opened.transaction() as connection:
            await connection.execute("CREATE TABLE IF NOT EXISTS here ()")
            return int(await connection.fetchval("SELECT inet_server_port()"))
    except errors.DatabaseReadOnly:
        return 0


async def test_the_recipe_for_asyncpg_passes_by_what_is_frozen_or_closed(
    both: DatabaseSettings, victim: Victim
) -> None:
    """As docs/clients.md has it, through a pool."""
    text = (Path(__file__).parents[2] / "docs" / "clients.md").read_text(encoding="utf-8")
    names: dict[str, Any] = {"asyncpg": asyncpg, "suppress": suppress, "hosts": both.hosts, "database": both.database}
    names |= {"user": both.user, "password": both.password}
    exec(text.split("```python\n")[1].split("```")[0], names)  # noqa: S102 - our own page
    async with asyncpg.create_pool(min_size=0, connect=names["connect"]) as pool:
        assert await pool.fetchval("SELECT inet_server_port()") == both.hosts[0][1]
        await victim.set("default_transaction_read_only", "on")
        async with asyncio.timeout(10):
            while await _port_of(pool) != both.hosts[1][1]:
                await pool.expire_connections()
        victim.freeze()
        await pool.expire_connections()
        assert await _port_of(pool) == both.hosts[1][1]


async def _port_of(pool: asyncpg.Pool[asyncpg.Record]) -> int:
    return int(await pool.fetchval("SELECT inet_server_port()"))
