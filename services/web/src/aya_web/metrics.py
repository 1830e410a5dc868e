"""Prometheus metrics of the whole home: what the services without a port of their own would tell, and the page's own.

Names: https://prometheus.io/docs/practices/naming/ (base units, _total for what only grows). Every figure is read from
the last look; aya_look_age_seconds says how old that is. docs/operations/metrics.md lists them.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from datetime import UTC, datetime

from prometheus_client import CollectorRegistry, Counter, Histogram, ProcessCollector, generate_latest
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, InfoMetricFamily, Metric
from prometheus_client.registry import Collector

from aya import __version__
from aya.processes.states import ALIVE
from aya.status.types import NodeStatus
from aya_web.watcher import Look, Watcher

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
_SECONDS = [0.002 * 2**step for step in range(14)]  # 2 ms to 16 s


class Metrics:
    """All of it, in a registry of its own."""

    def __init__(self, watcher: Watcher) -> None:
        self._registry = CollectorRegistry()
        self._requests = Counter(
            "aya_web_requests", "Requests to the page's service", ["path", "code"], registry=self._registry
        )
        self._duration = Histogram(
            "aya_web_request_duration_seconds", "Whole requests", ["path"], buckets=_SECONDS, registry=self._registry
        )
        self._registry.register(_Home(watcher))
        ProcessCollector(registry=self._registry)

    def answered(self, path: str, code: int, seconds: float) -> None:
        """Count a request. path: as the application knows it, never as a stranger wrote it."""
        self._requests.labels(path, str(code)).inc()
        self._duration.labels(path).observe(seconds)

    def text(self) -> bytes:
        """Return all of it in the text format."""
        return generate_latest(self._registry)


class _Home(Collector):
    """What the last look saw."""

    def __init__(self, watcher: Watcher) -> None:
        self._watcher = watcher

    def collect(self) -> Iterator[Metric]:
        yield InfoMetricFamily("aya_build", "This AYA", {"version": __version__})
        yield CounterMetricFamily("aya_looks", "Looks at the nodes", self._watcher.looks)
        yield CounterMetricFamily("aya_look_failures", "Looks that came to nothing", self._watcher.failures)
        look = self._watcher.last
        if look is not None:
            yield GaugeMetricFamily("aya_look_age_seconds", "Since the nodes were looked at", time.time() - look.at)
            yield GaugeMetricFamily("aya_look_duration_seconds", "How long that took", look.took_seconds)
            yield from _of_nodes(look)
            yield from _of_base(look)
            yield _of_services(look)
            yield from _of_disks(look)


def _of_base(look: Look) -> Iterator[Metric]:
    if look.base is not None:
        yield GaugeMetricFamily(
            "aya_index_queue_oldest_age_seconds",
            "Since the oldest waiting document was put into the indexer's queue of this node; 0: none waits",
            look.base.queue_age_seconds,
        )
    conflicts = next((node.seen.sync.primary.conflicts for node in look.nodes if node.seen.sync is not None), None)
    known = look.base.conflicts if look.base is not None and look.base.conflicts is not None else conflicts
    if known is not None:
        yield GaugeMetricFamily("aya_conflicts_open", "Conflicts that nobody has decided", known)


def _of_services(look: Look) -> Metric:
    up = GaugeMetricFamily("aya_service_up", "1 while the process runs", labels=["node", "service"])
    for node in look.nodes:
        for service in node.seen.services:
            up.add_metric([node.seen.name, service.name], float(service.state in ALIVE))
    return up


def _of_disks(look: Look) -> Iterator[Metric]:
    size = GaugeMetricFamily("aya_disk_size_bytes", "The file system of the node's files", labels=["node"])
    free = GaugeMetricFamily("aya_disk_free_bytes", "What is free there", labels=["node"])
    for node, disk in look.disks.items():
        size.add_metric([node], disk.size)
        free.add_metric([node], disk.size - disk.used)
    yield from (size, free)


def _of_nodes(look: Look) -> Iterator[Metric]:
    families: dict[str, GaugeMetricFamily | CounterMetricFamily] = {}
    for node in look.nodes:
        for name, help_, value in (*_gauges(node, look.at), *_counters(node)):
            if value is None:
                continue
            kind = CounterMetricFamily if name in _COUNTERS else GaugeMetricFamily
            family = families.setdefault(name, kind(name, help_, labels=["node"]))
            family.add_metric([node.seen.name], float(value))
    yield from families.values()
    queue = GaugeMetricFamily("aya_sync_queue_operations", "What AIR has not sent", labels=["node", "state"])
    for node in look.nodes:
        if node.seen.sync is not None:
            for state in ("waiting", "sending", "held", "rejected"):
                queue.add_metric([node.seen.name, state], getattr(node.seen.sync.copy, state))
    yield queue


Figure = tuple[str, str, float | None]
_COUNTERS = frozenset({"aya_archived_segments", "aya_archive_failures"})


def _gauges(node: NodeStatus, at: float) -> Iterator[Figure]:
    seen, database = node.seen, node.seen.database
    yield "aya_node_up", "1 when the node's database answers", float(database.error is None)
    yield "aya_node_healthy", "1 when aya status says healthy", float(node.health == "healthy")
    yield "aya_node_primary", "1 when the node is the primary", float(node.role == "primary")
    yield "aya_node_problems", "What aya status finds wrong with the node", len(node.problems)
    yield "aya_embedder_up", "1 when the node's embedder says healthy", float(seen.embedder.status == "healthy")
    if (counts := database.counts) is not None:
        yield "aya_documents", "Documents that are kept", counts.documents
        yield "aya_chunks", "Chunks that they were cut into", counts.chunks
        yield "aya_index_queue_documents", "Documents that wait for the indexer", counts.waiting
        yield "aya_index_queue_failing_documents", "Those of them that failed five times or more", counts.poison
    if seen.replication is not None:
        yield "aya_replication_lag_bytes", "WAL that the standby has not replayed", seen.replication.lag_bytes
    if (copy := seen.sync.copy if seen.sync else None) is not None:
        yield "aya_sync_lag_seconds", "Since AIR last had all that the primary had", copy.seconds_behind
        yield "aya_sync_daemon_up", "1 while the sync daemon is connected", float(copy.daemon)
    if (backups := seen.backups) is not None:
        yield "aya_backups", "Good base backups", backups.count
        yield "aya_backup_age_seconds", "Since the newest good base backup ended", _age(backups.newest, at)
        yield "aya_archive_waiting_segments", "WAL segments that are to be archived", backups.waiting


def _counters(node: NodeStatus) -> Iterator[Figure]:
    if (archiving := node.seen.database.archiving) is not None:
        yield "aya_archived_segments", "WAL segments that were archived", archiving.archived
        yield "aya_archive_failures", "Tries to archive a WAL segment that failed", archiving.failed


def _age(moment: str | None, at: float) -> float | None:
    return (
        None if moment is None else (datetime.fromtimestamp(at, UTC) - datetime.fromisoformat(moment)).total_seconds()
    )
