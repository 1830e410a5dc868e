"""The index on the vectors beside its alternatives and beside the exact scan, in one run, with and without filters.

    python bench/vector_index.py [--chunks 200000] [--dimension 768] [--seconds 6] [--keep DIRECTORY] [--only ours]
        [--plot docs/pictures]

A server of its own, in /tmp, goes afterwards; with --keep it stays, and the next run begins where this one ended.
Every search asks for fifty candidates, as `aya search` does, and recall@10 is judged on the first ten. Milliseconds are
a client's; processor time is the server's, of all its processes, which other programs on the machine change little.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import svg_plot
import vector_base
import vector_corpus

from aya import queries
from aya.knowledge.nearest import nearest, statement
from aya.knowledge.types import Filters

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Sequence

    from vector_base import Base

    Search = Callable[[Any, Any], Awaitable[list[int]]]

_COUNT, _AT = 50, 10
_QUERIES = 300
_FEWEST = 10
_EXACT = "SELECT id FROM chunks ORDER BY (embedding <=> $1::vector) + 0 LIMIT $2"
_BY_COLUMN = "SELECT id FROM chunks ORDER BY embedding <=> $1::vector LIMIT $2"
_HALF = "USING hnsw ((embedding::halfvec({0})) halfvec_cosine_ops)"
_PLANS = "CREATE TABLE plans AS SELECT id, embedding FROM chunks LIMIT 0"
_HEAD = (
    "| recall@10 | p50 / p95 ms | processor ms | searches/s, 2 clients | to the exact scan |\n"
    "|---|---:|---:|---:|---:|---:|"
)
_GRAPH = "SET hnsw.iterative_scan = relaxed_order; SET enable_sort = off"
_SEARCH = queries.load("aya.knowledge", "search.sql")


@dataclass(frozen=True)
class Contender:
    """A way to search. index: how it is built, empty for none; setting: what differs between its lines."""

    name: str
    index: str
    query: str
    setting: str
    values: tuple[int, ...]


@dataclass(frozen=True)
class Measured:
    """What one client's searches did, in milliseconds. used: the server's processor time for one."""

    recall: float
    p50: float
    p95: float
    used: float


@dataclass(frozen=True)
class Line:
    """What one way did. ratio: of its searches a second, two clients, to the exact scan's right after it."""

    name: str
    measured: Measured
    a_second: float
    ratio: float


def contenders(dimension: int, chunks: int) -> list[Contender]:
    """Return what is compared, the plan's own first."""
    by_half = statement("vector_all", dimension)
    lists = max(10, chunks // 1000)
    return [
        Contender("IVFFlat after the load", f"USING ivfflat (embedding vector_cosine_ops) WITH (lists={lists})",
                  _BY_COLUMN, "ivfflat.probes", (1, round(lists**0.5), 3 * round(lists**0.5))),
        Contender("HNSW vector, efc 64", "USING hnsw (embedding vector_cosine_ops)",
                  _BY_COLUMN, "hnsw.ef_search", (40, 100, 200, 400)),
        Contender("HNSW halfvec, efc 64", _HALF.format(dimension), by_half, "hnsw.ef_search", (40, 100, 200, 400)),
        Contender("HNSW halfvec, efc 128", _HALF.format(dimension) + " WITH (m=16, ef_construction=128)",
                  by_half, "hnsw.ef_search", (40, 100, 200, 400)),
    ]  # fmt: skip


class Bench:
    """One run on one base."""

    def __init__(self, base: Base, seconds: float) -> None:
        self.base = base
        self.seconds = seconds
        self.queries = base.made.queries[:_QUERIES]
        self.exact = vector_base.nearest_of(base.made, self.queries, None, _AT)

    async def measured(self, search: Search, truth: Sequence[set[int]], setting: str = "") -> Measured:
        """Search as one client, after a few searches that warm it up."""
        connection = await self.base.connected()
        if setting:
            await connection.execute(setting)
        took: list[float] = []
        found = 0
        for query in self.queries[-3:]:
            await search(connection, query)
        until, used = time.monotonic() + self.seconds, self.base.processor_ms()
        for number, (query, best) in enumerate(zip(self.queries, truth, strict=True)):
            if number >= _FEWEST and time.monotonic() > until:
                break
            began = time.perf_counter()
            ids = await search(connection, query)
            took.append((time.perf_counter() - began) * 1000)
            found += len(best.intersection(ids[:_AT]))
        used = (self.base.processor_ms() - used) / len(took)
        await connection.close()
        recall = found / (_AT * len(took))
        return Measured(recall, float(np.percentile(took, 50)), float(np.percentile(took, 95)), used)

    async def throughput(self, search: Search, setting: str = "") -> float:
        """Return the searches a second of two clients."""
        until = time.monotonic() + self.seconds
        counts = await asyncio.gather(*[self._client(search, setting, until, first) for first in (0, 1)])
        return sum(counts)

    async def _client(self, search: Search, setting: str, until: float, first: int) -> float:
        connection = await self.base.connected()
        if setting:
            await connection.execute(setting)
        done, began = 0, time.monotonic()
        while time.monotonic() < until or not done:
            await search(connection, self.queries[(2 * done + first) % len(self.queries)])
            done += 1
        took = time.monotonic() - began
        await connection.close()
        return done / took

    async def line(self, name: str, search: Search, setting: str = "") -> Line:
        """Measure a way without filters, and the exact scan with two clients right after it."""
        measured = await self.measured(search, self.exact, setting)
        rate, exact = await self.throughput(search, setting), await self.throughput(by(_EXACT))
        return shown(Line(name, measured, rate, rate / exact))

    async def built(self, index: str, table: str = "chunks") -> tuple[float, int]:
        """Build an index in the place of the one there; return the seconds and bytes."""
        began = time.monotonic()
        await self.base.run("DROP INDEX IF EXISTS idx_chunks_embedding", "SET maintenance_work_mem = '1500MB'",
                            "SET max_parallel_maintenance_workers = 1",
                            f"CREATE INDEX idx_chunks_embedding ON {table} {index}")  # fmt: skip
        took = time.monotonic() - began
        return took, await self.base.run("SELECT pg_relation_size('idx_chunks_embedding')")


def by(query: str) -> Search:
    """Return a search by one query."""

    async def search(connection: Any, vector: Any) -> list[int]:  # noqa: ANN401 asyncpg's, NumPy's
        return [row["id"] for row in await connection.fetch(query, vector, _COUNT)]

    return search


def ours(filters: Filters) -> Search:
    """Return a search as `aya search` has it, with its transaction."""

    async def search(connection: Any, vector: Any) -> list[int]:  # noqa: ANN401 asyncpg's, NumPy's
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            await connection.execute(_SEARCH["plan_for_values"])
            return list(await nearest(connection, vector, _COUNT, filters))

    return search


def shown(line: Line) -> Line:
    """Print a line of the table as soon as it is known."""
    did = line.measured
    print(
        f"| {line.name} | {did.recall:.3f} | {did.p50:.1f} / {did.p95:.1f} | {did.used:.1f} |"
        f" {line.a_second:,.0f} | {line.ratio:.1f} |",
        flush=True,
    )
    return line


async def alternatives(bench: Bench, dimension: int, chunks: int) -> dict[str, list[Line]]:
    """Measure every index there could be; return its lines by name."""
    found: dict[str, list[Line]] = {}
    print(f"\n| index {_HEAD}")
    found["exact scan"] = [await bench.line("exact scan", by(_EXACT))]
    await bench.base.run("DROP TABLE IF EXISTS plans", _PLANS,
                         "CREATE INDEX ON plans USING ivfflat (embedding vector_cosine_ops) WITH (lists=100)",
                         "INSERT INTO plans SELECT id, embedding FROM chunks")  # fmt: skip
    name = "the plan: IVFFlat built empty, lists 100"
    of_plan = by(_BY_COLUMN.replace("FROM chunks", "FROM plans"))
    found[name] = [await bench.line(f"{name}, probes 1", of_plan, "SET ivfflat.probes = 1; SET enable_sort = off")]
    await bench.base.run("DROP TABLE plans")
    for each in contenders(dimension, chunks):
        took, size = await bench.built(each.index)
        print(f"| *{each.name}: built in {took:.0f} s, {size / 1e6:.0f} MB* ||||||")
        short = each.setting.partition(".")[2]
        found[each.name] = [
            await bench.line(f"{each.name}, {short} {value}", by(each.query),
                             f"SET {each.setting} = {value}; {_GRAPH}")
            for value in each.values
        ]  # fmt: skip
    return found


async def chosen(bench: Bench, each: Contender) -> None:
    """Measure the index that we have alone, and build it where it is not there."""
    if not await bench.base.run("SELECT to_regclass('idx_chunks_embedding') IS NOT NULL"):
        took, size = await bench.built(each.index)
        print(f"built in {took:.0f} s, {size / 1e6:.0f} MB")
    print(f"\n| index {_HEAD}")
    await bench.line("exact scan", by(_EXACT))
    for value in each.values:
        await bench.line(f"{each.name}, ef {value}", by(each.query), f"SET {each.setting} = {value}; {_GRAPH}")


async def filtered(bench: Bench) -> None:
    """Measure our searches under filters of every share, beside the exact scan of what passes and the graph alone."""
    made = bench.base.made
    print("\n| filter | passing | recall@10 | p50 / p95 ms (processor ms) | one by one | the graph alone, ef 40 |")
    print("|---|---:|---:|---:|---:|---:|")
    rows: list[tuple[str, Filters, np.ndarray[Any, Any]]] = []
    for share in vector_corpus.SHARES:
        rows.append((f"random {share} %", Filters(category=share), np.array(made.classes) == share))
        rows.append((f"one topic {share} %", Filters(source=share), np.array(made.topics) == share))
    tenth = len(made.topics) // 10
    until = vector_base.FIRST_DAY + tenth * vector_base.BETWEEN
    rows.append(("the first 10 % of the time", Filters(until=until), np.arange(1, len(made.topics) + 1) < tenth))
    rows.append(("metadata 10 %", Filters(metadata={"tier": "10"}), np.array(made.classes) == "10"))
    for name, filters, passing in rows:
        truth = vector_base.nearest_of(made, bench.queries, passing, _AT)
        our = await bench.measured(ours(filters), truth)
        exact = await bench.measured(_one_by_one(filters, "vector_exact"), truth)
        graph = await bench.measured(_one_by_one(filters, "vector_graph"), truth,
                                     f"SET hnsw.ef_search = 40; {_GRAPH}")  # fmt: skip
        count = int(passing.sum()) * vector_corpus.CHUNKS_OF_DOCUMENT
        alone = f"{graph.recall:.2f}: {cost(graph)}"
        print(f"| {name} | {count:,} | {our.recall:.3f} | {cost(our)} | {cost(exact)} | {alone} |", flush=True)


def cost(did: Measured) -> str:
    """Return the times as the table has them."""
    return f"{did.p50:.1f} / {did.p95:.1f} ({did.used:.1f})"


async def shown_ours(bench: Bench) -> Line:
    """Measure our search without a filter."""
    print(f"\n| our search, no filter {_HEAD}")
    return await bench.line("nearest(), 50 candidates", ours(Filters()))


def _one_by_one(filters: Filters, query: str) -> Search:
    async def search(connection: Any, vector: Any) -> list[int]:  # noqa: ANN401 asyncpg's, NumPy's
        arguments = (filters.category, filters.source, filters.metadata, filters.since, filters.until)
        rows = await connection.fetch(statement(query, len(vector)), vector, _COUNT, *arguments)
        return [row["id"] for row in sorted(rows, key=lambda row: row["distance"])]

    return search


def described(base: Base) -> str:
    """Return what is known of how near neighbours are, to be held beside real vectors."""
    made = base.made
    nearness = made.queries[:200] @ made.vectors.T
    top = -np.sort(-nearness, axis=1)[:, [0, 9, 99]]
    first, tenth, hundredth = (1 - np.median(top, axis=0)).tolist()
    return (
        f"{len(made.vectors):,} x {made.vectors.shape[1]}; median cosine distance of the 1st, 10th, 100th nearest:"
        f" {first:.3f}, {tenth:.3f}, {hundredth:.3f}; of any: {1 - np.median(nearness):.3f}"
    )


def drawn(found: dict[str, list[Line]]) -> str:
    """Return the chart: recall against p95."""
    series = {
        name: [(line.measured.p95, line.measured.recall) for line in lines]
        for name, lines in found.items()
        if name != "exact scan"
    }
    return svg_plot.line_chart("Recall against latency", "p95, ms", "recall@10", series)


async def run(arguments: argparse.Namespace) -> None:
    """Make the base and measure what was asked for."""
    async with vector_base.opened(arguments.keep, arguments.chunks, arguments.dimension, arguments.noise) as base:
        print(described(base))
        print(f"load average {os.getloadavg()[0]:.1f} at the start", flush=True)
        bench = Bench(base, arguments.seconds)
        if arguments.only != "ours":
            found = await alternatives(bench, arguments.dimension, arguments.chunks)
            if arguments.plot:
                arguments.plot.mkdir(parents=True, exist_ok=True)
                (arguments.plot / "vector-index.svg").write_text(drawn(found), encoding="utf-8")
        else:
            await chosen(bench, contenders(arguments.dimension, 1)[-1])
        await shown_ours(bench)
        await filtered(bench)
        print(f"load average {os.getloadavg()[0]:.1f} at the end")


def main() -> None:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--chunks", type=int, default=200_000)
    parser.add_argument("--dimension", type=int, default=768)
    parser.add_argument("--noise", type=float, default=0.3, help="of the mixture, as a share of a vector's length")
    parser.add_argument("--seconds", type=float, default=6, help="for each figure")
    parser.add_argument("--keep", type=Path)
    parser.add_argument("--only", choices=("all", "ours"), default="all")
    parser.add_argument("--plot", type=Path)
    asyncio.run(run(parser.parse_args()))


if __name__ == "__main__":
    main()
