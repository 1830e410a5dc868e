"""How well a question finds its passage, on real collections, through a real AYA home.

    python bench/search.py [--data ../shared/data] [--collection scifact …] [--queries 1000] [--home DIRECTORY]

Each collection goes into a home of its own as `aya import` takes it (MiniLM, chunks of about 160 tokens); then every
query is asked through aya.knowledge.search by vector, text and hybrid. Beside them, over the same chunks and vectors:
what AYA did before (ts_rank over any word; reciprocal ranks of that and the vectors), reciprocal ranks of BM25 and the
vectors, and the plan's design (one vector for a whole document, IVFFlat with 100 lists made on the empty table, probes
1).

A document stands where its best passage does. Figures: nDCG@10, MRR@10, Recall@10, and the milliseconds of a search
whose query was embedded before (p50, p95). More queries than --queries are sampled by a fixed seed. With --home the
collections stay there, and are not added again.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from search_figures import AT, quality

from aya.cli import session
from aya.home import Home
from aya.ingest import add_records
from aya.knowledge.lexical import Words
from aya.knowledge.nearest import nearest
from aya.knowledge.search import candidates
from aya.knowledge.types import Filters, Mode
from aya.knowledge.writing import as_array
from aya.queries import parse
from aya.records import read_records

if TYPE_CHECKING:
    from collections.abc import Iterable

    from aya.cli.session import Session
    from aya.db import Connection
    from aya.file_results import FileResult

SQL = parse(Path(__file__).with_name("search.sql").read_text(encoding="utf-8"), "bench/search.sql")
FOUND = 30  # passages asked for, so that ten documents are among them
LISTED = candidates(FOUND)  # as many as a hybrid search asks each side for
RRF_K = 60
BATCH = 200
MODES: tuple[Mode, ...] = ("vector", "text", "hybrid")


@dataclass
class Collection:
    """Queries with what they want, by the collection's own names, and the file that `aya import` reads."""

    name: str
    file: Path
    queries: dict[str, str]
    wanted: dict[str, dict[str, int]]

    @classmethod
    def read(cls, directory: Path, most: int) -> Collection:
        """Read a folder of corpus.jsonl, queries.jsonl and qrels.tsv; at most so many queries, the same each time."""
        wanted: dict[str, dict[str, int]] = {}
        for line in (directory / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
            query, document, gain = line.split("\t")
            wanted.setdefault(query, {})[document] = int(gain)
        lines = (directory / "queries.jsonl").read_text(encoding="utf-8").splitlines()
        queries = {one["id"]: one["text"] for one in map(json.loads, lines) if one["id"] in wanted}
        chosen = sorted(queries) if len(queries) <= most else random.Random(7).sample(sorted(queries), most)  # noqa: S311
        return cls(directory.name, directory / "corpus.jsonl", {each: queries[each] for each in chosen}, wanted)


class Counted:
    """The progress of an import: how many, twice a minute."""

    def __init__(self) -> None:
        self.count = 0
        self._said = time.monotonic()

    def total(self, files: int) -> None:
        """Nothing: a file of records does not say."""

    def done(self, result: FileResult) -> None:
        """Count one."""
        self.count += 1
        if result.status == "failed":
            print(f"  {result.path}: {result.reason}", file=sys.stderr)
        if time.monotonic() - self._said > 30:  # noqa: PLR2004
            self._said = time.monotonic()
            print(f"  {self.count} documents", file=sys.stderr, flush=True)


@dataclass
class Contender:
    """One way to rank. milliseconds: of each query."""

    rankings: list[list[int]] = field(default_factory=list[list[int]])
    milliseconds: list[float] = field(default_factory=list[float])


def distinct(documents: Iterable[int | None]) -> list[int]:
    """Return documents, each where it stands first; pure."""
    return [each for each in dict.fromkeys(documents) if each is not None][:AT]


def reciprocal_ranks(*lists: list[int]) -> list[int]:
    """Return ids by reciprocal rank fusion (Cormack, Clarke and Büttcher, 2009); pure."""
    scores: dict[int, float] = {}
    for ids in lists:
        for place, each in enumerate(ids, start=1):
            scores[each] = scores.get(each, 0.0) + 1 / (RRF_K + place)
    return sorted(scores, key=lambda each: (-scores[each], each))


async def documents_of(connection: Connection, chunks: list[int]) -> list[int]:
    """Return the documents of chunks, the first ten."""
    of = {row["id"]: row["document_id"] for row in await connection.fetch(SQL["documents_of"], chunks)}
    return distinct(of[each] for each in chunks)


async def beside(opened: Session, query: str, vector: Any, contenders: dict[str, Contender]) -> None:  # noqa: ANN401
    """Ask the peers."""
    async with opened.database.transaction(readonly=True) as connection:
        near = list(await nearest(connection, vector, LISTED, Filters()))
        old = [row["id"] for row in await connection.fetch(SQL["words_by_ts_rank"], query, LISTED)]
        words = list(await (await Words.read(connection, query)).matching(LISTED, Filters()))
        for name, chunks in (
            ("words by ts_rank", old),
            ("RRF, vector + ts_rank (before)", reciprocal_ranks(near, old)),
            ("RRF, vector + BM25", reciprocal_ranks(near, words)),
        ):
            contenders[name].rankings.append(await documents_of(connection, chunks))
        started = time.perf_counter()
        rows = await connection.fetch(SQL["nearest_by_plan"], vector)
        contenders["the plan's design"].milliseconds.append(1000 * (time.perf_counter() - started))
        contenders["the plan's design"].rankings.append([row["document_id"] for row in rows])


async def make_plan(opened: Session) -> None:
    """Make the plan's table: a vector for each whole document, in an index that was made before."""
    identity = await opened.documents.identity()
    async with opened.database.connection() as connection:
        if await connection.fetchval("SELECT to_regclass('plan_chunks')"):
            return
        await connection.execute(SQL["create_plan_table"])
        await connection.execute(SQL["create_plan_index"])
        rows = await connection.fetch(SQL["all_documents"])
        embedder = opened.searcher.embedder
        for start in range(0, len(rows), BATCH):
            batch = rows[start : start + BATCH]
            vectors = await embedder.embed(
                [row["content"] for row in batch], prompt="document", truncate=True, expect=identity.fingerprint
            )
            await connection.execute(SQL["fill_plan_table"], [row["id"] for row in batch], as_array(vectors))


async def measure(opened: Session, collection: Collection) -> None:
    """Add the collection, ask everything, and print one table."""
    counted = Counted()
    await add_records(
        opened.documents, read_records(collection.file, category="general", source=None, metadata={}), counted
    )
    await make_plan(opened)
    async with opened.database.connection() as connection:
        ids = {row["name"]: row["id"] for row in await connection.fetch(SQL["all_documents"])}
    contenders = {
        name: Contender()
        for name in (
            *MODES,
            "words by ts_rank",
            "RRF, vector + ts_rank (before)",
            "RRF, vector + BM25",
            "the plan's design",
        )
    }
    identity = await opened.documents.identity()
    for query in collection.queries.values():
        embedded = await opened.searcher.embedder.embed(
            [query], prompt="query", truncate=True, expect=identity.fingerprint
        )
        for mode in MODES:
            started = time.perf_counter()
            hits = await opened.searcher.search(query, mode=mode, limit=FOUND)
            contenders[mode].milliseconds.append(1000 * (time.perf_counter() - started))
            contenders[mode].rankings.append(distinct(hit.document_id for hit in hits))
        await beside(opened, query, embedded[0], contenders)
    # Equal contents are one document, which has one of their names.
    wanted = [
        {ids[name]: gain for name, gain in collection.wanted[query].items() if name in ids}
        for query in collection.queries
    ]
    show(collection, contenders, wanted)


def show(collection: Collection, contenders: dict[str, Contender], wanted: list[dict[int, int]]) -> None:
    """Print a table for docs/benchmarks.md."""
    print(f"\n{collection.name}: {len(wanted)} queries\n")
    print("| | nDCG@10 | MRR@10 | Recall@10 | p50 ms | p95 ms |\n|---|---|---|---|---|---|")
    asked = [at for at, gains in enumerate(wanted) if gains]
    for name, contender in contenders.items():
        good = quality([contender.rankings[at] for at in asked], [wanted[at] for at in asked])
        times = contender.milliseconds
        cuts = statistics.quantiles(times, n=20) if times else []
        took = f"{statistics.median(times):.1f} | {cuts[18]:.1f}" if times else "– | –"
        print(f"| {name} | {good.ndcg:.3f} | {good.mrr:.3f} | {good.recall:.3f} | {took} |", flush=True)


def aya(home: Path, *arguments: str) -> None:
    """Run the command on a home, and stop here when it fails."""
    subprocess.run([Path(sys.executable).with_name("aya"), "--home", home, *arguments], check=True, stdout=sys.stderr)


def run(home: Path, collection: Collection) -> None:
    """Start a home, measure in it, and stop it."""
    home.mkdir(parents=True, exist_ok=True)
    aya(home, "up", "--nodes", "alpha", "--detach")
    try:
        session.run(Home(home), "alpha", lambda opened: measure(opened, collection))
    finally:
        aya(home, "down")


def main() -> None:
    """Read the arguments and measure each collection."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--data", type=Path, default=Path(__file__).parents[2] / "shared" / "data")
    parser.add_argument("--collection", action="append", help="a folder of --data; default: all of them")
    parser.add_argument("--queries", type=int, default=1000)
    parser.add_argument("--home", type=Path)
    asked = parser.parse_args()
    names = asked.collection or sorted(each.parent.name for each in asked.data.glob("*/qrels.tsv"))
    for name in names:
        collection = Collection.read(asked.data / name, asked.queries)
        if asked.home:
            run(asked.home / name, collection)
            continue
        with tempfile.TemporaryDirectory(prefix="aya-") as made:
            Path(made).chmod(0o755)
            run(Path(made) / "h", collection)


if __name__ == "__main__":
    main()
