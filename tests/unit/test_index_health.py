"""What is wrong with the index on the vectors, and what mends it: a table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aya.cli.index_display import lines
from aya.cli.text import size
from aya.knowledge.index_health import Build, IndexState, IndexStatus, Sample, bytes_needed, problems

ROWS = 10_000
GOOD = IndexStatus(
    state=IndexState("CREATE INDEX …", valid=True, bytes=bytes_needed(ROWS, 768), as_made_now=True),
    build=None,
    with_vector=ROWS,
    without_vector=0,
    dead=10,
    dimension=768,
    table_bytes=40_000_000,
    shared_buffers=2**27,
    is_standby=False,
    ef_search=200,
    sample=Sample(50, 0.99, 2.0, 3.0, 90.0),
)
assert GOOD.state is not None
BROKEN = replace(GOOD.state, valid=False)
OTHER = replace(GOOD.state, as_made_now=False)
SWOLLEN = replace(GOOD.state, bytes=3 * GOOD.state.bytes)


@pytest.mark.parametrize(
    ("seen", "what", "mend"),
    [
        pytest.param(replace(GOOD, state=None), "no index", "aya index build", id="none"),
        pytest.param(replace(GOOD, state=BROKEN), "broken", "aya index build", id="a build was cut"),
        pytest.param(replace(GOOD, state=OTHER), "another kind", "aya index build --rebuild", id="of an older AYA"),
        pytest.param(
            replace(GOOD, sample=Sample(50, 0.9, 2, 3, 90)),
            "90% of the nearest",
            "aya index build --rebuild",
            id="poor",
        ),
        pytest.param(replace(GOOD, state=SWOLLEN), "3.0 times", "aya index build --rebuild", id="swollen"),
        pytest.param(replace(GOOD, dead=ROWS), "10000 dead rows", "psql: VACUUM chunks", id="dead rows"),
        pytest.param(
            replace(GOOD, state=None, is_standby=True), "no index", "aya index build (at the primary)", id="standby"
        ),
    ],
)
def test_what_is_wrong_is_said_with_what_mends_it(seen: IndexStatus, what: str, mend: str) -> None:
    """One fault, one problem, one command."""
    (problem,) = problems(seen)
    assert what in problem.what
    assert problem.mend == mend
    assert seen.to_json()["problems"] == [{"what": problem.what, "mend": mend}]


@pytest.mark.parametrize(
    "seen",
    [
        pytest.param(GOOD, id="good"),
        pytest.param(replace(GOOD, state=None, build=Build("building index", 0.5)), id="it is being built"),
        pytest.param(replace(GOOD, dead=None, sample=Sample(0, None, None, None, None)), id="nothing measured"),
        pytest.param(replace(GOOD, state=SWOLLEN, with_vector=10, dead=9), id="too few rows to say"),
    ],
)
def test_what_is_well_is_left_alone(seen: IndexStatus) -> None:
    """Nobody is asked to rebuild for nothing."""
    assert list(problems(seen)) == []


def test_a_person_reads_recall_times_and_sizes() -> None:
    """All that was measured stands in a line of its own."""
    text = "\n".join(lines(GOOD))
    for words in (
        "whole",
        "1.0 times",
        "10000 of 768 dimensions",
        "recall@10 0.990 of 50",
        "p95 3.0 ms",
        "10 dead rows",
    ):
        assert words in text
    assert "recall not measured" in "\n".join(
        lines(replace(GOOD, state=None, sample=Sample(0, None, None, None, None)))
    )


@pytest.mark.parametrize(("count", "text"), [(0, "0 bytes"), (1500, "1.5 kB"), (2_000_000, "2.0 MB"), (3e9, "3.0 GB")])
def test_sizes_have_a_unit(count: float, text: str) -> None:
    """The largest that leaves a number."""
    assert size(count) == text
