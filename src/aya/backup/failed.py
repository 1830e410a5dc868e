"""What is written down of a scheduled base backup that failed, from then to the next good one."""

from __future__ import annotations

from datetime import datetime
from pathlib import Path
from typing import Any

from aya.home import Home, read_json, write_private_json


def _file(home: Home, node: str) -> Path:
    return home.node_directory(node) / "backup.failed.json"


def remember(home: Home, node: str, error: str, now: datetime) -> None:
    """Write down why it failed, and when."""
    write_private_json(_file(home, node), {"at": now.isoformat(), "error": error})


def forget(home: Home, node: str) -> None:
    """Let it be forgotten: there is a good one."""
    _file(home, node).unlink(missing_ok=True)


def failure(home: Home, node: str) -> dict[str, Any] | None:
    """Return {at, error} of the last try of the schedule; None when it did not fail."""
    return read_json(_file(home, node)) if _file(home, node).exists() else None
