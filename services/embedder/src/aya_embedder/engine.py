"""Between requests and the model: cache, queue, inference threads, isolation of what fails.

A request looks its texts up in the cache, tokenises the others on a thread of their own, and boards them
(flights.py). For each of the model's streams there is one thread, and one task that takes a batch as soon as the
thread is free (no wait timer), runs it, and retries a failed batch text by text, so that only the text that is at
fault fails.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from aya import log
from aya.backoff import Backoff
from aya_embedder.cache import Entry, Key
from aya_embedder.condition import Condition
from aya_embedder.counters import Counters
from aya_embedder.embedder import Embedded
from aya_embedder.flights import Flights
from aya_embedder.problems import Failed, NotReady, TooLong
from aya_embedder.thread import OneThread

if TYPE_CHECKING:
    from collections.abc import Callable, Generator, Iterable, Mapping, Sequence

    import numpy as np
    from numpy.typing import NDArray

    from aya_embedder.cache import VectorCache
    from aya_embedder.condition import State
    from aya_embedder.embedder import Embedder, Encoded, Tokenization
    from aya_embedder.flights import Flight
    from aya_embedder.identity import Prompt

_LONGEST_RETRY_AFTER_SECONDS = 30
_LOADING_RETRY_AFTER_SECONDS = 2
_THREAD_STOP_SECONDS = 0.5
_WARM_UP = "The first forward pass proves that the model works."


@dataclass(frozen=True, slots=True)
class Limits:
    """How much may wait for one model before newcomers are sent away."""

    waiting_texts: int = 4096  # two of the largest requests
    waiting_tokens: int = 4096 * 512


class Engine:
    """Turns texts into vectors. `run` must be running for anything to happen."""

    def __init__(
        self,
        load: Callable[[], Embedder],
        cache: VectorCache,
        *,
        limits: Limits | None = None,
        backoff: Backoff | None = None,
    ) -> None:
        """load: makes the model, once, on the first inference thread. backoff: of the probes while the model fails."""
        self._load = load
        self._backoff = backoff or Backoff()
        limits = limits or Limits()
        self._flights = Flights(max_texts=limits.waiting_texts, max_tokens=limits.waiting_tokens)
        self._inference = [OneThread("inference")]
        self._running_since: dict[OneThread, float] = {}
        self._encoder = OneThread("tokenizer")
        self._work = asyncio.Event()
        self._ready = asyncio.Event()
        self._accepting = True
        self._leaving = False
        self._requests = 0
        self._encoding_texts = 0
        self._model: Embedder | None = None
        self._warm_up: Sequence[int] = ()
        self._condition = Condition()
        self._proof: asyncio.Future[None] | None = None
        self.cache = cache
        self.counters = Counters()

    @property
    def model(self) -> Embedder:
        """The loaded model. Raises NotReady until its first forward pass has succeeded."""
        if self._model is None:
            raise NotReady(
                "the model is loading",
                hint="wait until GET /health says healthy",
                retry_after_seconds=_LOADING_RETRY_AFTER_SECONDS,
            )
        return self._model

    @property
    def loaded(self) -> Embedder | None:
        """The loaded model, None until its first forward pass has succeeded."""
        return self._model

    @property
    def waiting_texts(self) -> int:
        """How many texts wait for the model."""
        return self._flights.waiting_texts

    @property
    def texts_in_flight(self) -> int:
        """How many texts wait or are being computed."""
        return len(self._flights)

    @property
    def idle(self) -> bool:
        """Whether the model is loaded and no request is being answered."""
        return self._model is not None and self._requests == 0

    def state(self) -> State:
        """Say whether the model can be trusted now."""
        oldest = min(self._running_since.values(), default=None)
        return replace(self._condition, running_since=oldest).state(time.monotonic())

    def last_forward_age_seconds(self) -> float | None:
        """Say how long ago the last good forward pass ended; None before the first."""
        return self._condition.age_seconds(time.monotonic())

    async def embed(self, texts: Sequence[str], prompt: Prompt, *, truncate: bool) -> list[Embedded]:
        """Return the vectors of `texts`, in their order.

        truncate: cut a text over the window, instead of raising TooLong.
        Raises NotReady while loading, Busy when the queue is full, Failed when the model cannot do one of them.
        """
        with self._accepted():
            return await self._embed(texts, prompt, truncate=truncate)

    async def _embed(self, texts: Sequence[str], prompt: Prompt, *, truncate: bool) -> list[Embedded]:
        model = self.model
        keys = [Key.of(model.identity, prompt, text) for text in texts]
        hits = self._cached(keys)
        fresh = await self._encode(
            {key: text for key, text in zip(keys, texts, strict=True) if key not in hits}, prompt
        )
        hits |= self._cached(fresh)  # what landed for somebody else in the meantime
        tokens = {key: text.tokens for key, text in fresh.items()} | {key: hit.tokens for key, hit in hits.items()}
        if not truncate:
            _refuse_long([tokens[key] for key in keys], model.identity.max_tokens)
        flown = await self._fly({key: text for key, text in fresh.items() if key not in hits}, keys)
        self.counters.requests += 1
        self.counters.texts += len(texts)
        entries = hits | flown
        limit = model.identity.max_tokens
        return [Embedded(entries[key].vector, tokens[key], tokens[key] > limit, key in hits) for key in keys]

    async def tokenize(self, texts: Sequence[str]) -> Tokenization:
        """Say where the tokens of each text start. Raises NotReady, Busy."""
        model = self.model
        with self._accepted(), self._encoding(len(texts)):
            return await self._encoder.call(model.tokenize, texts)

    async def until_loaded(self) -> None:
        """Wait for the first good forward pass."""
        await self._ready.wait()

    async def prove(self) -> None:
        """Return when a forward pass has ended, well or badly; an idle stream makes one that is known to work."""
        self._proof = self._proof or asyncio.get_running_loop().create_future()
        self._work.set()
        await asyncio.shield(self._proof)

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Load the model, warm it up, call `ready`, then compute batches until cancelled; then free the model.

        Raises what loading raises.
        """
        try:
            await self._start()
            if ready is not None:
                ready()
            async with asyncio.TaskGroup() as streams:
                for number, thread in enumerate(self._inference):
                    streams.create_task(self._stream(thread), name=f"engine.{number}")
        finally:
            self.give_up()
            ended = [thread.stop(_THREAD_STOP_SECONDS) for thread in (*self._inference, self._encoder)]
            if self._model is not None and all(ended):
                self._model.close()

    def stop_accepting(self) -> None:
        """Send every new request away with NotReady; those accepted are finished."""
        self._accepting = False

    def give_up(self) -> None:
        """Answer every text that is not computed yet, and every later one, with NotReady: the service is leaving."""
        self.stop_accepting()
        self._leaving = True
        self._flights.fail_all(leaving())

    async def _start(self) -> None:
        model = await self._inference[0].call(self._load)
        self._inference += [OneThread(f"inference.{number}") for number in range(1, model.backend.streams)]
        self._warm_up = model.encode([_WARM_UP], "document")[0].ids
        for thread in self._inference:
            await self._forward(thread, model, [self._warm_up])
        self._model = model
        self._ready.set()
        backend = model.backend
        log.get_logger().info(
            "model.loaded",
            **model.identity.as_dict(),
            device=backend.device,
            blas=backend.blas,
            kernels=backend.kernels,
            streams=backend.streams,
        )

    async def _stream(self, thread: OneThread) -> None:
        while True:
            await self._until_work(thread)
            await self._compute(thread, self._flights.take(self.model.budget_tokens))

    @contextlib.contextmanager
    def _accepted(self) -> Generator[None]:
        """Count a request that is being answered."""
        if not self._accepting:
            raise leaving()
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    def _cached(self, keys: Iterable[Key]) -> dict[Key, Entry]:
        return {key: hit for key in keys if (hit := self.cache.get(key))}

    async def _encode(self, texts: Mapping[Key, str], prompt: Prompt) -> dict[Key, Encoded]:
        if not texts:
            return {}
        with self._encoding(len(texts)):
            encoded = await self._encoder.call(self.model.encode, list(texts.values()), prompt)
        return dict(zip(texts, encoded, strict=True))

    @contextlib.contextmanager
    def _encoding(self, texts: int) -> Generator[None]:
        """Count texts that are being tokenised as waiting ones: they are about to be."""
        if self._leaving:
            raise leaving()  # the thread has ended, or is about to
        self._flights.admit(self._encoding_texts + texts, 0, self._retry_after_seconds())
        self._encoding_texts += texts
        try:
            yield
        finally:
            self._encoding_texts -= texts

    async def _fly(self, texts: Mapping[Key, Encoded], keys: Sequence[Key]) -> dict[Key, Entry]:
        if not texts:
            return {}
        if self._leaving:
            raise leaving()
        flights = self._flights.board(texts, asyncio.get_running_loop().create_future, self._retry_after_seconds())
        self._work.set()
        try:
            await asyncio.wait([flight.outcome for flight in flights], return_when=asyncio.FIRST_EXCEPTION)
            for flight in flights:
                if flight.outcome.done() and (problem := flight.outcome.exception()):
                    raise _about(problem, keys.index(flight.key))
            return {flight.key: flight.outcome.result() for flight in flights}
        finally:
            self._flights.leave(flights)

    async def _until_work(self, thread: OneThread) -> None:
        """Wait for a text; while the model fails, also try it now and then, for nobody may be asking."""
        attempt = 1
        while not self._flights.waiting_texts:
            if self._proof is not None:
                await self._probe(thread)
            self._work.clear()
            wait = self._backoff.delay_seconds(attempt, random.uniform) if self._condition.failed else None
            try:
                async with asyncio.timeout(wait):
                    await self._work.wait()
            except TimeoutError:
                await self._probe(thread)
                attempt += 1

    async def _compute(self, thread: OneThread, batch: Sequence[Flight]) -> None:
        flights = [flight for flight in batch if flight.waiters]
        if not flights:
            return
        try:
            vectors = await self._forward(thread, self.model, [flight.text.ids for flight in flights])
        except Exception as error:  # noqa: BLE001 whatever a backend raises must not end the service
            await self._isolate(thread, flights, error)
            return
        for flight, vector in zip(flights, vectors, strict=True):
            entry = Entry(vector.astype("<f4").tobytes(), flight.text.tokens)
            self.cache.put(flight.key, entry)
            self._flights.land(flight, entry)

    async def _isolate(self, thread: OneThread, flights: Sequence[Flight], error: Exception) -> None:
        log.get_logger().warning("batch.failed", texts=len(flights), error=str(error))
        if len(flights) > 1:
            for flight in flights:
                await self._compute(thread, [flight])
            return
        self.counters.failed_texts += 1
        await self._probe(thread)
        self._flights.fail(flights[0], Failed(f"the model failed: {error}", hint="see the embedder's log"))

    async def _probe(self, thread: OneThread) -> None:
        """Make a forward pass that is known to work, to tell a poisonous text from a broken device."""
        try:
            await self._forward(thread, self.model, [self._warm_up])
        except Exception as error:  # noqa: BLE001 the condition says it
            log.get_logger().error("probe.failed", error=str(error))

    async def _forward(self, thread: OneThread, model: Embedder, batch: Sequence[Sequence[int]]) -> NDArray[np.float32]:
        started = self._running_since[thread] = time.monotonic()
        try:
            vectors = await thread.call(model.forward, batch)
        except Exception:
            self._condition = replace(self._condition, failed=True)
            raise
        finally:
            del self._running_since[thread]
            if self._proof is not None:
                self._proof.set_result(None)
                self._proof = None
        self._condition = Condition(last_success=time.monotonic())
        self.counters.batches += 1
        self.counters.tokens += sum(map(len, batch))
        self.counters.busy_seconds += time.monotonic() - started
        return vectors

    def _retry_after_seconds(self) -> int:
        """How long what waits now will take, by the speed so far; whole seconds, 1 to 30."""
        busy_seconds = self.counters.busy_seconds / len(self._inference)
        speed = self.counters.tokens / busy_seconds if busy_seconds else 1.0
        return max(1, min(_LONGEST_RETRY_AFTER_SECONDS, math.ceil(self._flights.waiting_tokens / speed)))


def leaving() -> NotReady:
    """Return what a service that is leaving answers."""
    return NotReady(
        "the service is leaving",
        hint="try again when it is back",
        retry_after_seconds=_LOADING_RETRY_AFTER_SECONDS,
    )


def _refuse_long(tokens: Sequence[int], limit: int) -> None:
    for index, count in enumerate(tokens):
        if count > limit:
            raise TooLong(
                f"text {index} has {count} tokens, and the model reads at most {limit}",
                hint='split it, or send "truncate": true',
            )


def _about(problem: BaseException, index: int) -> BaseException:
    """Name the text in a failure that is about one."""
    return Failed(f"text {index}: {problem.message}", hint=problem.hint) if isinstance(problem, Failed) else problem
