"""Texts a second: sentence-transformers, our two kernels in process, and our server, on the same texts in one run.

    python bench/embedder_throughput.py --reference "$(scripts/parity)" [--markdown] [--rounds 3] [--minutes 6]

Contenders take turns, so that whatever else the machine does is shared among them; figures are medians of the rounds.
After --minutes no round begins. Texts: SQuAD and SciFact of AYA_DATA (default ../shared/data), or examples/notes, cut
to 3 to 250 tokens (mean about 60) or to 62 each. Models: MiniLM, and a random BERT-base (768 wide, 12 layers, CLS).
"""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import platform
import random
import re
import signal
import statistics
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Protocol, cast

import httpx2
import numpy as np

from aya_embedder import sources
from aya_embedder.tokens import TextTokenizer

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

ROOT = Path(__file__).parents[1]
WORKER = Path(__file__).with_name("embedder_worker.py")
CONCURRENCIES = (1, 8, 32, 64)
SHORTEST, LONGEST, UNIFORM = 3, 250, 62
SPECIAL_TOKENS = 2
REFERENCE_BATCH = 32  # sentence-transformers' default, of texts that it sorted by length
_UNIFORM_SHARE = 4
REFERENCE = "sentence-transformers, in process"
OFFLINE = {**os.environ, "HF_HUB_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "true"}
TIMEOUT_SECONDS = 300.0


class Contender(Protocol):
    """What embeds texts. described: for people."""

    described: str

    def seconds(self, texts: Sequence[str]) -> float:
        """Embed the texts, each once, and say how long that took."""
        ...


@dataclass
class Process:
    """embedder_worker.py behind its pipe."""

    process: subprocess.Popen[str]
    described: str = ""

    def __post_init__(self) -> None:
        self.described = self._read()["described"]

    def seconds(self, texts: Sequence[str], save: Path | None = None) -> float:
        """See Contender; save: where the vectors go."""
        pipe = cast("IO[str]", self.process.stdin)
        pipe.write(json.dumps({"texts": list(texts), "save": str(save) if save else None}) + "\n")
        pipe.flush()
        return float(self._read()["seconds"])

    def _read(self) -> dict[str, str]:
        line = cast("IO[str]", self.process.stdout).readline()
        if not line:
            sys.exit("a contender ended; its last words are above")
        answer: dict[str, str] = json.loads(line)
        return answer


@dataclass
class Server:
    """Our server, asked for one text a request by as many clients as `concurrency` says."""

    url: str
    concurrency: int
    described: str = ""

    def seconds(self, texts: Sequence[str]) -> float:
        """See Contender."""
        return asyncio.run(self._seconds(texts))

    async def _seconds(self, texts: Sequence[str]) -> float:
        waiting = iter(texts)
        limits = httpx2.Limits(max_connections=self.concurrency)
        async with httpx2.AsyncClient(base_url=self.url, timeout=TIMEOUT_SECONDS, limits=limits) as client:

            async def ask() -> None:
                for text in waiting:
                    answer = await client.post("/embed", json={"text": text, "encoding": "base64"})
                    answer.raise_for_status()

            started = time.perf_counter()
            async with asyncio.TaskGroup() as clients:
                for _ in range(self.concurrency):
                    clients.create_task(ask())
            return time.perf_counter() - started


@dataclass
class Result:
    """Speeds by contender, texts a second, a round each; apart: the greatest difference from the reference."""

    title: str
    speeds: dict[str, list[float]] = field(default_factory=dict)
    apart: dict[str, float] = field(default_factory=dict)

    def rows(self) -> Generator[tuple[str, ...]]:
        """Make the table's rows."""
        yield ("", "median", "lowest", "highest", "ratio", "max abs")
        ceiling = statistics.median(self.speeds[REFERENCE]) if REFERENCE in self.speeds else None
        for name, speeds in self.speeds.items():
            median = statistics.median(speeds)
            yield (
                name,
                f"{median:.1f}",
                f"{min(speeds):.1f}",
                f"{max(speeds):.1f}",
                f"{median / ceiling:.2f}" if ceiling else "",
                f"{self.apart[name]:.1e}" if name in self.apart else "",
            )


def texts_of(count: int, *, uniform: bool, tokenizer: TextTokenizer) -> list[str]:
    """Cut `count` different texts to lengths that are drawn by a fixed seed."""
    choose = random.Random(7)  # noqa: S311 a choice of texts, not a secret
    pool = _long_texts(tokenizer)
    chosen: list[str] = []
    for number in range(count):
        wished = UNIFORM if uniform else round(min(LONGEST, max(SHORTEST, choose.lognormvariate(3.88, 0.75))))
        text, starts = pool[number % len(pool)]
        room = wished - SPECIAL_TOKENS
        begin = (number // len(pool)) * 7 % max(1, len(starts) - room)
        chosen.append(text[starts[begin] : starts[begin + room] if begin + room < len(starts) else None].strip())
    return chosen


def _sets(count: int, tokenizer: TextTokenizer) -> dict[str, list[str]]:
    return {
        f"{SHORTEST} to {LONGEST} tokens": texts_of(count, uniform=False, tokenizer=tokenizer),
        f"{UNIFORM} tokens": texts_of(-(-count // _UNIFORM_SHARE), uniform=True, tokenizer=tokenizer),
    }


def _long_texts(tokenizer: TextTokenizer) -> list[tuple[str, list[int]]]:
    data = Path(os.environ.get("AYA_DATA", ROOT.parent / "shared" / "data"))
    files = [data / name / "corpus.jsonl" for name in ("squad-dev", "scifact")]
    if all(file.exists() for file in files):
        texts = [json.loads(line)["text"] for file in files for line in file.read_text().splitlines()[:4000]]
    else:
        notes = "\n".join(path.read_text() for path in sorted((ROOT / "examples" / "notes").rglob("*.md")))
        words = notes.split()
        texts = [" ".join(words[start : start + LONGEST]) for start in range(0, len(words) - LONGEST, 20)]
    starts = tokenizer.tokenize(texts, "").starts
    return [(text, found) for text, found in zip(texts, starts, strict=True) if len(found) >= LONGEST]


@contextmanager
def worker(interpreter: str, *arguments: str) -> Generator[Process]:
    """Run a contender for as long as the block lasts."""
    command = [interpreter, str(WORKER), *arguments]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=OFFLINE) as process:
        try:
            yield Process(process)
        finally:
            process.kill()


@contextmanager
def serving(directory: str) -> Generator[str]:
    """Run our server without its cache, and yield its address."""
    environment = {**os.environ, "AYA_MODEL": directory, "AYA_EMBEDDER_PORT": "0", "AYA_EMBEDDER_CACHE_MB": "0"}
    command = [sys.executable, "-m", "aya_embedder"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        try:
            yield f"http://127.0.0.1:{_port_when_loaded(process)}"
        finally:
            process.send_signal(signal.SIGTERM)


def _port_when_loaded(process: subprocess.Popen[str]) -> int:
    port = 0
    for line in cast("IO[str]", process.stderr):
        event = json.loads(line)
        port = event["port"] if event["event"] == "server.listening" else port
        if event["event"] == "model.loaded":
            return port
    sys.exit("our server ended before it had loaded its model")


def contend(  # noqa: PLR0913 what a comparison needs
    title: str, directory: str, reference: str | None, sets: dict[str, list[str]], *, rounds: int, until: float
) -> list[Result]:
    """Let all contenders embed all sets of texts, taking turns; return a result for each set."""
    results = [Result(f"{title}, {len(texts)} texts of {name}, {_lengths(texts)}") for name, texts in sets.items()]
    with ExitStack() as stack, tempfile.TemporaryDirectory() as scratch:
        contenders: dict[str, Contender] = {}
        if reference:
            contenders[REFERENCE] = stack.enter_context(worker(reference, "reference", directory))
        for kernels in ("stock", "cpu"):
            name = f"ours in process, {kernels} kernels"
            contenders[name] = stack.enter_context(worker(sys.executable, "ours", directory, kernels))
        url = stack.enter_context(serving(directory))
        contenders |= {f"ours over HTTP, concurrency {number}": Server(url, number) for number in CONCURRENCIES}
        for name, contender in contenders.items():
            print(f"  {name}: {contender.described}" if contender.described else f"  {name}", file=sys.stderr)
        for (name, texts), result in zip(sets.items(), results, strict=True):
            result.apart = _apart(contenders, texts, Path(scratch))
            print(f"  {name}: {len(texts)} texts", file=sys.stderr)
        for number in range(rounds):
            if number and time.monotonic() > until:
                break
            for texts, result in zip(sets.values(), results, strict=True):
                _round(contenders, texts, result)
    return results


def _apart(contenders: dict[str, Contender], texts: list[str], scratch: Path) -> dict[str, float]:
    """Warm all up on some of the texts, and compare those vectors with the reference's."""
    few = texts[:16]
    vectors = {}
    for name, contender in contenders.items():
        if isinstance(contender, Process):
            contender.seconds(few, scratch / "vectors.npy")
            vectors[name] = np.load(scratch / "vectors.npy")
        else:
            contender.seconds(few)
    expected = vectors.pop(REFERENCE, None)
    return {} if expected is None else {name: float(np.abs(one - expected).max()) for name, one in vectors.items()}


def _lengths(texts: Sequence[str]) -> str:
    """Describe the lengths, and what the reference's batches make of them: with few texts they are mostly padding."""
    lengths = sorted(text.tokens for text in _tokenizer().encode(texts, ""))
    batches = [lengths[start : start + REFERENCE_BATCH] for start in range(0, len(lengths), REFERENCE_BATCH)]
    padded = sum(len(batch) * max(batch) for batch in batches) / sum(lengths)
    return f"mean {statistics.mean(lengths):.0f}; sentence-transformers computes {padded:.2f} times their tokens"


def _tokenizer() -> TextTokenizer:
    path = sources.find("minilm", None).directory / "tokenizer.json"
    return TextTokenizer(path, max_tokens=256, lowercase=False)


def _round(contenders: dict[str, Contender], texts: list[str], result: Result) -> None:
    for name, contender in contenders.items():
        alone = isinstance(contender, Server) and contender.concurrency == 1
        part = texts[: len(texts) // 3] if alone else texts
        result.speeds.setdefault(name, []).append(len(part) / contender.seconds(part))


def machine() -> str:
    """Describe where this runs."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    load = " ".join(f"{one:.2f}" for one in os.getloadavg())
    return f"{found[1] if found else platform.processor()}, {cores} cores, {platform.system()}, load average {load}"


def show(results: Sequence[Result], *, markdown: bool) -> None:
    """Print the tables."""
    for result in results:
        rows = list(result.rows())
        widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
        print(f"\n{'### ' if markdown else ''}{result.title}\n")
        for number, row in enumerate(rows):
            cells = [
                row[0].ljust(widths[0]),
                *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True)),
            ]
            print(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells))
            if markdown and number == 0:
                print(f"|{'|'.join(['---', *['---:'] * (len(row) - 1)])}|")


def main() -> None:
    """Measure, and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="an interpreter with sentence-transformers (scripts/parity prints one)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--minutes", type=float, default=6.0, help="after this no round begins")
    parser.add_argument(
        "--texts",
        type=int,
        default=384,
        help="of mixed lengths for MiniLM, and a quarter as many of one length; 0: none",
    )
    parser.add_argument("--base-texts", type=int, default=96, help="the same for BERT-base")
    parser.add_argument("--markdown", action="store_true", help="tables for docs/benchmarks.md")
    arguments = parser.parse_args()
    began, before = time.monotonic(), machine()
    minilm = sources.find("minilm", None).directory
    tokenizer = _tokenizer()
    half, end = began + arguments.minutes * 30, began + arguments.minutes * 60
    results: list[Result] = []
    if arguments.texts:
        sets = _sets(arguments.texts, tokenizer)
        results += contend("MiniLM", str(minilm), arguments.reference, sets, rounds=arguments.rounds, until=half)
    if arguments.base_texts and arguments.reference:
        sets = _sets(arguments.base_texts, tokenizer)
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch) / "bert-base"
            making = [arguments.reference, str(WORKER), "make", str(directory), str(minilm)]
            subprocess.run(making, check=True, env=OFFLINE, stdout=subprocess.DEVNULL)
            results += contend(
                "BERT-base", str(directory), arguments.reference, sets, rounds=arguments.rounds, until=end
            )
    print(
        f"before: {before}\nafter:  {machine()}\n{time.monotonic() - began:.0f} s; texts a second, by rounds in turns"
    )
    show(results, markdown=arguments.markdown)


if __name__ == "__main__":
    main()
