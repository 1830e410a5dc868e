"""What the indexer decides, enumerated."""

from __future__ import annotations

import itertools

import pytest

from aya import errors
from aya_indexer.plan import Observed, decide, fault_of


def test_every_observation_has_a_decision_that_keeps_the_rules() -> None:
    """Current chunks are never cut again, a person's own work never joined, and no vector is left missing."""
    for current, own, hand, missing in itertools.product((False, True), (False, True), (0, 1), (0, 1)):
        if current and not own:
            continue
        plan = decide(Observed(own_is_current=current, has_own=own, hand_chunks=hand, without_vector=missing))
        assert plan.embed == (missing > 0)
        assert plan.rechunk == (not current and (own or hand == 0))
        assert plan.reason


@pytest.mark.parametrize(
    ("error", "fault"),
    [
        (errors.TextTooLong("x"), "document"),
        (errors.DocumentError("x"), "document"),
        (errors.EmbedderError("x"), "document"),
        (errors.DatabaseError("x"), "document"),
        (errors.EmbedderUnavailable("x"), "system"),
        (errors.EmbedderOverloaded("x"), "system"),
        (errors.ModelMismatch("x"), "system"),
        (errors.DatabaseUnavailable("x"), "system"),
        (errors.DatabaseFull("x"), "system"),
        (errors.SchemaMismatch("x"), "system"),
        (errors.ConfigError("x"), "system"),
    ],
)
def test_a_document_waits_alone_for_its_own_fault_only(error: errors.AyaError, fault: str) -> None:
    """An outage holds all documents back, a bad document only itself."""
    assert fault_of(error) == fault
