"""SIGTERM in the middle of work, over and over: no request that was accepted may be lost.

    python bench/embedder_drain.py [--rounds 20]

Each round starts MiniLM in a process of its own; 32 clients ask for one text after the other and do not stop when they
are refused; after a drawn time the embedder gets its SIGTERM, and the round ends with the process.

A request is lost when the embedder had it and answered neither 200 nor 503: no answer came, and it had been sent 20 ms
or more before the signal, or its connection was closed (not reset) more than 20 ms after it was sent. What finds the
port closed, or comes into a connection just while it is being closed, was never accepted (RFC 9112, 9.3.1: a client may
send it again).

Exit code 0: nothing was lost, every exit code is 0, and no exit took longer than 5 s.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import sys
import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING

from embedder_process import running
from plain_http import Answer, Sender
from random_texts import random_texts

if TYPE_CHECKING:
    from collections.abc import Iterator

CONCURRENCY = 32
IN_TRANSIT_SECONDS = 0.02
PAUSE_SECONDS = 0.01
EXIT_WITHIN_SECONDS = 5.0
OK, UNAVAILABLE = 200, 503


@dataclass(frozen=True)
class Round:
    """One SIGTERM. in_flight: requests that waited for their answer when it came."""

    in_flight: int
    answers: list[Answer]
    signalled_at: float
    exit_code: int | None
    exit_seconds: float

    def lost(self) -> list[Answer]:
        """Return the requests that the embedder had and did not answer."""
        return [answer for answer in self.answers if is_lost(answer, self.signalled_at)]


def is_lost(answer: Answer, signalled_at: float) -> bool:
    """Return whether the embedder had this request and did not answer it; pure."""
    if answer.fate == "answered":
        return answer.status not in {OK, UNAVAILABLE}
    if answer.sent_at is None:
        return False
    early = answer.sent_at <= signalled_at - IN_TRANSIT_SECONDS
    read = answer.fate == "closed" and answer.ended_at - answer.sent_at > IN_TRANSIT_SECONDS
    return early or read


async def load(sender: Sender, texts: Iterator[str], answers: list[Answer]) -> None:
    """Be a client until cancelled."""
    while True:
        answer = await sender.embed([next(texts)])
        answers.append(answer)
        if answer.status != OK:
            await asyncio.sleep(PAUSE_SECONDS)


async def once(texts: Iterator[str], seconds: float) -> Round:
    """Run an embedder, load it for so long, end it, and return what happened."""
    answers: list[Answer] = []
    async with running() as embedder, asyncio.TaskGroup() as clients:
        sender = Sender(embedder.host, embedder.port)
        loading = [clients.create_task(load(sender, texts, answers)) for _ in range(CONCURRENCY)]
        await asyncio.sleep(seconds)
        in_flight, signalled_at = sender.in_flight, time.perf_counter()
        embedder.process.terminate()
        code = await embedder.process.wait()
        took = time.perf_counter() - signalled_at
        await asyncio.sleep(PAUSE_SECONDS)
        for client in loading:
            client.cancel()
        sender.close()
    return Round(in_flight, answers, signalled_at, code, took)


def show(number: int, one: Round) -> None:
    """Print one line."""
    after = [answer for answer in one.answers if answer.ended_at >= one.signalled_at]
    statuses = Counter(answer.status for answer in after)
    fates = Counter(answer.fate for answer in after)
    print(
        f"{number:5} {one.in_flight:9} {statuses[OK]:8} {statuses[UNAVAILABLE]:4} {fates['refused']:8}"
        f" {fates['reset'] + fates['closed'] - len(one.lost()):7} {len(one.lost()):5}"
        f" {one.exit_code!s:>5} {one.exit_seconds:7.2f}",
        flush=True,
    )


async def measure(rounds: int) -> bool:
    """Measure, print, and return whether it went as promised."""
    texts = random_texts(13)
    choose = random.Random(13)  # noqa: S311 no secret
    print("round in flight answered  503 no-port in-tran  lost  exit seconds")
    done: list[Round] = []
    for number in range(1, rounds + 1):
        done.append(await once(texts, choose.uniform(0.3, 1.5)))
        show(number, done[-1])
    lost = sum(len(one.lost()) for one in done)
    late = max(one.exit_seconds for one in done)
    codes = Counter(one.exit_code for one in done)
    print(f"{rounds} rounds, {sum(one.in_flight for one in done)} requests in flight at SIGTERM: {lost} lost;")
    print(f"exit codes {dict(codes)}, the slowest exit after {late:.2f} s")
    return lost == 0 and set(codes) == {0} and late <= EXIT_WITHIN_SECONDS


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rounds", type=int, default=20)
    sys.exit(0 if asyncio.run(measure(parser.parse_args().rounds)) else 1)


if __name__ == "__main__":
    main()
