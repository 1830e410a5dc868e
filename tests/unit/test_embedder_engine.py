"""The engine over a fake model: one flight per text, isolation of poison, cancellation, overload, honest health."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import numpy as np
import pytest

from aya_embedder.cache import VectorCache
from aya_embedder.engine import Engine
from aya_embedder.fake import FakeEmbedder, running
from aya_embedder.problems import Busy, Failed, NotReady, TooLong


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


async def test_a_service_that_leaves_fails_what_is_left() -> None:
    """A request that the service can no longer do gets an answer, and never hangs."""
    model = FakeEmbedder()
    async with running(model) as engine:
        model.gate.clear()
        waiting = asyncio.create_task(engine.embed(["a"], "document", truncate=True))
        await until(lambda: computed(model, "a") == 1)
    with pytest.raises(NotReady):
        await waiting
