"""aya.toml is changed in one key, and in nothing else."""

from __future__ import annotations

import tomllib
from pathlib import Path

import pytest

from aya.config_editor import edited, set_key
from aya.errors import ConfigError

OWN = """# mine
[postgres]
major   =   16   # until the new disk is here

[embedder]   # which model
# the small one
model = 'minilm'
"""


def test_one_key_changes_and_comments_and_spaces_stay() -> None:
    """The rest is byte for byte what a person wrote."""
    assert edited(OWN, "embedder", "model", "bge-base-en-v1.5") == OWN.replace("'minilm'", '"bge-base-en-v1.5"')


@pytest.mark.parametrize("text", ["", "# only a comment\n", "[postgres]\nmajor = 16\n", "[embedder]\n", "[embedder]"])
def test_a_missing_section_or_key_is_made(text: str) -> None:
    """What was there is still there."""
    found = edited(text, "embedder", "model", "minilm")
    assert tomllib.loads(found) == {**tomllib.loads(text), "embedder": {"model": "minilm"}}
    assert found.startswith(text.rstrip())


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("embedder = {model = 'a', x = 1}  # mine\n", id="inline"),
        pytest.param("embedder = {}\n[postgres]\nmajor = 16\n", id="inline and empty"),
        pytest.param("embedder.model = 'a'\nembedder.x = 1\n[postgres]\nmajor = 16\n", id="dotted"),
        pytest.param("[embedder]\nmodel = 'a'\n[postgres]\nmajor = 16\n[embedder.x]\ny = 1\n", id="out of order"),
        pytest.param("[embedder.x]\ny = 1\n[postgres]\nmajor = 16\n[embedder]\nz = 2 # mine\n", id="key is missing"),
        pytest.param("[embedder.x]\ny = 1\n", id="only a table inside it"),
        pytest.param("[embedder.x]\ny = 1\n[postgres]\nmajor = 16\n[embedder.z]\n", id="two inside it"),
    ],
)
def test_a_section_may_be_written_in_any_way_that_toml_has(text: str) -> None:
    """The key is set, and nothing else says anything new."""
    found = edited(text, "embedder", "model", "minilm")
    before = tomllib.loads(text)
    assert tomllib.loads(found) == {**before, "embedder": {**before["embedder"], "model": "minilm"}}
    assert [line.partition("#")[2] for line in found.splitlines() if "#" in line] == [
        line.partition("#")[2] for line in text.splitlines() if "#" in line
    ]


def test_a_section_that_is_no_table_is_told_how_to_become_one() -> None:
    """A list of tables is none either."""
    for text in ("embedder = 3\n", "[[embedder]]\nmodel = 'a'\n"):
        with pytest.raises(ValueError, match=r"write it as \[embedder\]"):
            edited(text, "embedder", "model", "minilm")


@pytest.mark.parametrize("value", ["/models/with spaces", 'quo"te', "back\\slash", "漢字", "a\nb"])
def test_any_path_can_be_written(value: str) -> None:
    """What is read again is what was written."""
    assert tomllib.loads(edited(OWN, "embedder", "model", value))["embedder"]["model"] == value


def test_what_is_said_already_is_not_written_again(tmp_path: Path) -> None:
    """Not even the file's time changes."""
    file = tmp_path / "aya.toml"
    file.write_text(OWN)
    before = file.stat()
    assert not set_key(file, "embedder", "model", "minilm")
    assert (file.stat().st_mtime_ns, file.stat().st_ino) == (before.st_mtime_ns, before.st_ino)


def test_a_files_mode_and_a_link_to_it_are_kept(tmp_path: Path) -> None:
    """A file that holds a DSN stays private, and one that is kept in a repository stays there."""
    kept = tmp_path / "kept.toml"
    kept.write_text(OWN)
    kept.chmod(0o600)
    (tmp_path / "aya.toml").symlink_to(kept)
    assert set_key(tmp_path / "aya.toml", "embedder", "model", "bge-base-en-v1.5")
    assert (tmp_path / "aya.toml").is_symlink()
    assert kept.stat().st_mode & 0o777 == 0o600
    assert sorted(path.name for path in tmp_path.iterdir()) == ["aya.toml", "kept.toml"]


def test_a_home_that_is_not_there_yet_is_made(tmp_path: Path) -> None:
    """Choosing a model may come before the first `aya up`."""
    assert set_key(tmp_path / "home" / "aya.toml", "embedder", "model", "minilm")
    assert tomllib.loads((tmp_path / "home" / "aya.toml").read_text()) == {"embedder": {"model": "minilm"}}


@pytest.mark.parametrize("text", ["[embedder", "embedder = 3\n", "[embedder]\nmodel = 'a'\nmodel = 'b'\n"])
def test_a_file_that_cannot_be_understood_is_left_alone(tmp_path: Path, text: str) -> None:
    """The error names the file."""
    file = tmp_path / "my home" / "aya.toml"
    file.parent.mkdir()
    file.write_text(text)
    with pytest.raises(ConfigError, match=r"aya\.toml cannot be read") as caught:
        set_key(file, "embedder", "model", "minilm")
    assert caught.value.hint == f"edit '{file}'"
    assert file.read_text() == text
