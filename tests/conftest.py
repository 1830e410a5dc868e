"""The database of the tests: a real PostgreSQL, one migrated template, one database per test.

AYA_TEST_SERVER chooses the server: the embedded one (embedded, or unset), or a container by testcontainers (docker),
for which an engine must answer. AYA_PG_MAJOR is its major version, 18 when unset.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Generator, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from types import FrameType
from typing import Literal

import asyncpg
import pytest
from testcontainers.community.postgres import PostgresContainer

from aya import migrations
from aya.dsn import OWNER, DatabaseSettings
from aya.home import Home
from aya.postgres import binaries, privileges
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import ClusterConfig, initdb_options
from aya.postgres.provision import new_secrets, owner_settings, provision_primary, superuser_settings
from aya.processes import ports
from aya.settings import Config


def _hear(signum: int, frame: FrameType | None) -> None:
    """Hear a signal and do nothing."""
    del signum, frame


# A shell without job control starts background jobs with SIGINT ignored, nohup with SIGHUP, and so would be every
# process that the tests start; those that send them could not tell a broken handler from a deaf process. A signal that
# is handled here is back to its default there (execve(2)).
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
if signal.getsignal(signal.SIGHUP) is signal.SIG_IGN:
    signal.signal(signal.SIGHUP, _hear)

TEMPLATE = "aya_template"
_NUMBERS = itertools.count(1)


@dataclass(frozen=True)
class Server:
    """A running PostgreSQL and the passwords of its roles.

    cluster: where it listens, and the embedded programs of its major version (pg_dump); it has a data directory on
    this machine only when the server is the embedded one.
    """

    cluster: Cluster
    secrets: dict[str, str]

    def settings(self, database: str, role: str = OWNER) -> DatabaseSettings:
        """Return how `role` reaches `database`."""
        return replace(owner_settings(self.cluster, self.secrets, database), user=role, password=self.secrets[role])

    async def run_as_superuser(self, statement: str) -> None:
        """Run one statement in the maintenance database."""
        connection = await asyncpg.connect(superuser_settings(self.cluster, self.secrets[SUPERUSER]).dsn())
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


_GIVEN: set[int] = set()


def free_port() -> int:
    """Return a TCP port that was free a moment ago, and that no client is ever given for its own side."""
    port = ports.choose(_GIVEN, secrets.token_hex(8))
    _GIVEN.add(port)
    return port


@pytest.fixture(scope="session")
def public_directory() -> Iterator[Path]:
    """A directory that PostgreSQL's unprivileged user may enter (pytest's own are mode 700)."""
    directory = Path(tempfile.mkdtemp(prefix="aya-test-"))
    directory.chmod(0o755)
    yield directory
    shutil.rmtree(directory)


def chosen_server(environ: Mapping[str, str]) -> Literal["docker", "embedded"]:
    """Return which server AYA_TEST_SERVER asks for; a word that is neither is an error, not the default."""
    match environ.get("AYA_TEST_SERVER") or "embedded":
        case "docker":
            return "docker"
        case "embedded":
            return "embedded"
        case other:
            pytest.fail(f"AYA_TEST_SERVER is {other!r}; it may be docker or embedded", pytrace=False)


@pytest.fixture(scope="session")
def server(public_directory: Path) -> Iterator[Server]:
    """A PostgreSQL with the roles, and a migrated template database; in a container when that was asked for."""
    home = Home(public_directory)
    user = privileges.run_as(home.data_directory("alpha"))
    config = Config(postgres_major=int(os.environ.get("AYA_PG_MAJOR", "18")))
    cluster = Cluster(
        binaries=binaries.resolve(config, home, user),
        data_directory=home.data_directory("alpha"),
        config=ClusterConfig(port=free_port(), socket_directory=home.runtime_directory),
        user=user,
    )
    run = in_container if chosen_server(os.environ) == "docker" else _embedded
    with run(Server(cluster, new_secrets({}))) as running:
        asyncio.run(_make_template(running))
        yield running


@contextmanager
def _embedded(server: Server) -> Generator[Server]:
    """Create and run the cluster that `server` describes."""
    cluster = server.cluster
    cluster.create(server.secrets[SUPERUSER])
    with (cluster.data_directory / "postgresql.conf").open("a") as settings:
        # Throw-away clusters: the tests of durability make their own.
        settings.write("fsync = off\nfull_page_writes = off\n")
    cluster.start(cluster.data_directory.with_name("postgres.log"))
    try:
        yield server
    finally:
        cluster.stop("immediate")


@contextmanager
def in_container(server: Server) -> Generator[Server]:
    """Run the same major version in a container, made with our initdb options, and return where it listens."""
    _require_engine()
    major = server.cluster.binaries.major
    container = PostgresContainer(
        f"pgvector/pgvector:pg{major}", username=SUPERUSER, password=server.secrets[SUPERUSER], dbname=SUPERUSER
    )
    container.with_env("POSTGRES_INITDB_ARGS", " ".join(initdb_options(major)))
    container.with_command("postgres -c fsync=off -c full_page_writes=off")
    with container:
        address = container.get_container_host_ip(), int(container.get_exposed_port(5432))
        config = replace(server.cluster.config, addresses=(address[0],), port=address[1])
        yield replace(server, cluster=replace(server.cluster, config=config))


def _require_engine() -> None:
    """Fail in one sentence when no Docker engine answers; asked by a process of its own, for it leaks its socket."""
    code = "from testcontainers.core.docker_client import DockerClient; DockerClient().client.ping()"
    asked = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    if asked.returncode != 0:
        said = (asked.stderr.strip().splitlines() or [f"exit code {asked.returncode}"])[-1]
        pytest.fail(
            f"AYA_TEST_SERVER=docker, but no Docker engine answers ({said}); start one, or unset AYA_TEST_SERVER"
            " for the embedded PostgreSQL",
            pytrace=False,
        )


async def _make_template(server: Server) -> None:
    await provision_primary(server.cluster, server.secrets, database=TEMPLATE)
    await migrations.migrate(server.settings(TEMPLATE), node="alpha")


@pytest.fixture(scope="session")
def embedder_url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The real embedding service with MiniLM, in a process of its own."""
    port = free_port()
    log_file = tmp_path_factory.mktemp("embedder") / "embedder.log"
    environment = {**os.environ, "AYA_EMBEDDER_PORT": str(port), "AYA_MODEL": "minilm"}
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "aya_embedder"], env=environment, stdout=log, stderr=log)
    try:
        await_healthy(f"http://127.0.0.1:{port}/health", process, log_file)
        yield f"http://127.0.0.1:{port}"
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=20)


def await_healthy(url: str, process: subprocess.Popen[bytes], log_file: Path, *, seconds: float = 60) -> None:
    """Wait until `url` answers 200; fail with the log's last words when the process ends or the time is up."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline and process.poll() is None:
        try:
            with urllib.request.urlopen(url, timeout=2):  # noqa: S310 - our own loopback address
                return
        except (urllib.error.URLError, TimeoutError):
            time.sleep(0.05)
    pytest.fail(f"{url} does not answer: {log_file.read_text(encoding='utf-8')[-2000:]}")


@pytest.fixture
async def database(server: Server) -> AsyncIterator[DatabaseSettings]:
    """A migrated database of its own for one test, entered as its owner."""
    name = f"aya_test_{next(_NUMBERS)}"
    await server.run_as_superuser(f"CREATE DATABASE {name} OWNER {OWNER} TEMPLATE {TEMPLATE}")
    yield server.settings(name)
    await server.run_as_superuser(f"DROP DATABASE {name} WITH (FORCE)")


@pytest.fixture
async def empty_database(server: Server) -> AsyncIterator[DatabaseSettings]:
    """A database with pgvector and no schema."""
    name = f"aya_test_{next(_NUMBERS)}"
    await provision_primary(server.cluster, server.secrets, database=name)
    yield server.settings(name)
    await server.run_as_superuser(f"DROP DATABASE {name} WITH (FORCE)")
