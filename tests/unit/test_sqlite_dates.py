"""Dates in SQLite: every form is read, and recognised from a column's values."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.sqlite_import.dates import FORMS, Form, moment, recognised, sounds_like_a_date

NOON = datetime(2021, 5, 30, 12, tzinfo=UTC)
# The same noon in every form (julian from SQLite: SELECT julianday('2021-05-30 12:00')).
SAME: list[tuple[Form, object]] = [
    ("iso", "2021-05-30T12:00:00Z"),
    ("iso", "2021-05-30 12:00:00"),
    ("iso", "2021-05-30T14:00:00.000+02:00"),
    ("iso", " 2021-05-30 12:00:00 UTC "),
    ("unix", 1_622_376_000),
    ("unix", 1_622_376_000.0),
    ("unix", "1622376000"),
    ("unix-ms", 1_622_376_000_000),
    ("unix-us", 1_622_376_000_000_000),
    ("unix-ns", 1_622_376_000_000_000_000),
    ("julian", 2_459_365.0),
    ("julian", "2459365.0"),
    ("apple", 644_068_800.0),
    ("apple-ns", 644_068_800_000_000_000),
    ("webkit", 13_266_849_600_000_000),
]


@pytest.mark.parametrize(("form", "value"), SAME)
def test_every_form_says_the_same_moment(form: Form, value: object) -> None:
    """In UTC; a text without a zone is UTC."""
    assert moment(value, form) == NOON


@pytest.mark.parametrize(("form", "value"), SAME)
def test_a_form_is_recognised_by_its_values(form: Form, value: object) -> None:
    """Nulls say nothing, and one value in ten may be something else."""
    assert recognised([None, *[value] * 9, "soon"]) == form
    assert recognised([value, "soon"]) is None


@pytest.mark.parametrize(
    ("name", "form"), [("ZCREATIONDATE", "apple"), ("created", "unix"), ("Zeit", "unix"), ("ZONE_ID", "apple")]
)
def test_core_datas_names_break_a_tie(name: str, form: Form) -> None:
    """A number that is a date in both epochs: 2004 since 1970, 2035 since 2001."""
    assert recognised([1_080_000_000], name) == form


@pytest.mark.parametrize("value", [None, "", "soon", b"2021", float("inf"), float("nan"), 10**30, "2021-13-45", 2021])
def test_what_is_no_date_is_none(value: object) -> None:
    """In no form: a date that is made up would be found at the wrong place."""
    assert recognised([value]) is None


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize(
    "value", [10**30, -(10**30), "0000-00-00", "0001-01-01T00:00:00+14:00", float("nan"), b"1", None]
)
def test_a_moment_that_no_calendar_has_is_none(form: Form, value: object) -> None:
    """No value ends the import."""
    assert moment(value, form) is None


@given(st.sampled_from(FORMS), st.one_of(st.integers(), st.floats(), st.text(), st.binary(), st.none()))
def test_no_value_is_an_error(form: Form, value: object) -> None:
    """Whatever stands in a column, it is a moment in UTC or none."""
    found = moment(value, form)
    assert found is None or found.utcoffset() == timedelta(0)


@given(
    st.datetimes(datetime(2002, 1, 1), datetime(2030, 1, 1)),  # noqa: DTZ001 - hypothesis wants them naive
    st.sampled_from(["unix", "unix-ms", "unix-us", "unix-ns"]),
)
def test_counts_since_1970_come_back(naive: datetime, form: Form) -> None:
    """To their own unit, and without loss of a microsecond where it has one."""
    when = naive.replace(tzinfo=UTC)
    microseconds = (when - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1)
    units = {"unix": 10**6, "unix-ms": 10**3, "unix-us": 1}
    count = microseconds * 1000 if form == "unix-ns" else microseconds // units[form]
    found = moment(count, form)
    assert found is not None
    assert timedelta(0) <= when - found < timedelta(microseconds=units.get(form, 1))
    assert recognised([count]) == form


@pytest.mark.parametrize(
    ("name", "declared", "says"),
    [
        ("created_at", "", True),
        ("postedAt", "", True),
        ("x", "DATETIME", True),
        ("at", "", True),
        ("ZMODIFICATIONDATE", "", True),
        ("author", "text", False),
        ("category", "", False),
        ("id", "INTEGER", False),
    ],
)
def test_names_that_sound_like_dates(name: str, declared: str, says: bool) -> None:  # noqa: FBT001 - a table of cases
    """By words that people use for them, or by the declared type."""
    assert sounds_like_a_date(name, declared) == says
