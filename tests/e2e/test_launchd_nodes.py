"""A real home's services under a simulated launchd, driven by `aya launchd` as on a Mac: killed, stopped, looked at.

launchd is a simulation (tests/launchd_simulation.py); PostgreSQL, watchdog, embedder, indexer and backup are real.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import plistlib
import shutil
import signal
import tempfile
import time
from collections.abc import Callable, Generator, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Literal

import asyncpg
import psutil
import pytest
from click.testing import CliRunner, Result
from tests.launchd_simulation import Simulation

from aya.cli import main
from aya.home import Home
from aya.launchctl import manager, setup, venv
from aya.launchctl.jobs import Owner, Places
from aya.local import layout
from aya.postgres.cluster import postmaster_pid
from aya.processes import leftovers, plist
from aya.processes.plist import to_process
from aya.settings import load_config, node_settings

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(240)]

SERVICES = ("link", "watchdog", "embedder", "indexer", "backup", "web")
UNSET = {name: None for name in os.environ if name.startswith(("DB_", "AYA_")) and name != "AYA_PG_MAJOR"}


@dataclass(frozen=True)
class Mac:
    """A machine with a simulated launchd, and a home with node alpha."""

    home: Home
    launchd: Simulation
    places: Places

    def aya(self, *arguments: str, expect: int = 0) -> Result:
        """Run a verb in this process, and check its exit code."""
        done = CliRunner(env=UNSET).invoke(main, ["--home", str(self.home.path), *arguments])
        assert done.exit_code == expect, done.output
        return done

    def where(self, owner: Owner) -> Places:
        """Return the test's folders, whoever asks."""
        del owner
        return self.places

    def services(self) -> dict[str, dict[str, Any]]:
        """Return what `aya launchd status --json` says, by service."""
        done = CliRunner(env=UNSET).invoke(main, ["--home", str(self.home.path), "launchd", "status", "--json"])
        told: Mapping[str, Any] = json.loads(done.stdout)
        return {one["service"]: one for one in told["services"]}

    def pid(self, service: str) -> int | None:
        """Return the process id of a service."""
        pid: int | None = self.services()[service]["pid"]
        return pid

    async def value(self, statement: str) -> object:
        """Return one value from alpha's server, as its owner."""
        connection = await asyncpg.connect(node_settings(self.home, "alpha", environ={}).local.dsn(), timeout=10)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()


@pytest.fixture(scope="module")
def home() -> Iterator[Home]:
    """A home with node alpha, made by `aya up`, at rest."""
    directory = Path(tempfile.mkdtemp(prefix="aya launchd "))
    directory.chmod(0o755)
    made = Home(directory.resolve() / "home")
    try:
        for arguments in (("up", "--nodes", "alpha", "--detach"), ("down",)):
            done = CliRunner(env=UNSET).invoke(main, ["--home", str(made.path), *arguments])
            assert done.exit_code == 0, done.output
        yield made
    finally:
        leftovers.end(made)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.fixture
def mac(home: Home, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Mac]:
    """This machine as a Mac: launchd answers, its folders are the test's, the environment is no link to a checkout."""
    own = (os.getuid(), os.getgid())
    places = Places(tmp_path / "LaunchDaemons", tmp_path / "LaunchAgents", own)
    with Simulation(owner=own) as launchd:
        monkeypatch.setattr(manager, "kind", _launchd)
        monkeypatch.setattr(venv, "editable", list[str])
        monkeypatch.setattr(setup, "Setup", partial(setup.Setup, launchctl=launchd, where=places))
        yield Mac(home, launchd, places)


def _launchd(platform: str = "") -> Literal["launchd"]:
    del platform
    return "launchd"


@pytest.fixture
def installed(mac: Mac) -> Iterator[Mac]:
    """With its services installed."""
    mac.aya("launchd", "install", *kind())
    yield mac
    mac.aya("launchd", "uninstall")


def kind() -> list[str]:
    """Return the option for whoever runs the tests: daemons are root's."""
    return [] if os.geteuid() == 0 else ["--agent"]


def eventually(check: Callable[[], bool], seconds: float = 30.0) -> None:
    """Wait until `check` holds; fail when the time is up."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.05)


async def test_the_nodes_run_and_come_back_after_a_kill(installed: Mac) -> None:
    """Each service that is killed is started again; the server lives on under the next watchdog, and takes rows."""
    before = installed.services()
    assert {name: one["state"] for name, one in before.items()} == dict.fromkeys(SERVICES, "running")
    server = postmaster_pid(installed.home.data_directory("alpha"))
    assert await installed.value("SELECT 1") == 1
    # Who has lived for its throttle is started at once.
    await asyncio.sleep(max(0.0, 10.0 - _age(before["backup"]["pid"])))
    for one in before.values():
        os.kill(one["pid"], signal.SIGKILL)

    def is_back() -> bool:
        now = installed.services()
        return all(now[name]["pid"] not in {None, before[name]["pid"]} for name in SERVICES)

    eventually(is_back, 5)
    assert {one["last_exit"].split(":")[0] for one in installed.services().values()} == {"SIGKILL"}
    assert postmaster_pid(installed.home.data_directory("alpha")) == server
    assert await installed.value("SELECT 1") == 1
    assert installed.aya("launchd", "install", *kind()).stdout.startswith("install: nothing to do")


def _age(pid: int) -> float:
    return time.time() - psutil.Process(pid).create_time()


def test_two_supervisors_are_refused(installed: Mac, monkeypatch: pytest.MonkeyPatch) -> None:
    """`aya up` and `aya down` beside launchd's services: nothing is ended, nothing begun, the next command is said."""
    from aya.launchctl import beside, jobs  # noqa: PLC0415 - only this test bends them

    monkeypatch.setattr(beside, "LAUNCHCTL", installed.launchd)
    monkeypatch.setattr(jobs, "places", installed.where)
    before = {name: one["pid"] for name, one in installed.services().items()}
    for verb in (("up", "--detach"), ("down",)):
        refused = installed.aya(*verb, expect=1)
        assert "launchd runs com.aya.alpha" in refused.stderr
        assert "next: aya launchd stop" in refused.stderr
    assert {name: one["pid"] for name, one in installed.services().items()} == before
    (node,) = json.loads(installed.aya("status", "--json").stdout)["nodes"]
    assert {one["name"]: (one["state"], one["pid"]) for one in node["services"]} == {
        name: ("running", pid) for name, pid in before.items()
    }


def test_services_beside_aya_up_are_refused(mac: Mac) -> None:
    """And nothing is written."""
    mac.aya("up", "--detach")
    try:
        refused = mac.aya("launchd", "install", *kind(), expect=1)
        assert "aya up runs com.aya.alpha.backup" in refused.stderr
        assert "next: aya down" in refused.stderr
        assert not mac.places.daemons.exists()
    finally:
        mac.aya("down")


def test_stop_is_a_clean_end_and_data_stays(mac: Mac) -> None:
    """Everything ends by TERM, within its time and with exit code 0; uninstalled, the home is as it was."""
    mac.aya("launchd", "install", *kind())
    running = {name: mac.launchd.service(f"com.aya.alpha.{name}") for name in SERVICES}
    mac.aya("launchd", "stop")
    assert {name: one.code for name, one in running.items()} == dict.fromkeys(SERVICES, 0)
    assert {one["state"] for one in mac.services().values()} == {"not loaded"}
    mac.aya("launchd", "status", expect=3)
    mac.aya("launchd", "uninstall")
    assert list(mac.places.daemons.glob("*")) == list(mac.places.agents.glob("*")) == []
    assert (mac.home.data_directory("alpha") / "PG_VERSION").exists()
    assert not leftovers.find(mac.home)


@contextlib.contextmanager
def under_launchd(mac: Mac, service: str) -> Generator[str]:
    """Run one template, rendered for alpha, as it is; yield its label."""
    config = load_config(mac.home)
    filled = plist.substitute(plist.template(service), layout.placeholders(mac.home, config, mac.home.node("alpha")))
    file = mac.places.daemons / f"{filled['Label']}.plist"
    file.parent.mkdir(parents=True)
    file.write_bytes(plistlib.dumps(filled))
    file.chmod(0o644)
    assert mac.launchd.run("bootstrap", "system", str(file)).code == 0
    try:
        yield to_process(filled).label
    finally:
        mac.launchd.run("bootout", f"system/{filled['Label']}")


async def test_postgres_under_its_wrapper(mac: Mac) -> None:
    """TERM is a fast shutdown, with 0 though a client is connected; a killed wrapper's server is ended by the next."""
    with under_launchd(mac, "postgres") as label:
        service = mac.launchd.service(label)
        await _answers(mac)
        server = postmaster_pid(mac.home.data_directory("alpha"))
        await asyncio.sleep(max(0.0, service.throttle - (time.monotonic() - service.starts[-1])))
        assert service.process is not None
        os.kill(service.process.pid, signal.SIGKILL)
        eventually(lambda: postmaster_pid(mac.home.data_directory("alpha")) not in {None, server})
        await _answers(mac)
        assert len(service.starts) == 2

        client = await asyncpg.connect(node_settings(mac.home, "alpha", environ={}).local.dsn())
        began = time.monotonic()
        mac.launchd.run("bootout", f"system/{label}")
        eventually(lambda: mac.launchd.run("print", f"system/{label}").code == 113)
        assert service.code == 0
        assert time.monotonic() - began < 20
        client.terminate()


async def _answers(mac: Mac) -> None:
    until = time.monotonic() + 30
    while True:
        try:
            assert await mac.value("SELECT 1") == 1
        except (OSError, asyncpg.PostgresError):
            assert time.monotonic() < until
            await asyncio.sleep(0.1)
        else:
            return
