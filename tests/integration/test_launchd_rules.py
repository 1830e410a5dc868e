"""The rules by which launchd keeps a service, on real processes: a simulation of launchd runs them here."""

from __future__ import annotations

import os
import plistlib
import signal
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from tests.launchd_simulation import EX_CONFIG, Service, Simulation

from aya.launchctl.parse import printed

LABEL = "com.aya.alpha.probe"
TARGET = f"system/{LABEL}"


def eventually(check: Callable[[], bool], seconds: float = 10.0) -> None:
    """Wait until `check` holds; fail when the time is up."""
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it never came true"
        time.sleep(0.01)


@pytest.fixture
def launchd() -> Iterator[Simulation]:
    """A launchd that takes daemons of whoever runs the tests."""
    with Simulation(owner=(os.getuid(), os.getgid())) as running:
        yield running


def loaded(launchd: Simulation, folder: Path, script: str, **keys: Any) -> Service:  # noqa: ANN401 - a plist's values
    """Load a service that runs a script of the shell."""
    plist = {
        "Label": LABEL,
        "ProgramArguments": ["/bin/sh", "-c", script],
        "EnvironmentVariables": {"PATH": "/usr/bin:/bin", "A": "b c"},
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 1,
        "ExitTimeOut": 2,
        "WorkingDirectory": str(folder),
        "StandardOutPath": str(folder / "log"),
        "StandardErrorPath": str(folder / "log"),
        "Umask": 0o077,
        **keys,
    }
    file = folder / f"{LABEL}.plist"
    file.write_bytes(plistlib.dumps(plist))
    file.chmod(0o644)
    assert launchd.run("bootstrap", "system", str(file)).code == 0
    return launchd.service(LABEL)


def test_keep_alive_starts_again_after_every_end(launchd: Simulation, tmp_path: Path) -> None:
    """After a clean end and after a kill; the starts are ThrottleInterval apart, however soon the process ends."""
    service = loaded(launchd, tmp_path, "exit 0")
    eventually(lambda: len(service.starts) == 3)
    gaps = [after - before for before, after in zip(service.starts, service.starts[1:], strict=False)]
    assert all(1.0 <= gap < 1.5 for gap in gaps)


def test_who_has_lived_longer_than_the_throttle_is_started_at_once(launchd: Simulation, tmp_path: Path) -> None:
    """ThrottleInterval is a distance between starts, not a pause after an end."""
    service = loaded(launchd, tmp_path, "exec sleep 60")
    eventually(lambda: service.process is not None)
    time.sleep(1.1)
    assert service.process is not None
    killed = service.process.pid
    os.kill(killed, signal.SIGKILL)
    began = time.monotonic()
    eventually(lambda: service.process is not None and service.process.pid != killed)
    assert time.monotonic() - began < 0.5
    assert printed(launchd.run("print", TARGET).out).exit_signal == signal.SIGKILL


@pytest.mark.parametrize(("code", "starts"), [(0, 1), (1, 2)])
def test_successful_exit_false_starts_again_after_a_failure_only(
    launchd: Simulation, tmp_path: Path, code: int, starts: int
) -> None:
    """A clean end is an end."""
    service = loaded(launchd, tmp_path, f"exit {code}", KeepAlive={"SuccessfulExit": False})
    eventually(lambda: service.code == code)
    time.sleep(1.4)
    assert len(service.starts) == starts


def test_bootout_asks_and_then_kills(launchd: Simulation, tmp_path: Path) -> None:
    """TERM first; who does not hear it is killed when ExitTimeOut is over, and the rest of its group with it."""
    loaded(launchd, tmp_path, "trap 'echo asked >>heard' TERM; echo ready >>heard; while :; do sleep 0.05; done")
    eventually((tmp_path / "heard").exists)
    began = time.monotonic()
    assert launchd.run("bootout", TARGET).code == 36
    assert printed(launchd.run("print", TARGET).out).state == "stopping"
    eventually(lambda: launchd.run("print", TARGET).code == 113)
    assert 2.0 <= time.monotonic() - began < 3.5
    assert (tmp_path / "heard").read_text(encoding="ascii").split() == ["ready", "asked"]


def test_the_log_is_added_to(launchd: Simulation, tmp_path: Path) -> None:
    """By each start anew, standard output and standard error alike; what stood there stays."""
    (tmp_path / "log").write_text("before\n", encoding="ascii")
    loaded(launchd, tmp_path, "echo out; echo err >&2; exit 3")
    whole = ["before", "out", "err", "out", "err"]
    eventually(lambda: (tmp_path / "log").read_text(encoding="ascii").split()[:5] == whole)
    assert printed(launchd.run("print", TARGET).out).exit_code == 3


def test_a_process_has_what_its_plist_says_and_nothing_else(
    launchd: Simulation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its environment, directory, umask and limit of open files; nothing of a shell is inherited."""
    monkeypatch.setenv("DB_HOST", "elsewhere")
    script = "env | sort >told; pwd >>told; umask >>told; ulimit -S -n >>told; mv told whole; exec sleep 60"
    loaded(launchd, tmp_path, script, SoftResourceLimits={"NumberOfFiles": 97})
    eventually((tmp_path / "whole").exists)
    told = (tmp_path / "whole").read_text(encoding="utf-8").splitlines()
    own = {line for line in told if not line.startswith(("PWD=", "OLDPWD=", "_=", "SHLVL="))}  # the shell's own
    assert own == {
        "A=b c", "PATH=/usr/bin:/bin", f"XPC_SERVICE_NAME={LABEL}", str(tmp_path), "0077", "97"}  # fmt: skip


def test_run_at_load_false_waits_for_a_kickstart(launchd: Simulation, tmp_path: Path) -> None:
    """Loaded is not started."""
    loaded(launchd, tmp_path, "exec sleep 60", RunAtLoad=False, KeepAlive=False)
    time.sleep(0.3)
    assert printed(launchd.run("print", TARGET).out).state == "stopped"
    assert launchd.run("kickstart", TARGET).code == 0
    eventually(lambda: printed(launchd.run("print", TARGET).out).state == "running")


def test_what_cannot_be_set_up_is_said(launchd: Simulation, tmp_path: Path) -> None:
    """A log in a folder that is not there: EX_CONFIG, and no word anywhere else."""
    service = loaded(launchd, tmp_path, "exit 0", StandardErrorPath=str(tmp_path / "none" / "log"))
    eventually(lambda: service.code == EX_CONFIG)
    assert printed(launchd.run("print", TARGET).out).exit_code == EX_CONFIG


def test_the_rest_of_a_process_group_is_ended(launchd: Simulation, tmp_path: Path) -> None:
    """A child that outlives its parent gets TERM; one that left the group, as a watchdog's server does, lives on."""
    leave = "import os; os.setsid(); os.execvp('sleep', ['sleep', '62'])"
    script = f'sleep 61 & echo $! >child; {sys.executable} -c "{leave}" & echo $! >server; mv child born; exec sleep 63'
    service = loaded(launchd, tmp_path, script, KeepAlive=False)
    eventually(lambda: (tmp_path / "born").exists() and (tmp_path / "server").exists())
    child, server = (int((tmp_path / name).read_text(encoding="ascii")) for name in ("born", "server"))
    try:
        eventually(lambda: os.getsid(server) == server)
        assert service.process is not None
        os.kill(service.process.pid, signal.SIGKILL)
        eventually(lambda: not _alive(child))
        assert _alive(server)
    finally:
        os.kill(server, signal.SIGKILL)


def _alive(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False
