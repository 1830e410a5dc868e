"""What was left behind: locks of the dead, half-written files, slots and transactions that nobody ends; pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass
from pathlib import Path

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding
from aya.doctor.mends import DropUnfinishedIndex, ForgetLock, RemoveSocketLock, RemoveTemporary
from aya.doctor.servers import ServerFacts
from aya.postgres import lockfile

# Nothing that writes a small file takes so long.
OLD_SECONDS = 3600.0
IDLE_SECONDS = 600.0
_PREPARED_SECONDS = 600.0
_HELD_BYTES = 256 * 10**6
_UNKEPT = "data.unkept-"


@dataclass(frozen=True, slots=True)
class Lock:
    """postmaster.pid of a data directory. named: the pid in it; lock: what aya.postgres.holders saw.

    removable: it is on a disk of this machine, where nobody else can hold it.
    """

    data_directory: Path
    node: str
    named: str
    lock: lockfile.Observation
    removable: bool = True


@dataclass(frozen=True, slots=True)
class SocketLock:
    """The lock of a socket. pid: as it says; alive: whether that process exists."""

    path: Path
    pid: int | None
    alive: bool


@dataclass(frozen=True, slots=True)
class Temporary:
    """A file that is written and then renamed."""

    path: Path
    age_seconds: float
    node: str | None = None


@dataclass(frozen=True, slots=True)
class SetAside:
    """A directory that was moved away and kept."""

    path: Path
    size_bytes: int
    node: str | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """What lies around in a home. unfinished: markers of copies that are under way or were cut short.

    busy: an `aya up` is at work. orphans: names and pids of services whose supervisor is gone.
    """

    locks: tuple[Lock, ...] = ()
    sockets: tuple[SocketLock, ...] = ()
    temporary: tuple[Temporary, ...] = ()
    set_aside: tuple[SetAside, ...] = ()
    unfinished: tuple[Path, ...] = ()
    busy: bool = False
    orphans: tuple[tuple[str, int], ...] = ()


def judge(seen: Seen) -> list[Finding]:
    """Return what may go. Only what is proved to be stale comes with a mend."""
    found = [one for lock in seen.locks for one in judge_lock(lock)]
    for socket in seen.sockets:
        if socket.pid is not None and not socket.alive:
            mend = RemoveSocketLock(socket.path)
            what = f"{socket.path} names pid {socket.pid}, which does not exist"
            found.append(finding("stale.socket-lock", what, "aya doctor --fix", mend=mend))
    for file in seen.temporary:
        if file.age_seconds > OLD_SECONDS:
            mending = RemoveTemporary(file.path)
            what = f"{file.path} is {file.age_seconds / 3600:.0f} hours old"
            found.append(finding("stale.temporary-file", what, str(mending), node=file.node, mend=mending))
    found += [
        finding("stale.unfinished", f"{path} stands, and no aya up is at work", "aya up")
        for path in (() if seen.busy else seen.unfinished)
    ]
    for kept in seen.set_aside:
        what = f"{kept.path} takes {kept.size_bytes / 10**9:.2f} GB"
        hint = f"when you are sure: rm -r {shlex.quote(str(kept.path))}"
        if kept.path.name.startswith(_UNKEPT):
            what += ", and what only this node had may be nowhere else"
            hint = "docs/operations/failover.md, What could not be kept"
        found.append(finding("stale.set-aside", what, hint, node=kept.node))
    if seen.orphans:
        listed = ", ".join(f"{name} (pid {pid})" for name, pid in seen.orphans)
        found.append(finding("stale.orphan", f"without a supervisor: {listed}", "aya down, then aya up"))
    return found


def judge_lock(seen: Lock) -> list[Finding]:
    """Return whether a postmaster.pid may go: only when no PostgreSQL at all works in its directory."""
    verdict = lockfile.decide(seen.lock)
    if verdict.action not in {"start", "remove"}:
        return []
    pid = f"pid {seen.named}" if seen.named else "no pid"
    what = f"{seen.data_directory / 'postmaster.pid'} names {pid}, and no server runs there"
    mend = ForgetLock(seen.data_directory) if seen.removable else None
    hint = "aya doctor --fix" if mend else "look on every machine that mounts it, then remove it"
    return [finding("stale.postmaster-pid", what, hint, node=seen.node, mend=mend)]


def judge_server(seen: ServerFacts) -> list[Finding]:
    """Return what a running server keeps for nobody."""
    return [*_slots(seen), *_transactions(seen), *_index(seen)]


def _slots(seen: ServerFacts) -> list[Finding]:
    found: list[Finding] = []
    for slot in seen.slots:
        drop = f"psql: SELECT pg_drop_replication_slot('{slot.name}')"
        if slot.wal_status == "lost":
            what = f"slot {slot.name} has lost the log that it kept"
            hint = f"aya rejoin on the standby, or, if it is no more, {drop}"
            found.append(finding("stale.slot-lost", what, hint, node=seen.node))
        elif not slot.active and (slot.held_bytes or 0) > _HELD_BYTES:
            away = f" for {slot.inactive_seconds / 3600:.1f} hours" if slot.inactive_seconds is not None else ""
            what = f"nobody has used slot {slot.name}{away}; it keeps {(slot.held_bytes or 0) / 10**9:.2f} GB of log"
            hint = f"start the standby (aya up there), or, if it is no more, {drop}"
            found.append(finding("stale.slot", what, hint, node=seen.node))
    return found


def _transactions(seen: ServerFacts) -> list[Finding]:
    found = [
        finding(
            "stale.prepared-transaction",
            f"{one.gid} has been prepared for {one.age_seconds / 60:.0f} minutes",
            f"psql -d {seen.database}: ROLLBACK PREPARED '{one.gid}', or COMMIT PREPARED",
            node=seen.node,
        )
        for one in seen.prepared
        if one.age_seconds > _PREPARED_SECONDS
    ]
    return [
        *found,
        *(
            finding(
                "stale.idle-transaction",
                f"{one.application or 'a session'} of {one.user} (pid {one.pid}) has been idle in a transaction for"
                f" {one.idle_seconds / 60:.0f} minutes",
                f"psql: SELECT pg_terminate_backend({one.pid})",
                node=seen.node,
            )
            for one in seen.idle
            if one.idle_seconds > IDLE_SECONDS
        ),
    ]


def _index(seen: ServerFacts) -> list[Finding]:
    if not seen.index_left:
        return []
    what = "idx_chunks_embedding_new is there, and nobody builds it"
    mend = None if seen.is_standby else DropUnfinishedIndex(seen.node)
    hint = "aya doctor --fix" if mend else "aya doctor --fix at the primary"
    return [finding("stale.index", what, hint, node=seen.node, mend=mend)]
