"""Three machines by `aya init`: alpha is made, beta and air join by a file, and a second call changes nothing.

Each machine is a home of its own, on loopback with ports of its own.
"""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.conftest import free_port

from aya.home import Home
from aya.processes import leftovers

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(120)]
AYA = str(Path(sys.executable).with_name("aya"))
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_"))}


@dataclass(frozen=True)
class Machine:
    """One machine. role: what it is to be."""

    home: Home
    role: str
    ports: tuple[str, str]

    def aya(self, *arguments: str, expect: int | None = 0) -> subprocess.CompletedProcess[str]:
        """Run a verb to its end, with nobody at the terminal."""
        done = subprocess.run(
            [AYA, "--home", str(self.home.path), *arguments],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRON, timeout=100, check=False,
        )  # fmt: skip
        assert expect is None or done.returncode == expect, done.stdout + done.stderr
        return done

    def init(self, *arguments: str, expect: int = 0) -> list[dict[str, Any]]:
        """Run `aya init` and return its steps."""
        port, embedder = self.ports
        more = ("--port", port, "--embedder-port", embedder)
        done = self.aya("init", "--role", self.role, *more, "--json", *arguments, expect=expect)
        steps: list[dict[str, Any]] = json.loads(done.stdout)["steps"]
        # Other servers of this machine are told of; they are none of ours.
        return [step for step in steps if step["state"] != "look"]

    def status(self) -> dict[str, Any]:
        """Return what `aya status` says of the node."""
        found: dict[str, Any] = json.loads(self.aya("status", "--json", expect=None).stdout)["nodes"][0]
        return found

    def tree(self) -> dict[str, int]:
        """Return every file with when it was changed."""
        return {str(one): one.lstat().st_mtime_ns for one in self.home.path.parent.rglob("*")}


def eventually(check: Callable[[], bool], seconds: float = 40.0) -> None:
    """Wait until `check` holds."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.2)


@pytest.fixture(scope="module")
def machines() -> Iterator[dict[str, Machine]]:
    """Three machines on which nothing was made yet, but for alpha's ports, which are not the usual ones here."""
    directory = Path(tempfile.mkdtemp(prefix="aya init "))
    directory.chmod(0o755)
    made = {
        role: Machine(Home(directory / role / "home"), role, (str(free_port()), str(free_port())))
        for role in ("alpha", "beta", "air")
    }
    lines = ["# a person's own words"]
    for role in ("alpha", "beta"):
        lines += [
            f"[cluster.{role}]", 'addresses = ["127.0.0.1"]', f"postgres_port = {made[role].ports[0]}",
            f"agent_port = {free_port()}", f"health_port = {free_port()}",
        ]  # fmt: skip
    for machine in made.values():
        machine.home.path.mkdir(parents=True)
    made["alpha"].home.config_file.write_text("\n".join((*lines, "")), encoding="utf-8")
    try:
        yield made
    finally:
        for machine in made.values():
            machine.aya("down", expect=None)
            leftovers.end(machine.home)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture(scope="module")
def alpha(machines: dict[str, Machine]) -> Machine:
    """Alpha, made; before that nothing was changed by looking."""
    machine = machines["alpha"]
    before = machine.tree()
    planned = machine.init("--air-address", "127.0.0.1", "--dry-run")
    assert [step["state"] for step in planned if step["action"] == "start"] == ["to do"]
    assert machine.tree() == before
    assert leftovers.find(machine.home) == []
    machine.init("--air-address", "127.0.0.1")
    return machine


@pytest.fixture(scope="module")
def beta(alpha: Machine, machines: dict[str, Machine]) -> Machine:
    """Beta, joined."""
    machine = machines["beta"]
    blocked = machine.init("--alpha-address", "127.0.0.1", "--beta-address", "127.0.0.1", expect=1)
    command = next(step["command"] for step in blocked if step["state"] == "blocked")
    assert command.startswith("on the server that leads")
    file = machine.home.path.parent / "beta.aya-join"
    with file.open("w") as stream:
        subprocess.run(
            [AYA, "--home", str(alpha.home.path), "init", "invite", "beta"], stdout=stream, env=ENVIRON, check=True
        )
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    machine.init("--join", str(file))
    assert not file.exists()
    return machine


def test_alpha_is_made_once_and_a_second_call_changes_nothing(alpha: Machine) -> None:
    """aya.toml keeps a person's words, the former one is beside it, and passwords are private."""
    assert alpha.status()["versions"]["postgresql"].startswith("18")
    text = alpha.home.config_file.read_text(encoding="utf-8")
    assert text.startswith("# a person's own words\n")
    assert 'clients = ["127.0.0.1"]' in text
    assert len(list(alpha.home.path.glob("aya.toml.before-*"))) == 1
    before = text, alpha.status()["postmaster_pid"], alpha.home.secrets("alpha")
    assert {step["state"] for step in alpha.init()} == {"done"}
    assert "everything is done already" in alpha.aya("init", "--role", "alpha").stdout
    assert (alpha.home.config_file.read_text(encoding="utf-8"), alpha.status()["postmaster_pid"],
            alpha.home.secrets("alpha")) == before  # fmt: skip
    assert stat.S_IMODE(alpha.home.secrets_file("alpha").stat().st_mode) == 0o600


def test_a_machine_that_is_named_later_is_let_in_without_a_restart(alpha: Machine) -> None:
    """pg_hba.conf is read anew; the server is the same."""
    pid = alpha.status()["postmaster_pid"]
    said = alpha.aya("init", "--role", "alpha", "--client", "100.64.9.0/24").stdout
    assert "read aya.toml at their start" in said
    hba = (alpha.home.data_directory("alpha") / "pg_hba.conf").read_text()
    assert "100.64.9.0/24" in hba
    assert alpha.status()["postmaster_pid"] == pid


def test_beta_joins_by_a_file_and_both_are_in_sync(alpha: Machine, beta: Machine) -> None:
    """What is written on alpha is on beta, either may lead, and beta has what it takes to."""
    eventually(
        lambda: alpha.status()["failover"]["condition"] == "SYNC" and beta.status()["failover"]["condition"] == "ARMED"
    )
    alpha.aya("add", "--text", "from alpha")
    eventually(lambda: beta.status()["counts"]["documents"] == 1)
    assert beta.status()["health"] == "healthy"
    for file in (beta.home.secrets_file("beta"), *beta.home.agent_directory("beta").iterdir(),
                 *beta.home.authority_directory.iterdir()):  # fmt: skip
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert {step["state"] for step in beta.init()} == {"done"}


def test_a_newer_join_file_is_taken_in_before_it_is_removed(alpha: Machine, beta: Machine) -> None:
    """A new certificate; the former one stays beside it, and both are in sync again."""
    file = beta.home.path.parent / "beta.aya-join"
    alpha.aya("init", "invite", "beta", "--output", str(file))
    brought = json.loads(file.read_text())["certificate"]["cert.pem"]
    steps = beta.init("--join", str(file))
    assert [step["state"] for step in steps if step["action"] == "take"] == ["to do"]
    assert not file.exists()
    agent = beta.home.agent_directory("beta")
    assert (agent / "cert.pem").read_text() == brought
    (former,) = agent.parent.glob("agent.before-*")
    assert (former / "cert.pem").read_text() != brought
    eventually(lambda: beta.status()["failover"]["condition"] == "ARMED")


@pytest.mark.parametrize("client", ["all", "samenet", "0.0.0.0/0", "::/0", "128.0.0.0/1"])
def test_nobody_lets_everybody_in_by_mistake(alpha: Machine, client: str) -> None:
    """Refused in words; nothing has changed."""
    before = alpha.home.config_file.read_text()
    said = alpha.aya("init", "--role", "alpha", "--client", client, expect=2).stderr
    assert "would let in everybody" in said
    assert alpha.home.config_file.read_text() == before


def test_beta_leads_when_alpha_is_gone_and_alpha_follows_when_it_is_back(alpha: Machine, beta: Machine) -> None:
    """Each is started alone, whoever leads elsewhere."""
    eventually(lambda: beta.status()["failover"]["condition"] == "ARMED")
    alpha.aya("down")
    eventually(lambda: beta.status()["role"] == "primary" or beta.aya("failover", "--yes", expect=None).returncode == 0)
    alpha.aya("up", "--detach", expect=None)
    eventually(lambda: alpha.status()["role"] == "standby" and alpha.status()["failover"]["condition"] == "ARMED")
    beta.aya("switchover", "--yes")
    eventually(lambda: alpha.status()["failover"]["condition"] == "SYNC")


def test_air_joins_with_one_password_and_has_a_copy(
    alpha: Machine, beta: Machine, machines: dict[str, Machine]
) -> None:
    """No other password travels; what alpha has is found on air, and what is written there arrives."""
    air = machines["air"]
    file = air.home.path.parent / "air.aya-join"
    alpha.aya("init", "invite", "air", "--output", str(file))
    text = file.read_text()
    words = alpha.home.secrets("alpha")
    assert [role for role, word in words.items() if word in text] == ["aya_sync"]
    assert "PRIVATE KEY" not in text
    air.init("--join", str(file))
    assert not file.exists()
    proof = air.home.agent_directory("air") / "ca.pem"
    assert proof.read_text() == (alpha.home.authority_directory / "authority.pem").read_text()
    eventually(lambda: air.status()["counts"]["documents"] == 1)
    air.aya("add", "--text", "from air")
    eventually(lambda: alpha.status()["counts"]["documents"] == 2)
    assert "following" in air.aya("sync", "status").stdout
    assert {step["state"] for step in air.init()} == {"done"}


def test_a_killed_init_goes_on_at_the_next_call_and_data_may_be_elsewhere(machines: dict[str, Machine]) -> None:
    """Killed while it makes the cluster, on another disk; then made, seen, and ended as any other."""
    directory = machines["alpha"].home.path.parent.parent / "single"
    machine = Machine(Home(directory / "home"), "alpha", (str(free_port()), str(free_port())))
    machine.home.path.mkdir(parents=True)
    lines = [
        line
        for role in ("alpha", "beta")
        for line in (
            f"[cluster.{role}]", 'addresses = ["127.0.0.1"]', f"postgres_port = {free_port()}",
            f"agent_port = {free_port()}", f"health_port = {free_port()}",
        )
    ]  # fmt: skip
    machine.home.config_file.write_text("\n".join((*lines, "")), encoding="utf-8")
    (directory / "the disk itself").mkdir()
    disk = directory / "other disk"
    disk.symlink_to("the disk itself")
    command = [AYA, "--home", str(machine.home.path), "init", "--role", "alpha", "--data", str(disk),
               "--port", machine.ports[0], "--embedder-port", machine.ports[1]]  # fmt: skip
    with subprocess.Popen(
        command, stdin=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=ENVIRON, process_group=0
    ) as process:
        eventually((disk / "alpha" / "data.unfinished").exists)
        os.killpg(process.pid, signal.SIGKILL)
    try:
        steps = machine.init("--data", str(disk))
        assert [step["state"] for step in steps if step["action"] in {"link", "start"}] == ["done", "to do"]
        assert (disk / "alpha" / "data" / "PG_VERSION").exists()
        assert machine.status()["health"] in {"healthy", "degraded"}
        assert any(one.kind == "postgres" for one in leftovers.find(machine.home))
    finally:
        machine.aya("down")
    assert leftovers.find(machine.home) == []


def test_alphas_machine_is_lost_and_beta_invites_its_successor(
    alpha: Machine, beta: Machine, machines: dict[str, Machine]
) -> None:
    """A new home becomes alpha from what beta has alone, and may lead."""
    eventually(lambda: beta.status()["failover"]["condition"] == "ARMED", 60)
    alpha.aya("down")
    eventually(lambda: beta.status()["role"] == "primary" or beta.aya("failover", "--yes", expect=None).returncode == 0)
    new = Machine(Home(alpha.home.path.parent / "new home"), "alpha", alpha.ports)
    file = alpha.home.path.parent / "alpha.aya-join"
    beta.aya("init", "invite", "alpha", "--output", str(file))
    try:
        new.init("--join", str(file))
        eventually(lambda: new.status()["failover"]["condition"] == "ARMED", 60)
        assert new.status()["counts"]["documents"] == beta.status()["counts"]["documents"]
        assert {step["state"] for step in new.init()} == {"done"}
    finally:
        new.aya("down", expect=None)


def test_a_join_file_is_not_printed_on_a_terminal(alpha: Machine) -> None:
    """It holds passwords: it goes into a file, or nowhere."""
    master, slave = pty.openpty()
    done = subprocess.run(
        [AYA, "--home", str(alpha.home.path), "init", "invite", "air"],
        stdout=slave, stderr=subprocess.PIPE, text=True, env=ENVIRON, check=False,
    )  # fmt: skip
    os.close(slave)
    os.close(master)
    assert done.returncode == 2
    assert "not printed on a terminal" in done.stderr
