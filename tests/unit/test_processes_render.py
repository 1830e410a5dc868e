"""Processes as supervisord's INI, read back by supervisord's own parser."""

from __future__ import annotations

import shlex
from dataclasses import replace
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.errors import ConfigError
from aya.processes import render
from aya.processes.plist import Process

PROCESS = Process(
    label="com.aya.alpha.postgres",
    program=("/opt/venv/bin/python", "-m", "aya.postgres.run"),
    environment=(("AYA_HOME", "/srv/aya"), ("EMPTY", "")),
    working_directory="/",
    keep_alive="always",
    throttle_seconds=5,
    exit_timeout_seconds=120,
    stdout="/tmp/postgres.log",  # noqa: S108 - supervisord asks that the directory exists
    stderr="/tmp/postgres.log",  # noqa: S108
)


def text_of(directory: Path, *processes: Process) -> str:
    """Return the configuration of a supervisord in `directory`."""
    files = render.Files(directory / "supervisord.conf", directory / "s.sock", directory / "s.pid", directory / "s.log")
    return render.configuration(files, processes, files_limit=256, user="root")


def read_back(directory: Path, *processes: Process) -> list[Any]:
    """Return what supervisord 4.3 understands."""
    file = directory / "supervisord.conf"
    file.write_text(text_of(directory, *processes), encoding="utf-8")
    # Imported by name: supervisor has no types.
    options: Any = import_module("supervisor.options").ServerOptions()
    options.configfile = str(file)
    options.here = str(directory)
    options.process_config(do_usage=False)
    return [config for group in options.process_group_configs for config in group.process_configs]


def test_supervisord_reads_what_the_plist_said(tmp_path: Path) -> None:
    """Restart rule, distances and log come through."""
    (config,) = read_back(tmp_path, PROCESS)
    assert config.name == "com.aya.alpha.postgres"
    assert shlex.split(config.command) == list(PROCESS.program)
    assert config.environment == dict(PROCESS.environment)
    assert (config.startsecs, config.stopwaitsecs, config.stopsignal) == (5, 120, 15)
    assert (config.autostart, config.killasgroup, config.redirect_stderr) == (False, True, True)
    assert (config.stdout_logfile, config.stdout_logfile_maxbytes) == (PROCESS.stdout, 10 * 1024 * 1024)
    assert config.startretries > 100_000


def test_the_order_of_starting_is_the_reverse_of_stopping(tmp_path: Path) -> None:
    """The one with the highest priority number is stopped first."""
    first, second = read_back(tmp_path, PROCESS, replace(PROCESS, label="com.aya.alpha.embedder"))
    assert (first.name, first.priority < second.priority) == ("com.aya.alpha.postgres", True)


def test_on_failure_is_restarted_after_an_unexpected_exit_only(tmp_path: Path) -> None:
    """SuccessfulExit false: exit code 0 means stay down."""
    (config,) = read_back(tmp_path, replace(PROCESS, keep_alive="on_failure"))
    (always,) = read_back(tmp_path, PROCESS)
    assert config.autorestart is not always.autorestart
    assert config.exitcodes == [0]


def test_two_logs_stay_two(tmp_path: Path) -> None:
    """Standard error keeps its own file where the plist names one."""
    (config,) = read_back(tmp_path, replace(PROCESS, stderr="/tmp/errors.log"))  # noqa: S108
    assert (config.redirect_stderr, config.stderr_logfile) == (False, "/tmp/errors.log")  # noqa: S108


HARD = (
    "a b",
    "100% %s %(x)s %%",
    "it's",
    'say "so" now',
    "naïve – 知識 🎉",
    "back\\slash",
    "$HOME `id`",
    "a,b=c",
    "#1;2",
)


@pytest.mark.parametrize("name", HARD)
def test_hard_names_come_back_whole(tmp_path: Path, name: str) -> None:
    """Spaces, percent signs, quotes and any letter: argument, environment and log are what they were."""
    directory = tmp_path / name
    directory.mkdir()
    log = str(directory / "out.log")
    process = replace(
        PROCESS, program=("/bin/echo", name, log), environment=(("A", f"/{name}/x"),), stdout=log, stderr=log
    )
    (config,) = read_back(directory, process)
    assert shlex.split(config.command) == list(process.program)
    assert config.environment == {"A": f"/{name}/x"}
    assert config.stdout_logfile == log


def test_a_comment_sign_after_a_space_is_quoted_in_arguments(tmp_path: Path) -> None:
    """The line would be cut there."""
    process = replace(PROCESS, program=("/bin/echo", "a #b ;c", " # ", "it's #1"))
    (config,) = read_back(tmp_path, process)
    assert shlex.split(config.command) == list(process.program)


@given(st.lists(st.text(st.characters(exclude_categories=["Cs", "Cc"]), max_size=12), min_size=1, max_size=4))
def test_arguments_are_either_whole_or_refused(words: list[str]) -> None:
    """Whatever the arguments are, none is ever mangled."""
    try:
        text = text_of(Path("/srv"), replace(PROCESS, program=("/bin/echo", *words)))
    except ConfigError:
        return
    (line,) = [line for line in text.split("\n") if line.startswith("command=")]
    assert shlex.split(line.removeprefix("command=") % {}) == ["/bin/echo", *words]


@pytest.mark.parametrize(
    ("change", "why"),
    [
        ({"environment": (("A", "both ' and \""),)}, "quotes of both kinds"),
        ({"environment": (("A", "line\nbreak"),)}, "a control character"),
        ({"environment": (("A", "/Work #1/x"),)}, "where supervisord starts a comment"),
        ({"stdout": "/srv/a ;b/x.log"}, "where supervisord starts a comment"),
        ({"stdout": "/srv/x.log "}, "white space at an end"),
        ({"working_directory": "/srv/%(here)s"}, "which supervisord replaces"),
        ({"program": ("/bin/echo", "bell\x07")}, "a control character"),
    ],
)
def test_what_cannot_be_said_is_refused_in_words(change: dict[str, Any], why: str) -> None:
    """No path is mangled in silence."""
    with pytest.raises(ConfigError, match=why):
        text_of(Path("/srv"), replace(PROCESS, **change))
