"""What the embedder does under ten times its load, and how soon it is itself again.

    python bench/embedder_overload.py [--seconds 60] [--times 10]

MiniLM in a process of its own. First its capacity: 32 clients, each asking for one text after the other. Then requests
arrive in an open loop, at ten times that rate, whether or not the earlier ones are answered; every hundredth has 16
texts instead of one. At the end the clients leave, those that still wait too, and the 32 come back: full speed again is
the beginning of the first second in which 90 % of the capacity were answered. All texts differ: no cache helps.

Exit code 0: there were refusals; every answer is 200 or 429; one text and many are refused alike; and full speed
was back within a second.
"""

from __future__ import annotations

import argparse
import asyncio
import statistics
import sys
import time
from collections import Counter
from dataclasses import dataclass, field
from itertools import islice
from typing import TYPE_CHECKING

from embedder_process import Embedder, running
from plain_http import Answer, Sender
from random_texts import random_texts

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

CONCURRENCY = 32
CAPACITY_SECONDS, RECOVERY_SECONDS, WINDOW_SECONDS = 8.0, 6.0, 1.0
FULL_SPEED, BACK_WITHIN_SECONDS = 0.9, 1.0
MANY, MANY_EVERY = 16, 100
MOST_IN_FLIGHT = 8000
OK, BUSY = 200, 429


@dataclass
class Overload:
    """What became of the requests. left: not answered when the clients left; unsent: over MOST_IN_FLIGHT."""

    one: list[Answer] = field(default_factory=list[Answer])
    many: list[Answer] = field(default_factory=list[Answer])
    left: int = 0
    unsent: int = 0
    highest_rss_mib: float = 0.0

    @property
    def answers(self) -> list[Answer]:
        """All of them."""
        return self.one + self.many

    def of(self, is_so: Callable[[Answer], bool]) -> list[Answer]:
        """Choose some."""
        return [answer for answer in self.answers if is_so(answer)]


async def closed_loop(sender: Sender, texts: Iterator[str], seconds: float) -> list[Answer]:
    """Let the clients ask for one text after the other for a while; return their answers."""
    answers: list[Answer] = []
    until = time.perf_counter() + seconds

    async def client() -> None:
        while time.perf_counter() < until:
            answers.append(await sender.embed([next(texts)]))

    async with asyncio.TaskGroup() as clients:
        for _ in range(CONCURRENCY):
            clients.create_task(client())
    return answers


async def open_loop(embedder: Embedder, sender: Sender, texts: Iterator[str], rate: float, seconds: float) -> Overload:
    """Send `rate` requests a second, come what may; then leave."""
    overload, asking = Overload(), set[asyncio.Task[None]]()

    async def ask(number: int) -> None:
        many = number % MANY_EVERY == 0
        answer = await sender.embed(list(islice(texts, MANY if many else 1)))
        (overload.many if many else overload.one).append(answer)

    started = time.perf_counter()
    for number in range(round(rate * seconds)):
        await asyncio.sleep(max(0.0, started + number / rate - time.perf_counter()))
        if sender.in_flight >= MOST_IN_FLIGHT:
            overload.unsent += 1
            continue
        task = asyncio.create_task(ask(number))
        asking.add(task)
        task.add_done_callback(asking.discard)
        if number % round(rate) == 0:
            overload.highest_rss_mib = max(overload.highest_rss_mib, embedder.rss_mib())
    overload.left = len(asking)
    for task in asking:
        task.cancel()
    await asyncio.gather(*asking, return_exceptions=True)
    return overload


def seconds_until(speed: float, answers: Sequence[Answer], began: float) -> float:
    """Return when the first second began in which `speed` texts were answered; infinity when there was none; pure."""
    ended = sorted(answer.ended_at - began for answer in answers if answer.status == OK)
    last = ended[-1] if ended else 0.0
    for start in (tenth / 10 for tenth in range(int(last * 10))):
        if start + WINDOW_SECONDS <= last:
            count = sum(start <= one < start + WINDOW_SECONDS for one in ended)
            if count >= speed * WINDOW_SECONDS:
                return start
    return float("inf")


def percentiles(answers: Sequence[Answer]) -> str:
    """Describe how long they took, in milliseconds."""
    times = sorted(answer.seconds * 1000 for answer in answers)
    if not times:
        return "none"
    at = (0.5, 0.95, 0.99, 1.0)
    return ", ".join(
        f"p{share * 100:.0f} {times[min(len(times) - 1, int(share * len(times)))]:,.0f} ms" for share in at
    )


async def measure(times: float, seconds: float) -> bool:
    """Measure, print, and return whether it went as promised."""
    texts = random_texts(11)
    async with running() as embedder:
        sender = Sender(embedder.host, embedder.port)
        await closed_loop(sender, texts, 2.0)
        capacity = len(await closed_loop(sender, texts, CAPACITY_SECONDS)) / CAPACITY_SECONDS
        before = embedder.rss_mib()
        print(
            f"capacity {capacity:.1f} texts/s; {times * capacity:.0f} requests a second for {seconds:.0f} s", flush=True
        )
        overload = await open_loop(embedder, sender, texts, times * capacity, seconds)
        began = time.perf_counter()
        sender.close()
        again = await closed_loop(sender, texts, RECOVERY_SECONDS)
        print(f"RSS {before:.0f} MiB before, {overload.highest_rss_mib:.0f} at most, {embedder.rss_mib():.0f} after")
        sender.close()
    back = seconds_until(capacity * FULL_SPEED, again, began)
    return show(overload, again, back, seconds)


def show(overload: Overload, again: Sequence[Answer], back: float, seconds: float) -> bool:
    """Print what happened; return whether it is what was promised."""
    good = overload.of(lambda answer: answer.status == OK)
    refused = overload.of(lambda answer: answer.status == BUSY)
    statuses = Counter(answer.status for answer in overload.answers)
    others = Counter(a.status or a.fate for a in overload.answers if a.status not in {OK, BUSY})
    print(
        f"answered {len(good)} ({len(good) / seconds:.1f} requests a second), 429: {statuses[BUSY]},"
        f" other {dict(others) or 0}; {overload.left} waited when the clients left,"
        f" {overload.unsent} were never sent"
    )
    print(f"  answers   {percentiles(good)}\n  refusals  {percentiles(refused)}")
    one, many = ({answer.shape for answer in some if answer.shape} for some in (overload.one, overload.many))
    print(f"  one text is refused with {sorted(one)}\n  many texts with         {sorted(many)}")
    speed = len([answer for answer in again if answer.status == OK]) / RECOVERY_SECONDS
    first = min((answer.seconds for answer in again), default=float("inf"))
    print(f"full speed again after {back:.1f} s (first answer after {first:.2f} s, {speed:.1f} texts/s in the mean)")
    wait = statistics.mean([answer.status != OK for answer in again])
    print(f"{wait:.0%} of the requests after the overload were refused")
    return not others and bool(refused) and many <= one and back <= BACK_WITHIN_SECONDS


def main() -> None:
    """Measure."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60.0, help="how long the overload lasts")
    parser.add_argument("--times", type=float, default=10.0, help="how many times the capacity arrives")
    arguments = parser.parse_args()
    sys.exit(0 if asyncio.run(measure(arguments.times, arguments.seconds)) else 1)


if __name__ == "__main__":
    main()
