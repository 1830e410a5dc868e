"""What is written is on the disk itself: where the system has a call for that, by that call."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

import pytest

from aya import flush
from aya.home import read_json, write_private_json


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Return what was called, in order, as on macOS: fsync, and fcntl's F_FULLFSYNC."""
    said: list[str] = []
    monkeypatch.setattr(flush, "_FULL", 51)

    def control(handle: int, command: int) -> None:
        said.append(f"fcntl {command}")

    def sync(handle: int) -> None:
        said.append("fsync")

    monkeypatch.setattr(fcntl, "fcntl", control)
    monkeypatch.setattr(os, "fsync", sync)
    return said


def test_on_macos_the_drives_cache_is_flushed(calls: list[str], tmp_path: Path) -> None:
    """A promise of a watchdog: its file, and then the directory that names it."""
    write_private_json(tmp_path / "watchdog.json", {"epoch": 3})
    assert calls == ["fcntl 51", "fcntl 51"]
    assert read_json(tmp_path / "watchdog.json") == {"epoch": 3}


def test_where_that_is_refused_fsync_is_called(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """A file system that has no such call."""

    def refuse(handle: int, command: int) -> None:
        raise OSError(45, "Operation not supported")

    monkeypatch.setattr(fcntl, "fcntl", refuse)
    flush.flush(0)
    assert calls == ["fsync"]


def test_elsewhere_fsync_is_called(calls: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Linux flushes the drive by it."""
    monkeypatch.setattr(flush, "_FULL", None)
    flush.flush(0)
    assert calls == ["fsync"]
