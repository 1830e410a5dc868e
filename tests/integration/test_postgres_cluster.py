"""Clusters for real: made, looked into, stopped, moved, followed, and refused in words."""

from __future__ import annotations

import asyncio
import os
import pwd
import re
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Generator, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from importlib.machinery import ModuleSpec
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import free_port

from aya.errors import ConfigError, PostgresError
from aya.home import Home, Node
from aya.postgres import binaries, holders, lockfile, privileges, run
from aya.postgres.binaries import Binaries
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import ClusterConfig, host_access_text, replication_role
from aya.postgres.provision import new_secrets, provision_primary, superuser_settings
from aya.settings import Config

pytestmark = pytest.mark.database

MAJOR = int(os.environ.get("AYA_PG_MAJOR", "18"))
OTHER = {16: 18, 18: 16}
PASSWORD = 'it\'s "secret" \\ ü'
AS_ROOT = os.geteuid() == 0
only_root = pytest.mark.skipif(not AS_ROOT, reason="only root becomes somebody else")


@dataclass(frozen=True)
class Made:
    """A running cluster of this module's own."""

    cluster: Cluster
    log: Path

    async def ask(self, query: str, *arguments: object, password: str = PASSWORD) -> object:
        """Return the first value that a query answers to the superuser."""
        connection = await asyncpg.connect(superuser_settings(self.cluster, password).dsn())
        try:
            return await connection.fetchval(query, *arguments)
        finally:
            await connection.close()

    async def until(self, query: str, *arguments: object) -> None:
        """Wait until a query answers true; the suite's timeout ends a vain wait."""
        while True:
            if await self.ask(query, *arguments):
                return
            await asyncio.sleep(0.02)


def described(directory: Path, name: str = "alpha") -> Cluster:
    """Return a cluster that need not exist, on a free port."""
    home = Home(directory)
    user = privileges.run_as(home.data_directory(name))
    found = binaries.resolve(Config(postgres_major=MAJOR), home, user)
    return Cluster(found, home.data_directory(name), ClusterConfig(free_port(), home.runtime_directory / name), user)


def until(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds; the suite's timeout ends a vain wait."""
    while not condition():
        time.sleep(0.02)


@contextmanager
def running(cluster: Cluster) -> Generator[Made]:
    """Run a cluster for as long as the block lasts."""
    log = cluster.data_directory.with_name("server.log")
    cluster.start(log)
    try:
        yield Made(cluster, log)
    finally:
        cluster.stop("immediate")


@pytest.fixture
def directory() -> Iterator[Path]:
    """A short path that PostgreSQL's user may enter."""
    folder = Path(tempfile.mkdtemp(prefix="aya-pg-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


@pytest.fixture(scope="module")
def made() -> Iterator[Made]:
    """One cluster for all the tests that only look."""
    folder = Path(tempfile.mkdtemp(prefix="aya-pg-"))
    folder.chmod(0o755)
    cluster = described(folder)
    cluster.create(PASSWORD)
    with running(cluster) as found:
        yield found
    shutil.rmtree(folder)


# Made


def test_a_cluster_belongs_to_a_user_without_rights(made: Made) -> None:
    """Its directory is closed to all others, and nothing of it runs as root."""
    data = made.cluster.data_directory
    assert (data / "PG_VERSION").read_text().strip() == str(MAJOR)
    assert stat.S_IMODE(data.stat().st_mode) == 0o700
    pid = made.cluster.postmaster_pid()
    assert pid is not None
    owner = subprocess.run(
        ["/bin/ps", "-o", "user=", "-p", str(pid)], capture_output=True, text=True, check=True
    ).stdout
    assert pwd.getpwuid(data.stat().st_uid).pw_name == owner.strip() != "root"
    sockets = made.cluster.config.socket_directory
    assert (stat.S_IMODE(sockets.stat().st_mode), sockets.stat().st_uid) == (0o700, data.stat().st_uid)


IN_FORCE = {
    "wal_level": "replica",
    "synchronous_commit": "on",
    "password_encryption": "scram-sha-256",
    "data_checksums": "on",
    "hot_standby": "on",
    "fsync": "on",
    "full_page_writes": "on",
    "listen_addresses": "127.0.0.1",
    "server_encoding": "UTF8",
    "TimeZone": "UTC",
}


@pytest.mark.parametrize(("name", "value"), IN_FORCE.items(), ids=IN_FORCE.keys())
async def test_what_the_contract_promises_is_in_force(made: Made, name: str, value: str) -> None:
    """The running server says so, not only the file."""
    assert await made.ask("SELECT current_setting($1)", name) == value


async def test_there_is_room_for_three_standbys(made: Made) -> None:
    """Walsenders and slots, three or more."""
    for name in ("max_wal_senders", "max_replication_slots"):
        assert int(str(await made.ask("SELECT current_setting($1)", name))) >= 3


async def test_texts_sort_by_code_point_on_every_platform(made: Made) -> None:
    """PostgreSQL's own collation from 17 on, the C library's C before: no index depends on the system's locale."""
    column = "datlocale" if MAJOR >= 17 else "daticulocale"
    expected = ("b", "C.UTF-8", "C") if MAJOR >= 17 else ("c", None, "C")
    for database in ("postgres", "template0", "template1"):
        query = (
            f"SELECT ROW(datlocprovider::text, {column}::text, datcollate::text) FROM pg_database WHERE datname = $1"  # noqa: S608
        )
        assert await made.ask(query, database) == expected
    assert await made.ask("SELECT 'B' < 'a' AND 'z' < 'ä'")


async def test_only_the_right_password_enters(made: Made) -> None:
    """By TCP and by the socket; none and an empty one are refused too."""
    for password in ("wrong", PASSWORD + " ", PASSWORD.upper()):
        with pytest.raises(asyncpg.InvalidPasswordError):
            await made.ask("SELECT 1", password=password)
    sockets = str(made.cluster.config.socket_directory)
    if AS_ROOT or made.cluster.user.uid is None:
        with pytest.raises(asyncpg.InvalidPasswordError):
            await asyncpg.connect(host=sockets, port=made.cluster.config.port, user=SUPERUSER, password="wrong")
    assert await made.ask("SELECT rolpassword LIKE 'SCRAM-SHA-256$%' FROM pg_authid WHERE rolname = 'postgres'")


async def test_nobody_is_trusted(made: Made) -> None:
    """pg_hba.conf as the server reads it: scram on every line, and no line is broken."""
    assert await made.ask("SELECT count(*) FROM pg_hba_file_rules WHERE error IS NOT NULL") == 0
    assert await made.ask("SELECT array_agg(DISTINCT auth_method) FROM pg_hba_file_rules") == ["scram-sha-256"]
    assert (made.cluster.data_directory / "pg_hba.conf").read_text() == host_access_text(made.cluster.config)


def test_the_password_is_left_nowhere(made: Made) -> None:
    """Neither beside the data directory nor in the log."""
    above = made.cluster.data_directory.parent
    assert {entry.name for entry in above.iterdir()} == {"data", "server.log"}
    assert "secret" not in made.log.read_text()


async def test_making_it_again_changes_nothing(made: Made) -> None:
    """`create` on a cluster that exists is no step at all: the password stays."""
    before = await made.ask("SELECT system_identifier FROM pg_control_system()")
    made.cluster.create("another password")
    assert await made.ask("SELECT system_identifier FROM pg_control_system()") == before


def test_binaries_of_another_major_are_refused(made: Made) -> None:
    """A data directory is never opened by a version that cannot read it; the hint names the right one."""
    other = replace(made.cluster, binaries=binaries.embedded(OTHER[MAJOR]))
    with pytest.raises(PostgresError, match=f"belongs to PostgreSQL {MAJOR}, but {OTHER[MAJOR]}") as caught:
        other.create(PASSWORD)
    assert f"AYA_PG_MAJOR={MAJOR}" in (caught.value.hint or "")


# Stopped and moved


async def test_a_cluster_keeps_its_data_on_another_port(directory: Path) -> None:
    """Stop and start: the data stays, the new port is in force, the include stands once, stopping twice is harmless."""
    cluster = described(directory / "a path with 'quotes' and spaces")
    cluster.create(PASSWORD)
    with running(cluster) as first:
        assert await first.ask("CREATE TABLE kept AS SELECT 42 AS answer") is None
    cluster.stop()
    assert cluster.postmaster_pid() is None
    moved = replace(cluster, config=replace(cluster.config, port=free_port()))
    moved.configure()
    with running(moved) as second:
        assert await second.ask("SELECT answer FROM kept") == 42
        assert await second.ask("SELECT current_setting('port')") == str(moved.config.port)
    assert (cluster.data_directory / "postgresql.conf").read_text().count("include 'aya.conf'") == 1


async def test_a_lock_file_that_nobody_holds_is_no_server(directory: Path, made: Made) -> None:
    """A killed server's file, one that names another cluster's server, and nonsense: none is taken for running."""
    cluster = described(directory)
    cluster.create(PASSWORD)
    lock = cluster.data_directory / "postmaster.pid"
    other = made.cluster.postmaster_pid()
    for stale in ("", "nonsense\n", f"{2**22 + 1}\n", f"{os.getpid()}\n", f"{other}\n"):
        lock.write_text(stale)
        assert cluster.postmaster_pid() is None
        cluster.stop()
    assert made.cluster.postmaster_pid() == other
    lock.unlink()
    with running(cluster):
        killed = cluster.postmaster_pid()
        assert killed is not None
        os.kill(killed, signal.SIGKILL)
        # Its children notice a moment later; until then a server would refuse to start beside them.
        until(lambda: holders.observe(cluster.data_directory, {}) == lockfile.Observation(None))
    assert lock.exists()
    with running(cluster) as again:
        assert await again.ask("SELECT 1") == 1


def test_one_wrapper_at_a_time_looks_at_the_lock_file(directory: Path) -> None:
    """While one is at work a second is refused before it removes anything; afterwards it may."""
    data = directory / "data"
    data.mkdir()
    with holders.alone(data), pytest.raises(PostgresError, match="is being served by another"), holders.alone(data):
        pytest.fail("two at once")
    with holders.alone(data):
        assert (directory / "postgres.lock").stat().st_mode & 0o777 == 0o600


def test_a_second_wrapper_leaves_the_first_ones_server_alone(directory: Path) -> None:
    """The wrapper keeps its lock for as long as its server runs, and the server does not inherit it."""
    home = Home(directory)
    home.save_nodes({"alpha": Node("alpha", "primary", free_port(), free_port())})
    cluster = run.cluster_of(home, Config(postgres_major=MAJOR), "alpha")
    cluster.create(PASSWORD)
    environ = {**os.environ, "AYA_HOME": str(directory), "AYA_NODE": "alpha", "AYA_PG_MAJOR": str(MAJOR)}
    command = [sys.executable, "-m", "aya.postgres.run"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.DEVNULL) as first:
        try:
            until(lambda: cluster.postmaster_pid() is not None)
            pid = cluster.postmaster_pid()
            second = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
            assert (second.returncode, "is being served by another" in second.stderr) == (1, True)
            assert cluster.postmaster_pid() == pid
            first.kill()
            first.wait()
            with holders.alone(cluster.data_directory):
                assert cluster.postmaster_pid() == pid
        finally:
            cluster.stop("immediate")


def test_a_port_that_is_taken_fails_in_words(directory: Path) -> None:
    """pg_ctl's last words are the error's."""
    cluster = described(directory)
    cluster.create(PASSWORD)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        moved = replace(cluster, config=replace(cluster.config, port=taken.getsockname()[1]))
        moved.configure()
        with pytest.raises(PostgresError, match=r"pg_ctl failed: .*could not start server"):
            moved.start(directory / "server.log")
    assert "Address already in use" in (directory / "server.log").read_text()


# Not made


def test_a_try_that_fails_leaves_nothing_behind(directory: Path) -> None:
    """The last words of initdb are said, and the next try succeeds."""
    cluster = described(directory)
    lame = directory / "bin"
    lame.mkdir()
    (lame / "initdb").write_text(
        '#!/bin/sh\nd="${1#--pgdata=}"\necho 18 > "$d/PG_VERSION"; mkdir "$d/base"\necho boom\nexit 3\n'
    )
    (lame / "initdb").chmod(0o755)
    with pytest.raises(PostgresError, match="initdb failed: boom"):
        replace(cluster, binaries=Binaries(lame, cluster.binaries.version)).create(PASSWORD)
    assert not cluster.exists()
    assert list(cluster.data_directory.iterdir()) == []
    cluster.create(PASSWORD)
    assert cluster.exists()


def test_a_directory_that_holds_other_things_is_left_alone(directory: Path) -> None:
    """Nothing of a person's is removed, and the sentence says what is in the way."""
    cluster = described(directory)
    kept = cluster.data_directory / "thesis.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("years of work")
    with pytest.raises(PostgresError, match="is not empty, but holds no PostgreSQL cluster"):
        cluster.create(PASSWORD)
    assert kept.read_text() == "years of work"


def test_a_program_that_is_missing_is_named(directory: Path) -> None:
    """An installation without its programs ends in words."""
    cluster = replace(described(directory), binaries=Binaries(directory / "none", f"{MAJOR}.0"))
    with pytest.raises(PostgresError, match="initdb could not be run"):
        cluster.create(PASSWORD)


@only_root
def test_a_directory_that_the_user_cannot_enter_fails_in_words(directory: Path) -> None:
    """Root's own folders are closed to PostgreSQL's user."""
    (directory / "closed").mkdir(mode=0o700)
    cluster = replace(described(directory), data_directory=directory / "closed" / "data")
    with pytest.raises(PostgresError, match=r"initdb failed: .*Permission denied"):
        cluster.create(PASSWORD)


@only_root
def test_roots_own_temporary_directory_is_no_obstacle(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On macOS root's TMPDIR is closed to others; the password reaches initdb all the same."""
    cluster = described(directory)
    closed = directory / "tmp"
    closed.mkdir(mode=0o700)
    monkeypatch.setattr(tempfile, "tempdir", str(closed))
    monkeypatch.setenv("TMPDIR", str(closed))
    cluster.create(PASSWORD)
    assert cluster.exists()


# Followed


async def test_a_standby_follows_under_its_slot_and_name(directory: Path) -> None:
    """The standby streams from alpha through beta_slot, has its rows, takes no writes, and is made only once."""
    primary, standby = described(directory), described(directory, "beta")
    secrets = new_secrets({SUPERUSER: PASSWORD})
    primary.create(PASSWORD)
    with running(primary) as alpha:
        await provision_primary(primary, secrets)
        await alpha.ask("CREATE TABLE kept AS SELECT 42 AS answer")
        standby.create_standby(primary.config, secrets[replication_role("beta")], "beta")
        standby.create_standby(primary.config, "no longer asked for", "beta")
        with running(standby) as beta:
            await alpha.ask("INSERT INTO kept VALUES (43)")
            written = await alpha.ask("SELECT pg_current_wal_lsn()")
            await beta.until("SELECT pg_last_wal_replay_lsn() >= $1", written)
            sender = "SELECT ROW(application_name, state, usename::text) FROM pg_stat_replication"
            assert await alpha.ask(sender) == ("beta", "streaming", replication_role("beta"))
            assert await alpha.ask("SELECT active FROM pg_replication_slots WHERE slot_name = 'beta_slot'")
            assert await beta.ask("SELECT sum(answer) FROM kept") == 85
            assert await beta.ask("SELECT pg_is_in_recovery()")
            with pytest.raises(asyncpg.ReadOnlySQLTransactionError):
                await beta.ask("INSERT INTO kept VALUES (44)")
    passfile = standby.data_directory.with_name("replication.pgpass")
    assert stat.S_IMODE(passfile.stat().st_mode) == 0o600
    assert secrets[replication_role("beta")] not in (standby.data_directory / "postgresql.auto.conf").read_text()


def test_a_standby_of_nobody_fails_in_words(directory: Path) -> None:
    """Without a primary there is nothing to copy, and nothing is left."""
    standby = described(directory, "beta")
    with pytest.raises(PostgresError, match=r"pg_basebackup failed: .*refused"):
        standby.create_standby(ClusterConfig(free_port(), directory), "x", "beta")
    assert not standby.exists()
    assert list(standby.data_directory.iterdir()) == []


# Programs


@pytest.mark.parametrize("major", [16, 18])
def test_the_wheel_brings_both_majors(major: int) -> None:
    """Every program that AYA runs is in it, and runs."""
    found = binaries.embedded(major)
    assert found.major == major
    for name in ("initdb", "pg_ctl", "postgres", "pg_basebackup", "pg_rewind", "psql"):
        said = subprocess.run([found.program(name), "--version"], capture_output=True, text=True, check=True).stdout
        assert re.search(rf"\b{re.escape(found.version)}\b", said)


def test_a_major_that_is_not_in_the_wheel_is_refused() -> None:
    """The sentence names those that are."""
    with pytest.raises(ConfigError, match=r"no embedded PostgreSQL 17 \(there are 16, 18\)"):
        binaries.embedded(17)


def test_an_installed_one_is_found_by_its_pg_config(directory: Path) -> None:
    """Whatever pg_config says of itself: the wheel's own is as good as Debian's or Homebrew's."""
    embedded = binaries.embedded(MAJOR)
    config = Config(pg_config=embedded.program("pg_config"))
    found = binaries.resolve(config, Home(directory), privileges.RunAs(None, None, "me"))
    assert (found.version, found.directory.resolve()) == (embedded.version, embedded.directory.resolve())


def script(directory: Path, text: str, mode: int = 0o755) -> str:
    """Write a pg_config of our own."""
    file = directory / "pg_config"
    file.write_text(f"#!/bin/sh\n{text}\n")
    file.chmod(mode)
    return str(file)


FAKES = {
    "too old": ("echo PostgreSQL 15.4", 0o755, r"belongs to PostgreSQL 15\.4; AYA needs 16 or later"),
    "a beta": ("echo PostgreSQL 19beta1", 0o755, "PostgreSQL 19 has no pgvector"),
    "without pgvector": ("[ $1 = --version ] && echo PostgreSQL 18.1 || echo /nowhere", 0o755, "has no pgvector"),
    "not runnable": ("echo PostgreSQL 18.1", 0o644, "cannot be run: .*Permission denied"),
    "failing": ("exit 3", 0o755, "cannot be run: .*exit status 3"),
    "silent": ("", 0o755, "--version answers ''"),
    "nonsense": ("echo hello", 0o755, "--version answers 'hello'"),
    "bytes": (r"printf '\377\376'", 0o755, "--version answers"),
}


@pytest.mark.parametrize(("text", "mode", "words"), FAKES.values(), ids=FAKES.keys())
def test_an_installation_that_will_not_do_is_refused(directory: Path, text: str, mode: int, words: str) -> None:
    """Why, and what to install or set instead."""
    with pytest.raises(PostgresError, match=words) as caught:
        binaries.installed(script(directory, text, mode))
    assert caught.value.hint


def test_a_pg_config_that_is_not_there_is_named(directory: Path) -> None:
    """A mistyped path is not a traceback."""
    with pytest.raises(PostgresError, match="none cannot be run"):
        binaries.installed(str(directory / "none"))


DEBIAN_15 = Path("/usr/lib/postgresql/15/bin/pg_config")


@pytest.mark.skipif(not DEBIAN_15.exists(), reason="the machine has no PostgreSQL 15; the fake one above stands for it")
def test_debians_fifteen_is_too_old() -> None:
    """A real old installation is refused as such."""
    with pytest.raises(PostgresError, match=r"belongs to PostgreSQL 15\."):
        binaries.installed(str(DEBIAN_15))


@only_root
@pytest.mark.slow
def test_a_wheel_that_the_user_cannot_read_is_copied(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A .venv under /root: the programs are copied to where they can be run, and half a copy is mended."""
    user = privileges.run_as(directory / "none yet")
    hidden = directory / "closed"
    hidden.mkdir(mode=0o700)
    package = binaries.embedded(MAJOR).directory.parent.parent
    shutil.copytree(package, hidden / package.name, symlinks=True, copy_function=os.link)
    libraries = package.with_name(f"{package.name}.libs")
    if libraries.exists():
        shutil.copytree(libraries, hidden / libraries.name, symlinks=True, copy_function=os.link)
    spec = ModuleSpec(package.name, None, origin=str(hidden / package.name / "__init__.py"))

    def find(_: str) -> ModuleSpec:
        return spec

    monkeypatch.setattr("aya.postgres.binaries.find_spec", find)
    home = Home(directory / "home")
    found = binaries.resolve(Config(postgres_major=MAJOR), home, user)
    assert found.directory.is_relative_to(home.path / "postgresql")
    version = [found.program("postgres"), "--version"]
    subprocess.run(version, check=True, capture_output=True, **user.process_identity())
    if libraries.exists():
        shutil.rmtree(home.path / "postgresql" / found.version / libraries.name)
        assert binaries.resolve(Config(postgres_major=MAJOR), home, user) == found
        subprocess.run(version, check=True, capture_output=True, **user.process_identity())


@only_root
def test_a_home_that_the_user_cannot_enter_is_no_place_for_a_copy(
    directory: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The hint names a place that is."""

    def never(*_: object) -> bool:
        return False

    monkeypatch.setattr(binaries, "can_enter", never)
    monkeypatch.setattr(binaries, "copy_readable", never)
    with pytest.raises(PostgresError, match="cannot enter") as caught:
        binaries.resolve(Config(postgres_major=MAJOR), Home(directory), privileges.run_as(directory / "none"))
    assert "/var/lib/aya" in (caught.value.hint or "")
