"""What the page keeps of a day's looks, the figures in them, and how a highlighted text is cut: pure."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime
from itertools import pairwise
from typing import Any
from uuid import UUID

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tests.unit.test_status_judge import GOOD, STANDBY
from tests.unit.test_sync_judge import COPY, PRIMARY

from aya.knowledge.types import Document
from aya.status.judge import judge
from aya.status.types import DatabaseFacts, Replication
from aya.sync.types import SyncStatus
from aya_web.answers import MOST_CHARACTERS, document
from aya_web.figures import figures, rates, vectors_made
from aya_web.history import KEPT_SECONDS, RECENT_SECONDS, Key, Sample, columns, thinned
from aya_web.segments import segments

NOW = 10_000_000.0
AT = datetime(2026, 1, 2, tzinfo=UTC)
LABELS: dict[str, Any] = {
    "id": 1,
    "uid": UUID(int=1),
    "rev": 1,
    "title": None,
    "uri": None,
    "category": None,
    "source": None,
    "metadata": {},
    "created_at": AT,
    "updated_at": AT,
    "chunk_count": 1,
    "indexed": True,
    "index_error": None,
}
LAG: Key = ("lag_bytes", "beta")

moments = st.lists(st.floats(NOW - 1.2 * KEPT_SECONDS, NOW + 60), max_size=200).map(sorted)


def samples_at(moments: list[float]) -> list[Sample]:
    """Return a sample for each moment, with a figure that tells them apart."""
    return [Sample(at, {LAG: float(index % 7)}) for index, at in enumerate(moments)]


@given(moments)
def test_thinning_keeps_the_last_hour_and_a_bound_on_the_rest(moments: list[float]) -> None:
    """In order, nothing older than a day or of the future, the last hour whole, a sample a minute before; for good."""
    samples = samples_at(moments)
    kept = thinned(samples, NOW)
    recent = [sample for sample in samples if NOW - RECENT_SECONDS < sample.at <= NOW]
    assert kept[len(kept) - len(recent) :] == recent
    older = kept[: len(kept) - len(recent)]
    assert len({int(sample.at // 60) for sample in older}) == len(older)
    assert all(NOW - KEPT_SECONDS < sample.at <= NOW for sample in kept)
    assert [sample.at for sample in kept] == sorted(sample.at for sample in kept)
    assert thinned(kept, NOW) == kept


@given(moments)
def test_a_peak_is_never_thinned_away(moments: list[float]) -> None:
    """The most of a day's lag stays the most."""
    samples = [sample for sample in samples_at(moments) if NOW - KEPT_SECONDS < sample.at <= NOW]
    kept = thinned(samples, NOW)
    assert max((s.values[LAG] for s in kept), default=0) == max((s.values[LAG] for s in samples), default=0)


def test_a_day_of_looks_is_bounded() -> None:
    """Looked at every 5 s for two days, thinned at each: an hour of samples, and a day of minutes."""
    kept: list[Sample] = []
    for step in range(0, 2 * 86_400, 5):
        kept.append(Sample(NOW + step, {LAG: 1.0}))
        if step % 600 == 0:
            kept = thinned(kept, NOW + step)
    assert len(thinned(kept, NOW + 2 * 86_400)) <= 720 + 23 * 60 + 2


def test_columns_have_a_hole_where_nothing_is_known() -> None:
    """All lists are as long as that of the moments: a plot needs no more than an index."""
    told = columns([Sample(1.0, {LAG: 5.0}), Sample(2.0, {("queue", "air"): 1.0})])
    assert told == {"at": [1.0, 2.0], "series": {"lag_bytes": {"beta": [5.0, None]}, "queue": {"air": [None, 1.0]}}}


def test_the_figures_of_a_look() -> None:
    """A standby's lag in bytes, a copy's in seconds with its queue; a node that is silent has none."""
    standby = judge(replace(STANDBY, replication=Replication("streaming", "sync", 12)))
    copy = judge(replace(GOOD, name="air", role="copy", sync=SyncStatus(COPY, PRIMARY)))
    found = figures([judge(GOOD), standby, copy, judge(replace(GOOD, name="x", database=DatabaseFacts(error="gone")))])
    assert found["queue", "alpha"] == 1
    assert found["lag_bytes", standby.seen.name] == 12
    assert found["sync_queue", "air"] == COPY.waiting + COPY.sending + COPY.held + COPY.rejected
    assert ("lag_seconds", "air") in found
    assert not [key for key in found if key[1] == "x"]


@pytest.mark.parametrize(
    ("before", "after", "seconds", "expected"),
    [
        ({"alpha": 10.0}, {"alpha": 30.0}, 5.0, {"alpha": 4.0}),
        ({"alpha": 10.0}, {"alpha": 2.0}, 2.0, {"alpha": 1.0}),
        ({}, {"alpha": 2.0}, 2.0, {}),
        ({"alpha": 1.0}, {}, 2.0, {}),
        ({"alpha": 1.0}, {"alpha": 2.0}, 0.0, {}),
    ],
)
def test_a_rate_is_of_what_grew(
    before: dict[str, float], after: dict[str, float], seconds: float, expected: dict[str, float]
) -> None:
    """A counter that is less than it was began anew; what is known of one moment only has no rate."""
    assert rates(before, after, seconds) == expected


def test_how_many_vectors_an_embedder_made() -> None:
    """One line of its metrics says it, and none of those that begin like it."""
    said = (
        "te_embed_success_created 5.0\n# TYPE te_embed_success unknown\nte_embed_success 1.2e+03\nte_queue_size 0.0\n"
    )
    assert vectors_made(said) == 1200
    assert vectors_made("te_embed_success_created 5.0\n") is None


@pytest.mark.parametrize(
    ("text", "highlights", "expected"),
    [
        ("tea and milk", [(0, 3), (8, 12)], ["[tea]", " and ", "[milk]"]),
        ("☕😀 tea", [(3, 6)], ["☕😀 ", "[tea]"]),
        ("</mark><script>", [(0, 7)], ["[</mark>]", "<script>"]),
        ("abc", [], ["abc"]),
        ("abc", [(0, 3)], ["[abc]"]),
        ("abc", [(2, 99), (-5, 1)], ["[a]", "b", "[c]"]),
        ("abcd", [(0, 3), (1, 2), (2, 4)], ["[abcd]"]),
        ("abc", [(2, 1), (1, 1)], ["abc"]),
        ("", [(0, 1)], []),
    ],
)
def test_a_text_is_cut_at_its_highlights(text: str, highlights: list[tuple[int, int]], expected: list[str]) -> None:
    """In code points, whatever is in the text; what overlaps is one part, what is outside is no part."""
    assert [f"[{part['text']}]" if part["mark"] else part["text"] for part in segments(text, highlights)] == expected


def test_of_a_very_long_document_what_is_around_the_passage_is_shown() -> None:
    """A browser is spared the rest, and told so."""
    text = "".join(f"word{number} " for number in range(60_000))
    at = text.index("word50000")
    said = document(Document(content=text, **LABELS), at, at + 9)
    assert [part["text"] for part in said["segments"] if part["mark"]] == ["word50000"]
    shown = "".join(part["text"] for part in said["segments"])
    assert (said["cut"], said["characters"], len(shown) <= MOST_CHARACTERS) == (True, len(text), True)
    assert text[said["first_character"] :].startswith(shown)


@given(st.text(), st.lists(st.tuples(st.integers(-5, 40), st.integers(-5, 40))))
def test_the_parts_are_the_text(text: str, highlights: list[tuple[int, int]]) -> None:
    """Nothing is lost or doubled, no part is empty, and no two that follow each other are alike."""
    parts = segments(text, highlights)
    assert "".join(part["text"] for part in parts) == text
    assert all(part["text"] for part in parts)
    assert all(one["mark"] != other["mark"] for one, other in pairwise(parts))
