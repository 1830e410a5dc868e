"""postmaster.pid: what to do about who holds a data directory; pure.

PostgreSQL removes a lock file itself when its process is gone, after checking that no child of that server still uses
the shared memory named in it. So the file is left to PostgreSQL except where it would refuse for ever: after a power
cut the pid in it may belong to a process that has nothing to do with it. Two servers on one data directory destroy it;
when in doubt, refuse.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Action = Literal["start", "remove", "end", "wait", "refuse"]


@dataclass(frozen=True, slots=True)
class Observation:
    """What is known of a data directory's lock.

    locked_by: the pid in postmaster.pid if that process lives. is_server: it is a PostgreSQL on this very directory.
    is_ours: we started it. supervised: the wrapper that started it still lives.
    others: servers, or children of one, that work in this directory, besides locked_by.
    """

    locked_by: int | None
    is_server: bool = False
    is_ours: bool = False
    supervised: bool = False
    others: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class Verdict:
    """What to do, and why. end: ask `pid` for a fast shutdown and look again; wait: look again."""

    action: Action
    reason: str
    pid: int | None = None


def decide(seen: Observation) -> Verdict:
    """Return what to do before a server is started.

    Invariant: "remove" only when no PostgreSQL at all works in the data directory.
    """
    if seen.locked_by is not None and seen.is_server:
        if seen.is_ours and not seen.supervised:
            return Verdict("end", "a server of ours lost its supervisor and does not end", seen.locked_by)
        return Verdict("refuse", f"another server runs on it (pid {seen.locked_by})")
    if seen.others:
        return Verdict("wait", f"children of an earlier server are still there (pid {seen.others[0]})")
    if seen.locked_by is not None:
        return Verdict("remove", f"its lock names pid {seen.locked_by}, which is no PostgreSQL of this directory")
    return Verdict("start", "nobody holds it")
