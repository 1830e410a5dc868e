"""What a service has to say does not end it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

_PROGRAM = """
from aya import log
log.configure(service="x")
for number in range(3):
    log.get_logger().info("line.written", number=number, text="x" * 10000)
print("lived")
"""


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full here")
def test_a_full_disk_ends_no_service() -> None:
    """The log is on it: every write fails."""
    with Path("/dev/full").open("w", encoding="utf-8") as full:
        done = subprocess.run(
            [sys.executable, "-c", _PROGRAM], stdout=subprocess.PIPE, stderr=full, text=True, check=False
        )
    assert done.stdout == "lived\n"


def test_what_can_be_written_is_written() -> None:
    """One JSON object a line."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, check=True)
    assert done.stderr.count('"event": "line.written"') == 3
