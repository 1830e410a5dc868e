"""The queue: texts on their way through the model, one flight per identical text.

Everything here changes state at once, without awaiting (httpcore's connection pool is the pattern); the event
loop owns it. A text boards, waits, is taken into a batch, and lands; it leaves early when its last waiter does.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aya_embedder.batch import Queue, Waiting
from aya_embedder.problems import Busy, Problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping

    from aya_embedder.batch import Budget
    from aya_embedder.cache import Entry, Key
    from aya_embedder.embedder import Encoded
    from aya_embedder.pace import Pace

_LONGEST_RETRY_AFTER_SECONDS = 30


@dataclass(slots=True, eq=False)
class Flight:
    """One text on its way. waiters: requests that want it; outcome: the entry, or why there is none.

    taken_at, landed_at: when it went into a batch and when its vector was there, on a monotonic clock.
    """

    key: Key
    text: Encoded
    place: Waiting
    outcome: asyncio.Future[Entry]
    waiters: int = 0
    taken_at: float = 0.0
    landed_at: float = 0.0


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for one model before newcomers are sent away.

    waiting_texts, waiting_tokens: of all requests; two of the largest are 4096 texts.
    small_seconds: how long the requests of one batch or less will take that wait already. Whoever sends one waits for
        it, and gives up sooner than the sender of a bulk; and what waits must be done in the time of a drain.
    """

    waiting_texts: int = 4096
    waiting_tokens: int = 4096 * 512
    small_seconds: float = 5.0


class Flights:
    """All texts on their way, bounded in number, in tokens and in time."""

    def __init__(self, limits: Limits, pace: Pace) -> None:
        self._limits = limits
        self._pace = pace
        self._by_key: dict[Key, Flight] = {}
        self._waiting: dict[Waiting, Flight] = {}
        self._queue = Queue()
        self._arrivals = 0

    def __len__(self) -> int:
        """Count the texts that wait or are being computed."""
        return len(self._by_key)

    @property
    def waiting_texts(self) -> int:
        """How many texts wait for a batch."""
        return len(self._queue)

    @property
    def waiting_tokens(self) -> int:
        """How many tokens these have."""
        return self._queue.tokens

    def admit(self, texts: int, tokens: int, *, announced: int = 0) -> None:
        """Raise Busy when that much more does not fit: all of a request is taken, or nothing.

        announced: texts of other requests that are being tokenised. When nothing waits, and nothing is announced, a
        request is admitted whatever its size: it could never be otherwise.
        """
        waiting = self.waiting_texts + announced
        fits = waiting + texts <= self._limits.waiting_texts
        if waiting and not (fits and self.waiting_tokens + tokens <= self._limits.waiting_tokens):
            raise self._busy(
                f"{waiting} texts are waiting already; {texts} more are over the limit of "
                f"{self._limits.waiting_texts} texts or {self._limits.waiting_tokens} tokens"
            )

    def board(
        self,
        wanted: Mapping[Key, Encoded],
        new_outcome: Callable[[], asyncio.Future[Entry]],
        budget: Budget,
    ) -> list[Flight]:
        """Return a flight per key of `wanted`: the one that is on its way already, or a new one.

        A text of a small request that waits as part of a bulk goes before it from now on.
        new_outcome: loop.create_future. budget: of a batch. Raises Busy, having changed nothing. Give every flight back
        by `leave`.
        """
        new = [text for key, text in wanted.items() if key not in self._by_key]
        self.admit(len(new), sum(len(text.ids) for text in new))
        turns = self._queue.turns([len(text.ids) for text in wanted.values()], budget)
        if new and not any(turns):
            self.refuse_late()
        for (key, text), turn in zip(wanted.items(), turns, strict=True):
            if key not in self._by_key:
                self._start(key, text, turn, new_outcome())
            elif turn == 0:
                self._hurry(self._by_key[key])
        flights = [self._by_key[key] for key in wanted]
        for flight in flights:
            flight.waiters += 1
        return flights

    def leave(self, flights: Iterable[Flight]) -> None:
        """Give flights back; one that nobody waits for any more is not computed."""
        for flight in flights:
            flight.waiters -= 1
            if flight.waiters == 0 and not flight.outcome.done():
                self._forget(flight)
                flight.outcome.cancel()

    def take(self, budget: Budget, now: float) -> list[Flight]:
        """Take the next batch out of the queue at the time `now`; empty when nothing waits."""
        if not self._waiting:
            return []
        batch = self._queue.next_batch(budget)
        taken = [self._unqueue(place) for place in batch.members]
        for flight in taken:
            flight.taken_at = now
        return taken

    def land(self, flight: Flight, entry: Entry, now: float) -> None:
        """End the flight well, at the time `now`."""
        self._forget(flight)
        flight.landed_at = now
        if not flight.outcome.done():
            flight.outcome.set_result(entry)

    def fail(self, flight: Flight, problem: Problem) -> None:
        """End the flight badly."""
        self._forget(flight)
        if not flight.outcome.done():
            flight.outcome.set_exception(problem)
            flight.outcome.exception()  # seen: whoever waits gets it, and asyncio need not warn when nobody does

    def fail_all(self, problem: Problem) -> None:
        """End every flight badly: the service is leaving."""
        for flight in list(self._by_key.values()):
            self.fail(flight, problem)

    def refuse_late(self, tokenization_seconds: float = 0.0, *, flies: bool = True) -> None:
        """Raise Busy when a small request that comes now would wait for too long.

        tokenization_seconds: how long the tokenizer will be at work on what came before. flies: whether the request
        goes before the bulks to the model after that; the others wait for the tokenizer alone.
        """
        seconds = tokenization_seconds + (self._pace.seconds_for(self._queue.small_tokens) if flies else 0.0)
        if seconds > self._limits.small_seconds:
            wait = f"the requests that are waiting already will take {seconds:.0f} s"
            raise self._busy(wait, tokenization_seconds)

    def _busy(self, message: str, more_seconds: float = 0.0) -> Busy:
        seconds = math.ceil(self._pace.seconds_for(self.waiting_tokens) + more_seconds)
        wait = max(1, min(_LONGEST_RETRY_AFTER_SECONDS, seconds))
        return Busy(message, hint=f"try again in {wait} s, or send fewer texts at once", retry_after_seconds=wait)

    def _start(self, key: Key, text: Encoded, turn: int, outcome: asyncio.Future[Entry]) -> None:
        flight = self._by_key[key] = Flight(key, text, self._place(text, turn), outcome)
        self._enqueue(flight)

    def _hurry(self, flight: Flight) -> None:
        if flight.place in self._waiting and flight.place.turn:
            self._unqueue(flight.place)
            flight.place = self._place(flight.text, 0)
            self._enqueue(flight)

    def _place(self, text: Encoded, turn: int) -> Waiting:
        self._arrivals += 1
        return Waiting(self._arrivals, len(text.ids), turn)

    def _enqueue(self, flight: Flight) -> None:
        self._waiting[flight.place] = flight
        self._queue.add(flight.place)

    def _unqueue(self, place: Waiting) -> Flight:
        self._queue.remove(place)
        return self._waiting.pop(place)

    def _forget(self, flight: Flight) -> None:
        if flight.place in self._waiting:
            self._unqueue(flight.place)
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]
