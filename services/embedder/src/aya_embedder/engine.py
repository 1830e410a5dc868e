"""Between requests and one model: caches, tokenizer, queue, inference threads.

A request looks its texts up in the memory cache and then on disk, tokenises the others on a thread of their own, and
boards them (flights.py); streams.py computes them.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from aya import log
from aya.backoff import Backoff
from aya_embedder.batch import Budget
from aya_embedder.cache import Entry, Key
from aya_embedder.counters import Counters, Unobserved
from aya_embedder.embedder import Answer, Embedded, Timings
from aya_embedder.fit import about, refuse_long, refuse_unknown_ids
from aya_embedder.flights import Flights, Limits
from aya_embedder.pace import Pace
from aya_embedder.problems import LOADS_ONE, NotLoaded, NotReady
from aya_embedder.streams import Streams
from aya_embedder.thread import OneThread

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Generator, Iterable, Mapping, Sequence

    from aya_embedder.cache import VectorCache
    from aya_embedder.condition import State
    from aya_embedder.counters import Observer
    from aya_embedder.disk_cache import DiskCache
    from aya_embedder.embedder import Embedder, Encoded, Given, Tokenization
    from aya_embedder.flights import Flight
    from aya_embedder.identity import Prompt
    from aya_embedder.problems import Problem
    from aya_embedder.thread import Shelf

Result = TypeVar("Result")

_LOADING_RETRY_AFTER_SECONDS = 2
_THREAD_STOP_SECONDS = 0.5
# What the tokenizer takes for a short text is mostly the call itself, and says nothing of a long one.
_TELLING_BYTES = 16 * 1024


class Engine:
    """Turns texts into vectors. `run` must be running for anything to happen."""

    def __init__(  # noqa: PLR0913 each is a choice of its own
        self,
        load: Callable[[], Embedder],
        cache: VectorCache,
        *,
        disk: DiskCache | None = None,
        shelf: Shelf | None = None,
        limits: Limits | None = None,
        backoff: Backoff | None = None,
        observer: Observer | None = None,
    ) -> None:
        """Prepare to load a model.

        load: makes it, once, on the first inference thread. cache, disk, shelf: may be shared among engines.
        backoff: of the probes while the model fails.
        """
        self._load = load
        self._disk = disk
        self.cache = cache
        self.counters = Counters()
        pace = Pace()
        self._flights = Flights(limits or Limits(), pace)
        self._streams = Streams(
            self._flights,
            self._keep,
            pace=pace,
            shelf=shelf,
            backoff=backoff or Backoff(),
            counters=self.counters,
            observer=observer or Unobserved(),
        )
        self._encoder = OneThread("tokenizer")
        self._ready = asyncio.Event()
        self._accepting = True
        self._leaving = False
        self._unloaded = False
        self._requests = 0
        self._encoding_texts = 0
        self._encoding_bytes = 0
        self._encoding_pace = Pace()
        self._model: Embedder | None = None

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
        """Whether the model is loaded, no request is being answered, and no batch runs whose client has left."""
        return self._model is not None and self._requests == 0 and not self._streams.computing

    def state(self) -> State:
        """Say whether the model can be trusted now; it is loading until each stream has made a pass."""
        state = self._streams.state()
        return "loading" if self._model is None and state == "healthy" else state

    def last_forward_age_seconds(self) -> float | None:
        """Say how long ago the last good forward pass ended; None before the first."""
        return self._streams.last_forward_age_seconds()

    async def prove(self) -> None:
        """Return when a forward pass has ended, well or badly; an idle model makes one that is known to work."""
        await self._streams.prove()

    async def embed(self, texts: Sequence[Given], prompt: Prompt, *, truncate: bool) -> Answer:
        """Return the vectors of `texts`, in their order.

        texts: as strings, or as token ids, to which no prefix is added. truncate: cut a text over the window, instead
        of raising TooLong.
        Raises NotReady while loading or leaving, Busy when the queue is full, Invalid on a token id that the model does
        not have, Failed when the model cannot do one of the texts, NotLoaded when it has been unloaded.
        """
        started = time.monotonic()
        with self._accepted():
            refuse_unknown_ids(texts, self.model.vocabulary_size)
            answer = await self._embed(texts, prompt, truncate=truncate, started=started)
        self.counters.requests += 1
        self.counters.texts += len(texts)
        return answer

    def remembered(self, texts: Sequence[Given], prompt: Prompt, *, truncate: bool) -> Answer | None:
        """Return what `embed` would, at once, when memory has all the vectors; otherwise do nothing and return None."""
        if not self._accepting:
            return None
        started = time.monotonic()
        identity = self.model.identity
        found = [self.cache.get(Key.of(identity, prompt, text)) for text in texts]
        entries = [entry for entry in found if entry is not None]
        if len(entries) < len(found):
            return None
        if not truncate:
            refuse_long([entry.tokens for entry in entries], identity.max_tokens)
        self.counters.requests += 1
        self.counters.texts += len(texts)
        self.counters.hits_memory += len(texts)
        limit = identity.max_tokens
        embedded = [Embedded(one.vector, one.tokens, one.tokens > limit, cached=True) for one in entries]
        return Answer(embedded, _timings(started, 0.0, started, ()))

    def refuse_late(self, texts: Sequence[Given]) -> None:
        """Raise Busy when `embed` would, for what waits already: before anything is spent on a request."""
        self._refuse_late(len(texts), _bytes(texts), self.model.budget_tokens)

    async def tokenize(self, texts: Sequence[str]) -> Tokenization:
        """Say where the tokens of each text start. Raises NotReady, Busy."""
        model = self.model
        with self._accepted(), self._encoding(texts) as size:
            return await self._clocked(size, partial(model.tokenize, texts))

    async def until_loaded(self) -> None:
        """Wait for the first good forward pass."""
        await self._ready.wait()

    async def run(self, ready: Callable[[], None] | None = None) -> None:
        """Load the model, warm it up, call `ready`, then compute batches until cancelled; then free the model.

        It is freed when its threads have ended what they do. An unloaded model waits for that; a service that leaves
        does not wait for long. Raises what loading raises.
        """
        try:
            model = self._model = await self._streams.start(self._load)
            self._ready.set()
            _log_loaded(model)
            if ready is not None:
                ready()
            await self._streams.run(model)
        finally:
            self.give_up()
            await self._free(None if self._unloaded else _THREAD_STOP_SECONDS)

    def stop_accepting(self) -> None:
        """Send every new request away with NotReady; those accepted are finished."""
        self._accepting = False

    def give_up(self) -> None:
        """Answer every text that is not computed yet, and every later one, with NotReady: the service is leaving."""
        self.stop_accepting()
        self._leaving = True
        self._flights.fail_all(self._farewell())

    def unload(self) -> None:
        """Answer whatever comes later with NotLoaded: other models stay. To cancel `run` then frees the model."""
        self._unloaded = True
        self.give_up()

    async def _free(self, seconds: float | None) -> None:
        try:
            async with asyncio.timeout(seconds):
                await asyncio.gather(self._streams.let_go(), self._encoder.end())
        except TimeoutError:
            return
        if self._model is not None:
            self._model.close()

    async def _embed(self, texts: Sequence[Given], prompt: Prompt, *, truncate: bool, started: float) -> Answer:
        identity = self.model.identity
        keys = [Key.of(identity, prompt, text) for text in texts]
        hits = await self._found(keys)
        before = time.monotonic()
        fresh = await self._encode(
            {key: text for key, text in zip(keys, texts, strict=True) if key not in hits}, prompt
        )
        boarded = time.monotonic()
        hits |= self._cached(fresh)  # what landed for somebody else in the meantime
        tokens = {key: text.tokens for key, text in fresh.items()} | {key: hit.tokens for key, hit in hits.items()}
        if not truncate:
            refuse_long([tokens[key] for key in keys], identity.max_tokens)
        flown = await self._fly({key: text for key, text in fresh.items() if key not in hits}, keys)
        self.counters.misses += sum(key in flown for key in keys)
        entries = hits | {key: flight.outcome.result() for key, flight in flown.items()}
        limit = identity.max_tokens
        embedded = [Embedded(entries[key].vector, tokens[key], tokens[key] > limit, key in hits) for key in keys]
        return Answer(embedded, _timings(started, boarded - before, boarded, list(flown.values())))

    def _farewell(self) -> Problem:
        return NotLoaded("the model has just been unloaded", hint=LOADS_ONE) if self._unloaded else leaving()

    @contextlib.contextmanager
    def _accepted(self) -> Generator[None]:
        """Count a request that is being answered."""
        if not self._accepting:
            raise self._farewell()
        self._requests += 1
        try:
            yield
        finally:
            self._requests -= 1

    async def _found(self, keys: Sequence[Key]) -> dict[Key, Entry]:
        """Look in memory, then on disk; what is only there is put into memory."""
        hits = self._cached(keys)
        self.counters.hits_memory += sum(key in hits for key in keys)
        absent = {key for key in keys if key not in hits}
        if self._disk is None or not absent:
            return hits
        read = await self._disk.get(absent)
        for key, entry in read.items():
            self.cache.put(key, entry)
        self.counters.hits_disk += sum(key in read for key in keys)
        return hits | read

    def _cached(self, keys: Iterable[Key]) -> dict[Key, Entry]:
        return {key: hit for key in keys if (hit := self.cache.get(key))}

    def _keep(self, computed: Sequence[tuple[Key, Entry]]) -> None:
        for key, entry in computed:
            self.cache.put(key, entry)
        if self._disk is not None:
            self._disk.put(computed)

    async def _encode(self, texts: Mapping[Key, Given], prompt: Prompt) -> dict[Key, Encoded]:
        if not texts:
            return {}
        model, given = self.model, list(texts.values())
        with self._encoding(given, budget_tokens=model.budget_tokens) as size:
            encoded = await self._clocked(size, partial(_encoded, model, given, prompt))
        return dict(zip(texts, encoded, strict=True))

    @contextlib.contextmanager
    def _encoding(self, texts: Sequence[Given], budget_tokens: int = 0) -> Generator[int]:
        """Count texts that are being tokenised as waiting ones: they are about to be. Gives their UTF-8 bytes.

        budget_tokens: of a batch, when the texts go to the model from here. Texts of no more bytes are taken for a
        small request: hardly a token is less than a byte.
        """
        if self._leaving:
            raise self._farewell()  # the thread has ended, or is about to
        size = _bytes(texts)
        self._flights.admit(len(texts), 0, announced=self._encoding_texts)
        self._refuse_late(len(texts), size, budget_tokens)
        self._encoding_texts += len(texts)
        self._encoding_bytes += size
        try:
            yield size
        finally:
            self._encoding_texts -= len(texts)
            self._encoding_bytes -= size

    def _refuse_late(self, texts: int, size: int, budget_tokens: int) -> None:
        ahead = self._encoding_pace.seconds_for(self._encoding_bytes)
        self._flights.refuse_late(ahead, flies=budget_tokens > 0 and (texts == 1 or size <= budget_tokens))

    async def _clocked(self, size: int, work: Callable[[], Result]) -> Result:
        """Have the tokenizer do its work on so many bytes, and learn from that."""

        def clocked() -> tuple[float, Result]:
            began = time.monotonic()
            result = work()
            return time.monotonic() - began, result

        seconds, result = await self._encoder.call(clocked)
        if size >= _TELLING_BYTES:
            self._encoding_pace.computed(size, seconds)
        return result

    async def _fly(self, texts: Mapping[Key, Encoded], keys: Sequence[Key]) -> dict[Key, Flight]:
        """Have texts computed; keys: of the whole request, to name one that fails."""
        if not texts:
            return {}
        if self._leaving:
            raise self._farewell()
        budget = Budget(self.model.budget_tokens, self.model.length_step)
        flights = self._flights.board(texts, asyncio.get_running_loop().create_future, budget)
        self._streams.wake()
        try:
            await asyncio.wait([flight.outcome for flight in flights], return_when=asyncio.FIRST_EXCEPTION)
            for flight in flights:
                if flight.outcome.done() and (problem := flight.outcome.exception()):
                    raise about(problem, keys.index(flight.key))
            return {flight.key: flight for flight in flights}
        finally:
            self._flights.leave(flights)


def leaving() -> NotReady:
    """Return what a service that is leaving answers."""
    return NotReady(
        "the service is leaving",
        hint="try again when it is back",
        retry_after_seconds=_LOADING_RETRY_AFTER_SECONDS,
    )


def _encoded(model: Embedder, given: Sequence[Given], prompt: Prompt) -> list[Encoded]:
    texts = [one for one in given if isinstance(one, str)]
    encoded = iter(model.encode(texts, prompt) if texts else [])
    return [next(encoded) if isinstance(one, str) else model.encode_ids(one) for one in given]


def _timings(started: float, tokenization_seconds: float, boarded: float, flights: Collection[Flight]) -> Timings:
    """Say where the time went. A flight may have been on its way for somebody else before this request boarded."""
    count = max(1, len(flights))
    return Timings(
        total_seconds=time.monotonic() - started,
        tokenization_seconds=tokenization_seconds,
        queue_seconds=sum(max(0.0, one.taken_at - boarded) for one in flights) / count,
        inference_seconds=sum(one.landed_at - max(boarded, one.taken_at) for one in flights) / count,
        compute_tokens=sum(len(one.text.ids) for one in flights),
    )


def _bytes(texts: Sequence[Given]) -> int:
    return sum(len(text.encode()) for text in texts if isinstance(text, str))


def _log_loaded(model: Embedder) -> None:
    backend = model.backend
    log.get_logger().info(
        "model.loaded",
        **model.identity.as_dict(),
        device=backend.device,
        blas=backend.blas,
        kernels=backend.kernels,
        streams=backend.streams,
    )
