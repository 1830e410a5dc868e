"""Homebrew's own PostgreSQL jobs on macOS: two supervisors for one data directory fight over it.

Only `conflicting_job` has run on Linux; `loaded_jobs` returns nothing there and has yet to meet a real launchd.
"""

from __future__ import annotations

import itertools
import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from aya.processes.leftovers import same_directory
from aya.processes.lint import parse_plist

_PATTERN = "homebrew.mxcl.postgresql*.plist"
_TIMEOUT_SECONDS = 5


def conflicting_job(jobs: Mapping[str, Sequence[str]], data_directory: Path) -> str | None:
    """Return the label of a loaded Homebrew job that serves `data_directory`, None when there is none; pure.

    jobs: program arguments by label, as the job's plist has them: [".../bin/postgres", "-D", "/opt/…"].
    """
    for label, arguments in jobs.items():
        if label.startswith("homebrew.mxcl.postgresql") and any(
            same_directory(directory, data_directory) for directory in _data_directories(arguments)
        ):
            return label
    return None


def _data_directories(arguments: Sequence[str]) -> list[str]:
    after = [following for option, following in itertools.pairwise(arguments) if option == "-D"]
    joined = [part.removeprefix("--pgdata=") for part in arguments if part.startswith("--pgdata=")]
    return [*after, *joined, *[part[2:] for part in arguments if part.startswith("-D") and len(part) > len("-D")]]


def loaded_jobs(
    platform: str = sys.platform, *, owner_home: Path | None = None, uid: int | None = None
) -> dict[str, list[str]]:
    """Return the loaded PostgreSQL jobs of Homebrew and their arguments; empty off macOS.

    owner_home, uid: whose agents are looked at, when that is not who asks, as under sudo.
    """
    if platform != "darwin":
        return {}
    folders = (
        (owner_home or Path.home()) / "Library/LaunchAgents",
        Path("/Library/LaunchDaemons"),
        Path("/Library/LaunchAgents"),
    )
    files = [file for folder in folders for file in folder.glob(_PATTERN)]
    return {file.stem: _arguments(file) for file in files if _is_loaded(file.stem, os.getuid() if uid is None else uid)}


def _is_loaded(label: str, uid: int) -> bool:
    """Return whether launchd has it, as a daemon or as an agent of the user."""
    return any(_answers("print", f"{domain}/{label}") for domain in ("system", f"gui/{uid}"))


def _answers(*arguments: str) -> bool:
    try:
        asked = subprocess.run(
            ["/bin/launchctl", *arguments], capture_output=True, timeout=_TIMEOUT_SECONDS, check=False
        )
    except (OSError, subprocess.SubprocessError):
        return False
    return asked.returncode == 0


def _arguments(file: Path) -> list[str]:
    try:
        plist = parse_plist(file.read_bytes())
    except (OSError, ValueError):
        return []  # launchd has not loaded what does not parse
    return [str(part) for part in plist.get("ProgramArguments", [])]
