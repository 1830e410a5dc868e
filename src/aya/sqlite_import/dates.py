"""Dates as programs keep them in SQLite: which form a column has, and the moment a value says; pure.

SQLite has no type for dates (https://www.sqlite.org/datatype3.html#date_and_time_datatype): a text, a Julian day, or
seconds since 1970 by its own functions; by others, milliseconds and microseconds since 1970 (Java, Firefox), seconds
and nanoseconds since 2001 (Apple's Core Data and Messages), microseconds since 1601 (WebKit and Chrome).
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable
from datetime import UTC, datetime, timedelta
from typing import Literal, get_args

Form = Literal["iso", "unix", "unix-ms", "unix-us", "unix-ns", "julian", "apple", "apple-ns", "webkit"]
FORMS: tuple[Form, ...] = get_args(Form)

_UNIX = datetime(1970, 1, 1, tzinfo=UTC)
_APPLE = datetime(2001, 1, 1, tzinfo=UTC)
_WEBKIT = datetime(1601, 1, 1, tzinfo=UTC)
# Julian day 2440587.5 is 1970-01-01T00:00Z (https://www.sqlite.org/lang_datefunc.html).
_JULIAN_OF_UNIX = 2440587.5
_DAY_SECONDS = 86_400
# form → (what it counts from, how many of its units are a second)
_COUNTS: dict[Form, tuple[datetime, int]] = {
    "unix": (_UNIX, 1),
    "unix-ms": (_UNIX, 10**3),
    "unix-us": (_UNIX, 10**6),
    "unix-ns": (_UNIX, 10**9),
    "apple": (_APPLE, 1),
    "apple-ns": (_APPLE, 10**9),
    "webkit": (_WEBKIT, 10**6),
}
# A column of these is a column of dates only if they lie where a person's knowledge does.
_PLAUSIBLE = (datetime(1990, 1, 1, tzinfo=UTC), datetime(2100, 1, 1, tzinfo=UTC))
# Core Data is of 2005: what would be an earlier date of Apple's is a small number, or one of another form.
_FIRST_APPLE = datetime(2005, 1, 1, tzinfo=UTC)
# Where a number could be either, it counts from 1970 from here on: in seconds that is September 2001, and as Apple's it
# would be the year 2032.
_FIRST_UNIX_SECOND = 1_000_000_000
_ISO = re.compile(r"\d{4}-\d\d-\d\d(?:[T ].*)?\Z")
_NUMBER = re.compile(r"-?\d{1,20}(?:\.\d{1,20})?\Z")
_NAMED = re.compile(
    r"date|time|created|modified|updated|added|written|posted|published|recorded|stamp|when|(?:^|_)at$|(?<=[a-z])(?:At|On)$",
    re.IGNORECASE,
)
_ENOUGH = 0.9


def sounds_like_a_date(name: str, declared: str = "") -> bool:
    """Return whether a column's name or declared type says that it holds dates."""
    return bool(_NAMED.search(name)) or "DATE" in declared.upper() or "TIME" in declared.upper()


def moment(value: object, form: Form) -> datetime | None:
    """Return the moment that `value` says in `form`, in UTC; None when it says none.

    A text without a zone is UTC, as SQLite's own CURRENT_TIMESTAMP is. A number may stand in a text.
    """
    if form == "iso":
        return _iso(value)
    number = _number(value)
    if number is None:
        return None
    try:
        if form == "julian":
            return _UNIX + timedelta(seconds=round((number - _JULIAN_OF_UNIX) * _DAY_SECONDS, 3))
        start, per_second = _COUNTS[form]
        if isinstance(number, int):
            return start + timedelta(seconds=number // per_second, microseconds=_fraction(number, per_second))
        return start + timedelta(seconds=number / per_second)
    except OverflowError:
        return None


def _fraction(number: int, per_second: int) -> int:
    """Return the microseconds of a count beyond its whole seconds."""
    return (number % per_second) * 10**6 // per_second


def _iso(value: object) -> datetime | None:
    if not isinstance(value, str) or not _ISO.match(value.strip()):
        return None
    try:
        found = datetime.fromisoformat(value.strip().removesuffix(" UTC"))
        return found.replace(tzinfo=UTC) if found.tzinfo is None else found.astimezone(UTC)
    except (ValueError, OverflowError):
        return None


def _number(value: object) -> int | float | None:
    if isinstance(value, str) and _NUMBER.match(value.strip()):
        return float(value) if "." in value else int(value)
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        return None
    return int(value) if isinstance(value, float) and value.is_integer() else value


def recognised(values: Iterable[object], name: str = "") -> Form | None:
    """Return the form in which nearly all of `values` are dates; None when they are none, or there are none.

    name: the column's; Core Data's columns start with Z, and count from 2001. It breaks a tie, and nothing else.
    """
    given = [value for value in values if value is not None]
    if not given:
        return None
    for form in _by_size(given, core_data=name.startswith("Z") and name.isupper()):
        if sum(_is_plausible(value, form) for value in given) >= _ENOUGH * len(given):
            return form
    return None


def _is_plausible(value: object, form: Form) -> bool:
    found = moment(value, form)
    # A text that is written as a date is one, however old.
    first = _FIRST_APPLE if form in {"apple", "apple-ns"} else _PLAUSIBLE[0]
    return found is not None and (form == "iso" or first <= found < _PLAUSIBLE[1])


def _by_size(values: list[object], *, core_data: bool) -> tuple[Form, ...]:
    """Return the forms to try, the likeliest first. Only seconds since 1970 and since 2001 can be taken for another."""
    numbers = sorted(number for number in map(_number, values) if number is not None)
    middle = numbers[len(numbers) // 2] if numbers else 0
    seconds: tuple[Form, ...] = ("unix", "apple")
    if core_data or middle < _FIRST_UNIX_SECOND:
        seconds = ("apple", "unix")
    nanoseconds: tuple[Form, ...] = ("unix-ns", "apple-ns")
    if core_data or middle < _FIRST_UNIX_SECOND * 10**9:
        nanoseconds = ("apple-ns", "unix-ns")
    return ("iso", *seconds, "unix-ms", "unix-us", *nanoseconds, "webkit", "julian")
