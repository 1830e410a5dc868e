"""What a watchdog measures and counts, for Prometheus (https://prometheus.io/docs/instrumenting/exposition_formats/)."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any, get_args

from prometheus_client import CollectorRegistry, Counter, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from aya_watchdog.decide import PRIMARY, STANDBY, Action

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
CONDITIONS = tuple(dict.fromkeys([row.state for row in PRIMARY] + [row.state for row in STANDBY]))


class Metrics:
    """The counters of one process, in a registry of its own; the rest is read from the status that is shown."""

    def __init__(self) -> None:
        self._registry = CollectorRegistry()
        self._decisions = self._counter("decisions", "Decisions to act, by what was done", "action")
        self._failures = self._counter("failures", "Acts that failed, and are tried again", "action")
        self._failovers = self._counter("failovers", "Epochs that this node began", "asked")
        self._alerts = self._counter("alerts", "Hooks that were run, by how they ended", "result")
        for action in get_args(Action):
            self._decisions.labels(action)
            self._failures.labels(action)
        for asked in ("nobody", "person"):
            self._failovers.labels(asked)

    def _counter(self, name: str, help_: str, label: str) -> Counter:
        return Counter(f"aya_watchdog_{name}", help_, [label], registry=self._registry)

    def decided(self, action: Action) -> None:
        """Count a decision; "nothing" is none."""
        if action != "nothing":
            self._decisions.labels(action).inc()

    def failed(self, action: Action) -> None:
        """Count an act that failed."""
        self._failures.labels(action).inc()

    def began_epoch(self, *, asked: bool) -> None:
        """Count a promotion of this node. asked: a person wanted it."""
        self._failovers.labels("person" if asked else "nobody").inc()

    def alerted(self, result: str) -> None:
        """Count a hook's end: ok, failed, late or dropped."""
        self._alerts.labels(result).inc()

    def render(self, status: Mapping[str, Any]) -> bytes:
        """Return the text."""
        once = CollectorRegistry()
        once.register(_Gauges(status))
        return generate_latest(once) + generate_latest(self._registry)


class _Gauges(Collector):
    def __init__(self, status: Mapping[str, Any]) -> None:
        self._status = status

    def collect(self) -> Iterator[Metric]:
        """Yield one gauge a figure; those that are not known are left out, as Prometheus wishes."""
        for name, (help_, value) in figures(self._status).items():
            if value is not None:
                yield GaugeMetricFamily(f"aya_watchdog_{name}", help_, value=value)
        condition = GaugeMetricFamily("aya_watchdog_condition", "1 for the one it is in", labels=["condition"])
        for name in CONDITIONS:
            condition.add_metric([name], float(name == self._status.get("condition")))
        yield condition


def figures(status: Mapping[str, Any]) -> dict[str, tuple[str, float | None]]:
    """Return the gauges by name, each with its meaning and its value, None when it is not known; pure."""
    partner: Mapping[str, Any] = status.get("partner") or {}
    said: Mapping[str, Any] = partner.get("said") or {}
    return {
        "epoch": ("The latest epoch that it knows of", status.get("epoch")),
        "primary": ("1 when it is the primary", float(status.get("role") == "primary")),
        "writable": ("1 when clients may write here", float(bool(status.get("writable")))),
        "armed": ("1 when the standby may be promoted without a loss", float(is_armed(status))),
        "synchronous": ("1 when commits wait for the partner", float(bool(status.get("synchronous")))),
        "paused": ("1 when a person keeps it from acting", float(bool(status.get("paused")))),
        "server_running": ("1 when PostgreSQL answers", float(status.get("server") == "running")),
        "timeline": ("PostgreSQL's timeline", status.get("timeline")),
        "position_bytes": ("WAL written, or replayed on a standby", status.get("position")),
        "replication_lag_bytes": ("WAL that the standby has not got", status.get("lag_bytes")),
        "partner_age_seconds": ("Since the partner's agent answered", partner.get("age_seconds")),
        "partner_epoch": ("The epoch that the partner knows of", said.get("epoch")),
        "beat_age_seconds": ("Since the watchdog last looked", status.get("beat_age_seconds")),
    }


def is_armed(status: Mapping[str, Any]) -> bool:
    """Return whether this node's view is that the standby may be promoted without a loss; pure."""
    return status.get("condition") in {"ARMED", "SYNC"}
