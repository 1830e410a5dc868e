"""What the driver itself does with several hosts, on real servers: what aya.reach builds on, and why it is there.

Should a later asyncpg do otherwise, one of these says so.
"""

from __future__ import annotations

import socket
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import Server, free_port
from tests.integration.two_servers import Two, two_servers

from aya.dsn import TARGET, DatabaseSettings

pytestmark = [pytest.mark.database, pytest.mark.slow]
_REFUSED = (asyncpg.TargetServerAttributeNotMatched, OSError)


@pytest.fixture(scope="module")
def _two(server: Server, public_directory: Path) -> Iterator[Two]:
    with two_servers(server, public_directory / "asyncpg-hosts") as made:
        yield made


@pytest.fixture
async def two(_two: Two) -> AsyncIterator[Two]:
    """A primary that is open, and its standby."""
    yield _two
    await _two.close(_two.alpha, to_clients=False)


def asking(settings: DatabaseSettings, target: str) -> DatabaseSettings:
    """Return the same, with that target_session_attrs."""
    return replace(settings, options=((TARGET, target),))


async def port(settings: DatabaseSettings, seconds: float = 10.0) -> int:
    """Return the port of the server that the driver chooses."""
    connection = await asyncpg.connect(settings.dsn(), timeout=seconds)
    try:
        return int(await connection.fetchval("SELECT inet_server_port()"))
    finally:
        await connection.close()


@pytest.mark.parametrize("target", ["read-write", "primary"])
async def test_a_standby_is_passed_by(two: Two, target: str) -> None:
    """Whichever comes first."""
    for order in ((two.alpha, two.beta), (two.beta, two.alpha)):
        assert await port(asking(two.settings(*order), target)) == two.alpha.config.port


@pytest.mark.parametrize("target", ["standby", "prefer-standby", "read-only"])
async def test_a_primary_is_passed_by(two: Two, target: str) -> None:
    """By who wants to read elsewhere."""
    assert await port(asking(two.settings(), target)) == two.beta.config.port


async def test_a_closed_primary_is_passed_by_with_read_write_only(two: Two) -> None:
    """To `primary` it is one as before: that word would lead to the server that must not be written."""
    await two.close(two.alpha, to_clients=True)
    assert await port(asking(two.settings(), "primary")) == two.alpha.config.port
    with pytest.raises(asyncpg.TargetServerAttributeNotMatched):
        await port(asking(two.settings(), "read-write"))


async def test_a_setting_of_the_sessions_own_opens_what_is_closed(two: Two) -> None:
    """An option that the driver does not know is such a setting; so aya.pins refuses it in a DSN."""
    await two.close(two.alpha, to_clients=True)
    opened = replace(two.settings(), options=((TARGET, "read-write"), ("default_transaction_read_only", "off")))
    assert await port(opened) == two.alpha.config.port


async def test_a_server_that_is_down_is_passed_by(two: Two) -> None:
    """It refuses, and the next is asked."""
    settings = two.settings()
    down = replace(settings, hosts=(("127.0.0.1", free_port()), settings.hosts[0]))
    assert await port(down) == two.alpha.config.port
    with pytest.raises(_REFUSED):
        await port(replace(down, hosts=(down.hosts[0], settings.hosts[1])))


async def test_a_silent_server_uses_up_the_time_of_all(two: Two) -> None:
    """The limit is for the whole list: the second host is never asked, and that is why aya.reach asks one by one."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        settings = two.settings()
        hosts = (silent.getsockname(), *settings.hosts)
        began = time.monotonic()
        with pytest.raises(TimeoutError):
            await port(replace(settings, hosts=hosts), seconds=1.0)
        assert time.monotonic() - began >= 1.0
