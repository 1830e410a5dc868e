"""From what was seen to a verdict; pure.

down: its database does not answer. degraded: it answers, but something needs a person. healthy: neither.
"""

from __future__ import annotations

from collections.abc import Sequence

from aya.errors import EXIT_DEGRADED, EXIT_FAILED
from aya.knowledge.models import Progress
from aya.processes.states import ALIVE
from aya.status.types import DatabaseFacts, Health, NodeStatus, Observation
from aya.sync import judge as sync

# One WAL segment: a standby that is further behind than that does not keep up.
LAG_LIMIT_BYTES = 16 * 1024 * 1024
# An indexer that works takes a document within seconds of its time; "a minute" in the problem's sentence.
OVERDUE_SECONDS = 60
# Each server can stand in for the other.
_WELL = frozenset({"SYNC", "ARMED"})
_RUNBOOK = "docs/operations/backup.md"
EXIT_OF: dict[Health, int] = {"healthy": 0, "degraded": EXIT_DEGRADED, "down": EXIT_FAILED}


def judge(seen: Observation) -> NodeStatus:
    """Return the node's health and what is wrong with it, each in a sentence that ends in the next command."""
    role = _role(seen)
    if seen.database.error is not None:
        silent = f"the database does not answer ({seen.database.error}): {seen.starts}"
        problems = (silent, *_of_failover(seen), *_of_services(seen))
        return NodeStatus(seen, role, "down", problems)
    found = (
        *_of_services(seen),
        *_of_failover(seen),
        *_of_database(seen.database),
        *_of_queue(seen),
        *_of_embedder(seen),
        *_of_replication(seen),
        *_of_archive(seen),
        *(sync.problems(seen.sync) if seen.sync else ()),
    )
    return NodeStatus(seen, role, "degraded" if found else "healthy", found)


def overall(nodes: Sequence[NodeStatus]) -> Health:
    """Return the health of several nodes: down when all are (or there is none), degraded when not all are healthy."""
    if all(node.health == "down" for node in nodes):
        return "down"
    return "healthy" if all(node.health == "healthy" for node in nodes) else "degraded"


def _role(seen: Observation) -> str:
    """Return what the server says it is; while it does not answer, what its watchdog says, or what it was made as."""
    if seen.database.postgresql is None or seen.role == "copy":
        return seen.failover.role if seen.failover else seen.role
    return "standby" if seen.database.is_standby else "primary"


def _of_services(seen: Observation) -> list[str]:
    return [
        f"{service.name} lost its supervisor: {seen.starts}"
        if service.state == "orphaned"
        else f"{service.name} is {service.state}: {seen.starts}"
        for service in seen.services
        if service.state not in ALIVE
    ]


def _of_failover(seen: Observation) -> list[str]:
    """Return what keeps the two servers from standing in for each other."""
    watched = seen.failover
    if watched is None or not watched.has_partner:
        return []
    paused = ["no failover happens while the watchdog is paused: aya resume"] if watched.paused else []
    if watched.condition in _WELL:
        return paused
    return [*paused, f"{watched.condition}: {watched.why}: aya status in a moment, else docs/operations/failover.md"]


def _of_database(database: DatabaseFacts) -> list[str]:
    found = [database.schema_error] if database.schema_error else []
    if database.counts and database.counts.poison:
        why = "; ".join(f"document {one.document_id}: {one.error}" for one in database.poison)
        found.append(f"{database.counts.poison} documents cannot be indexed ({why}): aya show, then aya edit or aya rm")
    if database.counts and database.bound is None:
        found.append("the database is not bound to an embedding model yet: aya migrate")
    return [*found, *database.weak, *_of_move(database.moving)]


def _of_move(moving: Progress | None) -> list[str]:
    """Return why a move does not advance; nothing while it does, or when somebody let it rest."""
    if moving is None:
        return []
    move = moving.move
    if move.phase == "preparing":
        return [f"the move to {move.identity.model} waits for its index, which is not made: aya reembed finishes it"]
    if move.error:
        return [f"the move to {move.identity.model} does not advance ({move.error}): aya reembed --status"]
    return []


def _of_queue(seen: Observation) -> list[str]:
    """Return what is wrong with the indexer's queue, a standby's being its primary's."""
    counts = seen.database.counts
    if counts is None or not counts.overdue:
        return []
    return [f"{counts.overdue} documents wait longer than a minute for the indexer: aya down, then aya up"]


def _of_embedder(seen: Observation) -> list[str]:
    embedder, bound = seen.embedder, seen.database.bound
    if embedder.status is None:
        return [f"the embedder does not answer ({embedder.error}): {seen.starts}"]
    if embedder.status != "healthy":
        return [f"the embedder is {embedder.status}: aya status in a moment"]
    if bound and embedder.model and bound.fingerprint != embedder.model.fingerprint:
        different = f"the embedder runs {embedder.model.model}, but the vectors were made by {bound.model}"
        return [f"{different} (the indexer mends that, or its log says why not): aya status in a moment"]
    return []


def _of_replication(seen: Observation) -> list[str]:
    follows = seen.replication
    if follows is None or not seen.database.is_standby:
        return []
    if follows.state != "streaming":
        return [f"replication is {follows.state}: aya status in a moment"]
    if (follows.lag_bytes or 0) > LAG_LIMIT_BYTES:
        return [f"it is {follows.lag_bytes} bytes behind its primary: aya status in a moment"]
    return []


def _of_archive(seen: Observation) -> list[str]:
    """Return what keeps a past moment of this node from being restored; nothing where AYA does not archive."""
    archiving, backups = seen.database.archiving, seen.backups
    if backups is None:
        return []
    found: list[str] = []
    if archiving and archiving.mode == "off":
        found.append(
            "the WAL is not archived (is there a python3 that the server's user can run?): aya down, then aya up"
        )
    elif backups.stuck:
        found.append(
            f"{backups.waiting} segments are not archived, the first since {backups.waiting_since}: {_RUNBOOK}"
        )
    if archiving and archiving.failing:
        found.append(f"archiving fails ({archiving.failed} times, now at {archiving.last_failed}): {_RUNBOOK}")
    again = f"aya backup create --node {seen.name}"
    found += [f"base backup {name} is damaged: {again}" for name in backups.damaged]
    if backups.gap:
        found.append(f"the archive lacks {backups.gap}, and nothing behind it can be restored: {again}")
    if backups.error:
        found.append(f"the last base backup failed ({backups.error}): {again}")
    if backups.overdue:
        found.append(f"the newest good base backup is of {backups.newest}: {again}")
    return found
