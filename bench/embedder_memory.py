"""Whether the embedder's memory stays bounded: 100,000 different texts, its resident memory every 10,000.

    python bench/embedder_memory.py [--texts 100000] [--plot]

MiniLM in a process of its own, 32 clients that ask for one text each, lengths of 3 to 250 tokens drawn by a fixed seed
(log-normal, most of them short, mean 56: at the 75 texts of 62 tokens a second of two x86 cores, 100,000 texts take 20
minutes). Its cache holds 16 MiB, which are full before the second line, so that what grows later is no cache.

Exit code 0: after the last text the resident memory is at most 5 % and 20 MiB above that after the second line.
--plot draws it into docs/pictures/embedder-memory.svg.
"""

from __future__ import annotations

import argparse
import asyncio
import sys
import time
from collections import Counter
from itertools import islice
from pathlib import Path

from embedder_process import Embedder, running
from plain_http import Sender
from random_texts import random_texts

PICTURE = Path(__file__).parents[1] / "docs" / "pictures" / "embedder-memory.svg"
CONCURRENCY = 32
CACHE_MB = 16
LINES = 10
GROWTH_SHARE, GROWTH_MIB = 0.05, 20.0


async def measure(count: int) -> list[tuple[float, float]]:
    """Embed `count` texts; return (texts so far, resident MiB) for each line, the first of them before any text."""
    texts = random_texts(7, median=42.0)
    async with running(AYA_EMBEDDER_CACHE_MB=str(CACHE_MB)) as embedder:
        points = [(0.0, embedder.rss_mib())]
        print(f"{'texts':>7} {'texts/s':>8} {'RSS MiB':>8}\n{0:7} {'':8} {points[0][1]:8.0f}", flush=True)
        for number in range(1, LINES + 1):
            began = time.perf_counter()
            await embed_all(embedder, list(islice(texts, count // LINES)))
            speed = count / LINES / (time.perf_counter() - began)
            points.append((count / LINES * number, embedder.rss_mib()))
            print(f"{points[-1][0]:7.0f} {speed:8.1f} {points[-1][1]:8.0f}", flush=True)
    return points


async def embed_all(embedder: Embedder, texts: list[str]) -> None:
    """Embed the texts, each once, by as many clients as CONCURRENCY says; exit unless all are answered."""
    sender, waiting, said = Sender(embedder.host, embedder.port), iter(texts), Counter[int]()

    async def client() -> None:
        for text in waiting:
            said[(await sender.embed([text])).status] += 1

    async with asyncio.TaskGroup() as clients:
        for _ in range(CONCURRENCY):
            clients.create_task(client())
    sender.close()
    if said != {200: len(texts)}:
        sys.exit(f"not every text was answered: {said}")


def bounded(points: list[tuple[float, float]]) -> bool:
    """Return whether the last resident memory is near that of the second line; pure."""
    early, last = points[2][1], points[-1][1]
    return last <= early * (1 + GROWTH_SHARE) + GROWTH_MIB


def main() -> None:
    """Measure, print, draw."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--texts", type=int, default=100_000)
    parser.add_argument("--plot", action="store_true", help=f"draw {PICTURE.name}")
    arguments = parser.parse_args()
    points = asyncio.run(measure(arguments.texts))
    if arguments.plot:
        from svg_plot import line_chart  # noqa: PLC0415 only who draws needs it

        title = f"The embedder's memory over {arguments.texts:,} different texts"
        PICTURE.write_text(line_chart(title, "texts", "resident memory, MiB", {"MiniLM": points}))
    early, last = points[2], points[-1]
    verdict = "bounded" if bounded(points) else "NOT BOUNDED"
    print(f"{verdict}: {early[1]:.0f} MiB after {early[0]:,.0f} texts, {last[1]:.0f} MiB after {last[0]:,.0f}")
    sys.exit(0 if bounded(points) else 1)


if __name__ == "__main__":
    main()
