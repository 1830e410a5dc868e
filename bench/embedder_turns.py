"""The contest of embedder_throughput.py: contenders are checked against the reference, then embed in turns."""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING, NamedTuple

import numpy as np
import psutil
from embedder_results import CACHED, REFERENCE, Row, Sample

if TYPE_CHECKING:
    from collections.abc import Collection, Generator, Mapping, Sequence
    from pathlib import Path

    from embedder_contenders import Contender, Timed

_FEW = 32
_LOWEST_COSINE = 0.9999
_CACHED_TIMES = 8  # answers from the cache are so quick that one pass would be over at once
_BUSY = ("user", "nice", "system", "irq", "softirq", "steal")  # psutil counts guests as user
_SETTLING_SECONDS, _LOOKING_SECONDS = 1.0, 3.0


def verify(contenders: Mapping[Row, Contender], texts: Sequence[str], scratch: Path) -> dict[Row, float]:
    """Warm all up on some of the texts, and return each one's greatest difference from the reference's vectors.

    Nobody wins by being wrong: ends everything when a cosine is below 0.9999. Without a reference nothing is compared.
    """
    few, saved = list(texts[:_FEW]), scratch / "vectors.npy"
    expected, apart = None, {}
    for row in sorted(contenders, key=lambda row: row != REFERENCE):
        contenders[row].embed(few, saved)
        vectors = np.load(saved)
        expected = vectors if row == REFERENCE else expected
        if expected is None or row == REFERENCE:
            continue
        cosine = float(np.einsum("ij,ij->i", vectors, expected).min())
        if not cosine >= _LOWEST_COSINE:
            sys.exit(f"{row} computes other vectors than the reference: the lowest cosine is {cosine:.6f}")
        apart[row] = float(np.abs(vectors - expected).max())
    return apart


def idle_cores(contenders: Mapping[Row, Contender]) -> dict[str, float]:
    """Return the cores that each process takes while nobody asks it, by what it says of itself."""
    time.sleep(_SETTLING_SECONDS)
    before = {one.pid: _cpu_seconds([one.pid]) for one in contenders.values()}
    time.sleep(_LOOKING_SECONDS)
    after = {one.described: _cpu_seconds([one.pid]) - before[one.pid] for one in contenders.values()}
    return {name: seconds / _LOOKING_SECONDS for name, seconds in after.items()}


class Contest(NamedTuple):
    """One model on one set of texts. apart: from verify; clients_pid: of http_load.py, None when nobody needs it."""

    model: str
    name: str
    texts: Sequence[str]
    contenders: Mapping[Row, Contender]
    apart: Mapping[Row, float]
    clients_pid: int | None


def turns(contest: Contest, number: int) -> Generator[Sample]:
    """Make round `number`: each contender's turn, each round beginning with another."""
    rows = list(contest.contenders)
    first = number * (len(rows) // 2 + 1) % len(rows)
    for row in rows[first:] + rows[:first]:
        yield _turn(contest, row, number)


def _turn(contest: Contest, row: Row, number: int) -> Sample:
    contender = contest.contenders[row]
    cached = row.contender == CACHED
    if cached and number == 0:
        contender.embed(contest.texts)
    texts = list(contest.texts) * (_CACHED_TIMES if cached else 1)
    waiting = {one.pid for one in contest.contenders.values()} - {contender.pid}
    ours = waiting | {contender.pid, os.getpid()} | ({contest.clients_pid} if contest.clients_pid else set())
    began, idle, own, busy = time.monotonic(), _cpu_seconds(waiting), _cpu_seconds(ours), _busy_seconds()
    timed = contender.embed(texts)
    took = time.monotonic() - began
    _check_cache(row, timed, len(texts) if cached else 0)
    return Sample(
        model=contest.model,
        texts=contest.name,
        row=row,
        round=number,
        count=len(texts),
        seconds=timed.seconds,
        p50_ms=_milliseconds(timed, 50),
        p95_ms=_milliseconds(timed, 95),
        client_cores=timed.client_cpu_seconds / timed.seconds,
        idle_cores=(_cpu_seconds(waiting) - idle) / took,
        foreign_cores=max(0.0, _busy_seconds() - busy - (_cpu_seconds(ours) - own)) / took,
        apart=contest.apart.get(row),
    )


def _check_cache(row: Row, timed: Timed, expected: int) -> None:
    if row.concurrency and timed.cached != expected:
        sys.exit(f"{row}: {timed.cached} answers came from a cache, not {expected}: the comparison would be none")


def _milliseconds(timed: Timed, percent: int) -> float | None:
    return 1000 * float(np.percentile(timed.latencies, percent)) if timed.latencies else None


def _cpu_seconds(pids: Collection[int]) -> float:
    times = [psutil.Process(pid).cpu_times() for pid in pids]
    return sum(one.user + one.system for one in times)


def _busy_seconds() -> float:
    """Return the CPU time that the machine has spent on anything, and what its host kept from it."""
    times = psutil.cpu_times()
    return sum(getattr(times, kind, 0.0) for kind in _BUSY)
