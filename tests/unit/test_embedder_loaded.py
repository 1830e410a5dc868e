"""Several models in one process, over fakes: names, the default, making room, failures that stay their own."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import pytest

from aya.errors import ConfigError, EmbedderUnavailable
from aya_embedder.cache import VectorCache
from aya_embedder.fake import FakeEmbedder, one_of, running_models
from aya_embedder.loaded import LoadedModels
from aya_embedder.problems import ModelsFull, NotLoaded, NotReady, UnknownModel


async def until(condition: Callable[[], bool]) -> None:
    """Let the event loop run until something is so."""
    async with asyncio.timeout(10):
        while not condition():  # noqa: ASYNC110 any condition, and each turn lets the engines go on
            await asyncio.sleep(0)


def states(models: LoadedModels) -> dict[str, str]:
    """Return the state of each model by source."""
    return {status.source: status.state for status in models.statuses()}


async def test_each_model_answers_with_its_own_vectors() -> None:
    """Two models side by side, one cache: the same text has two vectors, and each is cached by itself."""
    one, two = FakeEmbedder("one"), FakeEmbedder("two")
    async with running_models(one, two) as models:
        first = (await models.find(None).embed(["text"], "document", truncate=True)).embedded[0]
        other = (await models.find("two").embed(["text"], "document", truncate=True)).embedded[0]
        again = (await models.find("two").embed(["text"], "document", truncate=True)).embedded[0]
    assert (first.cached, other.cached, again.cached) == (False, False, True)
    assert [len(one.forwards), len(two.forwards)] == [2, 2]


async def test_a_model_has_four_names() -> None:
    """Source, fingerprint, the full name and its last part all find it; None is the default."""
    other = FakeEmbedder("BAAI/other")
    async with running_models(FakeEmbedder("first"), other) as models:
        names = ("BAAI/other", "other", other.identity.fingerprint)
        assert {models.find(name) for name in names} == {models.find("other")}
        assert models.find(None) is models.default is models.find("first") is not models.find("other")
        with pytest.raises(NotLoaded, match=r"'nobody'.*BAAI/other, first"):
            models.find("nobody")


async def test_a_model_that_is_loading_says_so() -> None:
    """Loading begins at once and is answered at once; until it is ready, its work is sent away for a while."""
    slow = FakeEmbedder("slow")
    slow.gate.clear()
    async with running_models(FakeEmbedder(), spare=[slow]) as models:
        begun = models.load("slow", default=False)
        assert (begun.state, begun.identity, begun.default) == ("loading", None, False)
        with pytest.raises(NotReady) as caught:
            models.find("slow")
        assert caught.value.retry_after_seconds == 2
        assert models.load("slow", default=False) == begun
        slow.gate.set()
        await models.until_loaded("slow")
        assert models.load("slow", default=False).identity == slow.identity
    assert len(slow.forwards) == 1


async def test_a_model_becomes_the_default_once_it_is_ready() -> None:
    """Until then the old one answers; of several wishes the last one counts."""
    slow, quick = FakeEmbedder("slow"), FakeEmbedder("quick")
    slow.gate.clear()
    async with running_models(FakeEmbedder("first"), quick, spare=[slow], most=3) as models:
        assert not models.load("slow", default=True).default
        assert models.default is models.find("first")
        assert models.load("quick", default=True).default
        slow.gate.set()
        await models.until_loaded("slow")
        assert models.default is models.find("quick")
        assert [status.source for status in models.statuses()] == ["quick", "first", "slow"]
        assert models.load("slow", default=True).default
        assert models.default is models.find("slow")


@pytest.mark.parametrize(
    ("fault", "error", "hint"),
    [
        (EmbedderUnavailable("no network", hint="connect"), "no network", "connect"),
        (MemoryError("too big"), "MemoryError: too big", "see the embedder's log"),
    ],
)
async def test_a_load_that_fails_harms_nobody_else(fault: Exception, error: str, hint: str) -> None:
    """The default stays and answers; the failure is listed with what to do, and another try may succeed."""
    bad = FakeEmbedder("bad")
    bad.unloadable = fault
    async with running_models(FakeEmbedder("first"), spare=[bad]) as models:
        models.load("bad", default=True)
        await until(lambda: states(models)["bad"] == "failed")
        failed = models.statuses()[1]
        assert (failed.error, failed.hint, failed.default) == (error, hint, False)
        with pytest.raises(NotLoaded):
            models.find("bad")
        assert (await models.find(None).embed(["text"], "document", truncate=True)).embedded
        bad.unloadable = None
        models.load("bad", default=False)
        await models.until_loaded("bad")
        assert models.default is models.find("first")
        assert states(models) == {"first": "ready", "bad": "ready"}


async def test_failures_are_listed_but_not_without_end() -> None:
    """Of many sources that could not be loaded, the last eight are remembered."""
    bad = [FakeEmbedder(f"bad-{number}") for number in range(10)]
    async with running_models(FakeEmbedder("first"), spare=bad) as models:
        for one in bad:
            one.unloadable = ConfigError("no weights")
            models.load(one.identity.model, default=False)
            await until(lambda: "loading" not in states(models).values())
        assert list(states(models)) == ["first", *(f"bad-{number}" for number in range(2, 10))]


async def test_a_default_that_cannot_be_loaded_ends_the_process() -> None:
    """What loading raised reaches the caller of run: the process exits 1 with its sentence."""
    bad = FakeEmbedder()
    bad.unloadable = ConfigError("no weights")
    with pytest.RaisesGroup(pytest.RaisesExc(ConfigError, match="no weights"), flatten_subgroups=True):
        async with running_models(bad):
            pytest.fail("the default is not there")


def test_a_default_that_is_no_model_is_refused_at_once() -> None:
    """Nothing is started for it."""
    with pytest.raises(ConfigError, match="gpt-7"):
        LoadedModels(lambda _: FakeEmbedder(), VectorCache(0), default="gpt-7", resolve=lambda name: one_of({}, name))


async def test_a_source_that_is_no_model_is_refused() -> None:
    """The answer is the resolver's sentence, and nothing is listed."""
    async with running_models(FakeEmbedder()) as models:
        with pytest.raises(UnknownModel, match="gpt-7"):
            models.load("gpt-7", default=False)
        assert list(states(models)) == ["fake"]


async def test_the_model_used_longest_ago_makes_room() -> None:
    """A third model takes the place of the least recently used one that is not the default, whose memory is freed."""
    first, old, used, third = (FakeEmbedder(name) for name in ("first", "old", "used", "third"))
    async with running_models(first, old, used, spare=[third], most=3) as models:
        models.find("old")
        models.find("used")
        models.find("first")
        models.load("third", default=False)
        await models.until_loaded("third")
        assert states(models) == {"first": "ready", "third": "ready", "used": "ready"}
        assert [one.closed for one in (first, old, used, third)] == [False, True, False, False]
        with pytest.raises(NotLoaded):
            models.find("old")


async def test_a_model_at_work_is_not_unloaded() -> None:
    """While it computes, loading another is refused; when it is done, it makes room."""
    busy, third = FakeEmbedder("busy"), FakeEmbedder("third")
    async with running_models(FakeEmbedder("first"), busy, spare=[third]) as models:
        busy.gate.clear()
        asking = asyncio.create_task(models.find("busy").embed(["text"], "document", truncate=True))
        await until(lambda: len(busy.forwards) == 2)
        with pytest.raises(ModelsFull) as caught:
            models.load("third", default=False)
        assert caught.value.hint
        busy.gate.set()
        assert len((await asking).embedded) == 1
        models.load("third", default=False)
        await until(lambda: busy.closed)


async def test_a_model_that_computes_for_nobody_any_more_is_not_unloaded() -> None:
    """A batch cannot be interrupted, and its client's leaving does not end it: its memory could not be freed."""
    busy, third = FakeEmbedder("busy"), FakeEmbedder("third")
    async with running_models(FakeEmbedder("first"), busy, spare=[third]) as models:
        busy.gate.clear()
        asking = asyncio.create_task(models.find("busy").embed(["text"], "document", truncate=True))
        await until(lambda: len(busy.forwards) == 2)
        asking.cancel()
        await asyncio.wait([asking])
        with pytest.raises(ModelsFull):
            models.load("third", default=False)
        busy.gate.set()
        await until(lambda: models.find("busy").idle)
        models.load("third", default=False)
        await models.until_loaded("third")
        assert busy.closed


async def test_a_request_that_comes_as_its_model_is_unloaded_learns_so() -> None:
    """Between the finding of the engine and its first step the model may go: that is no leaving of the service."""
    async with running_models(FakeEmbedder("first"), FakeEmbedder("old"), spare=[FakeEmbedder("new")]) as models:
        engine = models.find("old")
        models.load("new", default=False)
        with pytest.raises(NotLoaded):
            await engine.embed(["text"], "document", truncate=True)
        with pytest.raises(NotLoaded):
            await engine.tokenize(["text"])


async def test_a_model_that_is_loading_or_promised_is_not_unloaded() -> None:
    """What somebody has just asked for is not thrown out for the next wish."""
    slow, third = FakeEmbedder("slow"), FakeEmbedder("third")
    slow.gate.clear()
    async with running_models(FakeEmbedder("first"), spare=[slow, third]) as models:
        models.load("slow", default=False)
        with pytest.raises(ModelsFull):
            models.load("third", default=False)


async def test_the_former_default_can_be_unloaded() -> None:
    """When another model is the default, the first one is like any other."""
    first, second, third = (FakeEmbedder(name) for name in ("first", "second", "third"))
    async with running_models(first, second, spare=[third]) as models:
        models.load("second", default=True)
        models.load("third", default=False)
        await models.until_loaded("third")
        assert states(models) == {"second": "ready", "third": "ready"}
        assert first.closed


async def test_a_service_that_leaves_takes_nothing_new_and_finishes_the_rest() -> None:
    """After stop_accepting new requests and new models are sent away, on every model; accepted ones are computed."""
    one, two = FakeEmbedder("one"), FakeEmbedder("two")
    async with running_models(one, two) as models:
        two.gate.clear()
        asking = asyncio.create_task(models.find("two").embed(["text"], "document", truncate=True))
        await until(lambda: len(two.forwards) == 2)
        models.stop_accepting()
        for name in ("one", "two"):
            with pytest.raises(NotReady):
                await models.find(name).embed(["late"], "document", truncate=True)
            with pytest.raises(NotReady):
                await models.find(name).tokenize(["late"])
        with pytest.raises(NotReady):
            models.load("two", default=True)
        two.gate.set()
        assert len((await asking).embedded) == 1


async def test_giving_up_answers_what_is_left_on_every_model() -> None:
    """A request that can no longer be computed gets NotReady, whichever model it is at."""
    one, two = FakeEmbedder("one"), FakeEmbedder("two")
    async with running_models(one, two) as models:
        one.gate.clear()
        two.gate.clear()
        asking = [
            asyncio.create_task(models.find(name).embed(["text"], "document", truncate=True)) for name in ("one", "two")
        ]
        await until(lambda: len(one.forwards) == len(two.forwards) == 2)
        models.give_up()
        outcomes = await asyncio.gather(*asking, return_exceptions=True)
    assert [type(outcome) for outcome in outcomes] == [NotReady, NotReady]
