"""The charts of embedder_throughput.py's samples."""

from __future__ import annotations

from typing import TYPE_CHECKING

from embedder_results import BERT_BASE, CACHED, MINILM, OURS, Row, Sample, Spread, of
from svg_plot import bar_chart, line_chart

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path


def write_plots(samples: Sequence[Sample], folder: Path) -> None:
    """Write a chart of throughput by clients and one of latency for each set, and one of BERT-base."""
    folder.mkdir(parents=True, exist_ok=True)
    for texts in dict.fromkeys(one.texts for one in samples if one.model == MINILM):
        own = of(samples, MINILM, texts)
        (folder / f"embedder-throughput-{texts}.svg").write_text(_throughput(own, texts))
        if any(one.row.concurrency == 1 for one in own):
            (folder / f"embedder-latency-{texts}.svg").write_text(_latency(own, texts))
    base = [one for one in samples if one.model == BERT_BASE]
    if base:
        (folder / "embedder-bert-base.svg").write_text(_bert_base(base))


def _throughput(samples: Sequence[Sample], texts: str) -> str:
    rows = [row for row in dict.fromkeys(one.row for one in samples) if row.contender != CACHED]
    clients = sorted({row.concurrency for row in rows if row.concurrency}) or [1]
    series: dict[str, list[tuple[float, float]]] = {}
    for row in sorted(rows, key=lambda row: (row.contender != OURS, row)):
        if row.concurrency:
            series.setdefault(f"{row.contender}, HTTP", []).append((row.concurrency, _speed(samples, row)))
        else:
            series[str(row)] = [(number, _speed(samples, row)) for number in (clients[0], clients[-1])]
    return line_chart(f"MiniLM, texts of {texts} lengths", "clients", "texts a second", series)


def _latency(samples: Sequence[Sample], texts: str) -> str:
    rows = [row for row in dict.fromkeys(one.row for one in samples) if row.concurrency == 1]
    bars = {row.contender: _median(one.p50_ms or 0 for one in samples if one.row == row) for row in rows}
    return bar_chart(f"MiniLM, texts of {texts} lengths, one client", "median latency, milliseconds", bars)


def _bert_base(samples: Sequence[Sample]) -> str:
    rows = dict.fromkeys((one.texts, one.row) for one in samples)
    bars = {f"{row}, {texts}": _speed(of(samples, BERT_BASE, texts), row) for texts, row in rows}
    return bar_chart("BERT-base, random weights", "texts a second", bars)


def _speed(samples: Sequence[Sample], row: Row) -> float:
    return _median(one.speed for one in samples if one.row == row)


def _median(values: Iterable[float]) -> float:
    found = Spread.of(values)
    return found.median if found else 0.0
