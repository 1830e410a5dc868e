"""What was measured, kept for a day: each of the last hour's samples, and before that the most of each minute; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

RECENT_SECONDS = 3600.0
KEPT_SECONDS = 24 * 3600.0
BUCKET_SECONDS = 60.0

# What was measured, and of which node: ("lag_bytes", "beta").
Key = tuple[str, str]


@dataclass(frozen=True, slots=True)
class Sample:
    """One look. at: seconds since the epoch, UTC. A figure that is not known is left out."""

    at: float
    values: Mapping[Key, float]


def thinned(samples: Iterable[Sample], now: float) -> list[Sample]:
    """Return what is kept of `samples`, which are in order, at `now`; doing it again changes nothing.

    Of a minute before the last hour the most of each figure is kept, under the moment of the minute's last sample: a
    peak of the lag stays to be seen. What is of the future goes: a clock was put back.
    """
    kept: list[Sample] = []
    for sample in samples:
        if not now - KEPT_SECONDS < sample.at <= now:
            continue
        merges = kept and sample.at <= now - RECENT_SECONDS and _bucket(kept[-1]) == _bucket(sample)
        if merges:
            kept[-1] = _merged(kept[-1], sample)
        else:
            kept.append(sample)
    return kept


def _bucket(sample: Sample) -> int:
    return int(sample.at // BUCKET_SECONDS)


def _merged(one: Sample, other: Sample) -> Sample:
    values = dict(one.values)
    for key, value in other.values.items():
        values[key] = max(value, values.get(key, value))
    return Sample(max(one.at, other.at), values)


def columns(samples: Iterable[Sample]) -> dict[str, Any]:
    """Return {"at": [seconds, …], "series": {figure: {node: [value or None, …]}}}, all lists of one length."""
    listed = list(samples)
    keys = sorted({key for sample in listed for key in sample.values})
    series: dict[str, dict[str, list[float | None]]] = {}
    for figure, node in keys:
        series.setdefault(figure, {})[node] = [sample.values.get((figure, node)) for sample in listed]
    return {"at": [sample.at for sample in listed], "series": series}
