"""Reading what another machine asks of us from a file that is ours alone: the embedder's token, a role's password.

A file, because the environment and the arguments of a process can be read by others, and end up in logs.
"""

from __future__ import annotations

import os
import shlex
import stat
from dataclasses import dataclass
from pathlib import Path

from aya.errors import ConfigError

_SHORTEST = 16
_LARGEST_FILE_BYTES = 4096
_FOR_OTHERS = 0o077


@dataclass(frozen=True, slots=True)
class _Wanted:
    """What a file should hold, and how a person makes it."""

    name: str
    path: Path
    made_by: str

    def refused(self, what: str, hint: str | None = None) -> ConfigError:
        return ConfigError(f"the {self.name} file {self.path} {what}", hint=hint or self.made_by)


def read_token(path: Path) -> str:
    """Return the one line of `path`: 16 characters or more of printable ASCII, without spaces.

    Raises ConfigError, with the next command and never with a part of the token, when the file is not there, may be
    read by others, belongs to somebody else, or holds no such line.
    """
    return _read(_Wanted("token", path, f"(umask 077; openssl rand -hex 32 > {shlex.quote(str(path))})"))


def read_password(path: Path, role: str) -> str:
    """Return the password by which `role` enters the primary: a line such as a token is. Raises ConfigError."""
    made_by = f"on ALPHA: aya dsn --role {role} --password shows it; write it alone into {shlex.quote(str(path))}"
    return _read(_Wanted("password", path, made_by))


def _read(wanted: _Wanted) -> str:
    path = wanted.path
    try:
        with open(path, "rb", opener=_without_waiting) as file:
            _check_owner(wanted, os.fstat(file.fileno()))
            content = file.read(_LARGEST_FILE_BYTES + 1)
    except OSError as error:
        raise wanted.refused(f"cannot be read: {error.strerror}") from error
    return _checked(wanted, content)


def _without_waiting(path: str, flags: int) -> int:
    """Open at once, also a pipe into which nobody writes."""
    return os.open(path, flags | os.O_NONBLOCK)


def _check_owner(wanted: _Wanted, status: os.stat_result) -> None:
    quoted = shlex.quote(str(wanted.path))
    if not stat.S_ISREG(status.st_mode):
        raise wanted.refused("is no file")
    if status.st_uid != os.geteuid():
        raise wanted.refused("belongs to somebody else", f"chown {os.geteuid()} {quoted}")
    if status.st_mode & _FOR_OTHERS:
        raise wanted.refused(f"has mode {stat.S_IMODE(status.st_mode):o}: others may read it", f"chmod 600 {quoted}")


def _checked(wanted: _Wanted, content: bytes) -> str:
    said = content.strip()
    if len(said) < _SHORTEST:
        raise wanted.refused(f"holds fewer than {_SHORTEST} characters")
    if len(content) > _LARGEST_FILE_BYTES or not said.isascii() or not said.decode("ascii").isprintable():
        raise wanted.refused("holds more than one line of printable ASCII")
    if b" " in said:
        raise wanted.refused(f"holds a space, which no {wanted.name} has")
    return said.decode("ascii")
