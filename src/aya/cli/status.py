"""`aya status`: every node, its health and its services.

Exit codes: 0 everything is healthy, 3 degraded, 1 nothing runs or the database is down.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import click

from aya import __version__
from aya.cli import output
from aya.cli.text import duration
from aya.home import Home
from aya.settings import load_config

if TYPE_CHECKING:
    from aya.status.types import LastEvent, NodeStatus, Service

_NODE_HEADERS = (
    "NODE",
    "ROLE",
    "HEALTH",
    "POSTGRESQL",
    "DOCUMENTS",
    "CHUNKS",
    "WAITING",
    "MODEL",
    "FAILOVER",
    "BEHIND",
)
_SERVICE_HEADERS = ("NODE", "SERVICE", "STATE", "PID", "UP", "LAST")
_LONGEST_EVENT = 60


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (described in aya.status.types).")
@click.option("--node", metavar="NODE", help="Only this node.")
@click.pass_obj
def command(home: Home, /, *, as_json: bool, node: str | None) -> int:
    """Show every node of this machine. Exit code 0: all healthy; 3: degraded; 1: down, or there is none."""
    # Here, not above: `aya status --help` needs no database driver.
    from aya.status.judge import EXIT_OF, overall  # noqa: PLC0415
    from aya.status.probe import collect  # noqa: PLC0415

    chosen = [home.node(node)] if node else list(home.nodes().values())
    found = asyncio.run(collect(home, load_config(home), chosen))
    health = overall(found)
    if as_json:
        output.document(document(home, health, found))
    else:
        _print(home, found)
    return EXIT_OF[health]


def document(home: Home, health: str, nodes: Sequence[NodeStatus]) -> dict[str, Any]:
    """Return the document that aya.status.types describes; pure."""
    return {
        "home": str(home.path),
        "health": health,
        "aya": __version__,
        "nodes": [node.to_json() for node in nodes],
    }


def _print(home: Home, nodes: Sequence[NodeStatus]) -> None:
    if not nodes:
        output.line(f"there are no nodes in {home.path}")
        output.line("  next: aya up")
        return
    output.table(_NODE_HEADERS, [node_row(node) for node in nodes])
    output.line()
    output.table(_SERVICE_HEADERS, [service_row(node.seen.name, one) for node in nodes for one in node.seen.services])
    _print_moves(nodes)
    _print_copies(nodes)
    problems = [(node.seen.name, problem) for node in nodes for problem in node.problems]
    if problems:
        output.line()
    for name, problem in problems:
        output.line(f"{name}: {problem}")


def _print_moves(nodes: Sequence[NodeStatus]) -> None:
    # Here, not above: it is rare, and the rest needs no database driver.
    from aya.cli.move_display import summary  # noqa: PLC0415

    for node in nodes:
        if moving := node.seen.database.moving:
            output.line()
            output.line(f"{node.seen.name}: moving to {moving.move.identity.model}; {summary(moving)}")


def _print_copies(nodes: Sequence[NodeStatus]) -> None:
    from aya.cli.sync_display import summary  # noqa: PLC0415 as above

    for node in nodes:
        if node.seen.sync is not None:
            output.line()
            output.line(f"{node.seen.name}: {summary(node.seen.sync)}")


def node_row(node: NodeStatus) -> tuple[str, ...]:
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
        database.postgresql or "-",
        str(counts.documents) if counts else "-",
        str(counts.chunks) if counts else "-",
        str(counts.waiting) if counts else "-",
        database.bound.model.rpartition("/")[2] if database.bound else "-",
        f"{node.seen.failover.condition}, epoch {node.seen.failover.epoch}" if node.seen.failover else "-",
        behind,
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


def _event(last: LastEvent | None) -> str:
    if last is None:
        return "-"
    text = last.event if len(last.event) <= _LONGEST_EVENT else last.event[: _LONGEST_EVENT - 1] + "…"
    return f"{last.time[:19].replace('T', ' ')}  {text}" if last.time else text
