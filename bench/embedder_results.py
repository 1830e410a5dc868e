"""What embedder_throughput.py measured, and what it means: pure, from samples to tables and verdicts.

Ratios are taken within a round, where both contenders met the same hour of the machine, and then the median of the
rounds' ratios; they differ a little from the ratios of the medians.
"""

from __future__ import annotations

import statistics
from dataclasses import dataclass
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Sequence

MINILM, BERT_BASE = "MiniLM", "BERT-base"


class Row(NamedTuple):
    """A contender as it was asked. concurrency: of its clients, 0 in process."""

    contender: str
    concurrency: int = 0

    def __str__(self) -> str:
        return f"{self.contender}, {f'HTTP, {self.concurrency}' if self.concurrency else 'in process'}"


OURS, PLAN, INFINITY, CACHED = "ours", "the plan's server", "infinity", "ours, cached"
REFERENCE = Row("sentence-transformers")
CEILING = Row(OURS)


@dataclass(frozen=True, slots=True)
class Sample:
    """One turn.

    p50_ms, p95_ms: latencies of its requests, None in process.
    client_cores: what the clients took, in cores; idle_cores: the contenders whose turn it was not; foreign_cores: all
    other programs of the machine. apart: the greatest difference of a component from the reference's, at the start.
    """

    model: str
    texts: str
    row: Row
    round: int
    count: int
    seconds: float
    p50_ms: float | None
    p95_ms: float | None
    client_cores: float
    idle_cores: float
    foreign_cores: float
    apart: float | None

    @property
    def speed(self) -> float:
        """Texts a second."""
        return self.count / self.seconds


class Spread(NamedTuple):
    """Of the rounds."""

    median: float
    lowest: float
    highest: float

    @classmethod
    def of(cls, values: Iterable[float]) -> Spread | None:
        """Return None when there are no values."""
        found = list(values)
        return cls(statistics.median(found), min(found), max(found)) if found else None

    def __str__(self) -> str:
        return f"{self.median:.2f} ({self.lowest:.2f} to {self.highest:.2f})"


class Goal(NamedTuple):
    """`numerator` is to be at least `wanted` times `denominator` of the same round."""

    model: str
    claim: str
    numerator: Row
    denominator: Row
    wanted: float
    measure: Callable[[Sample], float] = lambda sample: sample.speed


def _inverse_p50(sample: Sample) -> float:
    return 1 / (sample.p50_ms or float("inf"))


_OURS_AT_32 = Row(OURS, 32)
GOALS = (
    Goal(MINILM, "HTTP at 32, to sentence-transformers in process", _OURS_AT_32, REFERENCE, 1.0),
    Goal(MINILM, "HTTP at 32, to infinity at 32", _OURS_AT_32, Row(INFINITY, 32), 1.5),
    Goal(MINILM, "HTTP at 32, to the plan's server at 32", _OURS_AT_32, Row(PLAN, 32), 1.5),
    Goal(MINILM, "HTTP at 32, to ourselves in process", _OURS_AT_32, CEILING, 0.9),
    Goal(MINILM, "p50 at 1, the plan's server's to ours", Row(OURS, 1), Row(PLAN, 1), 1.0, _inverse_p50),
    Goal(MINILM, "cached to uncached, HTTP at 32", Row(CACHED, 32), _OURS_AT_32, 20.0),
    Goal(BERT_BASE, "in process, to torch in process", CEILING, REFERENCE, 0.9),
)


def of(samples: Sequence[Sample], model: str, texts: str) -> list[Sample]:
    """Return the samples of one model on one set of texts."""
    return [one for one in samples if (one.model, one.texts) == (model, texts)]


def ratio(
    samples: Sequence[Sample], top: Row, bottom: Row, measure: Callable[[Sample], float] = lambda sample: sample.speed
) -> Spread | None:
    """Return top / bottom, by rounds that have both; None when there is none. samples: of one model and set."""
    below = {one.round: measure(one) for one in samples if one.row == bottom}
    return Spread.of(measure(one) / below[one.round] for one in samples if one.row == top and one.round in below)


def table(samples: Sequence[Sample]) -> list[tuple[str, ...]]:
    """Make the table of one model and set: a row a contender, in their order in the first round; no empty columns."""
    head = ("", "texts/s", "lowest", "highest", "to s-t", "to infinity", "p50 ms", "p95 ms", "max abs")
    rows = [_line(samples, row) for row in dict.fromkeys(one.row for one in samples if one.round == 0)]
    columns = [(name, *cells) for name, *cells in zip(head, *rows, strict=True) if any(cells)]
    return list(zip(*columns, strict=True))


def _line(samples: Sequence[Sample], row: Row) -> tuple[str, ...]:
    own = [one for one in samples if one.row == row]
    speed = Spread.of(one.speed for one in own) or Spread(0, 0, 0)
    to_infinity = ratio(samples, row, Row(INFINITY, row.concurrency or 32))
    to_reference = ratio(samples, row, REFERENCE)
    p50 = Spread.of(one.p50_ms for one in own if one.p50_ms is not None)
    p95 = Spread.of(one.p95_ms for one in own if one.p95_ms is not None)
    return (
        str(row),
        *(f"{value:.1f}" for value in speed),
        f"{to_reference.median:.2f}" if to_reference else "",
        f"{to_infinity.median:.2f}" if to_infinity else "",
        f"{p50.median:.1f}" if p50 else "",
        f"{p95.median:.1f}" if p95 else "",
        f"{own[0].apart:.1e}" if own[0].apart is not None else "",
    )


def verdicts(samples: Sequence[Sample]) -> list[tuple[str, ...]]:
    """Make the table of the goals: measured in the same rounds, met or not, on each set of texts."""
    lines: list[tuple[str, ...]] = [("goal", "texts", "wanted", "measured", "")]
    for goal in GOALS:
        for texts in dict.fromkeys(one.texts for one in samples if one.model == goal.model):
            found = ratio(of(samples, goal.model, texts), goal.numerator, goal.denominator, goal.measure)
            met = "not measured" if found is None else "met" if found.median >= goal.wanted else "not met"
            lines.append((f"{goal.model}: {goal.claim}", texts, f"≥ {goal.wanted:g}", str(found or ""), met))
    return lines


def disturbance(samples: Sequence[Sample]) -> str:
    """Say how much of the machine others took while the contenders had their turns."""
    foreign = Spread.of(one.foreign_cores for one in samples)
    idle = Spread.of(one.idle_cores for one in samples)
    clients = Spread.of(one.client_cores for one in samples if one.row.concurrency and one.row.contender != CACHED)
    return (
        f"cores taken, by turns: other programs {foreign}, contenders that had to wait {idle}, "
        f"the clients {clients or 'none'}"
    )
