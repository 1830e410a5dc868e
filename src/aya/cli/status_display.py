"""The screen of `aya status`: tables and sentences, for print and for a terminal that is drawn anew."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from aya import __version__
from aya.cli import output
from aya.cli.move_display import summary as move_summary
from aya.cli.sync_display import summary as sync_summary
from aya.cli.text import duration

if TYPE_CHECKING:
    from aya.home import Home
    from aya.status.types import Backups, LastEvent, NodeStatus, Partner, Service

# The last one gives way in a narrow terminal. The versions have lines of their own.
NODE_HEADERS = (
    "NODE",
    "ROLE",
    "HEALTH",
    "FAILOVER",
    "BEHIND",
    "DOCUMENTS",
    "CHUNKS",
    "WAITING",
    "BACKUP",
    "MODEL",
)
SERVICE_HEADERS = ("NODE", "SERVICE", "STATE", "PID", "UP", "LAST")
_LONGEST_EVENT = 60


@dataclass(frozen=True, slots=True)
class Screen:
    """What is shown of one look. notes: moves and copies; versions: of the software; problems: what needs a person."""

    nodes: tuple[tuple[str, ...], ...]
    services: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...]
    versions: tuple[str, ...]
    problems: tuple[str, ...]


def screen(nodes: Sequence[NodeStatus], now: datetime | None = None) -> Screen:
    """Return what is shown of `nodes`; pure. now: UTC."""
    at = now or datetime.now(UTC)
    return Screen(
        tuple(node_row(node, at) for node in nodes),
        tuple(service_row(node.seen.name, one) for node in nodes for one in node.seen.services),
        (*_elsewhere(nodes), *_moves(nodes), *_copies(nodes)),
        versions(nodes),
        tuple(f"{node.seen.name}: {problem}" for node in nodes for problem in node.problems),
    )


def show(home: Home, shown: Screen) -> None:
    """Print a look on standard output."""
    if not shown.nodes:
        output.line(f"there are no nodes in {home.path}")
        output.line("  next: aya up")
        return
    output.table(NODE_HEADERS, shown.nodes)
    output.line()
    output.table(SERVICE_HEADERS, shown.services)
    for lines in (shown.notes, shown.versions, shown.problems):
        if lines:
            output.line()
        for line in lines:
            output.line(line)


def versions(nodes: Sequence[NodeStatus]) -> tuple[str, ...]:
    """Return which software runs where, nodes that have the same in one line; pure."""
    found: dict[str, list[str]] = {}
    for node in nodes:
        database = node.seen.database
        if database.postgresql is not None:
            schema = f"schema {database.schema}" if database.schema is not None else "another schema"
            pgvector = database.pgvector or "none"
            said = f"AYA {__version__}, PostgreSQL {database.postgresql}, pgvector {pgvector}, {schema}"
            found.setdefault(said, []).append(node.seen.name)
    return tuple(f"{', '.join(names)}: {said}" for said, names in found.items())


def _elsewhere(nodes: Sequence[NodeStatus]) -> list[str]:
    """Return what the watchdogs hear of servers on machines of their own."""
    here = {node.seen.name for node in nodes}
    heard = [node.seen.failover.partner for node in nodes if node.seen.failover and node.seen.failover.partner]
    return [_heard(partner) for partner in heard if partner.name not in here]


def _heard(partner: Partner) -> str:
    if partner.role is None:
        return f"{partner.name}, elsewhere: never heard ({partner.error or 'nobody answers'})"
    parts = [f"{partner.role}, epoch {partner.epoch}, its server is {partner.server}"]
    if partner.lag_bytes is not None:
        parts.append(f"the standby is {partner.lag_bytes} bytes behind")
    parts.append(f"heard {duration(partner.age_seconds)} ago")
    return f"{partner.name}, elsewhere: {'; '.join(parts)}"


def _moves(nodes: Sequence[NodeStatus]) -> list[str]:
    return [
        f"{node.seen.name}: moving to {moving.move.identity.model}; {move_summary(moving)}"
        for node in nodes
        if (moving := node.seen.database.moving)
    ]


def _copies(nodes: Sequence[NodeStatus]) -> list[str]:
    return [f"{node.seen.name}: {sync_summary(node.seen.sync)}" for node in nodes if node.seen.sync is not None]


def node_row(node: NodeStatus, now: datetime) -> tuple[str, ...]:
    """Return a node's line of the table; pure. A dash stands for what is not known or does not apply."""
    database, follows = node.seen.database, node.seen.replication
    counts = database.counts
    behind = f"{follows.lag_bytes} bytes" if follows and follows.lag_bytes is not None else "-"
    if node.seen.sync is not None and node.seen.sync.copy.seconds_behind is not None:
        behind = duration(node.seen.sync.copy.seconds_behind)
    return (
        node.seen.name,
        node.role,
        node.health,
        f"{node.seen.failover.condition}, epoch {node.seen.failover.epoch}" if node.seen.failover else "-",
        behind,
        str(counts.documents) if counts else "-",
        str(counts.chunks) if counts else "-",
        str(counts.waiting) if counts else "-",
        _backup(node.seen.backups, now),
        database.bound.model.rpartition("/")[2] if database.bound else "-",
    )


def service_row(node: str, service: Service) -> tuple[str, ...]:
    """Return a service's line of the table; pure."""
    return (
        node,
        service.name,
        service.state,
        str(service.pid) if service.pid else "-",
        duration(service.uptime_seconds),
        _event(service.last),
    )


def _backup(backups: Backups | None, now: datetime) -> str:
    """Return how old the newest good base backup is."""
    if backups is None:
        return "-"
    if backups.newest is None:
        return "none"
    seconds = (now - datetime.fromisoformat(backups.newest)).total_seconds()
    return f"{duration(max(0.0, seconds))} ago"


def _event(last: LastEvent | None) -> str:
    if last is None:
        return "-"
    text = last.event if len(last.event) <= _LONGEST_EVENT else last.event[: _LONGEST_EVENT - 1] + "…"
    return f"{last.time[:19].replace('T', ' ')}  {text}" if last.time else text
