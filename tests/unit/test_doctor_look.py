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
from tests.unit.test_doctor_texts import BREW, DISABLED, LAUNCHCTL_LIST, LAUNCHCTL_PRINT, PMSET, SNTP, SW_VERS

from aya.doctor import checks, installations, network, services
from aya.doctor.checks import examine
from aya.doctor.findings import Finding
from aya.doctor.look import installations as look_installations
from aya.doctor.look import machine
from aya.doctor.look import services as look_services
from aya.doctor.look.configuration import read
from aya.doctor.look.place import Place
from aya.dsn import DatabaseSettings
from aya.errors import DatabaseUnavailable
from aya.home import Home, Node
from aya.local import layout, plan
from aya.processes.states import State

SYSTEMSETUP = "Network Time: Off\n"
PROGRAMS = {
    "sw_vers": SW_VERS, "pmset": PMSET, "fdesetup": "FileVault is On.\n", "systemsetup": SYSTEMSETUP, "sntp": SNTP,
    "sysctl": "1\n", "xattr": "com.apple.quarantine\n", "brew": BREW, "launchctl": LAUNCHCTL_LIST + DISABLED,
    "pg_lsclusters": "", "plutil": "", "systemctl": "inactive\n",
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


def test_daemons_are_looked_at_where_launchd_has_them(
    mac: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that others may write, and that ends over and over."""
    folder = tmp_path / "Library" / "LaunchDaemons"
    folder.mkdir(parents=True)
    monkeypatch.setattr(look_services, "PLIST_FOLDERS", (folder,))
    place, _ = read(home, "darwin")
    layout.processes(home, place.config, [node_of(place)])
    file = folder / "com.aya.alpha.watchdog.plist"
    file.write_bytes((home.node_directory("alpha") / "launchd" / file.name).read_bytes())
    file.chmod(0o664)
    (mac / "launchctl.txt").write_text(LAUNCHCTL_PRINT)
    found = ids(asyncio.run(examine(home, platform="darwin")))
    assert found["services.plist-owner"].hint == f"sudo chown root:wheel {file}; sudo chmod 644 {file}"
    assert found["services.job-failing"].what == "com.aya.alpha.watchdog ended with 78, and is spawn scheduled"
    assert found["services.job-failing"].hint == "launchctl print system/com.aya.alpha.watchdog"
    assert "services.stopped" not in found


@pytest.fixture
def listening() -> Iterator[int]:
    """A port on which somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        yield int(server.getsockname()[1])


def test_ways_to_a_partner_are_tried_one_by_one(home: Home, listening: int) -> None:
    """From a server by both ports, each with the reason; of this machine's own node none."""
    toml = (
        '[cluster.alpha]\naddresses = ["127.0.0.1"]\n'
        f'[cluster.beta]\naddresses = ["127.0.0.1"]\npostgres_port = {listening}\nagent_port = 1\n'
    )
    seen = machine.networks(place_of(home, toml))
    assert [(way.node, way.port, way.error is None) for way in seen.ways] == [
        ("beta", listening, True), ("beta", 1, False),
    ]  # fmt: skip
    (found,) = network.judge(seen)
    assert found.id == "network.way-dead"
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


def test_units_of_systemd_are_asked_for(mac: Path, home: Home, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where they are installed, no supervisor of ours runs, and none is missed."""
    monkeypatch.setenv("HOME", str(tmp_path))
    folder = tmp_path / ".config/systemd/user"
    folder.mkdir(parents=True)
    for name in ("com.aya.alpha.embedder.service", "com.aya.beta.embedder.service"):
        (folder / name).touch()
    place, _ = read(home)
    states: dict[str, State] = {"active": "running", "failed": "failed", "": "unknown"}
    for word, state in states.items():
        (mac / "systemctl.txt").write_text(f"{word}\n")
        assert look_services.running(place) == [services.Running("alpha", "embedder", state)]
    assert not look_services.is_resting(place)


def test_what_was_installed_from_a_checkout_is_told() -> None:
    """This very environment is, when these tests run from one."""
    place, _ = read(Home(Path("/nowhere")))
    assert "aya" in machine.python(place).editable


CLUSTER = '[cluster.alpha]\naddresses = ["192.168.1.10"]\n[cluster.beta]\naddresses = ["localhost", "100.64.0.2"]\n'


def place_of(home: Home, toml: str) -> Place:
    """Return the home as it is read with that aya.toml."""
    home.config_file.write_text(toml)
    place, seen = read(home)
    assert seen.config_error is None
    return place


def test_a_partner_is_entered_by_the_roles_that_both_have(home: Home) -> None:
    """Beta is a copy of alpha, passwords included; of a server whose password is not here that is said."""
    assert place_of(home, CLUSTER).servers() == {"alpha": "its secrets.json holds no password of postgres"}
    home.save_secrets("alpha", {"postgres": "x" * 20})
    servers = place_of(home, CLUSTER).servers()
    beta = servers["beta"]
    assert isinstance(beta, DatabaseSettings)
    assert (beta.user, beta.password) == ("postgres", "x" * 20)
    assert beta.hosts == (("localhost", 5432), ("100.64.0.2", 5432))
    alpha = servers["alpha"]
    assert isinstance(alpha, DatabaseSettings)
    assert alpha.hosts == (("127.0.0.1", 5432),), "aya.toml says where it listens"


def test_air_enters_the_servers_as_its_daemon_does(tmp_path: Path) -> None:
    """By the password that it was given, and not at all without one."""
    home = Home(tmp_path)
    home.save_nodes(plan.settle({}, ["air"], lambda taken: 20000 + len(taken)))
    home.save_secrets("air", {"postgres": "x" * 20})
    assert set(place_of(home, CLUSTER).servers()) == {"air"}
    (tmp_path / "word").write_text("a-word-of-sixteen-characters\n")
    (tmp_path / "word").chmod(0o600)
    servers = place_of(home, CLUSTER + '[sync]\nprimary_password_file = "word"\n').servers()
    assert set(servers) == {"air", "alpha", "beta"}
    beta = servers["beta"]
    assert isinstance(beta, DatabaseSettings)
    assert (beta.user, beta.password) == ("aya_sync", "a-word-of-sixteen-characters")


async def test_names_become_addresses_before_a_server_is_asked() -> None:
    """A resolver that hangs would keep the command from ending."""
    asked = await checks.numeric(DatabaseSettings((("localhost", 1), ("no.such.host.invalid", 2)), "x", "y"))
    assert asked.hosts in {(("127.0.0.1", 1),), (("::1", 1),)}
    with pytest.raises(DatabaseUnavailable, match="resolves to nothing"):
        await checks.numeric(DatabaseSettings((("no.such.host.invalid", 2),), "x", "y"))
    socket_of = DatabaseSettings((("/run/postgresql", 5432),), "x", "y")
    assert await checks.numeric(socket_of) == socket_of


def test_a_dsn_that_gives_up_what_is_promised_is_a_finding(home: Home) -> None:
    """Without its password being said; and the node's own server is looked at instead."""
    home.config_file.write_text('[postgres]\ndsn = "postgresql://u:geheim@h/d?synchronous_commit=off"\n')
    found = ids(asyncio.run(examine(home)))
    assert "synchronous_commit" in found["configuration.unreadable"].what
    assert "geheim" not in str(found)


def test_what_aya_toml_names_must_be_there(home: Home, tmp_path: Path) -> None:
    """A PostgreSQL, and a hook; one that can be run is good."""
    hook = tmp_path / "hook"
    hook.write_text("#!/bin/sh\n")
    hook.chmod(0o755)
    home.config_file.write_text(
        f'[postgres]\npg_config = "/no/pg_config"\n[alerts]\ncommands = ["{hook} --loud", "true", "{hook}.gone"]\n'
    )
    found = asyncio.run(examine(home))
    assert "/no/pg_config cannot be run" in ids(found)["configuration.postgres-unusable"].what
    (missing,) = [one for one in found if one.id == "configuration.hook-missing"]
    assert f"{hook}.gone" in missing.what


def test_what_may_not_be_read_is_said_with_who_may(home: Home) -> None:
    """A damaged file of passwords is a finding, and costs only what needs it."""
    home.secrets_file("alpha").write_text("{")
    home.secrets_file("alpha").chmod(0o600)
    found = ids(asyncio.run(examine(home)))
    assert found["configuration.secrets-unreadable"].severity == "failure"
    assert not {name for name in found if name.startswith("doctor.")}
