"""From what is known of the nodes to the figures that are plotted; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from aya.status.types import NodeStatus
from aya_web.history import Key

_VECTORS = re.compile(r"^te_embed_success (?P<count>[0-9.e+]+)$", re.MULTILINE)


def figures(nodes: Sequence[NodeStatus]) -> dict[Key, float]:
    """Return what a look at the nodes tells, by figure and node; what is not known is left out.

    lag_bytes: a standby's, of WAL. lag_seconds: AIR's. queue: documents that wait for the indexer. sync_queue:
    operations that AIR has not sent. conflicts: open ones, under the node that asked.
    """
    found: dict[Key, float | None] = {}
    for node in nodes:
        seen, name = node.seen, node.seen.name
        found["lag_bytes", name] = seen.replication.lag_bytes if seen.replication else None
        found["queue", name] = seen.database.counts.waiting if seen.database.counts else None
        if seen.sync is not None:
            copy = seen.sync.copy
            found["lag_seconds", name] = copy.seconds_behind
            found["sync_queue", name] = copy.waiting + copy.sending + copy.held + copy.rejected
            found["conflicts", name] = seen.sync.primary.conflicts
    return {key: float(value) for key, value in found.items() if value is not None}


def vectors_made(exposition: str) -> float | None:
    """Return how many vectors an embedder has answered since its start, from its /metrics; None: it does not say."""
    match = _VECTORS.search(exposition)
    return float(match["count"]) if match else None


def rates(before: Mapping[str, float], after: Mapping[str, float], seconds: float) -> dict[str, float]:
    """Return what grew by how much a second, of what is known of both moments; a counter that began anew began at 0."""
    if seconds <= 0:
        return {}
    return {
        name: (count - before[name] if count >= before[name] else count) / seconds
        for name, count in after.items()
        if name in before
    }
