"""`aya launchd` as it is typed: what a dry run shows anywhere, and what is refused, with the next command."""

from __future__ import annotations

import json
import os
import plistlib
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result

from aya.cli import main
from aya.home import Home, Node
from aya.launchctl import beside, setup, venv
from aya.launchctl import manager as managers
from aya.launchctl.jobs import Places
from aya.launchctl.program import Answer, NothingLoaded
from aya.local.clusters import marker
from aya.local.plan import settle
from aya.postgres import homebrew

TAKEN = {"DB_HOST": None, "AYA_DEBUG": None, "AYA_HOME": None, "XDG_CONFIG_HOME": None}


class NoBus:
    """A systemctl without a user's manager behind it."""

    def run(self, *arguments: str) -> Answer:
        """Say so, whatever is asked."""
        del arguments
        return Answer(1, err="Failed to connect to bus: No medium found\n")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home whose nodes were made, on a machine where no systemd answers."""
    path = tmp_path / "my home"
    nodes: dict[str, Node] = settle({}, ["alpha", "beta", "air"], lambda taken: max({20000, *taken}) + 1)
    Home(path).save_nodes(nodes)
    for node in nodes:
        data = Home(path).data_directory(node)
        data.mkdir(parents=True)
        (data / "PG_VERSION").write_text("18\n", encoding="ascii")
    monkeypatch.setattr(beside, "SYSTEMCTL", NoBus())
    monkeypatch.setattr(setup, "Setup", partial(setup.Setup, systemctl=NoBus()))
    return path


def run(home: Path, *arguments: str, config: Path | None = None) -> Result:
    """Run `aya launchd …` on a home."""
    taken = {**TAKEN, "XDG_CONFIG_HOME": str(config or home / "config")}
    return CliRunner(env=taken).invoke(main, ["--home", str(home), "launchd", *arguments])


def test_a_dry_run_shows_launchds_steps_on_any_machine(home: Path) -> None:
    """Every file and every command of launchctl, in their order; nothing is written."""
    before = sorted(home.rglob("*"))
    done = run(home, "install", "--dry-run", "--for", "launchd", "--nodes", "air")
    assert done.exit_code == 0, done.output
    lines = done.stdout.splitlines()
    services = ("link", "postgres", "embedder", "indexer", "syncd")
    for place, service in enumerate(services):
        file = f"/Library/LaunchDaemons/com.aya.air.{service}.plist"
        assert lines[4 * place : 4 * place + 4] == [
            f"write {file} (root:wheel, mode 644)",
            f"launchctl enable system/com.aya.air.{service}",
            f"launchctl bootstrap system {file}",
            f"launchctl kickstart system/com.aya.air.{service}",
        ]
    assert lines[20:] == [f"wait until com.aya.air.{service} runs" for service in services]
    assert sorted(home.rglob("*")) == before


def test_a_dry_run_prints_the_files(home: Path) -> None:
    """As they would be written: for an agent without UserName, in its user's folder."""
    done = run(home, "install", "--dry-run", "--for", "launchd", "--nodes", "air", "--agent", "--json")
    told: dict[str, Any] = json.loads(done.stdout)
    assert told["manager"] == "launchd"
    file, text = next(iter(told["files"].items()))
    assert file.endswith("/Library/LaunchAgents/com.aya.air.link.plist")
    plist = plistlib.loads(text.encode())
    assert "UserName" not in plist
    assert plist["EnvironmentVariables"]["AYA_HOME"] == str(home)
    assert f"launchctl bootstrap gui/{os.getuid()} {file}" in told["steps"]
    shown = run(home, "install", "--dry-run", "--for", "launchd", "--nodes", "air", "--print").stdout
    assert "<key>UserName</key>" in shown
    assert "# /Library/LaunchDaemons/com.aya.air.postgres.plist" in shown


def test_a_dry_run_shows_systemds_units(home: Path) -> None:
    """The same services, as units of this user."""
    done = run(home, "install", "--dry-run", "--for", "systemd", "--nodes", "alpha", "--print")
    assert done.exit_code == 0, done.output
    folder = home / "config" / "systemd" / "user"
    services = ("link", "watchdog", "embedder", "indexer", "backup")
    assert done.stdout.splitlines()[:5] == [f"write {folder}/com.aya.alpha.{name}.service" for name in services]
    units = " ".join(f"com.aya.alpha.{name}.service" for name in services)
    assert f"systemctl --user enable --now {units}" in done.stdout
    assert "KillMode=process" in done.stdout
    assert not folder.exists()


@pytest.mark.parametrize(
    ("arguments", "said", "hint"),
    [
        (("install", "--agent", "--daemon"), "exclude each other", "--help"),
        (("install", "--print"), "belong to --dry-run", "--dry-run --print"),
        (("install", "--for", "launchd"), "belong to --dry-run", "--dry-run --print"),
        (("install", "--dry-run", "--for", "systemd", "--agent"), "are launchd's", "leave them out"),
        (("install", "--nodes", "gamma"), "has no node 'gamma'", "--nodes alpha,beta,air"),
        (("status", "--nodes", "gamma"), "there is no node 'gamma'", "--nodes alpha,beta,air"),
        (("logs", "nothing"), "has a service 'nothing'", "one of link"),
    ],
)
def test_a_call_that_makes_no_sense_is_a_usage_error(
    home: Path, arguments: tuple[str, ...], said: str, hint: str
) -> None:
    """Exit code 2, and what to type instead."""
    done = run(home, *arguments)
    assert (done.exit_code, said in done.stderr, hint in done.stderr) == (2, True, True), done.stderr


@pytest.mark.parametrize("verb", ["install", "uninstall", "start", "stop", "restart", "status"])
def test_without_launchd_and_systemd_it_says_what_runs_the_nodes(
    home: Path, monkeypatch: pytest.MonkeyPatch, verb: str
) -> None:
    """`aya up --detach`; nothing is written."""
    monkeypatch.setattr(managers, "kind", lambda: "systemd")
    done = run(home, verb)
    assert done.exit_code == 1
    assert "no systemd of this user answers here" in done.stderr
    assert "next: aya up --detach" in done.stderr
    assert not (home / "config").exists()


def test_a_home_without_nodes_has_nothing_to_install(tmp_path: Path) -> None:
    """A service cannot make a node: it would need somebody to say which."""
    done = run(tmp_path, "install", "--dry-run")
    assert done.exit_code == 1
    assert "has no nodes yet" in done.stderr


@pytest.mark.parametrize(
    ("direct_url", "expected"),
    [
        ('{"url": "file:///x", "dir_info": {"editable": true}}', True),
        ('{"url": "file:///x", "dir_info": {}}', False),
        ('{"url": "https://x", "archive_info": {}}', False),
        ("[]", False),
        ("{", False),
        (None, False),
    ],
)
def test_an_editable_install_is_told_by_its_record(direct_url: str | None, *, expected: bool) -> None:
    """PEP 610's direct_url.json."""
    assert venv.is_editable(direct_url) is expected


def test_logs_are_read_of_every_service(home: Path) -> None:
    """The last lines of each, named; a log that is not there is passed over."""
    folder = Home(home).log_directory("alpha")
    folder.mkdir(parents=True)
    (folder / "indexer.log").write_text("one\ntwo\nthree\n", encoding="utf-8")
    (folder / "embedder.log").write_text("ready\n", encoding="utf-8")
    done = run(home, "logs", "--nodes", "alpha", "-n", "2")
    assert done.stdout.splitlines() == ["alpha embedder  ready", "alpha indexer   two", "alpha indexer   three"]
    assert run(home, "logs", "indexer", "--nodes", "alpha", "-n", "1").stdout == "alpha indexer  three\n"


@pytest.fixture
def mac(home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The home on a Mac whose launchd knows nothing yet; whoever asks is root, and the environment is good."""
    places = Places(tmp_path / "LaunchDaemons", tmp_path / "LaunchAgents", (os.getuid(), os.getgid()))
    monkeypatch.setattr(managers, "kind", lambda: "launchd")
    monkeypatch.setattr(venv, "editable", list[str])
    monkeypatch.setattr("aya.launchctl.setup.os.geteuid", lambda: 0)
    monkeypatch.setattr(setup, "Setup", partial(setup.Setup, launchctl=NothingLoaded(), where=places))
    return home


def spoil_venv(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have AYA be a link to a checkout."""
    del home
    monkeypatch.setattr(venv, "editable", lambda: ["aya", "aya-mcp"])


def spoil_data(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have no PostgreSQL."""
    del monkeypatch
    (Home(home).data_directory("alpha") / "PG_VERSION").unlink()


def spoil_unfinished(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have a PostgreSQL that was never made to its end."""
    del monkeypatch
    marker(Home(home), "alpha").touch()


def spoil_brew(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have Homebrew run a server on the same data."""
    data = str(Home(home).data_directory("alpha"))

    def loaded(**_: object) -> dict[str, list[str]]:
        return {"homebrew.mxcl.postgresql@18": ["/opt/homebrew/bin/postgres", "-D", data]}

    monkeypatch.setattr(homebrew, "loaded_jobs", loaded)


def spoil_label(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have another home installed."""
    del monkeypatch
    folder = home.parent / "LaunchDaemons"
    folder.mkdir()
    taken = {"Label": "com.aya.alpha.link", "EnvironmentVariables": {"AYA_HOME": "/Users/me/other"}}
    (folder / "com.aya.alpha.link.plist").write_bytes(plistlib.dumps(taken))


def spoil_kind(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Have one of its services as an agent already."""
    del monkeypatch
    folder = home.parent / "LaunchAgents"
    folder.mkdir()
    known = {"Label": "com.aya.alpha.embedder", "EnvironmentVariables": {"AYA_HOME": str(home)}}
    (folder / "com.aya.alpha.embedder.plist").write_bytes(plistlib.dumps(known))


def spoil_root(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Ask as an ordinary user."""
    del home
    monkeypatch.setattr("aya.launchctl.setup.os.geteuid", lambda: 501)


@pytest.mark.parametrize(
    ("spoil", "code", "told"),
    [
        (spoil_venv, 1, ("aya, aya-mcp: links to a checkout", "uv sync --no-editable --extra node")),
        (spoil_data, 1, ("node alpha has no PostgreSQL in", "aya up --nodes alpha --detach makes it; then aya down")),
        (spoil_unfinished, 1, ("node alpha has no PostgreSQL in", "aya up --nodes alpha --detach makes it")),
        (spoil_brew, 1, ("launchd's job homebrew.mxcl.postgresql@18 runs", "brew services stop postgresql@18")),
        (spoil_label, 1, ("is of the home /Users/me/other", "aya --home /Users/me/other launchd uninstall")),
        (spoil_kind, 1, ("has the same service as agent", "aya launchd uninstall")),
        (spoil_root, 2, ("daemons belong to root", "next: sudo /")),
    ],
)
def test_an_installation_that_would_not_last_is_refused(
    mac: Path,
    monkeypatch: pytest.MonkeyPatch,
    spoil: Callable[[Path, pytest.MonkeyPatch], None],
    code: int,
    told: tuple[str, str],
) -> None:
    """Before anything is written, with the next command; a dry run shows it all the same."""
    spoil(mac, monkeypatch)
    before = sorted(mac.parent.rglob("*"))
    done = run(mac, "install", "--nodes", "alpha")
    assert done.exit_code == code
    assert all(words in done.stderr for words in told), done.stderr
    assert run(mac, "install", "--nodes", "alpha", "--dry-run").exit_code == 0
    assert sorted(mac.parent.rglob("*")) == before


def test_nothing_installed_is_said(mac: Path) -> None:
    """By status, and by what needs it; uninstalling nothing is nothing to do."""
    told = run(mac, "status")
    assert (told.exit_code, told.stdout) == (
        3, "nothing is installed as a service\n  next: aya launchd install\n")  # fmt: skip
    assert run(mac, "start").stderr.startswith("aya: nothing of this home is installed as a service")
    assert run(mac, "uninstall").stdout.startswith("uninstall: nothing to do")
