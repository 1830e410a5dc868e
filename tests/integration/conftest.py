"""A knowledge base of its own for each test: real PostgreSQL, real vectors."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import psutil
import pytest
from tests.conftest import Server, free_port

from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.knowledge.binding import bind
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher
from aya.postgres.cluster import SUPERUSER
from aya.postgres.provision import provision_primary


@dataclass(frozen=True)
class Knowledge:
    """What the document verbs work with."""

    settings: DatabaseSettings
    database: Database
    embedder: EmbedderClient
    documents: Documents
    searcher: Searcher


@pytest.fixture
async def knowledge(database: DatabaseSettings, embedder_url: str) -> AsyncIterator[Knowledge]:
    """A migrated database bound to MiniLM, with its documents and its search."""
    async with Database(database, application_name="aya-test") as pool, EmbedderClient(embedder_url) as embedder:
        await bind(database, await embedder.identity())
        documents = Documents(pool, embedder)
        yield Knowledge(database, pool, embedder, documents, Searcher(pool, embedder, documents))


class Victim(Server):
    """A server to freeze, to close and to kill; its roles have the passwords of the other one."""

    def processes(self) -> list[psutil.Process]:
        """Return its postmaster and all that it started."""
        pid = self.cluster.postmaster_pid()
        if pid is None:
            return []
        postmaster = psutil.Process(pid)
        return [postmaster, *postmaster.children(recursive=True)]

    def freeze(self) -> None:
        """Stop all of it (SIGSTOP): it neither answers nor hangs up."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.suspend()

    def thaw(self) -> None:
        """Let it go on."""
        for process in self.processes():
            with suppress(psutil.NoSuchProcess):
                process.resume()

    def kill(self) -> None:
        """End all of it at once (kill -9), and wait until it is gone."""
        killed = self.processes()
        for process in killed:
            with suppress(psutil.NoSuchProcess):
                process.kill()
        psutil.wait_procs(killed, timeout=10)

    def start(self) -> None:
        """Start it again."""
        self.cluster.start(self.cluster.data_directory.with_name("postgres.log"))

    async def set(self, name: str, value: str) -> None:
        """Change a setting, for everybody from now on."""
        await self.run_as_superuser(f"ALTER SYSTEM SET {name} = '{value}'")
        await self.run_as_superuser("SELECT pg_reload_conf()")


@pytest.fixture(scope="module")
def _victim(server: Server, public_directory: Path, request: pytest.FixtureRequest) -> Iterator[Victim]:
    directory = public_directory / f"victim-{request.path.stem}"
    config = replace(server.cluster.config, port=free_port())
    made = Victim(replace(server.cluster, data_directory=directory / "data", config=config), server.secrets)
    made.cluster.create(made.secrets[SUPERUSER])
    made.start()
    try:
        asyncio.run(provision_primary(made.cluster, made.secrets))
        yield made
    finally:
        made.thaw()
        made.cluster.stop("immediate")


@pytest.fixture
async def victim(_victim: Victim) -> AsyncIterator[Victim]:
    """A server of its own for a file of tests, whole again after each."""
    yield _victim
    _victim.thaw()
    if _victim.cluster.postmaster_pid() is None:
        _victim.start()
    for name in ("synchronous_standby_names", "synchronous_commit", "default_transaction_read_only"):
        await _victim.run_as_superuser(f"ALTER SYSTEM RESET {name}")
    await _victim.run_as_superuser("SELECT pg_reload_conf()")
