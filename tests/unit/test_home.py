"""AYA_HOME: what is written is read again, damage is named, and secrets are the owner's alone."""

from __future__ import annotations

import os
import stat
import tempfile
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.errors import ConfigError
from aya.home import ROLE_OF_NODE, STATE_VERSION, Home, Node, locate, write_private_json

THIS_VERSION = f'"version": {STATE_VERSION}'
NODES = {name: Node(name, role, 5432 + at, 8765 + at) for at, (name, role) in enumerate(ROLE_OF_NODE.items())}


def test_nodes_and_secrets_are_read_as_they_were_written(tmp_path: Path) -> None:
    """state.json and secrets.json survive the way to disk and back; before the first write there is nothing."""
    home = Home(tmp_path / "a home")
    assert (home.nodes(), home.secrets("alpha")) == ({}, {})
    home.save_nodes(NODES)
    home.save_secrets("alpha", {"aya_user": 'ü"\n'})
    assert home.nodes() == NODES
    assert home.node("beta") == NODES["beta"]
    assert home.secrets("alpha") == {"aya_user": 'ü"\n'}
    assert home.secrets("beta") == {}


def test_what_is_written_is_readable_by_its_owner_only(tmp_path: Path) -> None:
    """Mode 600, whatever the umask and whatever the file had before; nothing else is left in the directory."""
    home = Home(tmp_path)
    umask = os.umask(0)
    try:
        home.save_secrets("alpha", {})
        home.secrets_file("alpha").chmod(0o644)
        home.save_secrets("alpha", {"aya_user": "x"})
        home.save_nodes(NODES)
    finally:
        os.umask(umask)
    for file in (home.state_file, home.secrets_file("alpha")):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert [file.name for file in home.node_directory("alpha").iterdir()] == ["secrets.json"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    """Whole or not at all: what cannot be written takes nothing away."""
    file = tmp_path / "state.json"
    write_private_json(file, {"a": 1})
    with pytest.raises(TypeError):
        write_private_json(file, {"a": object()})
    assert file.read_text(encoding="utf-8") == '{\n  "a": 1\n}\n'
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "cannot be read"),
        ("{", "cannot be read"),
        ("[]", "does not hold an object"),
        ("{}", "another version"),
        ('{"version": 1, "nodes": {}}', "another version"),
        ('{"version": 2, "nodes": {}}', "another version"),
        (f"{{{THIS_VERSION}}}", "is damaged: "),
        (f'{{{THIS_VERSION}, "nodes": []}}', "is damaged: "),
        (f'{{{THIS_VERSION}, "nodes": {{"alpha": 5}}}}', "is damaged: "),
        (f'{{{THIS_VERSION}, "nodes": {{"alpha": {{"role": "primary"}}}}}}', "is damaged: "),
        (f'{{{THIS_VERSION}, "nodes": {{"alpha": {{"role": "primary", "colour": "red"}}}}}}', "is damaged: "),
    ],
)
def test_a_damaged_state_is_named(tmp_path: Path, text: str, words: str) -> None:
    """The sentence says which file it is, and the hint what to do."""
    home = Home(tmp_path)
    home.state_file.write_text(text, encoding="utf-8")
    with pytest.raises(ConfigError, match=words) as caught:
        home.nodes()
    assert str(home.state_file) in caught.value.message
    assert caught.value.hint


def test_damaged_secrets_are_named(tmp_path: Path) -> None:
    """So are the passwords' file, and one that is a directory."""
    home = Home(tmp_path)
    home.secrets_file("alpha").mkdir(parents=True)
    with pytest.raises(ConfigError, match=r"secrets\.json cannot be read"):
        home.secrets("alpha")


def test_an_unknown_node_is_told_the_known_ones(tmp_path: Path) -> None:
    """Before the first `aya up` there are none."""
    home = Home(tmp_path)
    with pytest.raises(ConfigError, match=r"no node 'alpha' .*\(nodes: none\)"):
        home.node("alpha")
    home.save_nodes(NODES)
    with pytest.raises(ConfigError, match=r"no node 'gamma' .*\(nodes: alpha, beta, air\)"):
        home.node("gamma")


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00/"), min_size=1, max_size=120))
def test_a_sockets_directory_is_short_whatever_the_home_is(name: str) -> None:
    """A socket's path has room for 104 bytes on macOS: long homes get a short directory of their own."""
    home = Home(Path("/somewhere") / name)
    directory = home.runtime_directory
    assert len(os.fsencode(directory)) <= 80 or len(os.fsencode(directory.name)) <= 40
    if directory.parent != home.path:
        assert directory == home.runtime_directory != Home(home.path / "other").runtime_directory


def test_a_short_home_keeps_its_sockets(tmp_path: Path) -> None:
    """Where the path fits, the sockets lie inside the home."""
    assert Home(Path("/srv/aya")).runtime_directory == Path("/srv/aya/run")


def test_every_process_finds_the_same_sockets(monkeypatch: pytest.MonkeyPatch) -> None:
    """launchd, ssh and sudo hand over different TMPDIRs; another user has a directory of his own."""
    home = Home(Path("/srv") / ("long" * 30))
    found = home.runtime_directory
    monkeypatch.setenv("TMPDIR", "/elsewhere")
    monkeypatch.setattr(tempfile, "tempdir", None)
    assert home.runtime_directory == found
    monkeypatch.setattr(os, "getuid", lambda: os.geteuid() + 1)
    assert home.runtime_directory != found


@pytest.mark.parametrize("blank", ["", "  "])
def test_an_empty_home_is_refused(monkeypatch: pytest.MonkeyPatch, blank: str) -> None:
    """AYA_HOME="" is a script's mistake, and must not become the current directory."""
    monkeypatch.setenv("AYA_HOME", blank)
    with pytest.raises(ConfigError, match="AYA_HOME is empty"):
        locate()


def test_home_is_the_option_then_the_variable_then_the_default(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Relative paths are made absolute once, and ~ is the person's."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("AYA_HOME", "of the variable")
    assert locate("of the option").path == tmp_path / "of the option"
    assert locate().path == tmp_path / "of the variable"
    monkeypatch.setenv("AYA_HOME", "~/mine")
    assert locate().path == tmp_path / "mine"
    monkeypatch.delenv("AYA_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert locate().path == tmp_path / ".aya"
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert locate().path == Path("/var/lib/aya")
