"""A time of day of its own for a node, which can be set while everything runs. Linux with a C compiler.

A kernel has one such clock for all its processes; so the C library's answer is changed (clock.c) in the watchdog and,
by it, in the server. As on a real machine whose clock is set, the monotonic clock goes on.
"""

from __future__ import annotations

import os
import shutil
import struct
import subprocess
import sys
from pathlib import Path

_FILE, _LIBRARY = "AYA_CLOCK_FILE", "LD_PRELOAD"


class Clock:
    """One node's. directory: which PostgreSQL's user can enter."""

    def __init__(self, directory: Path, node: str) -> None:
        self._file = directory / f"clock-{node}"
        self._library = directory / "clock.so"
        self.added = 0

    def make(self) -> None:
        """Make it; it goes right."""
        if not self._library.exists():
            source = Path(__file__).with_name("clock.c")
            command = ["cc", "-shared", "-fPIC", "-O1", "-o", str(self._library), str(source), "-ldl"]
            subprocess.run(command, check=True, capture_output=True, timeout=60)
        self._file.write_bytes(struct.pack("q", 0))

    def add(self, seconds: int) -> None:
        """Have it so many seconds ahead from now on; behind, when they are negative."""
        self.added = seconds
        with self._file.open("r+b") as file:
            file.write(struct.pack("q", seconds))

    @property
    def environment(self) -> dict[str, str]:
        """Return what a process needs to see it."""
        return {_FILE: str(self._file), _LIBRARY: str(self._library)}


def is_possible() -> bool:
    """Return whether clocks can be made here."""
    return sys.platform == "linux" and shutil.which("cc") is not None


def handed_on() -> dict[str, str]:
    """Return what this process must hand on to have another one see the same clock."""
    return {name: os.environ[name] for name in (_FILE, _LIBRARY) if name in os.environ}
