"""Which step follows from what AIR remembers and which server answers."""

from __future__ import annotations

from dataclasses import replace
from itertools import product

import pytest

from aya_syncd.state import Cursor, Step, Upstream, batch_size, next_step, switch_point

KNOWN = Cursor(7, 2, "10:20:", "0/5000000", "model-a")
PRIMARY = Upstream(7, 2, is_standby=False, has_all=True, fingerprint="model-a")
STANDBY = replace(PRIMARY, is_standby=True)


@pytest.mark.parametrize(
    ("cursor", "upstream", "step"),
    [
        (Cursor(), replace(PRIMARY, has_all=False), "copy"),
        (Cursor(), STANDBY, "refuse"),
        (KNOWN, PRIMARY, "pull"),
        (KNOWN, replace(PRIMARY, system_identifier=8), "copy"),
        (KNOWN, replace(PRIMARY, fingerprint="model-b"), "copy"),
        (KNOWN, replace(PRIMARY, has_all=False), "copy"),
        (KNOWN, replace(PRIMARY, timeline=3), "rewind"),
        (KNOWN, replace(PRIMARY, timeline=3, has_all=False), "copy"),
        (KNOWN, replace(PRIMARY, timeline=1), "refuse"),
        (KNOWN, STANDBY, "peek"),
        (KNOWN, replace(STANDBY, timeline=1), "refuse"),
        (KNOWN, replace(STANDBY, fingerprint="model-b"), "refuse"),
        (KNOWN, replace(STANDBY, has_all=False), "refuse"),
    ],
)
def test_the_step_follows_from_both(cursor: Cursor, upstream: Upstream, step: Step) -> None:
    """Each line of the table in docs/sync.md."""
    found, why = next_step(cursor, upstream)
    assert (found, bool(why)) == (step, True)


def test_whatever_answers_the_timeline_never_decreases_and_a_standby_moves_no_cursor() -> None:
    """Every combination: of one base a lower timeline is refused, and a standby is never copied or followed."""
    for identity, timeline, standby, has_all, model in product(
        (7, 8), (1, 2, 3), (True, False), (True, False), ("model-a", "b")
    ):
        step, _ = next_step(KNOWN, Upstream(identity, timeline, standby, has_all, model))
        if identity == 7 and timeline < 2:
            assert step == "refuse"
        if standby:
            assert step in {"peek", "refuse"}
        if step in {"pull", "rewind", "peek"}:
            assert (identity, has_all, model) == (7, True, "model-a")


def test_the_place_where_a_timeline_ended_is_read_from_a_later_ones_history() -> None:
    """As PostgreSQL writes it; None for one that it does not come from."""
    history = "1\t0/3000148\tno recovery target specified\n\n2\t0/7000000\tpromoted\n"
    assert switch_point(history, 2) == "0/7000000"
    assert switch_point(history, 1) == "0/3000148"
    assert switch_point(history, 3) is None
    assert switch_point("", 1) is None


@pytest.mark.parametrize(
    ("before", "seconds", "size"),
    [
        (200, 1.0, 200),
        (200, 0.5, 400),
        (200, 0.001, 800),
        (200, 2.0, 100),
        (200, 60.0, 50),
        (30, 9.0, 25),
        (900, 0.0, 1000),
    ],
)
def test_a_batch_takes_about_a_second(before: int, seconds: float, size: int) -> None:
    """It grows and shrinks by four at most, and stays between 25 and 1,000."""
    assert batch_size(before, seconds) == size
