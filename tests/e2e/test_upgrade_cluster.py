"""A cluster of 16 becomes one of 18 with every row; whatever cuts that off, the old one is still in use."""

from __future__ import annotations

import asyncio
import hashlib
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import free_port
from tests.failover.disk import Disk, is_possible
from tests.runbook import Page

from aya.errors import PostgresError
from aya.home import Home, Node
from aya.local import clusters, layout
from aya.postgres.cluster import postmaster_pid
from aya.postgres.config import Guard
from aya.postgres.run import check, cluster_of
from aya.processes import leftovers
from aya.settings import Config, load_config, node_settings

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(100)]
AYA = str(Path(sys.executable).with_name("aya"))
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_"))}
ROWS = 300


class Machine:
    """A stopped alpha of PostgreSQL 16 with rows, in a home whose path has a space."""

    def __init__(self, home: Home) -> None:
        self.home = home

    def aya(self, *arguments: str, expect: int = 0) -> str:
        """Run a verb to its end; return all that it says."""
        done = subprocess.run(
            [AYA, "--home", str(self.home.path), *arguments], capture_output=True, text=True, env=ENVIRON, check=False
        )
        assert done.returncode == expect, done.stdout + done.stderr
        return done.stdout + done.stderr

    @property
    def data(self) -> Path:
        """Where the cluster in use is."""
        return self.home.data_directory("alpha")

    def major(self, name: str = "data") -> str:
        """Return the version of one of the node's data directories."""
        return (self.data.with_name(name) / "PG_VERSION").read_text().strip()

    def ask(self, statement: str) -> object:
        """Start the cluster in use, ask it as the base's owner, and stop it."""
        cluster = cluster_of(self.home, load_config(self.home, {}), "alpha")
        cluster.configure()
        cluster.guard(Guard(read_only=False))
        cluster.start(self.data.with_name("test.log"))

        async def inside() -> object:
            connection = await asyncpg.connect(node_settings(self.home, "alpha", environ={}).local.dsn())
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        try:
            return asyncio.run(inside())
        finally:
            cluster.stop()


def _make(home: Home) -> None:
    config = Config(postgres_major=16)
    layout.make_home(home)
    home.config_file.write_text("# mine\n[postgres]\nmajor = 16   # until the new disk is here\n")
    home.save_nodes({"alpha": Node("alpha", "primary", free_port(), free_port(), free_port(), free_port())})
    layout.make_node(home, "alpha")
    secrets = layout.make_secrets(home, "alpha")
    cluster = cluster_of(home, config, "alpha")
    clusters.create(home, "alpha", cluster, secrets, None)
    cluster.guard(Guard(read_only=False))
    cluster.start(home.node_directory("alpha") / "make.log")

    async def fill() -> None:
        await clusters.finish("alpha", cluster, secrets)
        connection = await asyncpg.connect(node_settings(home, "alpha", environ={}).local.dsn())
        try:
            await connection.execute(
                """INSERT INTO documents (content, metadata)
                    SELECT 'Überschrift ' || n || repeat(' text', n), jsonb_build_object('n', n)
                    FROM generate_series(1, 300) AS n;
                    INSERT INTO chunks (document_id, chunk_text, embedding)
                    SELECT id, content, (SELECT array_agg(sin(id * i)) FROM generate_series(1, 768) AS i)::vector
                    FROM documents"""
            )
        finally:
            await connection.close()

    try:
        asyncio.run(fill())
        # As a watchdog leaves it that stopped its server: closed, and waiting for a standby.
        cluster.guard(Guard(synchronous="beta"))
    finally:
        cluster.stop()


@pytest.fixture(scope="module")
def made() -> Iterator[Path]:
    """A home that tests copy."""
    directory = Path(tempfile.mkdtemp(prefix="aya up "))
    directory.chmod(0o755)
    _make(Home(directory / "home"))
    yield directory / "home"
    shutil.rmtree(directory)


@pytest.fixture
def machine(made: Path) -> Iterator[Machine]:
    """A machine of its own."""
    directory = Path(tempfile.mkdtemp(prefix="aya up "))
    directory.chmod(0o755)
    # With its owners: cp -a, which shutil does not know.
    subprocess.run(["cp", "-a", str(made), str(directory / "home")], check=True)  # noqa: S607 - a test's
    machine = Machine(Home(directory / "home"))
    try:
        yield machine
    finally:
        leftovers.end(machine.home)
        shutil.rmtree(directory, ignore_errors=True)


WHOLE = """SELECT (SELECT count(*) FROM documents) = 300 AND (SELECT count(*) FROM chunks) = 300
            AND (SELECT bool_and(content LIKE 'Überschrift%') FROM documents)
            AND EXISTS (SELECT FROM pg_stats WHERE tablename = 'documents')"""


@pytest.mark.parametrize("method", ["pg_upgrade", "dump"])
def test_every_row_is_in_the_new_cluster_and_the_old_one_is_kept(machine: Machine, method: str) -> None:
    """Compared and analysed; aya.toml says the version, and keeps its comments; a second call has nothing to do."""
    said = machine.aya("upgrade-cluster", "--node", "alpha", "--method", method)
    assert f"same rows ({ROWS} documents and {ROWS} chunks)" in said
    assert (machine.major(), machine.major("data-16")) == ("18", "16")
    assert machine.home.config_file.read_text() == "# mine\n[postgres]\nmajor = 18   # until the new disk is here\n"
    assert machine.ask(WHOLE) is True
    assert machine.ask("SELECT count(*) FROM pg_replication_slots WHERE slot_name = 'beta_slot'") == 1
    # A new row gets the next number, and is logged after everything that was.
    assert machine.ask("INSERT INTO documents (content) VALUES ('new') RETURNING id") == ROWS + 1
    assert "nothing was changed" in machine.aya("upgrade-cluster", "--node", "alpha")
    assert not (machine.home.node_directory("alpha") / "data.upgrading").exists()


def test_a_dry_run_changes_nothing(machine: Machine) -> None:
    """Every file is as before."""

    def files() -> dict[str, int]:
        return {str(file): file.lstat().st_mtime_ns for file in machine.data.parent.rglob("*") if file.is_file()}

    before = files()
    assert "data-16" in machine.aya("upgrade-cluster", "--node", "alpha", "--dry-run")
    assert files() == before


@pytest.mark.parametrize(
    "said",
    ["the old base has", "finds nothing against it", "pg_upgrade has copied it", "has everything"],
)
def test_a_kill_leaves_the_old_cluster_in_use_and_the_next_call_begins_anew(machine: Machine, said: str) -> None:
    """Kill -9 of everything of it after each step; the servers that it had started for itself are left running."""
    command = [AYA, "--home", str(machine.home.path), "upgrade-cluster", "--node", "alpha"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=ENVIRON, process_group=0) as process:
        assert process.stderr is not None
        for line in process.stderr:
            if said in line:
                time.sleep(0.3)
                os.killpg(process.pid, signal.SIGKILL)
                break
        process.wait()
    assert machine.major() == "16"
    assert not machine.data.with_name("data-16").exists()
    machine.aya("upgrade-cluster", "--node", "alpha")
    assert machine.major() == "18"
    assert machine.ask(WHOLE) is True


def test_a_swap_that_was_cut_off_is_finished(machine: Machine) -> None:
    """Between any two renames nobody makes an empty cluster in the old one's place: aya up says what to type."""
    machine.aya("upgrade-cluster", "--node", "alpha")
    for done in range(4):
        put_back(machine, done)
        assert "aya upgrade-cluster --node alpha" in machine.aya("up", "--detach", "--nodes", "alpha", expect=1)
        assert "is finished" in machine.aya("upgrade-cluster", "--node", "alpha")
        assert (machine.major(), machine.major("data-16")) == ("18", "16")
    assert machine.ask(WHOLE) is True


def put_back(machine: Machine, done: int) -> None:
    """Go back to where only so many of the renames had been made."""
    node = machine.home.node_directory("alpha")
    control = hashlib.sha256((node / "data-16" / "global" / "pg_control").read_bytes()).hexdigest()
    (node / "data").rename(node / "data.upgrading")
    for name in ("data", "archive", "backups")[done:]:
        if (node / f"{name}-16").exists():
            (node / f"{name}-16").rename(node / name)
    (node / "upgrade.json").write_text(json.dumps({"from": 16, "to": 18, "control": control}))


def test_no_server_is_started_before_a_swap_is_finished(machine: Machine) -> None:
    """Rows that the old one took now would not be in the new one; one that has run all the same is not given up."""
    machine.aya("upgrade-cluster", "--node", "alpha")
    put_back(machine, 0)
    cluster = cluster_of(machine.home, Config(postgres_major=16), "alpha")
    with pytest.raises(PostgresError, match="was cut off at its very end"):
        check(cluster)
    cluster.guard(Guard(read_only=False))
    cluster.start(machine.data.with_name("test.log"))
    cluster.stop()
    said = machine.aya("upgrade-cluster", "--node", "alpha", expect=1)
    assert "has run since it was upgraded" in said
    assert machine.major() == "16"
    hint = said.split("upgrade again: ", 1)[1].splitlines()[0]
    subprocess.run(["/bin/sh", "-c", hint], check=True)
    machine.aya("upgrade-cluster", "--node", "alpha")
    assert machine.ask(WHOLE) is True


def test_a_call_that_was_cut_off_before_the_configuration_is_finished(machine: Machine) -> None:
    """aya.toml still names the old version."""
    machine.aya("upgrade-cluster", "--node", "alpha")
    file = machine.home.config_file
    file.write_text(file.read_text().replace("18", "16"))
    machine.aya("upgrade-cluster", "--node", "alpha")
    assert "major = 18" in file.read_text()


def test_what_cannot_be_renamed_is_told_before_anything_is_made(machine: Machine) -> None:
    """An archive of an earlier upgrade, and a disk of its own."""
    node = machine.home.node_directory("alpha")
    (node / "archive-16").mkdir()
    said = machine.aya("upgrade-cluster", "--node", "alpha", expect=1)
    assert "from an earlier upgrade" in said
    subprocess.run(["/bin/sh", "-c", said.split("look at it, then: ", 1)[1].splitlines()[0]], check=True)
    assert (node / "older" / "archive-16").exists()
    if not is_possible(node):
        return
    disk = Disk(node / "backups")
    shutil.rmtree(node / "backups", ignore_errors=True)
    disk.make()
    try:
        assert "a disk of its own" in machine.aya("upgrade-cluster", "--node", "alpha", expect=1)
    finally:
        disk.remove()


def test_there_is_a_way_back_to_the_old_one(machine: Machine) -> None:
    """As docs/operations/upgrade.md says, typed as it stands there."""
    machine.aya("upgrade-cluster", "--node", "alpha")
    (back,) = Page("upgrade.md").blocks("Back to the old one")
    subprocess.run(["/bin/sh", "-ec", back], check=True, env={**ENVIRON, "AYA_HOME": str(machine.home.path)})
    assert (machine.major(), machine.major("data-18")) == ("16", "18")
    assert "major = 16" in machine.home.config_file.read_text()
    assert machine.ask("SELECT count(*) FROM documents") == ROWS


def test_what_a_cut_dump_has_left_goes_at_the_next_call(machine: Machine) -> None:
    """Its roles hold verifiers of passwords."""
    folder = machine.home.runtime_directory / "upgrade"
    cluster_of(machine.home, load_config(machine.home, {}), "alpha").user.make_directory(folder)
    for name in ("roles.sql", "base.dump"):
        (folder / name).write_text("left")
    machine.aya("upgrade-cluster", "--node", "alpha")
    assert not [name for name in ("roles.sql", "base.dump") if (folder / name).exists()]


def test_a_partner_that_may_be_promoted_is_no_time_for_it(machine: Machine) -> None:
    """The primary's file says that its partner was armed: the old base could go on there."""
    file = machine.home.node_directory("alpha") / "watchdog.json"
    state = {"version": 1, "role": "primary", "epoch": 1, "arming": 2, "consent": 1, "given_up": 0, "intent": None}

    file.write_text(json.dumps({**state, "forced": False, "rejoin": False, "void": False}))
    said = machine.aya("upgrade-cluster", "--node", "alpha", expect=1)
    assert "may still be promoted" in said
    assert machine.major() == "16"


def test_a_running_server_is_not_touched(machine: Machine) -> None:
    """Somebody else's start of the old cluster is told, and left alone."""
    cluster = cluster_of(machine.home, load_config(machine.home, {}), "alpha")
    cluster.start(machine.data.with_name("test.log"))
    try:
        pid = postmaster_pid(machine.data)
        assert "a server runs on" in machine.aya("upgrade-cluster", "--node", "alpha", expect=1)
        assert postmaster_pid(machine.data) == pid
    finally:
        cluster.stop()
