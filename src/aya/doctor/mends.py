"""What `aya doctor --fix` may do, as values; pure. Each is safe to repeat, and none of them touches data."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Chmod:
    """Give a file or a directory the mode it should have, if it is its owner's. owner: a user's id."""

    path: Path
    mode: int
    owner: int

    def __str__(self) -> str:
        """Return the command that does the same."""
        return f"chmod {self.mode:o} {shlex.quote(str(self.path))}"


@dataclass(frozen=True, slots=True)
class ForgetLock:
    """Remove postmaster.pid when, looked at again, no PostgreSQL holds the data directory."""

    data_directory: Path

    def __str__(self) -> str:
        """Return what is done, in words."""
        return f"remove {self.data_directory / 'postmaster.pid'}"


@dataclass(frozen=True, slots=True)
class RemoveSocketLock:
    """Remove a socket's lock, and the socket, when the process that it names is gone."""

    lock: Path

    def __str__(self) -> str:
        """Return what is done, in words."""
        return f"remove {self.lock} and its socket"


@dataclass(frozen=True, slots=True)
class RemoveTemporary:
    """Remove a half-written file that is older than any writing takes."""

    path: Path

    def __str__(self) -> str:
        """Return the command that does the same."""
        return f"rm {shlex.quote(str(self.path))}"


@dataclass(frozen=True, slots=True)
class DropUnfinishedIndex:
    """Drop idx_chunks_embedding_new of a node's base, when nobody builds it."""

    node: str

    def __str__(self) -> str:
        """Return what is done, in words."""
        return f"drop idx_chunks_embedding_new of {self.node}"


Mend = Chmod | ForgetLock | RemoveSocketLock | RemoveTemporary | DropUnfinishedIndex
