"""Whether launchd can run this Python environment; pure but for reading what is installed.

Python 3.12 and later pass over hidden .pth files, and macOS can mark a .venv hidden: an editable install, which is a
.pth file, is then not found. A daemon may not enter the folders that macOS asks for in a window (Files and Folders).
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from importlib import metadata
from pathlib import Path

_PREFIX = "aya"
_GUARDED = ("Desktop", "Documents", "Downloads", "Library/Mobile Documents")


def editable() -> list[str]:
    """Return the names of our distributions that are installed as links to a checkout."""
    ours = (one for one in metadata.distributions() if _is_ours(one.name))
    return sorted({one.name for one in ours if is_editable(one.read_text("direct_url.json"))})


def _is_ours(name: str | None) -> bool:
    return name is not None and (name == _PREFIX or name.startswith(f"{_PREFIX}-"))


def is_editable(direct_url: str | None) -> bool:
    """Return whether a direct_url.json says so (PEP 610); pure."""
    try:
        told = json.loads(direct_url or "{}")
        return bool(told["dir_info"]["editable"])
    except (ValueError, KeyError, TypeError):
        return False


def problems(program: Path, editable_names: Iterable[str], user_home: Path) -> list[str]:
    """Return why launchd could not run `program`, a Python of an environment, in sentences; pure."""
    names = ", ".join(editable_names)
    found = (
        [f"{names}: links to a checkout (an editable install), which Python on a Mac may not follow"] if names else []
    )
    guarded = next((name for name in _GUARDED if program.is_relative_to(user_home / name)), None)
    if guarded:
        found.append(f"it is in ~/{guarded}, which macOS keeps daemons out of")
    if program.is_relative_to("/Volumes"):
        found.append("it is on another volume, which may not be there when the Mac starts")
    return found
