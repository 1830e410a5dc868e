"""SQL files: loaded by name, refused when ambiguous, and each query described."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

import aya
from aya import queries

ROOT = Path(aya.__file__).parents[2]
SHIPPED = sorted(
    file
    for folder in (ROOT / "src" / "aya", *ROOT.glob("services/*/src"))
    for file in folder.rglob("*.sql")
    if "-- name:" in file.read_text(encoding="utf-8")
)


def package_of(file: Path) -> str:
    """Return the package that a shipped file lies in."""
    source = next(parent for parent in file.parents if parent.name == "src")
    return ".".join(file.parent.relative_to(source).parts)


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An importable package for a test's own files."""
    folder = tmp_path / "some_queries"
    folder.mkdir()
    (folder / "__init__.py").touch()
    monkeypatch.setattr(sys, "path", [str(tmp_path), *sys.path])
    monkeypatch.delitem(sys.modules, "some_queries", raising=False)
    return folder


def test_there_are_files_to_look_at() -> None:
    """The table below is not empty by mistake: the common package and the services ship queries."""
    assert {"aya", "aya.knowledge", "aya.postgres"} < {package_of(file) for file in SHIPPED}


@pytest.mark.parametrize("file", SHIPPED, ids=[f"{package_of(file)}-{file.name}" for file in SHIPPED])
def test_every_shipped_query_loads_and_is_described(file: Path) -> None:
    """Each block is a name, a comment for people, and SQL."""
    loaded = queries.load(package_of(file), file.name)
    assert len(loaded) == file.read_text(encoding="utf-8").count("-- name:")
    for name, text in loaded.items():
        comment, _, sql = text.partition("\n")
        assert comment.startswith("-- "), f"{name} has no description"
        assert [line for line in sql.splitlines() if line and not line.startswith("--")], f"{name} has no SQL"


def test_queries_are_cut_at_their_names(package: Path) -> None:
    """What stands above the first name belongs to none; blank lines at the ends go."""
    (package / "queries.sql").write_text(
        "-- A header.\n\n-- name: one\n-- First.\nSELECT 1;\n\n-- name: two\nSELECT 2;"
    )
    assert queries.load("some_queries") == {"one": "-- First.\nSELECT 1;", "two": "SELECT 2;"}


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("-- name: same\nSELECT 1;\n-- name: same\nSELECT 2;\n", "two queries named same"),
        ("SELECT 1;\n", "no '-- name:' line"),
        ("", "no '-- name:' line"),
        ("-- name: Two Words\nSELECT 1;\n", "no '-- name:' line"),
    ],
)
def test_a_file_without_clear_names_is_refused(package: Path, text: str, words: str) -> None:
    """A doubled or missing name is found when the module is imported."""
    (package / "other.sql").write_text(text)
    with pytest.raises(ValueError, match=words):
        queries.load("some_queries", "other.sql")
