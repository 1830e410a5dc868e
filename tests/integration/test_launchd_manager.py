"""`aya launchd`'s steps against a simulated launchd that runs real processes: again, in between, and refused."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from tests.launchd_simulation import Simulation

from aya.errors import AyaError, ServiceManagerError
from aya.launchctl.jobs import Job
from aya.launchctl.launchd import Launchd
from aya.launchctl.manager import ServiceState, Verb
from aya.processes.plist import Process, to_xml

ME = (os.getuid(), os.getgid())


@pytest.fixture
def simulation() -> Iterator[Simulation]:
    """A launchd that takes daemons of whoever runs the tests."""
    with Simulation(owner=ME) as running:
        yield running


def job(folder: Path, service: str, script: str = "exec sleep 60", *, domain: str = "system") -> Job:
    """Return a job that runs a script of the shell."""
    plist = {
        "Label": f"com.aya.alpha.{service}",
        "ProgramArguments": ["/bin/sh", "-c", script],
        "EnvironmentVariables": {
            "PATH": "/usr/bin:/bin",
            "HOME": "/",
            "LC_ALL": "C",
            "AYA_HOME": "/",
            "AYA_NODE": "alpha",
        },
        "RunAtLoad": True,
        "KeepAlive": True,
        "ThrottleInterval": 1,
        "ExitTimeOut": 2,
        "WorkingDirectory": str(folder),
        "StandardOutPath": str(folder / f"{service}.log"),
        "StandardErrorPath": str(folder / f"{service}.log"),
    }
    process = Process(
        label=str(plist["Label"]),
        program=("/bin/sh", "-c", script),
        environment=(("AYA_NODE", "alpha"),),
        working_directory=str(folder),
        keep_alive="always",
        throttle_seconds=1,
        exit_timeout_seconds=2,
        stdout=str(folder / f"{service}.log"),
        stderr=str(folder / f"{service}.log"),
    )
    file = folder / "jobs" / f"{process.label}.plist"
    return Job(process, "daemon" if domain == "system" else "agent", domain, file, to_xml(plist), ME)


def launchd(simulation: Simulation, *jobs: Job, uid: int = 0) -> Launchd:
    """Return the manager of these jobs."""
    return Launchd(jobs, simulation, uid=uid, folders=[one.file.parent for one in jobs])


def told(manager: Launchd, verb: Verb) -> list[str]:
    """Carry a verb out, and return what was done: of each step its first word and the service."""
    steps: list[str] = []
    manager.carry_out(verb, steps.append)
    return steps


def states(manager: Launchd) -> list[str]:
    """Return the states of its services."""
    return [one.state for one in manager.states()]


def test_a_life_under_launchd(simulation: Simulation, tmp_path: Path) -> None:
    """Installed, again, stopped, started, restarted, uninstalled: each does what is missing, and nothing twice."""
    manager = launchd(simulation, job(tmp_path, "postgres"), job(tmp_path, "indexer"))
    assert states(manager) == ["not installed", "not installed"]
    assert told(manager, "uninstall") == []

    assert told(manager, "install")
    assert states(manager) == ["running", "running"]
    first = [one.pid for one in manager.states()]
    assert told(manager, "install") == told(manager, "start") == []
    assert [one.pid for one in manager.states()] == first

    assert told(manager, "restart")
    assert not {one.pid for one in manager.states()} & set(first)
    assert states(manager) == ["running", "running"]

    assert told(manager, "stop")
    assert states(manager) == ["not loaded", "not loaded"]
    assert told(manager, "stop") == []
    assert told(manager, "start")
    assert states(manager) == ["running", "running"]

    (tmp_path / "data").write_text("kept", encoding="ascii")
    assert told(manager, "uninstall")
    assert states(manager) == ["not installed", "not installed"]
    assert sorted(path.name for path in tmp_path.rglob("*") if path.is_file()) == [
        "data", "indexer.log", "postgres.log"]  # fmt: skip


def test_a_changed_plist_is_loaded_anew_and_the_others_are_left_alone(simulation: Simulation, tmp_path: Path) -> None:
    """What runs as it should goes on running."""
    postgres, indexer = job(tmp_path, "postgres"), job(tmp_path, "indexer")
    told(launchd(simulation, postgres, indexer), "install")
    before = {one.service: one.pid for one in launchd(simulation, postgres, indexer).states()}
    manager = launchd(simulation, postgres, job(tmp_path, "indexer", "exec sleep 61"))
    told(manager, "install")
    after = {one.service: one.pid for one in manager.states()}
    assert after["postgres"] == before["postgres"]
    assert after["indexer"] not in {None, before["indexer"]}
    assert b"sleep 61" in (tmp_path / "jobs" / "com.aya.alpha.indexer.plist").read_bytes()


def test_a_file_is_whole_and_readable_by_everybody_and_writable_by_its_owner_alone(
    simulation: Simulation, tmp_path: Path
) -> None:
    """Mode 644 whatever the umask; nothing half written stays."""
    one = job(tmp_path, "indexer")
    before = os.umask(0)
    try:
        told(launchd(simulation, one), "install")
    finally:
        os.umask(before)
    assert stat.S_IMODE(one.file.stat().st_mode) == 0o644
    assert (one.file.stat().st_uid, one.file.stat().st_gid) == ME
    assert [path.name for path in one.file.parent.iterdir()] == [one.file.name]
    one.file.chmod(0o666)
    assert told(launchd(simulation, one), "install")
    assert stat.S_IMODE(one.file.stat().st_mode) == 0o644


def test_a_disabled_label_is_enabled(simulation: Simulation, tmp_path: Path) -> None:
    """`launchctl disable` outlives a reinstallation; an installation is a wish to have it run."""
    one = job(tmp_path, "indexer")
    simulation.run("disable", one.target)
    assert states(launchd(simulation, one)) == ["disabled"]
    told(launchd(simulation, one), "install")
    assert states(launchd(simulation, one)) == ["running"]


def test_what_does_not_stay_is_said_with_the_end_of_its_log(simulation: Simulation, tmp_path: Path) -> None:
    """Launchd starts it again for ever; the person is told why it ends."""
    manager = launchd(simulation, job(tmp_path, "indexer", "echo the model is gone >&2; exit 1"))
    with pytest.raises(AyaError, match=r"indexer of node alpha does not start; .*the model is gone"):
        told(manager, "install")
    (state,) = manager.states()
    assert (state.state, state.last_exit) == ("restarting", "1: failed; its log says why")
    assert state.runs
    assert state.runs >= 2


def spoil_mode(one: Job) -> None:
    """Let everybody write it."""
    one.file.chmod(0o666)


def spoil_content(one: Job) -> None:
    """Break it off in the middle."""
    one.file.write_bytes(one.content[:100])


@pytest.mark.parametrize(("spoil", "name"), [(spoil_mode, "wrong-mode"), (spoil_content, "not-a-plist")])
def test_a_refusal_is_explained_by_what_is_found(
    simulation: Simulation, tmp_path: Path, spoil: object, name: str
) -> None:
    """Launchctl says 5 of both; the file says which."""
    one = job(tmp_path, "indexer")
    manager = launchd(simulation, one)
    told(manager, "install")
    told(manager, "stop")
    assert callable(spoil)
    spoil(one)
    with pytest.raises(ServiceManagerError, match=name) as refused:
        told(manager, "start")
    assert refused.value.hint


def test_another_owner_is_found(simulation: Simulation, tmp_path: Path) -> None:
    """Launchd wants root's file; this one is somebody else's."""
    one = job(tmp_path, "indexer")
    told(launchd(simulation, one), "install")
    told(launchd(simulation, one), "stop")
    simulation.owner = (ME[0] + 1, ME[1])
    with pytest.raises(ServiceManagerError, match="wrong-owner"):
        told(launchd(simulation, replace(one, owner=(ME[0] + 1, ME[1]))), "start")


def test_an_agent_needs_somebody_at_the_screen(tmp_path: Path) -> None:
    """Over ssh there is no gui domain."""
    with Simulation(owner=ME, gui=False) as without:
        one = job(tmp_path, "syncd", domain="gui/501")
        with pytest.raises(ServiceManagerError, match="no-login-session"):
            told(launchd(without, one, uid=501), "install")


def test_a_start_of_what_was_never_installed_is_refused(simulation: Simulation, tmp_path: Path) -> None:
    """With the command that installs it."""
    with pytest.raises(ServiceManagerError, match="was not installed") as refused:
        told(launchd(simulation, job(tmp_path, "indexer")), "start")
    assert refused.value.hint == "aya launchd install"


def test_what_is_loaded_without_a_file_is_a_stray(simulation: Simulation, tmp_path: Path) -> None:
    """Somebody removed the file by hand: launchd goes on running it."""
    one = job(tmp_path, "indexer")
    manager = launchd(simulation, one)
    told(manager, "install")
    assert manager.strays() == Launchd((), simulation, uid=0, folders=[one.file.parent]).strays() == []
    one.file.unlink()
    assert manager.strays() == [one.target]
    assert Launchd((), simulation, uid=0, folders=[one.file.parent]).strays() == [one.target]
    assert Launchd((), simulation, uid=501).strays() == [f"gui/501/{one.label}"]


def test_the_state_tells_pid_runs_throttle_and_last_exit(simulation: Simulation, tmp_path: Path) -> None:
    """As launchd knows them, the exit in words."""
    one = job(tmp_path, "indexer")
    manager = launchd(simulation, one)
    told(manager, "install")
    pid = simulation.service(one.label).process
    assert pid is not None
    assert manager.states() == [
        ServiceState(one.label, "alpha", "indexer", "running", pid.pid, "has not ended yet", 1, 1, str(one.file))
    ]
