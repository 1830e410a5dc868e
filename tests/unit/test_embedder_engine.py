"""The engine over a fake model: one flight per text, isolation of poison, cancellation, overload, honest health."""

from __future__ import annotations

import asyncio
import contextlib
import threading
import time
from collections.abc import AsyncGenerator, Callable, Sequence

import numpy as np
import pytest
from numpy.typing import NDArray

from aya_embedder.cache import VectorCache
from aya_embedder.embedder import Encoded
from aya_embedder.engine import Engine
from aya_embedder.fake import FakeEmbedder, running
from aya_embedder.flights import Limits
from aya_embedder.identity import Prompt
from aya_embedder.pace import Pace
from aya_embedder.problems import Busy, Failed, Invalid, NotLoaded, NotReady, TooLong


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until something is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 any condition, and each turn lets the engine go on
            await asyncio.sleep(0)


def computed(model: FakeEmbedder, text: str) -> int:
    """Count how often the model was given `text`."""
    ids = model.encode([text], "document")[0].ids
    return sum(tuple(one) == ids for batch in model.forwards for one in batch)


async def test_vectors_come_back_in_the_order_of_their_texts() -> None:
    """Batches are formed by length; answers keep the order of the request."""
    model = FakeEmbedder()
    texts = ["a" * length for length in (9, 1, 5, 13, 2, 9)]
    async with running(model) as engine:
        answers = await engine.embed(texts, "document", truncate=True)
    expected = [model.forward([encoded.ids])[0] for encoded in model.encode(texts, "document")]
    assert np.array_equal([np.frombuffer(one.vector, "<f4") for one in answers.embedded], expected)


async def test_streams_compute_batches_side_by_side() -> None:
    """While one stream is busy, the next batch starts on another; with both busy, texts wait."""
    model = FakeEmbedder(streams=2)
    async with running(model) as engine:
        warm_up = len(model.forwards)
        model.gate.clear()
        asked = [asyncio.create_task(engine.embed(["first"], "document", truncate=True))]
        await until(lambda: computed(model, "first") == 1)
        asked.append(asyncio.create_task(engine.embed(["second"], "document", truncate=True)))
        await until(lambda: computed(model, "second") == 1)
        asked.append(asyncio.create_task(engine.embed(["third"], "document", truncate=True)))
        await until(lambda: engine.waiting_texts == 1)
        assert (len(model.forwards), engine.texts_in_flight) == (warm_up + 2, 3)
        model.gate.set()
        answers = await asyncio.gather(*asked)
    assert warm_up == 2
    assert [len(answer.embedded) for answer in answers] == [1, 1, 1]


async def test_every_stream_finds_back_from_a_broken_device() -> None:
    """Whichever stream saw the fault, the model is tried again by itself until a pass succeeds."""
    model = FakeEmbedder(streams=3)
    async with running(model) as engine:
        model.broken = True
        outcomes = await asyncio.gather(
            *(engine.embed([text], "document", truncate=True) for text in ("a", "bb" * 6, "ccc")),
            return_exceptions=True,
        )
        assert engine.state() == "unhealthy"
        model.broken = False
        await until(lambda: engine.state() == "healthy")
    assert all(isinstance(outcome, Failed) for outcome in outcomes)


async def test_the_second_time_a_text_comes_from_the_cache() -> None:
    """The same text again is cached; with the other prompt it is another text."""
    async with running(FakeEmbedder()) as engine:
        first = await engine.embed(["one"], "document", truncate=True)
        again = await engine.embed(["one"], "document", truncate=True)
        asked = await engine.embed(["one"], "query", truncate=True)
    assert [answer.embedded[0].cached for answer in (first, again, asked)] == [False, True, False]
    assert first.embedded[0].vector == again.embedded[0].vector != asked.embedded[0].vector


async def test_identical_texts_share_one_flight() -> None:
    """Ten requests for one text, and a request that has it twice, are one text for the model."""
    model = FakeEmbedder()
    async with running(model) as engine:
        answers = await asyncio.gather(*(engine.embed(["same", "same"], "document", truncate=True) for _ in range(10)))
    assert len({one.vector for answer in answers for one in answer.embedded}) == 1
    assert computed(model, "same") == 1


async def test_one_poisonous_text_fails_alone() -> None:
    """A failed batch is halved until the text at fault is alone: the others get their vectors, all stays healthy."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.gate.clear()
        head = asyncio.create_task(engine.embed(["head"], "document", truncate=True))
        await until(lambda: computed(model, "head") == 1)
        others = [asyncio.create_task(engine.embed([text], "document", truncate=True)) for text in ("ab", "☠!", "cd")]
        await until(lambda: engine.waiting_texts == 3)
        model.gate.set()
        outcomes = await asyncio.gather(head, *others, return_exceptions=True)
        assert engine.state() == "healthy"
    assert [isinstance(outcome, Failed) for outcome in outcomes] == [False, False, True, False]
    warm_up = model.forwards[0]
    tried = [batch for batch in model.forwards[2:] if batch != warm_up]
    assert [len(batch) for batch in tried] == [3, 1, 2, 1, 1]


async def test_isolating_one_text_of_a_full_batch_takes_few_passes() -> None:
    """One poisonous text among 32 costs under 20 passes, those that prove the device sound included; 31 get vectors."""
    model = FakeEmbedder(budget_tokens=32 * 4)
    async with running(model) as engine:
        model.gate.clear()
        head = asyncio.create_task(engine.embed(["head"], "document", truncate=True))
        await until(lambda: computed(model, "head") == 1)
        texts = [chr(0x1000 + number) + ("☠" if number == 20 else "!") for number in range(32)]
        others = [asyncio.create_task(engine.embed([text], "document", truncate=True)) for text in texts]
        await until(lambda: engine.waiting_texts == 32)
        before = len(model.forwards)
        model.gate.set()
        outcomes = await asyncio.gather(head, *others, return_exceptions=True)
    assert [number for number, outcome in enumerate(outcomes[1:]) if isinstance(outcome, Failed)] == [20]
    assert len(model.forwards[before]) == 32
    assert len(model.forwards) - before < 20


async def test_a_broken_device_fails_a_batch_at_once() -> None:
    """When not even the pass that is known to work succeeds, no time is spent on looking for a text at fault."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.gate.clear()
        head = asyncio.create_task(engine.embed(["head"], "document", truncate=True))
        await until(lambda: computed(model, "head") == 1)
        others = [asyncio.create_task(engine.embed([text], "document", truncate=True)) for text in ("ab", "cd", "ef")]
        await until(lambda: engine.waiting_texts == 3)
        model.broken = True
        model.gate.set()
        outcomes = await asyncio.gather(head, *others, return_exceptions=True)
        assert engine.counters.failed_texts == 4
    assert all(isinstance(outcome, Failed) for outcome in outcomes)
    assert [len(batch) for batch in model.forwards[1:5]] == [1, 1, 3, 1]


async def test_a_failure_names_the_text() -> None:
    """Of a request with many texts, the error says which one the model cannot do."""
    async with running(FakeEmbedder()) as engine:
        with pytest.raises(Failed, match="text 1"):
            await engine.embed(["fine", "☠"], "document", truncate=True)


async def test_a_broken_device_is_unhealthy_until_a_pass_succeeds_again() -> None:
    """A model that fails on everything says so, is tried by itself, and says when it works again."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.broken = True
        with pytest.raises(Failed):
            await engine.embed(["text"], "document", truncate=True)
        assert engine.state() == "unhealthy"
        model.broken = False
        await until(lambda: engine.state() == "healthy")
        assert len((await engine.embed(["text"], "document", truncate=True)).embedded) == 1


async def test_a_cancelled_request_is_not_computed() -> None:
    """What nobody waits for any more is skipped; another request for the same text keeps it."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.gate.clear()
        head = asyncio.create_task(engine.embed(["head"], "document", truncate=True))
        await until(lambda: computed(model, "head") == 1)
        left = asyncio.create_task(engine.embed(["left", "shared"], "document", truncate=True))
        stays = asyncio.create_task(engine.embed(["shared"], "document", truncate=True))
        await until(lambda: engine.waiting_texts == 2)
        left.cancel()
        await until(lambda: engine.waiting_texts == 1)
        model.gate.set()
        await asyncio.gather(head, stays)
    assert (computed(model, "left"), computed(model, "shared")) == (0, 1)


@pytest.mark.parametrize("texts", [["a"], ["a", "b", "c"]], ids=["one", "many"])
async def test_a_full_queue_sends_one_and_many_away_alike(texts: list[str]) -> None:
    """Over the bound the answer is Busy, with a time to come back; nothing of the request is taken."""
    model = FakeEmbedder()
    async with running(model, max_waiting_texts=2) as engine:
        model.gate.clear()
        head = asyncio.create_task(engine.embed(["head"], "document", truncate=True))
        await until(lambda: computed(model, "head") == 1)
        full = asyncio.create_task(engine.embed(["x", "y"], "document", truncate=True))
        await until(lambda: engine.waiting_texts == 2)
        with pytest.raises(Busy) as caught:
            await engine.embed(texts, "document", truncate=True)
        assert caught.value.retry_after_seconds is not None
        assert 1 <= caught.value.retry_after_seconds <= 30
        assert engine.waiting_texts == 2
        model.gate.set()
        await asyncio.gather(head, full)


async def test_a_long_text_is_cut_and_said_so_or_refused() -> None:
    """Nothing is cut silently: the answer has the whole length, and a caller may refuse, cached or not."""
    async with running(FakeEmbedder(max_tokens=16)) as engine:
        answers = await engine.embed(["a" * 14, "a" * 15], "document", truncate=True)
        assert [(one.tokens, one.truncated) for one in answers.embedded] == [(16, False), (17, True)]
        for text in ("a" * 15, "b" * 20):
            with pytest.raises(TooLong, match=rf"text 1 has {len(text) + 2} tokens.*16"):
                await engine.embed(["fine", text], "document", truncate=False)


async def test_nothing_is_answered_while_the_model_loads() -> None:
    """Before the first forward pass the answer is "come back", not a wait without end."""
    engine = Engine(FakeEmbedder, VectorCache(0))
    with pytest.raises(NotReady) as caught:
        await engine.embed(["a"], "document", truncate=True)
    assert caught.value.retry_after_seconds == 2
    assert engine.state() == "loading"


class SecondStreamLate(FakeEmbedder):
    """A model of two streams, of which the second takes its time with its first pass."""

    def forward(self, batch: Sequence[Sequence[int]], *, alone: bool = False) -> NDArray[np.float32]:
        """Close the gate before the second pass."""
        if len(self.forwards) == 1:
            self.gate.clear()
        return super().forward(batch, alone=alone)


async def test_a_model_is_loading_until_every_stream_has_made_a_pass() -> None:
    """Healthy means that the next request is taken: not while a stream still warms up."""
    model = SecondStreamLate(streams=2)
    engine = Engine(lambda: model, VectorCache(0))
    async with asyncio.TaskGroup() as tasks:
        computing = tasks.create_task(engine.run())
        await until(lambda: len(model.forwards) == 2)
        assert engine.last_forward_age_seconds() is not None
        assert engine.state() == "loading"
        model.gate.set()
        await engine.until_loaded()
        assert engine.state() == "healthy"
        computing.cancel()


async def test_a_service_that_leaves_fails_what_is_left() -> None:
    """A request that the service can no longer do gets an answer, and never hangs."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.gate.clear()
        waiting = asyncio.create_task(engine.embed(["a"], "document", truncate=True))
        await until(lambda: computed(model, "a") == 1)
    with pytest.raises(NotReady):
        await waiting


async def test_a_request_too_large_for_the_limits_is_taken_by_an_idle_engine_only() -> None:
    """Nobody waits for ever: alone it is admitted, whatever its size; while anything waits it is sent away."""
    model = FakeEmbedder()
    large = [f"{number:04}" for number in range(50)]
    async with running(model, max_waiting_texts=20) as engine:
        assert len((await engine.embed(large, "document", truncate=True)).embedded) == 50
        model.gate.clear()
        head = asyncio.create_task(engine.embed(["head"], "document", truncate=True))
        await until(lambda: computed(model, "head") == 1)
        waits = asyncio.create_task(engine.embed(["waits"], "document", truncate=True))
        await until(lambda: engine.waiting_texts == 1)
        with pytest.raises(Busy):
            await engine.embed([text + "!" for text in large], "document", truncate=True)
        fits = asyncio.create_task(engine.embed(["x", "y"], "document", truncate=True))
        await until(lambda: engine.waiting_texts == 3)
        model.gate.set()
        await asyncio.gather(head, waits, fits)


async def test_what_waits_is_bounded_in_tokens_too() -> None:
    """Few texts may be many tokens: over the bound the answer is Busy as well."""
    model = FakeEmbedder()
    engine = Engine(lambda: model, VectorCache(0), limits=Limits(1000, 40))
    async with served(engine):
        model.gate.clear()
        head = asyncio.create_task(engine.embed(["head"], "document", truncate=True))
        await until(lambda: computed(model, "head") == 1)
        waits = asyncio.create_task(engine.embed(["a" * 14, "b" * 14], "document", truncate=True))
        await until(lambda: engine.waiting_texts == 2)
        with pytest.raises(Busy, match="40 tokens"):
            await engine.embed(["c" * 14], "document", truncate=True)
        small = asyncio.create_task(engine.embed(["d"], "document", truncate=True))
        await until(lambda: engine.waiting_texts == 3)
        model.gate.set()
        await asyncio.gather(head, waits, small)


class SlowToTokenize(FakeEmbedder):
    """Its tokenizer works only while `open` is set."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.open.set()
        self.encoding = 0

    def encode(self, texts: Sequence[str], prompt: Prompt) -> list[Encoded]:
        """Count the call, and wait."""
        self.encoding += 1
        self.open.wait()
        return super().encode(texts, prompt)


async def test_what_the_tokenizer_is_at_counts_as_a_wait() -> None:
    """By its bytes and by the pace of the last large texts; who comes next is told, and a free tokenizer takes all."""
    model = SlowToTokenize()
    large = "a" * 20_000
    engine = Engine(lambda: model, VectorCache(0), limits=Limits(small_seconds=1e-9))
    async with served(engine):
        await engine.embed([large], "document", truncate=True)  # tells the pace
        model.open.clear()
        begun = model.encoding
        ahead = asyncio.create_task(engine.embed([large + "!"], "document", truncate=True))
        await until(lambda: model.encoding > begun)
        try:
            for late in (engine.embed(["query"], "query", truncate=True), engine.tokenize(["text"])):
                with pytest.raises(Busy, match="waiting already") as refused:
                    await late
                assert refused.value.retry_after_seconds == 1
        finally:
            model.open.set()
        await ahead
        await engine.embed(["query"], "query", truncate=True)


@contextlib.asynccontextmanager
async def served(engine: Engine) -> AsyncGenerator[None]:
    """Run an engine for as long as the block lasts."""
    async with asyncio.TaskGroup() as tasks:
        computing = tasks.create_task(engine.run())
        await engine.until_loaded()
        yield
        computing.cancel()


@pytest.mark.parametrize("text", ["query", "1999"], ids=["another text", "a text of the bulk"])
async def test_a_query_that_comes_after_a_bulk_does_not_wait_for_it(text: str) -> None:
    """Of a request with 2,000 texts a batch is being computed; the query that comes then is in one of the next two."""
    model = FakeEmbedder()
    async with running(model, max_waiting_texts=4000) as engine:
        model.gate.clear()
        texts = [f"{number:04}" for number in range(2000)]
        bulk = asyncio.create_task(engine.embed(texts, "document", truncate=True))
        await until(lambda: len(model.forwards) == 2)
        query = asyncio.create_task(engine.embed([text], "document", truncate=True))
        await engine.tokenize(["what is tokenised after the query"])
        model.gate.set()
        await query
        ids = model.encode([text], "document")[0].ids
        place = next(place for place, batch in enumerate(model.forwards) if ids in [tuple(one) for one in batch])
        assert len((await bulk).embedded) == 2000
    assert place <= 3


async def test_a_bulk_advances_while_queries_keep_coming() -> None:
    """With a query waiting at all times, a bulk is done after four times as many batches as it needs alone."""
    model = FakeEmbedder(budget_tokens=16)
    async with running(model) as engine:
        bulk = asyncio.create_task(
            engine.embed(["a" * 12 + chr(200 + n) for n in range(20)], "document", truncate=True)
        )
        await until(lambda: engine.texts_in_flight == 20)
        asked = [asyncio.create_task(engine.embed([f"{n:012}"], "query", truncate=True)) for n in (1, 2)]
        for number in range(3, 200):
            await asyncio.wait(asked, return_when=asyncio.FIRST_COMPLETED)
            asked = [one for one in asked if not one.done()]
            if bulk.done():
                break
            asked.append(asyncio.create_task(engine.embed([f"{number:012}"], "query", truncate=True)))
        assert len((await bulk).embedded) == 20
        await asyncio.gather(*asked)
    assert len(model.forwards) <= 1 + 4 * 20 + 4


async def test_a_bulk_whose_client_left_is_computed_no_further() -> None:
    """Of a request that needs many batches, those that have not begun are dropped when it is cancelled."""
    model = FakeEmbedder()
    async with running(model, max_waiting_texts=1000) as engine:
        model.gate.clear()
        bulk = asyncio.create_task(engine.embed([f"{number:04}" for number in range(500)], "document", truncate=True))
        await until(lambda: len(model.forwards) == 2)
        bulk.cancel()
        await until(lambda: engine.texts_in_flight == 0)
        model.gate.set()
        await engine.embed(["next"], "document", truncate=True)
    assert len(model.forwards) == 3


async def test_a_pass_that_hangs_makes_the_engine_unhealthy(monkeypatch: pytest.MonkeyPatch) -> None:
    """A forward pass that runs for more than a minute is no longer trusted to end."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.gate.clear()
        asking = asyncio.create_task(engine.embed(["text"], "document", truncate=True))
        await until(lambda: computed(model, "text") == 1)
        before = engine.state()
        later = time.monotonic() + 61
        with monkeypatch.context() as patched:
            patched.setattr("aya_embedder.streams.time.monotonic", lambda: later)
            hanging = engine.state()
        model.gate.set()
        await asking
    assert (before, hanging) == ("healthy", "unhealthy")


@pytest.mark.parametrize("streams", [1, 2])
async def test_a_text_that_boards_while_the_model_is_proved_is_computed(streams: int) -> None:
    """Nobody else need ask after it: when the pass that proves an idle model has ended, the text has its turn."""
    model = FakeEmbedder(streams=streams)
    async with running(model) as engine:
        model.gate.clear()
        proving = asyncio.create_task(engine.prove())
        await until(lambda: len(model.forwards) == 2 * streams)
        asking = asyncio.create_task(engine.embed(["text"], "document", truncate=True))
        await until(lambda: engine.waiting_texts == 1)
        model.gate.set()
        await proving
        async with asyncio.timeout(10):
            assert len((await asking).embedded) == 1


async def test_token_ids_are_used_as_they_are() -> None:
    """Ids get the special tokens of the model and no prefix: the vector of the same text, under a key of its own."""
    model = FakeEmbedder()
    ids = tuple(map(ord, "text"))
    async with running(model) as engine:
        answer = await engine.embed(["text", ids], "document", truncate=True)
        asked = await engine.embed([ids], "query", truncate=True)
        again = await engine.embed([ids], "document", truncate=True)
        long = await engine.embed([(7,) * 20], "document", truncate=True)
    text, same = answer.embedded
    assert (text.vector, text.tokens) == (same.vector, same.tokens)
    assert asked.embedded[0].vector == same.vector
    assert [one.cached for one in (text, same, again.embedded[0])] == [False, False, True]
    assert (long.embedded[0].tokens, long.embedded[0].truncated) == (22, True)


@pytest.mark.parametrize("wrong", [-1, 0x110000, 2**40, -(2**70)])
async def test_a_token_id_outside_the_vocabulary_is_refused(wrong: int) -> None:
    """The error names the text, and nothing is computed."""
    model = FakeEmbedder()
    async with running(model) as engine:
        with pytest.raises(Invalid, match="text 1 has a token id that is not from 0 to 1114111"):
            await engine.embed(["fine", (5, wrong)], "document", truncate=True)
    assert len(model.forwards) == 1


async def test_an_answer_says_where_its_time_went() -> None:
    """Parts are in the total; what waits has queue time, what was cached has none and cost the model no tokens."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.gate.clear()
        head = asyncio.create_task(engine.embed(["head"], "document", truncate=True))
        await until(lambda: computed(model, "head") == 1)
        waited = asyncio.create_task(engine.embed(["waits"], "document", truncate=True))
        await until(lambda: engine.waiting_texts == 1)
        model.gate.set()
        first, second = (await head).timings, (await waited).timings
        cached = (await engine.embed(["head"], "document", truncate=True)).timings
    for one in (first, second):
        parts = (one.tokenization_seconds, one.queue_seconds, one.inference_seconds)
        assert min(parts) > 0
        assert sum(parts) <= one.total_seconds
    assert second.queue_seconds > first.queue_seconds
    assert (first.compute_tokens, second.compute_tokens, cached.compute_tokens) == (6, 7, 0)
    assert (cached.queue_seconds, cached.inference_seconds) == (0, 0)


class Recorder:
    """Keeps what an observer is told."""

    def __init__(self) -> None:
        self.batches: list[tuple[int, int]] = []

    def batch_computed(self, texts: int, tokens: int, seconds: float) -> None:
        """Keep what does not depend on the clock."""
        assert seconds > 0
        self.batches.append((texts, tokens))


async def test_an_observer_hears_of_every_batch() -> None:
    """Of those that were computed, the probe after a failure among them; the counters know of the requests."""
    model, recorder = FakeEmbedder(), Recorder()
    engine = Engine(lambda: model, VectorCache(1024 * 1024), observer=recorder)
    async with served(engine):
        del recorder.batches[:]
        await engine.embed(["ab", "cd"], "document", truncate=True)
        await engine.embed(["ab"], "document", truncate=True)
        with pytest.raises(Failed):
            await engine.embed(["☠"], "document", truncate=True)
    probe = len(model.encode(["The first forward pass proves that the model works."], "document")[0].ids)
    assert recorder.batches == [(2, 8), (1, probe)]
    counters = engine.counters
    assert (counters.requests, counters.texts, counters.failed_texts) == (2, 3, 1)
    assert (counters.hits_memory, counters.hits_disk, counters.misses) == (1, 0, 2)


async def test_an_engine_that_stops_accepting_finishes_what_it_has() -> None:
    """New requests are sent away with a time to come back; the accepted one gets its vectors."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.gate.clear()
        accepted = asyncio.create_task(engine.embed(["text"], "document", truncate=True))
        await until(lambda: computed(model, "text") == 1)
        assert not engine.idle
        engine.stop_accepting()
        with pytest.raises(NotReady) as caught:
            await engine.embed(["text"], "document", truncate=True)
        model.gate.set()
        assert len((await accepted).embedded) == 1
        assert engine.idle
    assert caught.value.retry_after_seconds == 2


async def test_what_memory_has_is_answered_at_once_or_not_at_all() -> None:
    """The same vectors and counts as by embed; one text that is not there, and nothing is done or counted."""
    model = FakeEmbedder()
    async with running(model) as engine:
        first = await engine.embed(["a", "b" * 40], "document", truncate=True)
        known = engine.remembered(["b" * 40, "a"], "document", truncate=True)
        before = engine.counters.as_dict()
        assert engine.remembered(["a", "new"], "document", truncate=True) is None
        assert engine.counters.as_dict() == before
        with pytest.raises(TooLong, match="text 1"):
            engine.remembered(["a", "b" * 40], "document", truncate=False)
        engine.stop_accepting()
        assert engine.remembered(["a"], "document", truncate=True) is None
    assert known is not None
    assert [one.vector for one in known.embedded] == [one.vector for one in reversed(first.embedded)]
    assert [(one.truncated, one.cached) for one in known.embedded] == [(True, True), (False, True)]
    assert before["hits_memory"] == 2


async def test_an_unloaded_model_is_freed_when_its_threads_have_ended() -> None:
    """The event loop goes on while a pass still runs, and the memory is not given up for lost."""
    model = FakeEmbedder()
    engine = Engine(lambda: model, VectorCache(0))
    computing = asyncio.create_task(engine.run())
    await engine.until_loaded()
    model.gate.clear()
    asking = asyncio.create_task(engine.embed(["text"], "document", truncate=True))
    await until(lambda: computed(model, "text") == 1)
    engine.unload()
    computing.cancel()
    await asyncio.wait([asking])
    assert (computing.done(), model.closed) == (False, False)
    model.gate.set()
    await asyncio.wait([computing])
    assert model.closed
    assert isinstance(asking.exception(), NotLoaded)


async def test_a_service_that_leaves_does_not_wait_for_a_pass_that_hangs(monkeypatch: pytest.MonkeyPatch) -> None:
    """The process ends soon anyway; what still computes keeps its memory until then."""
    monkeypatch.setattr("aya_embedder.engine._THREAD_STOP_SECONDS", 0.05)
    model = FakeEmbedder()
    engine = Engine(lambda: model, VectorCache(0))
    computing = asyncio.create_task(engine.run())
    await engine.until_loaded()
    model.gate.clear()
    asking = asyncio.create_task(engine.embed(["text"], "document", truncate=True))
    await until(lambda: computed(model, "text") == 1)
    computing.cancel()
    await asyncio.wait([computing, asking], timeout=10)
    ended = computing.done()
    model.gate.set()
    assert (ended, model.closed) == (True, False)
    assert isinstance(asking.exception(), NotReady)


async def test_a_batch_has_the_machine_for_itself_while_nothing_runs_beside_it() -> None:
    """The first stream's batch is alone; the second's, which begins while that one computes, is not."""
    model = FakeEmbedder(streams=2)
    async with running(model) as engine:
        model.gate.clear()
        first = asyncio.create_task(engine.embed(["first"], "document", truncate=True))
        await until(lambda: computed(model, "first") == 1)
        second = asyncio.create_task(engine.embed(["second"], "document", truncate=True))
        await until(lambda: computed(model, "second") == 1)
        model.gate.set()
        await asyncio.gather(first, second)
    assert model.alone[2:] == [True, False]


class Paced(FakeEmbedder):
    """Each pass takes eight seconds of its own clock. Implements the clock of streams.py."""

    now = 0.0

    def forward(self, batch: Sequence[Sequence[int]], *, alone: bool = False) -> NDArray[np.float32]:
        """Let the time pass."""
        self.now += 8
        return super().forward(batch, alone=alone)

    def monotonic(self) -> float:
        """Return the time."""
        return self.now


def paces(monkeypatch: pytest.MonkeyPatch, clock: Paced) -> list[tuple[int, float]]:
    """Have the streams go by `clock`, and return the list to which each batch's tokens and seconds will be added."""
    seen = list[tuple[int, float]]()

    def computed(_: Pace, tokens: int, seconds: float) -> None:
        seen.append((tokens, seconds))

    monkeypatch.setattr("aya_embedder.streams.time", clock)
    monkeypatch.setattr(Pace, "computed", computed)
    return seen


@pytest.mark.parametrize(
    ("streams", "texts"),
    [
        pytest.param(2, ["ab"], id="a batch that succeeds"),
        pytest.param(1, ["ab", "☠"], id="a batch that is isolated first"),
    ],
)
async def test_the_pace_of_a_batch_with_all_cores_is_that_of_its_own_pass(
    monkeypatch: pytest.MonkeyPatch, streams: int, texts: list[str]
) -> None:
    """Nothing ran beside it, so its time is not halved by there being two streams; nor do failed passes count."""
    model = Paced(streams=streams, budget_tokens=16)
    seen = paces(monkeypatch, model)
    async with running(model) as engine:
        await asyncio.wait([asyncio.create_task(engine.embed(texts, "document", truncate=True))])
    assert seen == [(4, 8)]


async def test_the_pace_of_a_batch_beside_another_is_shared(monkeypatch: pytest.MonkeyPatch) -> None:
    """The second stream's batch began when the first's ran, and counts half of its time."""
    model = Paced(streams=2, budget_tokens=16)
    seen = paces(monkeypatch, model)
    async with running(model) as engine:
        model.gate.clear()
        first = asyncio.create_task(engine.embed(["first"], "document", truncate=True))
        await until(lambda: computed(model, "first") == 1)
        second = asyncio.create_task(engine.embed(["second"], "document", truncate=True))
        await until(lambda: computed(model, "second") == 1)
        model.gate.set()
        await asyncio.gather(first, second)
    assert sorted(seen) == [(7, 16), (8, 4)]


async def test_the_pace_of_a_small_batch_says_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    """It takes as long as a larger one: a query at night must not have the morning's requests sent away."""
    model = Paced(budget_tokens=64)
    seen = paces(monkeypatch, model)
    async with running(model) as engine:
        await engine.embed(["a" * 13], "document", truncate=True)
        await engine.embed(["b" * 14], "document", truncate=True)
    assert seen == [(16, 8)]


async def test_a_batch_is_not_alone_while_others_wait() -> None:
    """Of five texts four fill a batch, with one behind them; that one is the last, and alone."""
    model = FakeEmbedder()
    async with running(model) as engine:
        await engine.embed([f"{number:014}" for number in range(5)], "document", truncate=True)
    assert model.alone[1:] == [False, True]
