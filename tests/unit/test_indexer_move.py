"""What the indexer decides about a move to another model, enumerated."""

from __future__ import annotations

import itertools
from dataclasses import replace
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya import errors
from aya.identity import ModelIdentity, ModelStatus
from aya.knowledge.models import Bound, Move, Phase
from aya_indexer.move import (
    FEWEST_ROWS,
    MOST_ROWS,
    Order,
    Seen,
    Suspect,
    blame,
    decide,
    is_suspect,
    left_over,
    next_size,
    orders,
    smoothed,
)

MINI = ModelIdentity("a" * 16, "minilm", "r1", 384, "mean", True, "", "", 256)  # noqa: FBT003
BASE = ModelIdentity("b" * 16, "bge-base", "r2", 768, "cls", True, "query: ", "", 512)  # noqa: FBT003
HAS_MINI = ModelStatus("minilm", "ready", default=True, error=None, hint=None, identity=MINI)
HAS_BASE = ModelStatus("bge", "ready", default=False, error=None, hint=None, identity=BASE)
TO_BASE = Move(BASE, "bge", "running", "aya_user", datetime(2026, 1, 1, tzinfo=UTC), None, None)
PHASES: tuple[Phase | None, ...] = (None, "preparing", "running", "paused")


def test_every_observation_has_a_step_that_keeps_the_rules() -> None:
    """Nothing is written while a move rests; it ends only when nothing is missing; what it left is queued after it."""
    steps: set[str] = set()
    for phase, missing, exceptions in itertools.product(PHASES, (False, True), (False, True)):
        decision = decide(Seen(phase, missing=missing, exceptions=exceptions))
        assert decision.reason
        assert (decision.step in {"fill", "switch"}) == (phase == "running")
        assert (decision.step == "switch") == (phase == "running" and not missing)
        assert (decision.step == "queue_exceptions") == (phase is None and exceptions)
        steps.add(decision.step)
    assert steps == {"rest", "queue_exceptions", "fill", "switch"}


@given(st.integers(FEWEST_ROWS, MOST_ROWS), st.floats(0, 1000))
def test_a_batch_takes_about_half_a_second(rows: int, seconds: float) -> None:
    """Quick ones grow and slow ones shrink: a pause is heeded soon, and the embedder is kept busy."""
    size = next_size(rows, seconds)
    assert FEWEST_ROWS <= size <= MOST_ROWS
    if seconds < 0.25:
        assert size >= rows
    elif seconds > 0.75:
        assert size <= rows
    else:
        assert size == rows


def test_the_speed_follows_the_latest_batches() -> None:
    """The first batch is the speed, the later ones bend it; a batch that took no time divides by nothing."""
    assert smoothed(None, 10, 2.0) == 5.0
    assert smoothed(10.0, 10, 0.5) == pytest.approx(13.0)
    assert smoothed(None, 16, 0.0) == 16_000


def test_a_base_that_is_never_quiet_is_switched_all_the_same() -> None:
    """At first not one chunk may be left over, after many tries a few."""
    assert [left_over(tries) for tries in (0, 19, 20, 500)] == [0, 0, 100, 100]


@pytest.mark.parametrize(
    ("models", "source", "move", "expected"),
    [
        ([HAS_MINI], "minilm", None, []),
        ([HAS_MINI, HAS_BASE], "minilm", TO_BASE, []),
        ([HAS_MINI], "minilm", TO_BASE, [Order("bge", default=False)]),
        ([HAS_MINI], None, None, []),
        ([replace(HAS_BASE, default=True)], "minilm", None, [Order("minilm", default=True)]),
        ([replace(HAS_BASE, default=True)], None, None, []),
        (
            [replace(HAS_BASE, default=True), replace(HAS_MINI, default=False)],
            "minilm",
            None,
            [Order("minilm", default=True)],
        ),
        ([replace(HAS_MINI, state="loading", identity=None)], "minilm", None, [Order("minilm", default=True)]),
        (
            [HAS_MINI, replace(HAS_BASE, state="failed", identity=None)],
            "minilm",
            TO_BASE,
            [Order("bge", default=False)],
        ),
        ([], "minilm", TO_BASE, [Order("minilm", default=True), Order("bge", default=False)]),
    ],
)
def test_the_embedder_is_told_what_the_base_has_and_where_it_goes(
    models: list[ModelStatus], source: str | None, move: Move | None, expected: list[Order]
) -> None:
    """The base's model is the default, the next one is loaded ahead; what is so already is not ordered."""
    assert orders(models, Bound(MINI, source), move) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.TextTooLong("x"), "text"),
        (errors.EmbedderError("x", status=413), "text"),
        (errors.EmbedderError("x", status=422), "text"),
        (errors.EmbedderError("x", status=500), "unclear"),
        *((errors.EmbedderError("x", status=status), "system") for status in (None, 400, 401, 403, 408, 504)),
        (errors.EmbedderOverloaded("x"), "system"),
        (errors.EmbedderUnavailable("x"), "system"),
        (errors.ModelNotLoaded("x", status=404), "system"),
    ],
)
def test_a_text_is_blamed_only_for_what_speaks_of_it(error: errors.EmbedderError, expected: str) -> None:
    """A base whose chunks are given up for the embedder's own faults loses its vectors."""
    assert blame(error) == expected


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (errors.EmbedderUnavailable("x"), True),
        (errors.EmbedderError("x", status=504), True),
        (errors.EmbedderError("x", status=401), False),
        (errors.EmbedderOverloaded("x"), False),
        (errors.ModelMismatch("x"), False),
    ],
)
def test_a_text_is_suspected_of_what_ends_the_embedder(error: errors.EmbedderError, *, expected: bool) -> None:
    """Not of what the embedder says about itself."""
    assert is_suspect(error) == expected


def test_a_chunk_is_convicted_by_three_failures_of_it_alone() -> None:
    """Those of several chunks count for nobody; another chunk, or another text, begins anew."""
    suspect = Suspect()
    for expected in (False, False, True):
        suspect = suspect.failed([(1, "x"), (2, "x")]).failed([(1, "x")])
        assert suspect.convicted == expected
    assert suspect.failed([(1, "edited")]) == Suspect((1, "edited"), 1)
