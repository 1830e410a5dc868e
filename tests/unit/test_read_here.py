"""A machine notes which files it has read."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from aya.errors import DocumentError
from aya.read_here import ReadHere


def test_what_was_noted_is_known_at_once_and_later(tmp_path: Path) -> None:
    """In the same call, by another process meanwhile where much was noted, and after its end; nothing else is."""
    path = tmp_path / "home" / "read.sqlite3"
    with ReadHere(path) as ledger:
        for number in range(1200):
            ledger.note(f"/notes/{number}'\n.md")
        assert all(ledger.has(f"/notes/{number}'\n.md") for number in (0, 999, 1199))
        with ReadHere(path) as beside:
            assert beside.has("/notes/7'\n.md")
            assert not beside.has("/notes/1199'\n.md")
            beside.note("/notes/beside.md")
    with ReadHere(path) as ledger:
        assert ledger.has("/notes/1199'\n.md")
        assert ledger.has("/notes/beside.md")
        assert not ledger.has("/notes/1200'\n.md")
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_ledger_that_is_none_is_told_in_words(tmp_path: Path) -> None:
    """Nothing is guessed from a file that cannot be read, and the next command makes it anew."""
    path = tmp_path / "read.sqlite3"
    path.write_text("no database, but long enough to be looked at by whoever opens it" * 20)
    with pytest.raises(DocumentError, match="cannot be used") as raised:
        ReadHere(path)
    assert raised.value.hint is not None
    assert raised.value.hint.startswith("mv ")
    path.unlink()
    sqlite3.connect(path).close()
    with ReadHere(path) as ledger:
        assert not ledger.has("/notes/a.md")
