"""Taking folders in, as `aya add` does it: how fast, where the time goes, in how much memory, and killed.

    python bench/ingest.py stages [--files 120] [--rounds 3]   documents a second, and each stage's share of the time
    python bench/ingest.py memory [--gigabytes 1] [--files 2000] [--plot]   resident memory of `aya add` over a folder
                                                of large files that are refused and small ones; and again, all known
    python bench/ingest.py kill [--files 60] [--rounds 5]      kill -9 at random moments, then once to the end

Each makes a home of its own (`aya up`, MiniLM, PostgreSQL of this machine) and stops it at the end. Exit code 1 when
memory grows with the folder, or a killed ingestion lost or doubled a document.
"""

from __future__ import annotations

import argparse
import asyncio
import json
import random
import subprocess
import sys
import tempfile
import time
from collections import defaultdict
from collections.abc import AsyncGenerator, Generator, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any
from unittest.mock import patch

import psutil
from random_texts import random_texts

from aya import ingest
from aya.chunking import chunk
from aya.cli import session
from aya.embedder_client import EmbedderClient
from aya.file_results import FileResult
from aya.home import Home
from aya.knowledge import indexing
from aya.knowledge.documents import Documents
from aya.knowledge.places import Places
from aya.textfile import read_text_file

if TYPE_CHECKING:
    from aya.db import Connection

AYA = [str(Path(sys.executable).with_name("aya"))]
PICTURE = Path(__file__).resolve().parent.parent / "docs" / "pictures" / "ingest-memory.svg"
WORDS_A_NOTE = 120
LARGE_BYTES = 1 << 30
BELOW_LIMIT_BYTES = 30 << 20
MIB = 1 << 20
MOST_GROWTH_MIB = 40.0
"""The second half of a folder may cost so much more than the first."""


def aya(home: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run `aya`, and raise when it fails."""
    return subprocess.run([*AYA, "--home", str(home), *arguments], capture_output=True, text=True, check=True)


@contextmanager
def running() -> Generator[tuple[Path, Path]]:
    """Run a node; lends its home and a folder for notes."""
    with tempfile.TemporaryDirectory(prefix="aya-bench-") as made:
        # PostgreSQL refuses root, and its own user has to get there.
        Path(made).chmod(0o755)
        home, folder = Path(made, "home"), Path(made, "notes")
        aya(home, "up", "--nodes", "alpha", "--detach")
        try:
            yield home, folder
        finally:
            aya(home, "down")


def notes(folder: Path, count: int, seed: int) -> None:
    """Write so many different notes, each of about two chunks, in folders of a hundred."""
    texts = random_texts(seed)
    for number in range(count):
        file = folder / str(number // 100) / f"{number}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"# Note {number}\n\n" + "\n\n".join(paragraphs(texts)) + "\n")


def paragraphs(texts: Iterator[str]) -> Iterator[str]:
    """Yield texts until there are words enough for a note."""
    words = 0
    while words < WORDS_A_NOTE:
        text = next(texts)
        words += len(text.split())
        yield text


class Silent:
    """A progress that nobody looks at."""

    def total(self, files: int) -> None:
        """Say nothing."""

    def done(self, result: FileResult) -> None:
        """Say nothing."""


# Stages


class Clock:
    """Seconds by stage, summed over all that is done at once."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)

    @contextmanager
    def stage(self, name: str) -> Generator[None]:
        """Count the time inside to a stage."""
        began = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[name] += time.perf_counter() - began


class TimedEmbedder(EmbedderClient):
    """An embedder whose calls are timed."""

    clock: Clock

    async def embed(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (whatever it is called with)
        """Time it."""
        with self.clock.stage("embed"):
            return await super().embed(*arguments, **named)

    async def tokenize(self, *arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (whatever it is called with)
        """Time it."""
        with self.clock.stage("tokenise"):
            return await super().tokenize(*arguments, **named)


@dataclass(frozen=True)
class Run:
    """One time over a folder. shares: of the time of all workers together, by stage."""

    files_per_second: float
    shares: dict[str, float]


@contextmanager
def timed(clock: Clock) -> Generator[None]:
    """Time walking, reading and cutting, where they are called."""
    walk, read, cut = ingest.find, read_text_file, chunk

    def walking(roots: Sequence[Path]) -> Iterator[Any]:
        entries = walk(roots)
        while True:
            with clock.stage("walk"):
                entry = next(entries, None)
            if entry is None:
                return
            yield entry

    def reading(*arguments: Any) -> Any:  # noqa: ANN401 (whatever it is called with)
        with clock.stage("read"):
            return read(*arguments)

    def cutting(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 (whatever it is called with)
        with clock.stage("chunk"):
            return cut(*arguments, **named)

    with (
        patch.object(ingest, "find", walking),
        patch.object(ingest, "read_text_file", reading),
        patch.object(indexing, "chunk", cutting),
    ):
        yield


async def over(home: Path, folder: Path, concurrency: int) -> Run:
    """Add the folder once, timed."""
    clock = Clock()
    async with session.opened(Home(home), None) as opened:
        settings = opened.settings
        async with TimedEmbedder(settings.embedder_url, token=settings.embedder_token) as embedder:
            embedder.clock = clock
            documents = Documents(opened.database, embedder)
            await documents.identity()
            began = time.perf_counter()
            with timed(clock), patch.object(ingest, "CONCURRENCY", concurrency):
                manner = ingest.Manner(Places(opened.database).known, listed=False)
                done = await ingest.add_files(documents, [folder], ingest.Labels(), Silent(), manner)
            took = time.perf_counter() - began
    if done.stopped_by is not None:
        raise done.stopped_by
    busy = took * concurrency
    shares = {name: seconds / busy for name, seconds in clock.seconds.items()}
    return Run(done.counts.total() / took, {**shares, "store, look up, wait": 1 - sum(shares.values())})


async def emptied(home: Path) -> None:
    """Take all documents out; the embedder keeps its vectors."""
    async with session.opened(Home(home), None) as opened, opened.database.connection() as connection:
        await _empty(connection)


async def _empty(connection: Connection) -> None:
    await connection.execute("DELETE FROM documents")


def stages(files: int, rounds: int, concurrencies: Sequence[int]) -> bool:
    """Measure new notes, new documents whose vectors are known, and known files, in turns; print medians."""
    runs: dict[tuple[str, int], list[Run]] = defaultdict(list)
    with running() as (home, folder):
        for number in range(rounds):
            for concurrency in concurrencies:
                notes(folder / f"{number}-{concurrency}", files, seed=1000 * number + concurrency)
                root = folder / f"{number}-{concurrency}"
                runs["new", concurrency].append(asyncio.run(over(home, root, concurrency)))
                asyncio.run(emptied(home))
                runs["new, vectors cached", concurrency].append(asyncio.run(over(home, root, concurrency)))
                runs["unchanged", concurrency].append(asyncio.run(over(home, root, concurrency)))
    names = ["walk", "read", "tokenise", "chunk", "embed", "store, look up, wait"]
    print(f"| {files} notes, medians of {rounds} | at once | files/s | {' | '.join(names)} |")
    print("|---|" + "---:|" * (2 + len(names)))
    for (what, concurrency), each in sorted(runs.items(), key=str):
        shares = [f"{median(run.shares.get(name, 0.0) for run in each):.1%}" for name in names]
        rate = median(run.files_per_second for run in each)
        print(f"| {what} | {concurrency} | {rate:.1f} | {' | '.join(shares)} |")
    return True


# Memory


def sparse(folder: Path, gigabytes: int) -> None:
    """Make large files without content: some over the limit of a file, some that are read and found to be binary."""
    folder.mkdir(parents=True)
    for number in range(gigabytes):
        with (folder / f"large-{number}.md").open("wb") as file:
            file.truncate(LARGE_BYTES - BELOW_LIMIT_BYTES)
        with (folder / f"binary-{number}.md").open("wb") as file:
            file.truncate(BELOW_LIMIT_BYTES)


def small(folder: Path, count: int, different: int) -> None:
    """Write many small files of few different contents: the base looks at each, the embedder at few."""
    texts = random_texts(7)
    contents = [f"# Note {number}\n\n{next(texts)}\n" for number in range(different)]
    for number in range(count):
        file = folder / f"small-{number // 1000}" / f"{number}.md"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(contents[number % different])


def resident(command: Sequence[str]) -> tuple[list[tuple[float, float]], str]:
    """Run a command; return its resident memory (seconds, MiB), twice a second, and its last line on standard error."""
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=said, text=True)
        points: list[tuple[float, float]] = []
        began = time.monotonic()
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            try:
                points.append((time.monotonic() - began, watched.memory_info().rss / MIB))
            except psutil.NoSuchProcess:
                break
            time.sleep(0.5)
        process.wait()
        said.seek(0)
        return points, said.read().strip().splitlines()[-1]


def is_flat(points: Sequence[tuple[float, float]]) -> bool:
    """Return whether the second half of the time took no more memory than the first; it may take less."""
    half = len(points) // 2
    return _peak(points[half:]) <= _peak(points[: half + 1]) + MOST_GROWTH_MIB


def memory(gigabytes: int, files: int, *, plot: bool) -> bool:
    """Measure, print, draw; return whether memory is flat."""
    with running() as (home, folder):
        sparse(folder, gigabytes)
        small(folder, files, different=min(files, 300))
        command = [*AYA, "--home", str(home), "add", str(folder)]
        series = {}
        for name in ("the first time", "again"):
            points, said = resident(command)
            series[name] = points
            seconds = points[-1][0]
            print(f"{name}: {said}")
            print(f"  {seconds:.1f} s, {(files + 2 * gigabytes) / seconds:.0f} files/s, peak {_peak(points):.0f} MiB")
    if plot:
        from svg_plot import line_chart  # noqa: PLC0415 only who draws needs it

        title = f"aya add: {gigabytes} GB of large files and {files:,} small ones"
        thinned = {name: points[:: max(1, len(points) // 60)] for name, points in series.items()}
        PICTURE.write_text(line_chart(title, "seconds", "resident memory, MiB", thinned))
    flat = all(map(is_flat, series.values()))
    print("flat" if flat else "NOT FLAT")
    return flat


def _peak(points: Sequence[tuple[float, float]]) -> float:
    return max(mib for _, mib in points)


# Kill


async def placed(home: Path) -> list[str]:
    """Return the places of all documents, each as often as a document has it."""
    async with session.opened(Home(home), None) as opened:
        return [place async for place in _places(opened)]


async def _places(opened: session.Session) -> AsyncGenerator[str]:
    async with opened.database.connection() as connection:
        for row in await connection.fetch("SELECT jsonb_object_keys(places) AS place FROM documents"):
            yield row["place"]


def kill(files: int, rounds: int) -> bool:
    """Kill an ingestion at random moments, finish it, and return whether each file is one document."""
    choose = random.Random(5)  # noqa: S311 no secret
    with running() as (home, folder):
        notes(folder, files, seed=3)
        command = [*AYA, "--home", str(home), "add", str(folder)]
        for number in range(1, rounds + 1):
            killed(command, after=choose.randint(1, max(1, files // (2 * rounds))), seconds=choose.uniform(0, 0.5))
            print(f"kill {number}: {len(asyncio.run(placed(home)))} of {files} documents", flush=True)
        last = json.loads(aya(home, "add", str(folder), "--json").stdout)["summary"]
        places = asyncio.run(placed(home))
    expected = {str(file) for file in folder_files(folder, files)}
    whole = len(places) == len(set(places)) == files and set(places) == expected
    print(f"the last run: {last}; {len(places)} places, {len(set(places))} different")
    print("one document a file" if whole else "LOST OR DOUBLED")
    return whole


def killed(command: Sequence[str], *, after: int, seconds: float) -> None:
    """Run `aya add` until it told of so many new documents and so many seconds more, then kill it with -9."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    new = (line for line in process.stdout or () if line.startswith("indexed"))
    list(islice(new, after))
    time.sleep(seconds)
    process.kill()
    process.communicate()


def folder_files(folder: Path, count: int) -> Iterator[Path]:
    """Yield the paths that `notes` wrote."""
    return (folder / str(number // 100) / f"{number}.md" for number in range(count))


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["stages", "memory", "kill"])
    parser.add_argument("--files", type=int)
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--at-once", type=int, nargs="+", default=[ingest.CONCURRENCY])
    parser.add_argument("--gigabytes", type=int, default=1)
    parser.add_argument("--plot", action="store_true", help=f"draw {PICTURE.name}")
    given = parser.parse_args()
    match given.what:
        case "stages":
            well = stages(given.files or 120, given.rounds or 3, given.at_once)
        case "memory":
            well = memory(given.gigabytes, given.files or 2000, plot=given.plot)
        case _:
            well = kill(given.files or 60, given.rounds or 5)
    sys.exit(0 if well else 1)


if __name__ == "__main__":
    main()
