"""A walk leaves out what git leaves out, and what .ayaignore names besides."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from aya.textfile import Found, Refused, discover


def written(folder: Path, files: dict[str, str]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(content)
    return folder


def found(*roots: Path, below: Path) -> set[str]:
    """Return the paths that a walk finds."""
    return {str(each.path.relative_to(below)) for each in discover(roots) if isinstance(each, Found)}


def kept_by_git(folder: Path, within: str = ".") -> set[str]:
    """Return what git would take of a work tree."""
    command = ["git", "-c", "core.excludesFile=", "ls-files", "--others", "--exclude-standard", "-z", within]
    said = subprocess.run(command, cwd=folder, check=True, capture_output=True)
    return {os.fsdecode(each) for each in said.stdout.split(b"\0") if each and Path(os.fsdecode(each)).name[0] != "."}


TREE = [
    "a.md",
    "b.txt",
    "build/x.md",
    "build/keep.md",
    "src/a.md",
    "src/build/y.md",
    "src/deep/b.txt",
    "doc/a b.md",
    "#.md",
]
RULES = {
    "a suffix": {".gitignore": "*.txt\n"},
    "a folder anywhere": {".gitignore": "build/\n"},
    "a folder at the top": {".gitignore": "/build\n"},
    "a negation": {".gitignore": "*.md\n!a.md\n"},
    "a negation cannot enter a closed folder": {".gitignore": "build/\n!build/keep.md\n"},
    "a negation in an open folder": {".gitignore": "build/*\n!build/keep.md\n"},
    "nested rules speak last": {".gitignore": "*.md\n", "src/.gitignore": "!a.md\n"},
    "nested rules are anchored where they stand": {"src/.gitignore": "/a.md\nbuild\n"},
    "stars over folders": {".gitignore": "src/**/*.md\n"},
    "blanks and marks": {".gitignore": "doc/a\\ b.md\n\\#.md\n# a comment\n\n"},
    "line ends of Windows": {".gitignore": "\ufeff*.txt\r\nbuild\r\n"},
    "everything": {".gitignore": "*\n"},
    "everything but": {".gitignore": "/*\n!/src\n"},
    "nonsense": {".gitignore": "[\n!\n/\n***\n\\\n"},
}
LEFT_OUT = {("everything", "src"), ("nonsense", "src")}


# A folder that is left out and named all the same is another case, below.
CASES = [(name, root) for name in RULES for root in (".", "src") if (name, root) not in LEFT_OUT]


@pytest.mark.parametrize(("name", "root"), CASES)
def test_a_walk_finds_what_git_would_take(tmp_path: Path, name: str, root: str) -> None:
    """Also when a folder inside the work tree is named: the rules above it hold."""
    written(tmp_path, dict.fromkeys(TREE, "words") | RULES[name])
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)  # noqa: S607
    assert found(tmp_path / root, below=tmp_path) == kept_by_git(tmp_path, root)


def test_ayaignore_says_more_and_goes_first(tmp_path: Path) -> None:
    """It leaves out what git keeps and takes in what git leaves out, in a work tree or not."""
    rules = {".gitignore": "*.txt\n", ".ayaignore": "!b.txt\nsrc/\n"}
    written(tmp_path, {"a.md": "words", "b.txt": "words", "c.txt": "words", "src/a.md": "words"} | rules)
    assert found(tmp_path, below=tmp_path) == {"a.md", "b.txt"}


def test_what_is_named_is_read_though_it_is_left_out(tmp_path: Path) -> None:
    """A file and a folder that somebody names are meant."""
    written(tmp_path, {".gitignore": "build/\n*.txt\n", ".git/HEAD": "", "build/x.md": "words", "b.txt": "words"})
    assert found(tmp_path / "b.txt", tmp_path / "build", below=tmp_path) == {"b.txt", "build/x.md"}


def test_what_was_left_out_is_counted_in_one_line(tmp_path: Path) -> None:
    """A thousand ignored files are one line, and what is inside an ignored folder is not counted."""
    many = {f"{number}.txt": "words" for number in range(30)} | {"out/x.md": "words", "out/y.md": "words"}
    written(tmp_path, {".gitignore": "*.txt\nout\n", "a.md": "words"} | many)
    (line,) = [each for each in discover([tmp_path]) if isinstance(each, Refused)]
    assert (line.path, line.skipped) == (tmp_path, True)
    assert line.reason == "30 files and 1 folder are left out by .gitignore or .ayaignore."


def test_rules_that_cannot_be_read_are_none(tmp_path: Path) -> None:
    """A folder, a pipe or a loop in their place does not end a walk, and a pipe is not waited for."""
    written(tmp_path, {".gitignore/x": "", "a.md": "words", "sub/b.md": "words", "deep/c.md": "words"})
    os.mkfifo(tmp_path / "sub" / ".gitignore")
    (tmp_path / "deep" / ".ayaignore").symlink_to(".ayaignore")
    assert found(tmp_path, below=tmp_path) == {"a.md", "sub/b.md", "deep/c.md"}
