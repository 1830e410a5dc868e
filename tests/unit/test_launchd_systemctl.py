"""The services as units of a user's systemd: what is written, ordered and told, by a systemctl that only remembers."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pytest
from tests.unit.test_launchd_plists import filled

from aya.errors import ServiceManagerError
from aya.launchctl.logs import Followed
from aya.launchctl.program import Answer, Program
from aya.launchctl.systemctl import Systemd, lingers, require, units_directory
from aya.processes import plist, systemd

PROCESSES = [plist.to_process(filled(service)) for service in ("watchdog", "indexer")]
WATCHDOG, INDEXER = (f"{process.label}.service" for process in PROCESSES)


@dataclass
class Remembering:
    """A systemctl: it answers `show` with what it was given, and remembers the rest."""

    shown: str = "Version=252\n"
    refused: Answer | None = None
    calls: list[str] = field(default_factory=list[str])

    def run(self, *arguments: str) -> Answer:
        """Answer, and remember what was ordered."""
        if arguments[0] == "show":
            return Answer(0, self.shown)
        self.calls.append(" ".join(arguments))
        return self.refused or Answer(0)


def manager(folder: Path, systemctl: Remembering) -> Systemd:
    """Return the manager of both processes."""
    return Systemd(PROCESSES, systemctl, folder)


def test_install_writes_the_units_and_starts_them(tmp_path: Path) -> None:
    """Again it only makes sure; a changed unit is loaded and started anew, the other one is left alone."""
    folder, systemctl = tmp_path / "systemd" / "user", Remembering()
    done = manager(folder, systemctl).carry_out("install", lambda _: None)
    enable = f"enable --now {WATCHDOG} {INDEXER}"
    assert done[:2] == [f"write {folder / WATCHDOG}", f"write {folder / INDEXER}"]
    assert systemctl.calls == ["daemon-reload", f"restart {WATCHDOG} {INDEXER}", enable]
    assert (folder / INDEXER).read_text(encoding="utf-8") == systemd.unit(PROCESSES[1])
    assert sorted(path.name for path in folder.iterdir()) == sorted([INDEXER, WATCHDOG])

    again = Remembering()
    manager(folder, again).carry_out("install", lambda _: None)
    assert again.calls == [enable]

    (folder / INDEXER).write_text("[Unit]\n", encoding="utf-8")
    changed = Remembering()
    manager(folder, changed).carry_out("install", lambda _: None)
    assert changed.calls == ["daemon-reload", f"restart {INDEXER}", enable]


def test_the_other_verbs(tmp_path: Path) -> None:
    """Stopped in the reverse order; uninstalled, only the units are gone."""
    systemctl = Remembering()
    one = manager(tmp_path, systemctl)
    one.carry_out("install", lambda _: None)
    (tmp_path / "data").write_text("kept", encoding="ascii")
    systemctl.calls.clear()
    one.carry_out("stop", lambda _: None)
    one.carry_out("start", lambda _: None)
    one.carry_out("restart", lambda _: None)
    one.carry_out("uninstall", lambda _: None)
    assert systemctl.calls == [
        f"stop {INDEXER} {WATCHDOG}",
        f"start {WATCHDOG} {INDEXER}",
        f"restart {WATCHDOG} {INDEXER}",
        f"disable --now {INDEXER} {WATCHDOG}",
        "daemon-reload",
    ]
    assert [path.name for path in tmp_path.iterdir()] == ["data"]


SHOWN = ("LoadState", "ActiveState", "SubState", "MainPID", "ExecMainCode", "ExecMainStatus", "NRestarts")


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        ("loaded active running 42 0 0 2", ("running", 42, "has not ended yet", 3)),
        ("loaded activating auto-restart 0 1 1 0", ("restarting", None, "1: failed", 1)),
        ("loaded inactive dead 0 2 9 0", ("stopped", None, "SIGKILL: was killed", 1)),
        ("loaded deactivating stop-sigterm 42", ("stopping", 42, "has not ended yet", None)),
        ("loaded failed failed 0 1 78", ("failed", None, "78: could not be set up (EX_CONFIG)", None)),
        ("not-found inactive dead 0", ("not installed", None, None, None)),
        ("", ("not installed", None, None, None)),
    ],
)
def test_what_systemd_knows(
    tmp_path: Path, shown: str, expected: tuple[str, int | None, str | None, int | None]
) -> None:
    """States and exits in our words, whatever is missing."""
    told = "\n".join(f"{name}={value}" for name, value in zip(SHOWN, shown.split(), strict=False))
    one = manager(tmp_path, Remembering(told)).states()[0]
    state, pid, last_exit, runs = expected
    assert (one.state, one.pid, one.runs) == (state, pid, runs)
    assert (one.last_exit or "").startswith(last_exit or "")
    assert (one.last_exit is None) is (last_exit is None)
    assert (one.label, one.throttle_seconds, one.file) == ("com.aya.alpha.watchdog", 1, str(tmp_path / WATCHDOG))


def test_a_refusal_says_what_systemd_said(tmp_path: Path) -> None:
    """In one line, with the next command; what is gone already is no refusal."""
    systemctl = Remembering(refused=Answer(1, err="Job for x failed.\nSee journalctl.\n"))
    with pytest.raises(ServiceManagerError, match=r"start failed: Job for x failed\. See journalctl\."):
        manager(tmp_path, systemctl).carry_out("start", lambda _: None)
    gone = Remembering(refused=Answer(5, err="Failed to stop x.service: Unit x.service not loaded.\n"))
    manager(tmp_path, gone).carry_out("stop", lambda _: None)


def test_without_a_users_manager_nothing_is_written(tmp_path: Path) -> None:
    """A container or a bare root shell has none."""
    systemctl = Remembering(shown="")
    with pytest.raises(ServiceManagerError, match="no systemd of this user answers here"):
        manager(tmp_path / "units", systemctl).carry_out("install", lambda _: None)
    assert not (tmp_path / "units").exists()
    with pytest.raises(ServiceManagerError, match="cannot be run"):
        require(Program((str(tmp_path / "no-systemctl"),)))


def test_where_units_are_and_whether_they_outlive_a_logout(tmp_path: Path) -> None:
    """systemd.unit(5), and a file for each user who lingers."""
    assert units_directory({}, Path("/home/me")) == Path("/home/me/.config/systemd/user")
    assert units_directory({"XDG_CONFIG_HOME": "/x"}, Path("/home/me")) == Path("/x/systemd/user")
    (tmp_path / "me").touch()
    assert [lingers(name, tmp_path) for name in ("me", "you")] == [True, False]


def test_a_followed_log_is_read_on_when_it_is_exchanged(tmp_path: Path) -> None:
    """Whole lines only; a new file under the name, and one that was cut, are read from their start."""
    log = tmp_path / "x.log"
    log.write_text("before\n", encoding="utf-8")
    followed = Followed(log)
    assert followed.added() == []
    with log.open("a", encoding="utf-8") as stream:
        stream.write("one\ntw")
        stream.flush()
        assert followed.added() == ["one"]
        stream.write("o\n")
    assert followed.added() == ["two"]
    log.rename(tmp_path / "x.log.1")
    assert followed.added() == []
    log.write_text("anew\n", encoding="utf-8")
    assert followed.added() == ["anew"]
    log.write_text("a\n", encoding="utf-8")
    assert followed.added() == ["a"]
