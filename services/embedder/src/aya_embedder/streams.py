"""The threads that compute, for one model: forward passes, isolation of what fails, and whether to be trusted.

For each of the model's streams there is one thread, and one task that takes a batch as soon as the thread is free (no
wait timer). When a batch fails, a pass that is known to work tells a broken device, which fails the whole batch, from a
text that is at fault; that one is found by halving: of 32 texts one poisonous text costs some 16 passes.
"""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import replace
from functools import partial
from typing import TYPE_CHECKING

from aya import log
from aya_embedder.batch import Budget
from aya_embedder.cache import Entry
from aya_embedder.condition import Condition
from aya_embedder.problems import Failed
from aya_embedder.thread import OneThread

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from aya.backoff import Backoff
    from aya_embedder.cache import Key
    from aya_embedder.condition import State
    from aya_embedder.counters import Counters, Observer
    from aya_embedder.embedder import Embedder
    from aya_embedder.flights import Flight, Flights
    from aya_embedder.pace import Pace
    from aya_embedder.thread import Shelf

# Of a full batch. A smaller one takes as long as reading the weights does: it says nothing of how fast many will be.
_TELLING_SHARE = 4
_WARM_UP = "The first forward pass proves that the model works."


class Streams:
    """Takes batches out of `flights` and lands them."""

    def __init__(  # noqa: PLR0913 each is a part of its own
        self,
        flights: Flights,
        keep: Callable[[Sequence[tuple[Key, Entry]]], None],
        *,
        pace: Pace,
        shelf: Shelf | None,
        backoff: Backoff,
        counters: Counters,
        observer: Observer,
    ) -> None:
        """Prepare to start.

        keep: is given what a batch computed, for the caches. pace: learns how long batches take.
        shelf: where threads come from and go to, None for threads of its own.
        backoff: of the probes while the model fails.
        """
        self._flights = flights
        self._keep = keep
        self._pace = pace
        self._backoff = backoff
        self._counters = counters
        self._observer = observer
        self._shelf = shelf
        self._threads: list[OneThread] = []
        self._running_since: dict[OneThread, float] = {}
        self._work = asyncio.Event()
        self._warm_up: Sequence[int] = ()
        self._condition = Condition()
        self._proof: asyncio.Future[None] | None = None

    def __len__(self) -> int:
        """Count the threads."""
        return len(self._threads)

    @property
    def computing(self) -> bool:
        """Whether a forward pass runs, be it for nobody any more."""
        return bool(self._running_since)

    def state(self) -> State:
        """Say whether the model can be trusted now."""
        oldest = min(self._running_since.values(), default=None)
        return replace(self._condition, running_since=oldest).state(time.monotonic())

    def last_forward_age_seconds(self) -> float | None:
        """Say how long ago the last good forward pass ended; None before the first."""
        return self._condition.age_seconds(time.monotonic())

    def wake(self) -> None:
        """Say that texts have boarded."""
        self._work.set()

    async def prove(self) -> None:
        """Return when a forward pass has ended, well or badly; an idle stream makes one that is known to work."""
        self._proof = self._proof or asyncio.get_running_loop().create_future()
        self._work.set()
        await asyncio.shield(self._proof)

    async def start(self, load: Callable[[], Embedder]) -> Embedder:
        """Load the model on the first thread and make a pass on each. Raises what loading or the pass raises."""
        take = self._shelf.take if self._shelf else OneThread
        self._threads = [take("inference")]
        model = await self._threads[0].call(load)
        self._threads += [take(f"inference.{number}") for number in range(1, model.backend.streams)]
        self._warm_up = model.encode([_WARM_UP], "document")[0].ids
        for thread in self._threads:
            await self._forward(thread, model, [self._warm_up])
        return model

    async def run(self, model: Embedder) -> None:
        """Compute until cancelled."""
        async with asyncio.TaskGroup() as tasks:
            for number, thread in enumerate(self._threads):
                tasks.create_task(self._stream(thread, model), name=f"engine.{number}")

    async def let_go(self) -> None:
        """Let go of the threads, and wait until all have ended what they did."""
        if self._shelf is not None:
            await self._shelf.put_back(self._threads)
        else:
            await asyncio.gather(*map(OneThread.end, self._threads))

    async def _stream(self, thread: OneThread, model: Embedder) -> None:
        budget = Budget(model.budget_tokens, model.length_step)
        while True:
            await self._until_work(thread, model)
            idle = len(self._threads) - len(self._running_since)
            share = budget.shared(self._flights.waiting_tokens, idle)
            await self._compute(thread, model, self._flights.take(share, time.monotonic()))

    async def _until_work(self, thread: OneThread, model: Embedder) -> None:
        """Wait for a text; while the model fails, also try it now and then, for nobody may be asking."""
        attempt = 1
        while not self._flights.waiting_texts:
            self._work.clear()  # before anything is awaited: a text that boards during a pass sets it again
            if self._proof is not None:
                await self._works(thread, model)
            wait = self._backoff.delay_seconds(attempt, random.uniform) if self._condition.failed else None
            try:
                async with asyncio.timeout(wait):
                    await self._work.wait()
            except TimeoutError:
                await self._works(thread, model)
                attempt += 1

    async def _compute(self, thread: OneThread, model: Embedder, batch: Sequence[Flight]) -> None:
        flights = [flight for flight in batch if flight.waiters]
        if not flights:
            return
        alone = not self._running_since and not self._flights.waiting_texts
        began = time.monotonic()
        try:
            vectors = await self._forward(thread, model, [flight.text.ids for flight in flights], alone=alone)
        except Exception as error:  # noqa: BLE001 whatever a backend raises must not end the service
            await self._isolate(thread, model, flights, error)
            return
        now = time.monotonic()
        sharing = 1 if alone else len(self._threads)
        tokens = sum(len(one.text.ids) for one in flights)
        if tokens >= model.budget_tokens // _TELLING_SHARE:
            self._pace.computed(tokens, (now - began) / sharing)
        entries = [
            Entry(vector.astype("<f4").tobytes(), flight.text.tokens)
            for flight, vector in zip(flights, vectors, strict=True)
        ]
        self._keep([(flight.key, entry) for flight, entry in zip(flights, entries, strict=True)])
        for flight, entry in zip(flights, entries, strict=True):
            self._flights.land(flight, entry, now)

    async def _isolate(self, thread: OneThread, model: Embedder, flights: Sequence[Flight], error: Exception) -> None:
        log.get_logger().warning("batch.failed", texts=len(flights), error=str(error))
        half = len(flights) // 2
        if await self._works(thread, model) and half:
            await self._compute(thread, model, flights[:half])
            await self._compute(thread, model, flights[half:])
            return
        for flight in flights:
            self._counters.failed_texts += 1
            self._flights.fail(flight, Failed(f"the model failed: {error}", hint="see the embedder's log"))

    async def _works(self, thread: OneThread, model: Embedder) -> bool:
        """Make a forward pass that is known to work, to tell a poisonous text from a broken device."""
        try:
            await self._forward(thread, model, [self._warm_up])
        except Exception as error:  # noqa: BLE001 the condition says it
            log.get_logger().error("probe.failed", error=str(error))
            return False
        return True

    async def _forward(
        self, thread: OneThread, model: Embedder, batch: Sequence[Sequence[int]], *, alone: bool = False
    ) -> NDArray[np.float32]:
        started = self._running_since[thread] = time.monotonic()
        try:
            vectors = await thread.call(partial(model.forward, alone=alone), batch)
        except Exception:
            self._condition = replace(self._condition, failed=True)
            raise
        finally:
            del self._running_since[thread]
            if self._proof is not None:
                self._proof.set_result(None)
                self._proof = None
        self._condition = Condition(last_success=time.monotonic())
        self._count(len(batch), sum(map(len, batch)), time.monotonic() - started)
        return vectors

    def _count(self, texts: int, tokens: int, seconds: float) -> None:
        self._counters.batches += 1
        self._counters.tokens += tokens
        self._counters.busy_seconds += seconds
        self._observer.batch_computed(texts, tokens, seconds)
