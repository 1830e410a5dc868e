"""Reading the embedder's token, which its clients on other machines say, from a file that is ours alone.

A file, because the environment and the arguments of a process can be read by others, and end up in logs.
"""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path

from aya.errors import ConfigError

_SHORTEST = 16
_LARGEST_FILE_BYTES = 4096
_FOR_OTHERS = 0o077


def read_token(path: Path) -> str:
    """Return the one line of `path`: 16 characters or more of printable ASCII, without spaces.

    Raises ConfigError, with the next command and never with a part of the token, when the file is not there, may be
    read by others, belongs to somebody else, or holds no such line.
    """
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            _check_owner(path, os.fstat(file.fileno()))
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise _refused(path, f"cannot be read: {error.strerror}", _make(path)) from error
    return _checked(path, content)


def _without_waiting(path: str, flags: int) -> int:
    """Open at once, also a pipe into which nobody writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_owner(path: Path, status: os.stat_result) -> None:
    if not stat.S_ISREG(status.st_mode):
        raise _refused(path, "is no file", _make(path))
    if status.st_uid != os.geteuid():
        raise _refused(path, "belongs to somebody else", f"chown {os.geteuid()} {shlex.quote(str(path))}")
    if status.st_mode & _FOR_OTHERS:
        mode = stat.S_IMODE(status.st_mode)
        raise _refused(path, f"has mode {mode:o}: others may read it", f"chmod 600 {shlex.quote(str(path))}")


def _checked(path: Path, content: bytes) -> str:
    token = content.strip()
    if len(token) < _SHORTEST:
        raise _refused(path, f"holds fewer than {_SHORTEST} characters", _make(path))
    if len(content) > _LARGEST_FILE_BYTES or not token.isascii() or not token.decode("ascii").isprintable():
        raise _refused(path, "holds more than one line of printable ASCII", _make(path))
    if b" " in token:
        raise _refused(path, "holds a space, which a header cannot say", _make(path))
    return token.decode("ascii")


def _make(path: Path) -> str:
    return f"(umask 077; openssl rand -hex 32 > {shlex.quote(str(path))})"


def _refused(path: Path, what: str, hint: str) -> ConfigError:
    return ConfigError(f"the token file {path} {what}", hint=hint)
