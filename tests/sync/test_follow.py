"""AIR follows whoever leads: a failover, one that lost a commit, and a former primary that comes back."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from tests.conftest import Server
from tests.integration.two_servers import Two, two_servers
from tests.sync.conftest import Pair

from aya import migrations
from aya.dsn import DatabaseSettings
from aya.postgres.config import SYNC_ROLE

pytestmark = [pytest.mark.database, pytest.mark.timeout(120)]


@dataclass
class Followed(Pair):
    """AIR beside two servers that change places."""

    two: Two


@pytest.fixture
async def followed(
    server: Server, empty_database: DatabaseSettings, public_directory: Path, request: pytest.FixtureRequest
) -> AsyncIterator[Followed]:
    """A primary, the standby that it waits for, and AIR, each on a server of its own."""
    await migrations.migrate(empty_database, node="air")
    directory = public_directory / f"follow-{request.node.name[:20]}"
    directory.mkdir(mode=0o755)
    made = two_servers(server, directory)
    two = await asyncio.to_thread(made.__enter__)
    try:
        yield Followed(two.settings(), empty_database, (two.secrets[SYNC_ROLE], server.secrets[SYNC_ROLE]), two)
    finally:
        await asyncio.to_thread(made.__exit__, None, None, None)


async def test_a_failover_is_followed(followed: Followed) -> None:
    """What was written before it and after it is on AIR, and what AIR writes arrives at the new primary."""
    async with followed.syncing():
        await followed.at_primary("INSERT INTO documents (content) VALUES ('before')")
        await followed.at_rest()
        await followed.two.move()
        await followed.at_primary("INSERT INTO documents (content) VALUES ('after')")
        await followed.at_air("INSERT INTO documents (content) VALUES ('from air')")
        await followed.at_air("DELETE FROM index_queue")
        await followed.at_rest()
        assert len(await followed.at_primary("SELECT FROM documents")) == 3
        assert [row["timeline"] for row in await followed.at_air("SELECT timeline FROM sync_state")] == [2]


async def test_a_commit_that_the_failover_lost_is_not_lost_on_air(followed: Followed) -> None:
    """The old primary showed a commit that the standby never had (its wait was cancelled): AIR has it, and sends it.

    The new primary gives the same transaction number to another commit: that one is on AIR, too.
    """
    async with followed.syncing():
        await followed.at_primary("INSERT INTO documents (content) VALUES ('before')")
        await followed.at_rest()
        await asyncio.sleep(6)  # the ring keeps a cursor every five seconds
        await followed.at_primary("INSERT INTO documents (content) VALUES ('just before')")
        await followed.at_rest()
        await asyncio.to_thread(followed.two.beta.stop, "immediate")
        await followed.at_primary_alone("INSERT INTO documents (content) VALUES ('only on alpha')")
        await followed.until("SELECT FROM documents WHERE content = 'only on alpha'")
        await asyncio.to_thread(followed.two.alpha.stop, "immediate")
        await asyncio.to_thread(followed.two.beta.start, followed.two.beta.data_directory.with_name("beta.log"))
        await asyncio.to_thread(
            followed.two.beta.run_tool, "pg_ctl", "promote", "--wait",
            f"--pgdata={followed.two.beta.data_directory}", "--silent",
        )  # fmt: skip
        # It gives the lost document's number to another one.
        (lost,) = await followed.at_air("SELECT id FROM documents WHERE content = 'only on alpha'")
        await followed.at_primary("SELECT setval('documents_id_seq', $1, false)", lost["id"])
        await followed.at_primary("INSERT INTO documents (content) VALUES ('only on beta')")
        await followed.at_rest()
    found = sorted(row["content"] for row in await followed.at_primary("SELECT content FROM documents"))
    assert found == ["before", "just before", "only on alpha", "only on beta"]


async def test_a_former_primary_is_refused(followed: Followed) -> None:
    """It is on a lower timeline: nothing is fetched from it, nothing is sent to it, and the copy says why."""
    async with followed.syncing():
        await followed.at_primary("INSERT INTO documents (content) VALUES ('before')")
        await followed.at_rest()
        await followed.two.move()
        await followed.at_primary("INSERT INTO documents (content) VALUES ('after')")
        await followed.at_rest()
        await asyncio.to_thread(followed.two.beta.stop, "immediate")
        await asyncio.to_thread(followed.two.alpha.start, followed.two.alpha.data_directory.with_name("alpha.log"))
        await followed.until("SELECT FROM sync_state WHERE error LIKE '%timeline 1%'")
        assert len(await followed.at_air("SELECT FROM documents")) == 2
