"""TLS between real servers. The embedded one has none: these are a distribution's, of whatever major it has."""

from __future__ import annotations

import asyncio
import os
import shutil
import ssl
import stat
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import free_port
from tests.integration.test_postgres_entry import ELSEWHERE, from_elsewhere

from aya import certificates
from aya.dsn import DatabaseSettings
from aya.postgres import privileges
from aya.postgres.binaries import Binaries
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import ClusterConfig, TlsFiles, replication_role, slot_name
from aya.postgres.provision import superuser_settings
from aya.postgres.tls import has_tls

PASSWORD = "only of this test"
INSTALLED = [file.parent for file in sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_config")) if has_tls(str(file))]
# CI runs on a machine that has one.
NEEDED = os.environ.get("CI") == "true" and sys.platform == "linux"

pytestmark = [
    pytest.mark.database,
    pytest.mark.skipif(not INSTALLED and not NEEDED, reason="no PostgreSQL with TLS in /usr/lib/postgresql"),
]


@dataclass(frozen=True)
class Servers:
    """The primary and its standby, and the directories of their certificates. stranger: of another authority."""

    folder: Path
    primary: Cluster
    standby: Cluster
    stranger: Path

    def settings(self, *options: tuple[str, str], database: str = "postgres") -> DatabaseSettings:
        """Return how the superuser enters the primary."""
        return replace(superuser_settings(self.primary, PASSWORD, database), options=options)

    @property
    def authority(self) -> str:
        """Return the certificate by which the servers are known."""
        return str(self.folder / "alpha" / "agent" / "ca.pem")


@pytest.fixture(scope="module")
def servers() -> Iterator[Servers]:
    """A primary that runs, with certificates for both."""
    if not INSTALLED:
        pytest.fail("CI needs a PostgreSQL with TLS: apt-get install postgresql", pytrace=False)
    folder = Path(tempfile.mkdtemp(prefix="aya-tls-"))
    folder.chmod(0o755)
    agents = {node: folder / node / "agent" for node in ("alpha", "beta")}
    for agent in agents.values():
        agent.parent.mkdir(mode=0o755)
    certificates.make(folder / "authority", agents)
    certificates.make(folder / "others", {"alpha": folder / "stranger"})
    found = Binaries(INSTALLED[-1], INSTALLED[-1].parent.name)
    primary, standby = (described(found, folder / node) for node in ("alpha", "beta"))
    try:
        primary.create(PASSWORD)
        primary.start(folder / "alpha.log")
        asyncio.run(prepare(primary))
        yield Servers(folder, primary, standby, folder / "stranger")
    finally:
        for each in (primary, standby):
            if each.exists():
                each.stop("immediate")
        shutil.rmtree(folder)


def described(found: Binaries, directory: Path) -> Cluster:
    """Return a cluster that need not exist, on a free port, with its certificates."""
    identity = certificates.identity(directory / "agent")
    tls = TlsFiles(identity.authority, identity.certificate, identity.key, directory)
    listening = ClusterConfig(
        free_port(), directory / "sockets", ("*",), neighbours=(("127.0.0.1", "beta"),), clients=(ELSEWHERE,), tls=tls
    )
    return Cluster(found, directory / "data", listening, privileges.run_as(directory / "data"))


async def prepare(primary: Cluster) -> None:
    """Make what a standby needs."""
    connection = await asyncpg.connect(superuser_settings(primary, PASSWORD).dsn())
    await connection.execute(f"CREATE ROLE {replication_role('beta')} LOGIN REPLICATION PASSWORD '{PASSWORD}'")
    await connection.execute("SELECT pg_create_physical_replication_slot($1)", slot_name("beta"))
    await connection.close()


async def tls_of(settings: DatabaseSettings) -> str:
    """Enter, and return the version of TLS that is spoken."""
    connection = await asyncpg.connect(settings.dsn(), timeout=20)
    try:
        return str(await connection.fetchval("SELECT version FROM pg_stat_ssl WHERE pid = pg_backend_pid()"))
    finally:
        await connection.close()


async def test_nobody_enters_from_another_machine_without_tls(servers: Servers) -> None:
    """Not even with the right password, which is not asked for."""
    async with from_elsewhere(servers.settings(("sslmode", "disable"))) as there:
        with pytest.raises(asyncpg.InvalidAuthorizationSpecificationError, match="no encryption"):
            await tls_of(there)
    async with from_elsewhere(servers.settings(("sslmode", "verify-ca"), ("sslrootcert", servers.authority))) as there:
        assert await tls_of(there) == "TLSv1.3"


async def test_a_server_that_our_authority_does_not_know_is_refused(servers: Servers) -> None:
    """Before the password's proof is sent."""
    options = ("sslmode", "verify-ca"), ("sslrootcert", str(servers.stranger / "ca.pem"))
    async with from_elsewhere(servers.settings(*options)) as there:
        with pytest.raises(ssl.SSLCertVerificationError):
            await tls_of(there)


async def test_an_old_protocol_is_refused(servers: Servers) -> None:
    """TLS 1.1 and below."""
    context = ssl.create_default_context(cafile=servers.authority)
    context.check_hostname = False
    with pytest.deprecated_call():
        context.minimum_version = context.maximum_version = ssl.TLSVersion.TLSv1_1
    context.set_ciphers("ALL:@SECLEVEL=0")
    settings = servers.settings()
    ((host, port),) = settings.hosts
    with pytest.raises((ssl.SSLError, ConnectionError)):
        await asyncpg.connect(host=host, port=port, user=SUPERUSER, password=PASSWORD, ssl=context, timeout=20)


def test_the_key_is_postgresqls_alone(servers: Servers) -> None:
    """Mode 600; without it the server would not start."""
    tls = servers.primary.config.tls
    assert tls is not None
    key = tls.copies[2][1]
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert key.stat().st_uid == (servers.primary.data_directory).stat().st_uid


async def test_a_standby_streams_by_tls_and_from_nobody_else(servers: Servers) -> None:
    """Copied and followed over TLS; a primary with another authority's certificate gives it nothing."""
    standby, log = servers.standby, servers.folder / "beta.log"
    standby.create_standby(replace(servers.primary.config, addresses=("127.0.0.1",)), PASSWORD, "beta")
    standby.start(log)
    streaming = (
        "SELECT s.ssl FROM pg_stat_replication r JOIN pg_stat_ssl s USING (pid) WHERE r.application_name = 'beta'"
    )
    connection = await asyncpg.connect(servers.settings().dsn())
    try:
        while (found := await connection.fetchval(streaming)) is None:  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.05)
        assert found is True
    finally:
        await connection.close()
    servers.primary.stop()
    tls = servers.primary.config.tls
    assert tls is not None
    for name, (_, copy) in zip(("ca.pem", "cert.pem", "key.pem"), tls.copies, strict=True):
        copy.write_bytes((servers.stranger / name).read_bytes())
    servers.primary.start(servers.folder / "alpha.log")
    while "certificate verify failed" not in log.read_text():  # noqa: ASYNC110 - another process
        await asyncio.sleep(0.05)
    connection = await asyncpg.connect(servers.settings().dsn())
    try:
        assert await connection.fetchval(streaming) is None
    finally:
        await connection.close()
