"""What reads the machine, on machines that are made up: programs that print what macOS's would, plists, ports.

The programs print texts that follow Apple's manual pages; none of this has run on a Mac.
"""

from __future__ import annotations

import asyncio
import plistlib
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.unit.test_doctor_texts import BREW, DISABLED, LAUNCHCTL_LIST, PMSET, SNTP, SW_VERS

from aya.doctor import installations, network, services
from aya.doctor.checks import examine
from aya.doctor.findings import Finding
from aya.doctor.look import installations as look_installations
from aya.doctor.look import machine
from aya.doctor.look import services as look_services
from aya.doctor.look.configuration import read
from aya.doctor.look.place import Place
from aya.home import Home, Node
from aya.local import layout, plan

SYSTEMSETUP = "Network Time: Off\n"
PROGRAMS = {
    "sw_vers": SW_VERS, "pmset": PMSET, "fdesetup": "FileVault is On.\n", "systemsetup": SYSTEMSETUP, "sntp": SNTP,
    "sysctl": "1\n", "xattr": "com.apple.quarantine\n", "brew": BREW, "launchctl": LAUNCHCTL_LIST + DISABLED,
    "pg_lsclusters": "", "plutil": "",
}  # fmt: skip


@pytest.fixture
def mac(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of programs that print what macOS's would; first in PATH."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for name, said in PROGRAMS.items():
        (folder / f"{name}.txt").write_text(said)
        (folder / name).write_text(f"#!/bin/sh\ncat '{folder}/{name}.txt'\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    return folder


@pytest.fixture
def home(tmp_path: Path) -> Home:
    """A home with alpha, of which nothing runs, and no server was ever made."""
    home = Home((tmp_path / "home").resolve())
    home.path.mkdir(mode=0o700)
    home.save_nodes(plan.settle({}, ["alpha"], lambda taken: 20000 + len(taken)))
    home.log_directory("alpha").mkdir(parents=True, mode=0o700)
    return home


def ids(found: list[Finding]) -> dict[str, Finding]:
    """Return the findings by id."""
    return {one.id: one for one in found}


def test_a_mac_is_looked_at_by_its_programs(mac: Path, home: Home) -> None:
    """Sleep, FileVault, clock, Homebrew, Rosetta, quarantine, F_FULLFSYNC: each is found by what a program prints."""
    found = ids(asyncio.run(examine(home, platform="darwin")))
    assert {
        "sleep.server-sleeps", "sleep.no-autorestart", "sleep.filevault", "clock.unsynchronised",
        "environment.translated", "environment.quarantined", "installations.autostart",
    } <= set(found)  # fmt: skip
    assert found["installations.autostart"].hint == "brew services stop postgresql@18"
    assert found["clock.unsynchronised"].hint == "sudo systemsetup -setusingnetworktime on"
    assert not {name for name in found if name.startswith("doctor.")}


def test_a_mac_that_is_good_passes(mac: Path, home: Home) -> None:
    """The same, with what the programs should print."""
    (mac / "pmset.txt").write_text(" sleep 0\n autorestart 1\n")
    for name, said in {"fdesetup": "FileVault is Off.\n", "systemsetup": "Network Time: On\n", "sysctl": "0\n",
                       "xattr": "", "brew": "Name Status User File\n"}.items():  # fmt: skip
        (mac / f"{name}.txt").write_text(said)
    found = ids(asyncio.run(examine(home, platform="darwin")))
    assert found["sleep"].severity == "ok"
    assert not {name for name in found if name.startswith(("clock.", "environment.tr", "environment.q"))}
    assert found["clock"].severity == "ok"


def test_a_home_at_rest_is_no_failure(home: Home) -> None:
    """Its embedder and its server are not looked at, which is no pass."""
    found = asyncio.run(examine(home))
    assert ids(found)["model"].severity == "skipped"
    assert "services.stopped" in ids(found)
    assert "services.server-silent" not in ids(found)


def test_jobs_of_launchd_are_read_from_their_plists(mac: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those that are disabled, AYA's own, and what is no plist are left out."""
    folder = tmp_path / "LaunchAgents"
    folder.mkdir()
    monkeypatch.setattr(look_installations, "_FOLDERS", (str(folder),))
    (mac / "brew.txt").write_text("")
    for label in ("homebrew.mxcl.postgresql@17", "homebrew.mxcl.postgresql@16", "com.aya.alpha.postgres"):
        words = [f"/opt/{label}/bin/postgres", "-D", f"/opt/{label}/data"]
        plist = {"Label": label, "ProgramArguments": words, "RunAtLoad": True}
        (folder / f"{label}.plist").write_bytes(plistlib.dumps(plist))
    (folder / "broken.postgresql.plist").write_text("<plist>")
    place, _ = read(Home(tmp_path))
    jobs = look_installations.look(place).jobs
    (job,) = [one for one in jobs if one.manager == "homebrew"]
    assert job.label == "homebrew.mxcl.postgresql@17"
    assert job.data_directory == "/opt/homebrew.mxcl.postgresql@17/data"
    assert job.domain.startswith("gui/")
    assert installations.disabling(job) == "brew services stop postgresql@17"


@pytest.fixture
def listening() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_ways_to_a_partner_are_tried_one_by_one(tmp_path: Path, listening: int) -> None:
    """One that answers and one that does not: with the reason."""
    (tmp_path / "aya.toml").write_text(
        f'[cluster.alpha]\naddresses = ["127.0.0.1", "127.0.0.1"]\npostgres_port = {listening}\n'
        '[cluster.beta]\naddresses = ["127.0.0.1"]\npostgres_port = 1\n'
    )
    place, _ = read(Home(tmp_path))
    seen = machine.networks(place)
    assert [(way.node, way.error is None) for way in seen.ways] == [("alpha", True), ("alpha", True), ("beta", False)]
    (found,) = [one for one in network.judge(seen) if one.node == "beta"]
    assert found.id == "network.partner-unreachable"
    assert "127.0.0.1:1 (" in found.what


def node_of(place: Place) -> Node:
    """Return its only node."""
    (node,) = place.nodes
    return node


def test_a_plist_that_was_changed_is_told(home: Home) -> None:
    """One that this version would write as it is, is good; a user's name, which an installation adds, is no change."""
    place, _ = read(home)
    layout.processes(home, place.config, [node_of(place)])
    assert [one for seen in look_services.plists(place) for one in services.judge_plist(seen)] == []
    file = home.node_directory("alpha") / "launchd" / "com.aya.alpha.embedder.plist"
    plist = plistlib.loads(file.read_bytes())
    file.write_bytes(plistlib.dumps({**plist, "UserName": "ada"}))
    assert [one for seen in look_services.plists(place) for one in services.judge_plist(seen)] == []
    file.write_bytes(plistlib.dumps({**plist, "ThrottleInterval": 60}))
    (found,) = [one for seen in look_services.plists(place) for one in services.judge_plist(seen)]
    assert (found.id, found.node) == ("services.plist-differs", "alpha")
    file.write_text("<plist>")
    (found,) = [one for seen in look_services.plists(place) for one in services.judge_plist(seen)]
    assert found.id == "services.plist-invalid"


def test_what_was_installed_from_a_checkout_is_told() -> None:
    """This very environment is, when these tests run from one."""
    place, _ = read(Home(Path("/nowhere")))
    assert "aya" in machine.python(place).editable
