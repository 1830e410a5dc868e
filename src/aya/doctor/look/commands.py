"""Programs of the system, run for what they print: with a deadline, without a terminal, in the C locale."""

from __future__ import annotations

import os
import shutil
import subprocess
from dataclasses import dataclass

SECONDS = 3.0
# Where macOS and Debian keep what is not in a daemon's PATH.
_PATH = "/usr/bin:/bin:/usr/sbin:/sbin:/opt/homebrew/bin:/usr/local/bin"


@dataclass(frozen=True, slots=True)
class Printed:
    """What a program printed, standard error included, and its exit code."""

    code: int
    text: str


def run(*command: str, seconds: float = SECONDS) -> Printed | None:
    """Return what a program prints; None when there is none of that name, or it does not end in time."""
    program = shutil.which(command[0], path=f"{os.environ.get('PATH', '')}:{_PATH}")
    if program is None:
        return None
    kept = {name: os.environ[name] for name in ("HOME", "USER", "TMPDIR") if name in os.environ}
    try:
        done = subprocess.run(
            [program, *command[1:]],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd="/",
            env={**kept, "PATH": _PATH, "LC_ALL": "C"},
            timeout=seconds,
            check=False,
        )
    except (OSError, subprocess.SubprocessError):
        return None
    return Printed(done.returncode, done.stdout.decode("utf-8", errors="replace"))


def text(*command: str, seconds: float = SECONDS) -> str:
    """Return what a program prints; empty when it cannot be run."""
    printed = run(*command, seconds=seconds)
    return printed.text if printed else ""
