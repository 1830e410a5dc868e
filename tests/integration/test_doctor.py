"""`aya doctor` on a real home with a real server: what is wrong is found, and what --fix does is done once."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from click.testing import CliRunner
from tests.backup_lab import Lab
from tests.conftest import free_port

from aya.cli import main
from aya.doctor import stale, versions
from aya.doctor.look import postgres
from aya.doctor.look.configuration import read
from aya.doctor.mend import mend
from aya.doctor.mends import Chmod, ForgetLock, RemoveSocketLock, RemoveTemporary
from aya.doctor.servers import ServerFacts
from aya.dsn import DEFAULT_DATABASE
from aya.errors import AyaError
from aya.home import Home
from aya.postgres import binaries, holders
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import ClusterConfig
from aya.postgres.privileges import RunAs, run_as
from aya.postgres.provision import new_secrets, superuser_settings
from aya.settings import Config

pytestmark = [pytest.mark.database, pytest.mark.slow]


@pytest.fixture(scope="module")
def made() -> Iterator[Lab]:
    """A home with alpha's server, its roles and its base."""
    folder = Path(tempfile.mkdtemp(prefix="aya-doctor-")).resolve()
    folder.chmod(0o755)
    lab = Lab(Home(folder / "home"))
    try:
        lab.make()
        lab.provision()
        yield lab
    finally:
        lab.cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


@pytest.fixture
def lab(made: Lab) -> Lab:
    """The same home for each test, its server running."""
    if made.cluster.postmaster_pid() is None:
        made.start()
    return made


class Seen:
    """What one call found. exit_code, document: of `aya doctor --json`; said: everything that it printed."""

    def __init__(self, home: Home, *options: str) -> None:
        runner = CliRunner(env={"AYA_DEBUG": None, "DB_HOST": None, "AYA_DSN": None, "AYA_HOME": None})
        done = runner.invoke(main, ["--home", str(home.path), "doctor", "--json", *options])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.output
        self.exit_code = done.exit_code
        self.document: dict[str, Any] = json.loads(done.stdout)
        self.said = done.stdout + done.stderr

    def of(self, kind: str) -> list[dict[str, Any]]:
        """Return the findings of one id."""
        return [one for one in self.document["findings"] if one["id"] == kind]

    def topic(self, topic: str) -> set[str]:
        """Return the ids of a topic that are not ok."""
        return {one["id"] for one in self.document["findings"] if one["topic"] == topic and one["severity"] != "ok"}

    @property
    def fixed(self) -> set[str]:
        """Return the ids of what --fix did."""
        return {one["id"] for one in self.document["fixed"] if one["error"] is None}


def mode(path: Path) -> int:
    """Return its permission bits."""
    return path.stat().st_mode & 0o777


def test_a_home_that_is_good_has_no_failure(lab: Lab) -> None:
    """No check crashes on it, none is late, and nothing is mended."""
    seen = Seen(lab.home)
    assert seen.topic("doctor") == set()
    failures = {one["id"] for one in seen.document["findings"] if one["severity"] == "failure"}
    # Nothing but its server runs; and the disk of whoever tests may be full.
    assert failures - {"disk.full"} == {"model.silent"}
    assert seen.topic("permissions") == seen.topic("secrets") == seen.topic("stale") == set()
    assert seen.topic("versions") == set()
    assert not any(one["fixable"] for one in seen.document["findings"])


def test_modes_that_let_others_in_are_mended_once(lab: Lab) -> None:
    """Files to 600, directories to 700; the second time there is nothing to do."""
    secrets, archive = lab.home.secrets_file("alpha"), lab.archive
    key = lab.home.agent_directory("alpha") / "key.pem"
    for file in (secrets, key, lab.home.state_file):
        file.chmod(0o644)
    archive.mkdir(exist_ok=True)
    run_as(lab.cluster.data_directory).own(archive)
    archive.chmod(0o755)
    found = Seen(lab.home)
    assert found.exit_code == 1
    assert len(found.of("permissions.file-open")) == 3
    assert f"chmod 600 {secrets}" in [one["hint"] for one in found.of("permissions.file-open")]
    fixed = Seen(lab.home, "--fix")
    assert fixed.fixed == {"permissions.file-open", "permissions.directory-open"}
    assert fixed.topic("permissions") == set()
    assert (mode(secrets), mode(key), mode(archive)) == (0o600, 0o600, 0o700)
    assert Seen(lab.home, "--fix").document["fixed"] == []


def test_a_link_in_place_of_a_secret_is_not_followed(lab: Lab, tmp_path: Path) -> None:
    """--fix changes nothing where somebody else may have decided what is there."""
    target = tmp_path / "somebody's"
    target.write_text("{}")
    target.chmod(0o644)
    link = lab.home.node_directory("alpha") / "watchdog.json"
    link.symlink_to(target)
    try:
        seen = Seen(lab.home, "--fix")
        assert seen.of("permissions.link")
        assert mode(target) == 0o644
    finally:
        link.unlink()


@contextmanager
def other_server(port: int, major: int) -> Generator[Cluster]:
    """Run a PostgreSQL of another major version that a person made, without AYA's knowledge."""
    folder = Path(tempfile.mkdtemp(prefix="aya-other-")).resolve()
    folder.chmod(0o755)
    data = folder / "pgdata"
    found = binaries.resolve(Config(postgres_major=major), Home(folder), run_as(data))
    cluster = Cluster(found, data, ClusterConfig(port, folder / "run"), run_as(data))
    try:
        cluster.create(new_secrets({})[SUPERUSER])
        cluster.start(folder / "server.log")
        yield cluster
    finally:
        cluster.stop("immediate")
        shutil.rmtree(folder, ignore_errors=True)


def type_as(user: RunAs, hint: str) -> None:
    """Type what a hint says, up to `; then`; who is root already needs no sudo."""
    command = re.sub(r"^cd /; sudo -u \S+ ", "", hint.partition("; then")[0])
    identity = user.process_identity()
    done = subprocess.run(["/bin/sh", "-ec", command], cwd="/", capture_output=True, text=True, check=False, **identity)
    assert done.returncode == 0, done.stderr


def test_two_installations_side_by_side_are_told_apart(lab: Lab) -> None:
    """On another port: by pid, version, directory and port, with the command that ends it. Typed, it does."""
    other = 16 if lab.cluster.binaries.major == 18 else 18
    with other_server(free_port(), other) as second:
        pid = second.postmaster_pid()
        seen = Seen(lab.home)
        (found,) = [one for one in seen.of("installations.foreign-server") if f"pid {pid}" in one["what"]]
        assert f"PostgreSQL {second.binaries.version} (pid {pid}) on {second.data_directory}" in found["what"]
        assert f"port {second.config.port}" in found["what"]
        assert found["hint"].endswith(f"pg_ctl stop --mode=fast --pgdata={second.data_directory}")
        assert Seen(lab.home, "--fix").document["fixed"] == []
        assert second.postmaster_pid() == pid, "--fix ends nobody's server"
        type_as(second.user, found["hint"])
        assert second.postmaster_pid() is None
        assert second.exists()


def test_who_took_the_nodes_port_is_told(lab: Lab) -> None:
    """Once, 16 and 18 fought over ALPHA's: the node's server is down, and the other one has the port."""
    lab.cluster.stop()
    other = 16 if lab.cluster.binaries.major == 18 else 18
    with other_server(lab.cluster.config.port, other) as second:
        seen = Seen(lab.home)
        assert seen.exit_code == 1
        (found,) = seen.of("installations.port-taken")
        assert found["node"] == "alpha"
        for words in (f"port {second.config.port}", f"pid {second.postmaster_pid()}", second.binaries.version):
            assert words in found["what"]
        assert found["hint"].endswith("; then aya up")
        assert [
            one for one in seen.of("installations.foreign-server") if str(second.data_directory) in one["what"]
        ] == []
        type_as(second.user, found["hint"])
    lab.start()
    assert Seen(lab.home).of("installations.port-taken") == []


@pytest.mark.skipif(sys.platform != "linux", reason="macOS has no second loopback address")
def test_who_listens_beside_the_nodes_server_is_told(lab: Lab) -> None:
    """On another address of the same port: clients reach the one or the other."""
    with socket.create_server(("127.0.0.2", lab.cluster.config.port)):
        (found,) = Seen(lab.home).of("installations.port-taken")
    assert f"pid {os.getpid()}" in found["what"]
    assert Seen(lab.home).of("installations.port-taken") == []


def test_a_lock_of_no_server_is_removed(lab: Lab) -> None:
    """After a kill -9, and when its number belongs to another process by now."""
    lab.kill()
    lock = lab.cluster.data_directory / "postmaster.pid"
    assert lock.exists()
    for owner in (None, subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE)):
        if owner is not None:
            lock.write_text(f"{owner.pid}\n")
        (found,) = Seen(lab.home).of("stale.postmaster-pid")
        assert found["fixable"]
        fixed = Seen(lab.home, "--fix")
        assert "stale.postmaster-pid" in fixed.fixed
        assert not lock.exists()
        assert Seen(lab.home, "--fix").document["fixed"] == []
        if owner is not None:
            owner.communicate()
    lab.start()


def test_the_lock_of_a_living_server_is_left_alone(lab: Lab) -> None:
    """Also when the file itself says something else."""
    lock = lab.cluster.data_directory / "postmaster.pid"
    before = lock.read_text()
    lock.write_text("999999\n" + before.partition("\n")[2])
    try:
        seen = Seen(lab.home, "--fix")
        assert seen.of("stale.postmaster-pid") == []
        assert lock.exists()
    finally:
        lock.write_text(before)


def test_what_became_alive_meanwhile_is_not_mended(lab: Lab, tmp_path: Path) -> None:
    """Between the look and the deed a server may have started, and a file may have been written."""
    place, _ = read(lab.home)
    data = lab.cluster.data_directory
    socket_lock = tmp_path / ".s.PGSQL.1.lock"
    socket_lock.write_text(f"{os.getpid()}\n")
    young = tmp_path / ".state.json.abcdefgh"
    young.touch()
    for what in (ForgetLock(data), RemoveSocketLock(socket_lock), RemoveTemporary(young)):
        with pytest.raises(AyaError):
            asyncio.run(mend(place, what))
    assert (data / "postmaster.pid").exists()
    assert socket_lock.exists()
    assert young.exists()


def test_a_mode_is_mended_of_what_is_its_owners_alone(lab: Lab, tmp_path: Path) -> None:
    """Not of somebody else's file, of a second name of a file, or of what a link leads to."""
    place, _ = read(lab.home)
    own, second, link = tmp_path / "own", tmp_path / "second", tmp_path / "link"
    own.touch(mode=0o644)
    asyncio.run(mend(place, Chmod(own, 0o600, os.geteuid())))
    assert own.stat().st_mode & 0o777 == 0o600
    own.chmod(0o644)
    link.symlink_to(own)
    with pytest.raises(AyaError):
        asyncio.run(mend(place, Chmod(own, 0o600, os.geteuid() + 1)))
    with pytest.raises(OSError, match="symbolic"):
        asyncio.run(mend(place, Chmod(link, 0o600, os.geteuid())))
    second.hardlink_to(own)
    with pytest.raises(AyaError):
        asyncio.run(mend(place, Chmod(second, 0o600, os.geteuid())))
    assert own.stat().st_mode & 0o777 == 0o644


def test_a_socket_that_its_server_may_take_now_is_left_alone(lab: Lab) -> None:
    """Its wrapper is at work: the lock may be another one by the time it is removed."""
    place, _ = read(lab.home)
    lock = lab.home.runtime_directory / "alpha" / f".s.PGSQL.{lab.home.node('alpha').postgres_port}.lock"
    with holders.alone(lab.cluster.data_directory), pytest.raises(AyaError, match="another"):
        asyncio.run(mend(place, RemoveSocketLock(lock)))
    assert lock.exists()


def test_what_is_proved_to_be_stale_goes(lab: Lab) -> None:
    """A socket's lock that names nobody, and a file that was half-written hours ago."""
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    folder = lab.home.runtime_directory / "alpha"
    lock, old = folder / ".s.PGSQL.1.lock", lab.home.path / ".state.json.abcdefgh"
    lock.write_text(f"{gone.pid}\n")
    old.touch()
    os.utime(old, (1.0, 1.0))
    fixed = Seen(lab.home, "--fix")
    assert fixed.fixed == {"stale.socket-lock", "stale.temporary-file"}
    assert not lock.exists()
    assert not old.exists()
    assert fixed.topic("stale") == set()


def test_a_slot_that_nobody_uses_is_told(lab: Lab) -> None:
    """With what it keeps, once that is worth a word."""
    lab.sql("SELECT pg_create_physical_replication_slot('gone', true)")
    try:
        assert Seen(lab.home).of("stale.slot") == []
        for _ in range(17):
            lab.sql("SELECT pg_logical_emit_message(true, 'x', 'y')")
            lab.sql("SELECT pg_switch_wal()")
        (found,) = Seen(lab.home).of("stale.slot")
        assert "slot gone" in found["what"]
        assert "0.2" in found["what"] or "0.3" in found["what"]
        assert "pg_drop_replication_slot('gone')" in found["hint"]
    finally:
        lab.sql("SELECT pg_drop_replication_slot('gone')")


def test_secrets_in_the_wrong_place_are_told_and_never_said(lab: Lab) -> None:
    """In a log, a plist, aya.toml and the arguments of a process."""
    secrets = lab.home.secrets("alpha")
    log = lab.home.log_directory("alpha") / "watchdog.log"
    log.write_text(f"connecting as aya_user with {secrets['aya_user']}\n")
    plist = lab.home.node_directory("alpha") / "launchd" / "com.aya.alpha.embedder.plist"
    plist.write_text(f"<string>{secrets['aya_mcp']}</string>")
    lab.home.config_file.write_text(f"# {secrets['aya_indexer']}\n")
    command = [sys.executable, "-c", "input()", f"--password={secrets['aya_sync']}"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as leaking:
        try:
            seen = Seen(lab.home)
        finally:
            leaking.communicate()
            for file in (log, plist, lab.home.config_file):
                file.unlink()
    names = {"log": "aya_user", "plist": "aya_mcp", "configuration": "aya_indexer", "arguments": "aya_sync"}
    for place, role in names.items():
        (found,) = seen.of(f"secrets.in-{place}")
        assert f"{role} of alpha" in found["what"]
    assert f"pid {leaking.pid}" in seen.of("secrets.in-arguments")[0]["what"]
    assert not any(word in seen.said for word in secrets.values())


def test_settings_that_give_up_what_is_promised_are_told(lab: Lab) -> None:
    """As the server itself says them, with whoever overrode AYA's."""
    lab.sql("ALTER SYSTEM SET synchronous_commit = 'off'")
    lab.sql("ALTER SYSTEM SET max_slot_wal_keep_size = -1")
    lab.sql("ALTER ROLE aya_mcp SET synchronous_commit = 'local'")
    lab.sql("SELECT pg_reload_conf()")
    try:
        lab.sql("SELECT pg_sleep(0.2)")
        seen = Seen(lab.home)
        assert seen.topic("durability") >= {
            "durability.commit-not-waited-for", "durability.slot-unbounded", "durability.overridden",
            "durability.role-setting",
        }  # fmt: skip
        assert "ALTER ROLE aya_mcp RESET synchronous_commit" in seen.of("durability.role-setting")[0]["hint"]
    finally:
        lab.sql("ALTER SYSTEM RESET ALL")
        lab.sql("ALTER ROLE aya_mcp SET synchronous_commit = 'on'")
        lab.sql("SELECT pg_reload_conf()")


def test_a_door_that_stands_open_is_told(lab: Lab) -> None:
    """As the server reads pg_hba.conf; AYA's own lines are good."""
    hba = lab.cluster.data_directory / "pg_hba.conf"
    before = hba.read_text()
    assert Seen(lab.home).of("permissions.weak-access") == []
    hba.write_text(before + "host all all 0.0.0.0/0 scram-sha-256\nhost all all ::1/128 trust\nhast all\n")
    try:
        found = Seen(lab.home).of("permissions.weak-access")
    finally:
        hba.write_text(before)
    assert [one["node"] for one in found] == ["alpha"] * 3
    said = " ".join(one["what"] for one in found)
    for words in ("lets all in from any address", "lets all in by trust", "cannot be read: invalid connection type"):
        assert words in said


def test_an_index_that_a_build_left_is_dropped_when_nobody_builds(lab: Lab) -> None:
    """While somebody holds the lock of a build, it is not even told."""
    lab.sql("CREATE INDEX idx_chunks_embedding_new ON chunks (id)", database=DEFAULT_DATABASE)
    there = "SELECT to_regclass('idx_chunks_embedding_new') IS NOT NULL"

    async def while_built() -> Seen:
        connection = await lab.connect(DEFAULT_DATABASE)
        try:
            await connection.execute("SELECT pg_advisory_lock(4156, 2)")
            return await asyncio.to_thread(Seen, lab.home, "--fix")
        finally:
            await connection.close()

    assert asyncio.run(while_built()).of("stale.index") == []
    assert lab.sql(there, database=DEFAULT_DATABASE)
    assert Seen(lab.home).of("stale.index")[0]["fixable"]
    assert "stale.index" in Seen(lab.home, "--fix").fixed
    assert not lab.sql(there, database=DEFAULT_DATABASE)


def test_nodes_of_different_versions_are_told(lab: Lab) -> None:
    """Two real servers, 16 and 18: a physical standby could not follow."""
    other = 16 if lab.cluster.binaries.major == 18 else 18
    with other_server(free_port(), other) as second:
        secrets = {SUPERUSER: lab.home.secrets("alpha")[SUPERUSER]}
        second.stop()
        hba = second.data_directory / "pg_hba.conf"
        hba.write_text("host all all 127.0.0.1/32 trust\n")
        second.start(second.data_directory.with_name("server.log"))
        both = [
            asyncio.run(postgres.facts(superuser_settings(cluster, secrets[SUPERUSER]), node))
            for cluster, node in ((lab.cluster, "alpha"), (second, "beta"))
        ]
    found = versions.judge_all(both)
    (differs,) = [one for one in found if one.id == "versions.postgresql-major-differs"]
    assert f"alpha has {lab.cluster.binaries.major}, beta has {other}" in differs.what
    assert "versions.platform-differs" not in {one.id for one in found}


def test_a_session_that_idles_in_a_transaction_is_seen(lab: Lab) -> None:
    """By its pid, its user and how long; ten minutes on, it is told."""

    async def while_idle() -> tuple[ServerFacts, int]:
        connection = await lab.connect(DEFAULT_DATABASE)
        try:
            await connection.execute("BEGIN")
            pid = int(await connection.fetchval("SELECT pg_backend_pid()"))
            settings = superuser_settings(lab.cluster, lab.home.secrets("alpha")[SUPERUSER], DEFAULT_DATABASE)
            return await postgres.facts(settings, "alpha"), pid
        finally:
            await connection.close()

    seen, pid = asyncio.run(while_idle())
    (idle,) = seen.idle
    assert (idle.pid, idle.user) == (pid, SUPERUSER)
    assert 0 <= idle.idle_seconds < 60
    assert stale.judge_server(seen) == []
    late = replace(seen, idle=(replace(idle, idle_seconds=700.0),))
    (found,) = stale.judge_server(late)
    assert (found.id, found.hint) == ("stale.idle-transaction", f"psql: SELECT pg_terminate_backend({pid})")


def test_a_silent_server_leaves_the_other_checks_alone(lab: Lab) -> None:
    """A frozen postmaster costs its own checks, and no more than their time."""
    pid = lab.cluster.postmaster_pid()
    assert pid is not None
    lab.home.secrets_file("alpha").chmod(0o640)
    psutil.Process(pid).suspend()
    try:
        seen = Seen(lab.home)
    finally:
        psutil.Process(pid).resume()
        lab.home.secrets_file("alpha").chmod(0o600)
    assert seen.of("services.server-silent")[0]["node"] == "alpha"
    assert seen.of("durability")[0]["severity"] == "skipped"
    assert seen.of("permissions.file-open")
    assert seen.topic("doctor") == set()
