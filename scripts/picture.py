"""Take a picture of a command in a terminal: picture.py OUT.svg [--shown TEXT] -- COMMAND [ARGUMENT…].

The command runs in a pseudo-terminal of 110 columns; its output becomes an SVG. --shown is what the prompt shows
instead of the command itself.
"""

from __future__ import annotations

import argparse
import io
import os
import pty
import re
import shlex
import subprocess
import sys
from pathlib import Path

from rich.console import Console
from rich.text import Text

COLUMNS = 110
# What moves the cursor or clears a line: a progress bar's own drawing.
_MOVES = re.compile(r"\x1b\[[0-9;?]*[A-HJKSTfhlnsu]")


def output_of(command: list[str]) -> str:
    """Run `command` in a pseudo-terminal and return what it printed, colours included."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "COLUMNS": str(COLUMNS), "TERM": "xterm-256color"}
    process = subprocess.Popen(command, stdin=follower, stdout=follower, stderr=follower, env=environment)
    os.close(follower)
    parts: list[bytes] = []
    while part := _read(leader):
        parts.append(part)
    os.close(leader)
    process.wait()
    return b"".join(parts).decode("utf-8", errors="replace")


def _read(descriptor: int) -> bytes:
    try:
        return os.read(descriptor, 65536)
    except OSError:
        # Linux's way of saying that the other side is closed.
        return b""


def settled(printed: str) -> str:
    """Return what stays on the screen: of a line that was drawn over, its last state; pure."""
    lines = _MOVES.sub("", printed).replace("\r\n", "\n").split("\n")
    return "\n".join(line.rsplit("\r", 1)[-1] for line in lines).strip("\n")


def main() -> None:
    """Take the picture."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--shown")
    parser.add_argument("command", nargs="+")
    asked = parser.parse_args()
    printed = settled(output_of(asked.command))
    console = Console(record=True, width=COLUMNS, file=io.StringIO())
    console.print(Text(f"$ {asked.shown or shlex.join(asked.command)}", style="bold"))
    console.print(Text.from_ansi(printed))
    asked.out.write_text(console.export_svg(title="aya"), encoding="utf-8")
    sys.stderr.write(f"{asked.out}: {len(printed.splitlines())} lines\n")


if __name__ == "__main__":
    main()
