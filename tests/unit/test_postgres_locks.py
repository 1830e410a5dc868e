"""A lock that no PostgreSQL holds goes, with the one of its socket; nobody else's does."""

from __future__ import annotations

from pathlib import Path

import pytest

from aya.postgres.holders import forget


@pytest.mark.parametrize(
    ("socket_lock", "stays"), [("4711\n/data\n", False), ("4712\n/other\n", True)], ids=["its own", "another's"]
)
def test_a_lock_goes_with_its_sockets(tmp_path: Path, socket_lock: str, *, stays: bool) -> None:
    """The file names both: the process and where its socket is."""
    data, run = tmp_path / "data", tmp_path / "run"
    data.mkdir()
    run.mkdir()
    (data / "postmaster.pid").write_text(f"4711\n{data}\n1700000000\n5433\n{run}\n127.0.0.1\n 99 5\nready\n")
    beside = run / ".s.PGSQL.5433.lock"
    beside.write_text(socket_lock)
    forget(data)
    assert not (data / "postmaster.pid").exists()
    assert beside.exists() == stays


@pytest.mark.parametrize("content", ["", "4711", "4711\n/data\n1\n5433\n\n", "4711\n/data\n1\n5433\n/nowhere\n"])
def test_a_lock_that_was_never_finished_goes_too(tmp_path: Path, content: str) -> None:
    """Cut short by a power cut, without a socket, or with one that is gone."""
    lock = tmp_path / "postmaster.pid"
    lock.write_text(content)
    forget(tmp_path)
    assert not lock.exists()
    forget(tmp_path)
