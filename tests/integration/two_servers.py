"""A primary and the standby that it waits for, without watchdogs: what changes places here does so by hand."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
from tests.conftest import Server, free_port

from aya import migrations
from aya.dsn import DEFAULT_DATABASE, OWNER, DatabaseSettings, writable
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import Guard, slot_name
from aya.postgres.provision import new_secrets, owner_settings, provision_primary, superuser_settings


@dataclass(frozen=True)
class Two:
    """Both, running."""

    alpha: Cluster
    beta: Cluster
    secrets: dict[str, str]

    def settings(self, *order: Cluster, role: str = OWNER) -> DatabaseSettings:
        """Return the DSN with both servers, alpha first unless told otherwise."""
        hosts = tuple(("127.0.0.1", cluster.config.port) for cluster in order or (self.alpha, self.beta))
        return writable(DatabaseSettings(hosts, DEFAULT_DATABASE, role, self.secrets[role]))

    async def run(self, cluster: Cluster, *statements: str) -> None:
        """Run statements as superuser, one by one."""
        connection = await asyncpg.connect(superuser_settings(cluster, self.secrets[SUPERUSER]).dsn())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def run_in_base(self, *statements: str) -> None:
        """Run statements as the knowledge base's owner, on alpha."""
        connection = await asyncpg.connect(self.settings(self.alpha).dsn())
        try:
            for statement in statements:
                await connection.execute(statement)
        finally:
            await connection.close()

    async def until(self, cluster: Cluster, query: str) -> None:
        """Wait until a query, on a new connection each time, returns something that is true."""
        settings = superuser_settings(cluster, self.secrets[SUPERUSER])
        async with asyncio.timeout(30):
            while True:
                connection = await asyncpg.connect(settings.dsn())
                try:
                    if await connection.fetchval(query):
                        return
                    await connection.execute("SELECT pg_sleep(0.02)")
                finally:
                    await connection.close()

    async def close(self, cluster: Cluster, *, to_clients: bool) -> None:
        """Close a server to those who write, as its watchdog does, or open it again."""
        value = "on" if to_clients else "off"
        await self.run(cluster, f"ALTER SYSTEM SET default_transaction_read_only = {value}", "SELECT pg_reload_conf()")
        await self.until(cluster, f"SELECT current_setting('default_transaction_read_only') = '{value}'")

    async def move(self) -> None:
        """Stop alpha without a word, and promote beta."""
        await asyncio.to_thread(self.alpha.stop, "immediate")
        await asyncio.to_thread(
            self.beta.run_tool, "pg_ctl", "promote", "--wait", f"--pgdata={self.beta.data_directory}", "--silent"
        )


@contextmanager
def two_servers(server: Server, directory: Path) -> Generator[Two]:
    """Make both, with roles and schema, alpha's commits waiting for beta."""

    def cluster(name: str) -> Cluster:
        config = replace(server.cluster.config, port=free_port())
        return replace(server.cluster, data_directory=directory / name / "data", config=config)

    two = Two(cluster("alpha"), cluster("beta"), new_secrets({}))
    log_file = directory / "postgres.log"
    two.alpha.create(two.secrets[SUPERUSER])
    two.alpha.start(log_file)
    try:
        asyncio.run(_fill(two))
        alpha, password = two.alpha.config, two.secrets["aya_replica_beta"]
        two.beta.create_standby(alpha, password, "beta")
        upstream = two.beta.upstream(alpha.addresses, alpha.port, password, "beta")
        # Nobody opens it when it is promoted here: there is no watchdog.
        two.beta.guard(Guard(read_only=False, upstream=upstream, slot=slot_name("beta")))
        two.beta.start(log_file)
        asyncio.run(_wait_for(two))
        yield two
    finally:
        for each in (two.beta, two.alpha):
            each.stop("immediate")


async def _fill(two: Two) -> None:
    await provision_primary(two.alpha, two.secrets)
    await migrations.migrate(owner_settings(two.alpha, two.secrets), node="alpha")


async def _wait_for(two: Two) -> None:
    await two.run(two.alpha, "ALTER SYSTEM SET synchronous_standby_names = 'FIRST 1 (beta)'", "SELECT pg_reload_conf()")
    await two.until(two.alpha, "SELECT count(*) FROM pg_stat_replication WHERE sync_state = 'sync'")
