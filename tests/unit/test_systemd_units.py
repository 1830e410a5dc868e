"""Processes as user units, read back by systemd itself where it is there: it tells what it has understood."""

from __future__ import annotations

import os
import pwd
import re
import shutil
import subprocess
import tempfile
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_launchd_plists import SERVICES, filled

from aya.errors import ConfigError
from aya.processes import plist, systemd
from aya.processes.plist import Process

SYSTEMD = "/lib/systemd/systemd"
with_systemd = pytest.mark.skipif(not Path(SYSTEMD).exists(), reason="no systemd on this machine")
INDEXER = plist.to_process(filled("indexer"))
WATCHDOG = plist.to_process(filled("watchdog"))


def understood(*processes: Process) -> list[dict[str, list[str]]]:
    """Return what systemd's own dump says of the units of these processes: values by name.

    A user's manager in its test mode, which starts nothing; it does not run as root.
    """
    directory = Path(tempfile.mkdtemp(prefix="aya-systemd-"))
    units = directory / "systemd" / "user"
    wants = units / "default.target.wants"
    wants.mkdir(parents=True)
    for place, process in enumerate(processes):
        file = units / f"unit{place}.service"
        file.write_text(systemd.unit(process), encoding="utf-8")
        (wants / file.name).symlink_to(file)
    user: dict[str, Any] = {}
    if os.geteuid() == 0:
        nobody = pwd.getpwnam("nobody")
        user = {"user": nobody.pw_uid, "group": nobody.pw_gid, "extra_groups": []}
        for path in (directory, *directory.rglob("*")):
            os.chown(path, nobody.pw_uid, nobody.pw_gid, follow_symlinks=False)
    try:
        told = subprocess.run(
            [SYSTEMD, "--user", "--test", "--log-target=console", "--log-level=info"],
            env={"XDG_RUNTIME_DIR": str(directory), "XDG_CONFIG_HOME": str(directory), "HOME": str(directory)},
            cwd="/",
            capture_output=True,
            text=True,
            encoding="utf-8",
            timeout=20,
            check=True,
            **user,
        )
    finally:
        shutil.rmtree(directory)
    assert ".service:" not in told.stderr, told.stderr  # it warns of what it does not understand: file:line
    return [_section(told.stdout, f"unit{place}.service") for place in range(len(processes))]


def _section(dump: str, name: str) -> dict[str, list[str]]:
    section = dump.split(f"-> Unit {name}:\n")[1].split("\n\t-> ", maxsplit=1)[0]
    found: dict[str, list[str]] = {}
    for key, value in re.findall(r"^\t+([A-Za-z ]+): (.*)$", section, re.MULTILINE):
        found.setdefault(key, []).append(value)
    return found


def unquoted(text: str) -> str:
    """Return the text of a double-quoted word, as systemd.syntax(7) reads it: what is escaped is itself."""
    return re.sub(r"\\(.)", r"\1", text).replace("%%", "%")


def lines(text: str, key: str) -> list[str]:
    """Return the values of a key."""
    return [line.removeprefix(f"{key}=") for line in text.splitlines() if line.startswith(f"{key}=")]


@with_systemd
def test_systemd_understands_every_unit_of_ours() -> None:
    """Restart rule, distances, limits, log and environment come through, and nothing is warned of."""
    told = understood(*(plist.to_process(filled(service)) for service in SERVICES))
    for service, unit in zip(SERVICES, told, strict=True):
        process = plist.to_process(filled(service))
        assert unit["Restart"] == ["always"]
        assert unit["RestartSec"] == [f"{process.throttle_seconds}s"]
        assert unit["TimeoutStopSec"] == [{10: "10s", 30: "30s", 120: "2min"}[process.exit_timeout_seconds]]
        assert (unit["KillSignal"], unit["UMask"]) == (["SIGTERM"], ["0077"])
        assert unit["StandardOutputFileToAppend"] == [f"/srv/aya home/nodes/alpha/log/{service}.log"]
        assert unit["StandardErrorFileToAppend"] == unit["StandardOutputFileToAppend"]
        assert unit["Environment"] == [f"{name}={word}" for name, word in process.environment]
        assert unit["Command Line"] == [" ".join(process.program)]
        assert unit["LimitNOFILESoft"] == ["4096"]
        assert "PGPASSWORD" in unit["UnsetEnvironment"]


HARD = ("a b", "100% %h %%", "it's", 'say "so" now', "naïve – 知識 🎉", "back\\slash", "$HOME ${HOME} `id`", "#1;2 ;")


@with_systemd
def test_hard_names_come_back_whole() -> None:
    """Spaces, percent signs, quotes, dollars and any letter: environment, directory and log are what they were."""
    processes = [
        replace(
            INDEXER,
            program=("/bin/echo", name),
            environment=(("A", f"/{name}/x"),),
            working_directory=f"/{name}/x",
            stdout=f"/{name}/out.log",
            stderr=f"/{name}/err.log",
        )
        for name in HARD
    ]
    for name, unit in zip(HARD, understood(*processes), strict=True):
        assert unit["Environment"] == [f"A=/{name}/x"]
        assert unit["WorkingDirectory"] == [f"/{name}/x"]
        assert unit["StandardOutputFileToAppend"] == [f"/{name}/out.log"]
        assert unit["StandardErrorFileToAppend"] == [f"/{name}/err.log"]


def test_a_dollar_in_an_argument_is_not_expanded() -> None:
    """In ExecStart, and only there, it is doubled."""
    text = systemd.unit(replace(INDEXER, program=("/bin/echo", "$HOME"), environment=(("A", "$HOME"),)))
    assert lines(text, "ExecStart") == ['"/bin/echo" "$$HOME"']
    assert lines(text, "Environment") == ['"A=$HOME"']


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"])))
def test_any_text_survives_the_quoting(word: str) -> None:
    """What was escaped is read back as it was."""
    text = systemd.unit(replace(INDEXER, program=("/bin/echo", word), environment=(("A", word),)))
    (environment,) = lines(text, "Environment")
    assert unquoted(environment[1:-1]) == f"A={word}"
    (command,) = lines(text, "ExecStart")
    assert unquoted(command.removeprefix('"/bin/echo" ')[1:-1]).replace("$$", "$") == word


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"program": ("/opt/$x/python",)}, "a \\$ in the path of a program"),
        ({"program": ("/bin/sh", "a\nExecStartPre=/bin/false")}, "a control character"),
        ({"environment": (("A", "x\n[Service]"),)}, "a control character"),
        ({"environment": (("A", "\udcff"),)}, "a control character"),
        ({"stdout": "/log/a\\"}, "a backslash at its end"),
        ({"working_directory": "/a "}, "white space"),
        ({"stderr": "/a\nUser=root"}, "a control character"),
    ],
)
def test_what_cannot_be_quoted_is_refused(change: dict[str, Any], said: str) -> None:
    """No path can smuggle a line into a unit, and none is mangled."""
    with pytest.raises(ConfigError, match=said):
        systemd.unit(replace(INDEXER, **change))


@pytest.mark.parametrize(
    ("process", "key", "expected"),
    [
        (INDEXER, "KillMode", ["mixed"]),
        (WATCHDOG, "KillMode", ["process"]),
        (plist.to_process(filled("postgres")), "KillMode", ["process"]),
        (replace(INDEXER, keep_alive="on_failure"), "Restart", ["on-failure"]),
        (INDEXER, "IOSchedulingClass", ["best-effort"]),
        (WATCHDOG, "IOSchedulingClass", []),
        (plist.to_process(filled("backup")), "Nice", ["10"]),
        (replace(INDEXER, nice=20), "Nice", ["19"]),
        (INDEXER, "Nice", []),
        (replace(INDEXER, files_limit=None), "LimitNOFILE", []),
    ],
)
def test_what_a_plist_asks_for_is_asked_of_systemd(process: Process, key: str, expected: list[str]) -> None:
    """A server outlives the crash of its watchdog; the rest gives way as the plist says."""
    assert lines(systemd.unit(process), key) == expected
