"""The archive program beside a node's data directory, and the command lines by which PostgreSQL calls it."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

from aya.postgres import files
from aya.postgres.privileges import RunAs, can_enter, can_run

PROGRAM = "archive.py"
ARCHIVE = "archive"
_SYSTEM_PYTHON = Path("/usr/bin/python3")


def interpreter(user: RunAs) -> Path | None:
    """Return a Python that `user` can run, None when there is none; ours may lie where only root can enter."""
    own = Path(getattr(sys, "_base_executable", sys.executable)).resolve()
    library = Path(os.__file__).resolve().parent
    if can_run(user, own) and can_enter(user, library):
        return own
    return _SYSTEM_PYTHON if can_run(user, _SYSTEM_PYTHON) else None


def install(directory: Path, user: RunAs) -> Path:
    """Make the archive directory (mode 700) and the program of a node for the server's user; return the program.

    directory: the node's. The program is given to the server's user, for it is run under that name and no other.
    """
    user.make_directory(directory / ARCHIVE)
    program = directory / PROGRAM
    files.write_text(program, Path(__file__).with_name("archive_program.py").read_text(encoding="utf-8"), user)
    return program


def put_command(directory: Path, python: Path) -> str:
    """Return archive_command of the node whose directory that is; pure."""
    return f"{_line(python, directory, 'put')} %p %f"


def get_command(directory: Path, python: Path, live: Path | None = None) -> str:
    """Return restore_command from the archive of that node, else from `live`, a pg_wal; pure."""
    return f"{_line(python, directory, 'get')} %f %p" + (f" {_escaped(str(live))}" if live else "")


def put_words(directory: Path, python: Path, file: Path) -> tuple[str, ...]:
    """Return the command that archives one file now; pure."""
    return (*_words(python, directory, "put"), str(file), file.name)


def _words(python: Path, directory: Path, verb: str) -> tuple[str, ...]:
    # -I -S: nothing of the environment and no site-packages, so it starts quickly; -B: it writes nothing beside itself.
    return (str(python), "-I", "-S", "-B", str(directory / PROGRAM), verb, str(directory / ARCHIVE))


def _line(python: Path, directory: Path, verb: str) -> str:
    return " ".join(_escaped(word) for word in _words(python, directory, verb))


def _escaped(word: str) -> str:
    """Quote a word for the shell, and for PostgreSQL, which looks for % in the line."""
    return shlex.quote(word).replace("%", "%%")
