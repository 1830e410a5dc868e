"""Reading the token file: only one that is ours alone will do."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from aya.errors import ConfigError
from aya.secret_file import read_token

TOKEN = "0123456789abcdef"


def written(path: Path, content: bytes, mode: int = 0o600) -> Path:
    """Write `content` to `path` with `mode`."""
    path.write_bytes(content)
    path.chmod(mode)
    return path


@pytest.mark.parametrize("content", [TOKEN, f"{TOKEN}\n", f"  {TOKEN}\r\n", "~!@#$%^&*()_+-=[]{};:'"])
def test_a_token_is_read_without_its_line_end(tmp_path: Path, content: str) -> None:
    """Editors and `openssl rand -hex 32 >` end the line."""
    assert read_token(written(tmp_path / "token", content.encode())) == content.strip()


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_a_file_that_others_may_touch_is_refused(tmp_path: Path, mode: int) -> None:
    """The mode and what to type are said."""
    path = written(tmp_path / "token", TOKEN.encode(), mode)
    with pytest.raises(ConfigError, match=f"mode {mode:o}") as caught:
        read_token(path)
    assert caught.value.hint == f"chmod 600 {path}"


@pytest.mark.parametrize(
    ("content", "says"),
    [
        pytest.param(b"", "fewer than 16", id="empty"),
        pytest.param(b"0123456789abcde\n", "fewer than 16", id="too short"),
        pytest.param(b"0123456789abcdef\n0123456789abcdef\n", "one line", id="two lines"),
        pytest.param("0123456789abcdefü".encode(), "ASCII", id="no ASCII"),
        pytest.param(b"0123456789\x00abcdef", "printable", id="NUL"),
        pytest.param(b"0123456789 abcdef", "space", id="a space inside"),
        pytest.param(b"x" * 5000, "one line", id="no token any more"),
    ],
)
def test_a_token_that_no_header_can_say_is_refused(tmp_path: Path, content: bytes, says: str) -> None:
    """What is wrong is said, and nothing of the content."""
    with pytest.raises(ConfigError, match=says) as caught:
        read_token(written(tmp_path / "token", content))
    assert "0123" not in caught.value.message
    assert "openssl rand" in (caught.value.hint or "")


def test_what_is_no_file_is_refused_at_once(tmp_path: Path) -> None:
    """A directory, nothing, and a pipe into which nobody writes."""
    os.mkfifo(tmp_path / "pipe", 0o600)
    for name in ("pipe", "nothing", "."):
        with pytest.raises(ConfigError, match="token file"):
            read_token(tmp_path / name)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give a file away")
def test_somebody_elses_file_is_refused(tmp_path: Path) -> None:
    """Whoever owns the file can change its mode back."""
    path = written(tmp_path / "token", TOKEN.encode())
    os.chown(path, 65534, -1)
    with pytest.raises(ConfigError, match="somebody else"):
        read_token(path)


@pytest.mark.parametrize(("mode", "command"), [(0o644, "chmod"), (0o600, "umask")])
def test_a_hint_is_read_by_a_shell_as_it_is_meant(tmp_path: Path, mode: int, command: str) -> None:
    """A path with spaces, quotes and a semicolon is one word."""
    path = written(tmp_path / "my token; touch 'x'", b"short", mode)
    with pytest.raises(ConfigError) as caught:
        read_token(path)
    hint = caught.value.hint or ""
    assert command in hint
    subprocess.run(["/bin/sh", "-c", hint], check=True)
    assert [found.name for found in tmp_path.iterdir()] == [path.name]
    assert path.stat().st_mode & 0o777 == 0o600
