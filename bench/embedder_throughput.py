"""Texts a second of the embedder and its peers, on the same texts in one run, and which of the goals are met.

    python bench/embedder_throughput.py --reference "$(scripts/parity)" --peers "$(scripts/peers)"
        [--markdown] [--rounds 5] [--minutes 25] [--json FILE] [--plot DIRECTORY]

Contenders: sentence-transformers in process (batches of 32, which it sorts by length), our model in process (our own
ceiling), and over HTTP, one text a request, by 1, 8, 32 and 64 clients: ours, ours with all texts cached, the plan's
server and infinity. MiniLM with all of them; a random BERT-base (768 wide, 12 layers, CLS) in process. They take turns,
each round in another order, so that whatever else the machine does is shared among them. After --minutes no round
begins, but the first of each model. Vectors are compared with the reference's first: the exit code is 1 when they
differ, or a contender fails, and 0 otherwise, goals met or not.

Texts: SQuAD and SciFact of AYA_DATA (default ../shared/data), or examples/notes, cut to 3 to 250 tokens (mean about
60), and a quarter as many to 62 each.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import re
import subprocess
import sys
import tempfile
import time
from contextlib import ExitStack, contextmanager
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import embedder_servers
from embedder_contenders import CLIENTS, OFFLINE, WORKER, Asked, Contender, piped, worker
from embedder_plots import write_plots
from embedder_results import (
    BERT_BASE,
    CACHED,
    CEILING,
    INFINITY,
    MINILM,
    OURS,
    PLAN,
    REFERENCE,
    Row,
    Sample,
    disturbance,
    of,
    table,
    verdicts,
)
from embedder_texts import lengths_of, sets_of
from embedder_turns import Contest, idle_cores, turns, verify

from aya_embedder import sources

if TYPE_CHECKING:
    from collections.abc import Generator, Sequence

CONCURRENCIES = (1, 8, 32, 64)
STOCK = Row("ours, stock kernels")
PLAIN_INFINITY = "infinity without BetterTransformer"
_CACHED_AT = 32
_BERT_SHARE = 0.2  # of the minutes
_BUSY_WHILE_IDLE = _BUSY_CLIENTS = _BUSY_OTHERS = 0.1  # cores


@contextmanager
def in_process(directory: str, arguments: argparse.Namespace) -> Generator[dict[Row, Contender]]:
    """Load the contenders that embed in their own process."""
    with ExitStack() as stack:
        found: dict[Row, Contender] = {}
        if arguments.reference:
            found[REFERENCE] = stack.enter_context(worker(arguments.reference, "reference", directory))
        found[CEILING] = stack.enter_context(worker(sys.executable, "ours", directory, "auto"))
        if arguments.stock:
            found[STOCK] = stack.enter_context(worker(sys.executable, "ours", directory, "stock"))
        yield found


@contextmanager
def over_http(
    directory: str, arguments: argparse.Namespace, scratch: Path
) -> Generator[tuple[dict[Row, Contender], int]]:
    """Start the servers, and yield them as they are asked, and the clients' pid."""
    peers: Path | None = arguments.peers
    with ExitStack() as stack:
        clients = stack.enter_context(piped(sys.executable, str(CLIENTS)))
        servers = {OURS: stack.enter_context(embedder_servers.ours(directory, scratch, cache=False))}
        if peers:
            servers[PLAN] = stack.enter_context(embedder_servers.plan(peers, directory, scratch))
            servers[INFINITY] = stack.enter_context(embedder_servers.infinity(peers, directory, scratch))
        if peers and arguments.plain_infinity:
            plain = embedder_servers.infinity(peers, directory, scratch, better=False)
            servers[PLAIN_INFINITY] = stack.enter_context(plain)
        found: dict[Row, Contender] = {
            Row(name, number): Asked(server, clients, number)
            for name, server in servers.items()
            for number in CONCURRENCIES
        }
        cached = stack.enter_context(embedder_servers.ours(directory, scratch, cache=True))
        found[Row(CACHED, _CACHED_AT)] = Asked(cached, clients, _CACHED_AT)
        yield found, clients.process.pid


def minilm(arguments: argparse.Namespace, until: float) -> Generator[Sample]:
    """Let all contenders embed with MiniLM."""
    directory = str(sources.find("minilm", None).directory)
    with (
        tempfile.TemporaryDirectory() as scratch,
        in_process(directory, arguments) as inside,
        over_http(directory, arguments, Path(scratch)) as (outside, clients),
    ):
        sets = sets_of(arguments.texts)
        yield from contend(MINILM, sets, inside | outside, clients, Path(scratch), rounds=arguments.rounds, until=until)


def bert_base(arguments: argparse.Namespace, until: float) -> Generator[Sample]:
    """Let the contenders in process embed with a random BERT-base."""
    with tempfile.TemporaryDirectory() as scratch:
        directory, tokenizer = Path(scratch) / "bert-base", sources.find("minilm", None).directory
        making = [arguments.reference, str(WORKER), "make", str(directory), str(tokenizer)]
        subprocess.run(making, check=True, env=OFFLINE, stdout=subprocess.DEVNULL)
        with in_process(str(directory), arguments) as inside:
            sets = sets_of(arguments.base_texts)
            yield from contend(BERT_BASE, sets, inside, None, Path(scratch), rounds=arguments.rounds, until=until)


def contend(  # noqa: PLR0913 what a contest needs
    model: str,
    sets: dict[str, list[str]],
    contenders: dict[Row, Contender],
    clients: int | None,
    scratch: Path,
    *,
    rounds: int,
    until: float,
) -> Generator[Sample]:
    """Verify the contenders, see that they keep still, and make the rounds."""
    tell(f"{model}, " + "; ".join(f"{name}: {lengths_of(texts)}" for name, texts in sets.items()))
    for described in dict.fromkeys(contender.described for contender in contenders.values()):
        tell(f"  {described}")
    contests = [
        Contest(model, name, texts, contenders, verify(contenders, texts, scratch), clients)
        for name, texts in sets.items()
    ]
    for name, cores in idle_cores(contenders).items():
        if cores > _BUSY_WHILE_IDLE:
            tell(f"  WARNING: {name} takes {cores:.2f} cores while nobody asks it")
    for number in range(rounds):
        if number and time.monotonic() > until:
            tell(f"  the minutes are over after {number} rounds")
            break
        for contest in contests:
            for sample in turns(contest, number):
                _tell_of(sample)
                yield sample


def _tell_of(sample: Sample) -> None:
    others = sample.idle_cores + sample.foreign_cores
    disturbed = f"; others took {others:.2f} cores" if others > _BUSY_OTHERS else ""
    tell(f"  round {sample.round + 1}, {sample.texts}: {sample.row}: {sample.speed:.1f} texts/s{disturbed}")
    if sample.client_cores > _BUSY_CLIENTS and sample.row.contender != CACHED:
        tell(f"  WARNING: the clients took {sample.client_cores:.2f} cores of the server's")


def tell(line: str) -> None:
    """Say how far it is."""
    print(line, file=sys.stderr, flush=True)


def machine() -> str:
    """Describe where this runs."""
    cpuinfo = Path("/proc/cpuinfo")
    found = re.search(r"^model name\s*: (.*)$", cpuinfo.read_text(), re.MULTILINE) if cpuinfo.exists() else None
    cores = len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count()
    load = " ".join(f"{one:.2f}" for one in os.getloadavg())
    return f"{found[1] if found else platform.processor()}, {cores} cores, {platform.system()}, load average {load}"


def show(title: str, rows: Sequence[tuple[str, ...]], *, markdown: bool) -> None:
    """Print a table."""
    print(f"\n{'### ' if markdown else ''}{title}\n")
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for number, row in enumerate(rows):
        others = (cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))
        cells = [row[0].ljust(widths[0]), *others]
        print(f"| {' | '.join(cells)} |" if markdown else "  ".join(cells))
        if markdown and number == 0:
            print(f"|{'|'.join(['---', *['---:'] * (len(row) - 1)])}|")


def report(samples: Sequence[Sample], *, markdown: bool) -> None:
    """Print all tables, the verdicts last."""
    for model, texts in dict.fromkeys((one.model, one.texts) for one in samples):
        own = of(samples, model, texts)
        rounds = len({one.round for one in own})
        show(f"{model}, {texts} lengths, {rounds} rounds of {own[0].count} texts", table(own), markdown=markdown)
    show("Goals", verdicts(samples), markdown=markdown)


def options() -> argparse.Namespace:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--reference", help="an interpreter with sentence-transformers (scripts/parity prints one)")
    parser.add_argument("--peers", type=Path, help="the folder of the other servers (scripts/peers prints it)")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--minutes", type=float, default=25.0, help="after this no round begins")
    parser.add_argument("--texts", type=int, default=384, help="of mixed lengths for MiniLM; 0: none")
    parser.add_argument("--base-texts", type=int, default=96, help="the same for BERT-base")
    parser.add_argument("--stock", action="store_true", help="also MLX's own kernels in process")
    parser.add_argument(
        "--plain-infinity", action="store_true", help="also infinity without BetterTransformer, as pip alone gives it"
    )
    parser.add_argument("--markdown", action="store_true", help="tables for docs/benchmarks.md")
    parser.add_argument("--json", type=Path, help="a file for the samples")
    parser.add_argument("--plot", type=Path, help="a folder for charts")
    return parser.parse_args()


def measure(arguments: argparse.Namespace, began: float) -> Generator[Sample]:
    """Make the contests that were asked for."""
    base = arguments.base_texts and arguments.reference
    seconds = arguments.minutes * 60
    if arguments.texts:
        yield from minilm(arguments, began + seconds * (1 - _BERT_SHARE if base else 1))
    if base:
        yield from bert_base(arguments, began + seconds)


def publish(samples: Sequence[Sample], arguments: argparse.Namespace) -> None:
    """Print and write what was asked for."""
    print(disturbance(samples))
    if max(one.foreign_cores for one in samples) > _BUSY_OTHERS:
        print(f"NOT FOR THE RECORD: other programs took more than {_BUSY_OTHERS} cores in some turns")
    report(samples, markdown=arguments.markdown)
    if arguments.json:
        arguments.json.write_text(json.dumps([asdict(one) for one in samples], indent=1) + "\n")
    if arguments.plot:
        write_plots(samples, arguments.plot)


def main() -> None:
    """Measure, and publish what was measured, also when a contender fails halfway."""
    arguments, began, before = options(), time.monotonic(), machine()
    samples: list[Sample] = []
    try:
        samples.extend(measure(arguments, began))
    finally:
        print(f"before: {before}\nafter:  {machine()}\n{time.monotonic() - began:.0f} s")
        if samples:
            publish(samples, arguments)


if __name__ == "__main__":
    main()
