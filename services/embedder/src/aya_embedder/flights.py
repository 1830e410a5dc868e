"""The queue: texts on their way through the model, one flight per identical text.

Everything here changes state at once, without awaiting (httpcore's connection pool is the pattern); the event
loop owns it. A text boards, waits, is taken into a batch, and lands; it leaves early when its last waiter does.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from aya_embedder.batch import Waiting, next_batch
from aya_embedder.problems import Busy, Problem

if TYPE_CHECKING:
    import asyncio
    from collections.abc import Callable, Iterable, Mapping

    from aya_embedder.cache import Entry, Key
    from aya_embedder.embedder import Encoded


@dataclass(slots=True, eq=False)
class Flight:
    """One text on its way. waiters: requests that want it; outcome: the entry, or why there is none."""

    key: Key
    text: Encoded
    place: Waiting
    outcome: asyncio.Future[Entry]
    waiters: int = 0


class Flights:
    """All texts on their way, bounded in number and in tokens."""

    def __init__(self, *, max_texts: int, max_tokens: int) -> None:
        """max_texts, max_tokens: how much may wait before newcomers are sent away."""
        self._max_texts = max_texts
        self._max_tokens = max_tokens
        self._by_key: dict[Key, Flight] = {}
        self._waiting: dict[Waiting, Flight] = {}
        self._arrivals = 0

    def __len__(self) -> int:
        """Count the texts that wait or are being computed."""
        return len(self._by_key)

    @property
    def waiting_texts(self) -> int:
        """How many texts wait for a batch."""
        return len(self._waiting)

    @property
    def waiting_tokens(self) -> int:
        """How many tokens these have."""
        return sum(place.tokens for place in self._waiting)

    def admit(self, texts: int, tokens: int, retry_after_seconds: int) -> None:
        """Raise Busy when that much more does not fit: all of a request is taken, or nothing."""
        if self.waiting_texts + texts > self._max_texts or self.waiting_tokens + tokens > self._max_tokens:
            raise Busy(
                f"{self.waiting_texts} texts are waiting already; {texts} more are over the limit of {self._max_texts}",
                hint=f"try again in {retry_after_seconds} s, or send fewer texts at once",
                retry_after_seconds=retry_after_seconds,
            )

    def board(
        self,
        wanted: Mapping[Key, Encoded],
        new_outcome: Callable[[], asyncio.Future[Entry]],
        retry_after_seconds: int,
    ) -> list[Flight]:
        """Return a flight per key of `wanted`: the one that is on its way already, or a new one.

        new_outcome: loop.create_future. Raises Busy, having changed nothing. Give every flight back by `leave`.
        """
        new = [text for key, text in wanted.items() if key not in self._by_key]
        self.admit(len(new), sum(len(text.ids) for text in new), retry_after_seconds)
        flights = [self._by_key.get(key) or self._start(key, text, new_outcome()) for key, text in wanted.items()]
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

    def take(self, budget_tokens: int) -> list[Flight]:
        """Take the next batch out of the queue; empty when nothing waits."""
        if not self._waiting:
            return []
        return [self._waiting.pop(place) for place in next_batch(self._waiting, budget_tokens).members]

    def land(self, flight: Flight, entry: Entry) -> None:
        """End the flight well."""
        self._forget(flight)
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

    def _start(self, key: Key, text: Encoded, outcome: asyncio.Future[Entry]) -> Flight:
        self._arrivals += 1
        flight = Flight(key, text, Waiting(self._arrivals, len(text.ids)), outcome)
        self._by_key[key] = flight
        self._waiting[flight.place] = flight
        return flight

    def _forget(self, flight: Flight) -> None:
        self._waiting.pop(flight.place, None)
        if self._by_key.get(flight.key) is flight:
            del self._by_key[flight.key]
