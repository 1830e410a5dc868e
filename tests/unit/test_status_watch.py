"""`aya status --watch` as a terminal and as a pipe see it, on a home without nodes."""

from __future__ import annotations

import json
import os
import pty
import select
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest

AYA = str(Path(sys.executable).with_name("aya"))
_ENTERS, _LEAVES = b"\x1b[?1049h", b"\x1b[?1049l"
_DEADLINE_SECONDS = 20.0


def _read_until(descriptor: int, wanted: bytes) -> bytes:
    """Return what a terminal got, up to `wanted`."""
    got = b""
    deadline = time.monotonic() + _DEADLINE_SECONDS
    while wanted not in got:
        assert time.monotonic() < deadline, got
        if select.select([descriptor], [], [], 0.1)[0]:
            got += os.read(descriptor, 65536)
    return got


def test_in_a_terminal_it_draws_on_a_screen_of_its_own_until_q(tmp_path: Path) -> None:
    """The shell's own screen comes back, its keys echo again, and the exit code is the verdict's."""
    master, slave = pty.openpty()
    before = termios.tcgetattr(slave)
    command = [AYA, "--home", str(tmp_path), "status", "--watch", "0.5"]
    environment = {**os.environ, "TERM": "xterm-256color"}
    with subprocess.Popen(command, stdin=slave, stdout=slave, stderr=slave, env=environment) as watching:
        seen = _read_until(master, b"q quits")
        os.write(master, b"xq")
        seen += _read_until(master, _LEAVES)
        assert watching.wait(timeout=_DEADLINE_SECONDS) == 1
    assert seen.index(_ENTERS) < seen.index(b"there are no nodes")
    assert termios.tcgetattr(slave) == before
    os.close(master)
    os.close(slave)


@pytest.mark.parametrize(("options", "marks"), [((), "there are no nodes"), (("--json",), '"nodes": []')])
def test_in_a_pipe_each_look_follows_the_one_before(tmp_path: Path, options: tuple[str, ...], marks: str) -> None:
    """Nothing is drawn over, no escape is printed, and it ends when nobody reads any more."""
    command = [AYA, "--home", str(tmp_path), "status", "--watch", "0.5", *options]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as watching:
        assert watching.stdout is not None
        lines: list[str] = []
        while sum(marks in line for line in lines) < 2:
            lines.append(watching.stdout.readline())
        watching.stdout.close()
        assert watching.wait(timeout=_DEADLINE_SECONDS) == 141
    assert "\x1b" not in "".join(lines)
    if options:
        assert all(json.loads(line)["health"] == "down" for line in lines)


@pytest.mark.parametrize("seconds", ["0", "0.1", "nan", "-3", "soon"])
def test_a_pace_that_is_none_is_refused(tmp_path: Path, seconds: str) -> None:
    """Such as would look without a pause."""
    command = [AYA, "--home", str(tmp_path), "status", "--watch", seconds]
    assert subprocess.run(command, capture_output=True, timeout=_DEADLINE_SECONDS, check=False).returncode == 2
