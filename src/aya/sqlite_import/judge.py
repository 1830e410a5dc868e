"""Which column is what: proposed from a sample of rows, the columns' names and their types; pure.

A proposal is shown and asked, never taken by itself.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from aya.sqlite_import import dates
from aya.sqlite_import.mapping import TableMapping
from aya.sqlite_import.schema import Column, Table
from aya.sqlite_import.values import Value, as_text

SAMPLED_ROWS = 300
_SHORTEST_CONTENT = 15
_LONGEST_TITLE = 200
_LONGEST_CATEGORY = 50
_CONTENT = re.compile(
    r"content|text|body|note|message|description|summary|comment|document|markdown|memory|value|answer|transcript|observation",
    re.IGNORECASE,
)
_TITLE = re.compile(r"title|subject|heading|headline|(?:^|_)name$|caption", re.IGNORECASE)
_CATEGORY = re.compile(r"category|type|kind|folder|topic|tag|collection|namespace|section|group", re.IGNORECASE)
_FIRST_DATE = re.compile(r"creat|add|publish|insert|written|record|sent", re.IGNORECASE)
_LATER_DATE = re.compile(r"updat|modif|edit|chang|delet|access|read|sync|expire", re.IGNORECASE)
_ID = re.compile(r"(?:^|_)(?:id|uuid|guid|uid|key|slug|url|uri)$|Id$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Profile:
    """How a column's sample looks. Shares are of the sampled rows, 0 to 1.

    filled: not NULL. texts: words, BLOBs in UTF-8 included. average_length: of those, in characters. distinct:
    different values among the filled. form: the form of its dates, if it holds dates.
    """

    column: Column
    filled: float
    texts: float
    average_length: float
    distinct: float
    form: dates.Form | None

    @property
    def name(self) -> str:
        """The column's name."""
        return self.column.name


@dataclass(frozen=True, slots=True)
class Look:
    """One table: its rows, its columns' profiles, and what is proposed; None when nothing in it looks like a text."""

    table: Table
    rows: int
    profiles: tuple[Profile, ...]
    proposal: TableMapping | None

    @property
    def weight(self) -> float:
        """About how many characters of text it holds; a full-text index of another table holds none of its own."""
        content = () if self.proposal is None else self.proposal.content
        length = sum(profile.average_length * profile.texts for profile in self.profiles if profile.name in content)
        return 0.0 if self.table.copies is not None else length * self.rows


def profiled(table: Table, sample: Sequence[Sequence[Value]]) -> tuple[Profile, ...]:
    """Return a profile a column. sample: rows with the table's columns in order."""
    return tuple(_profile(column, [row[place] for row in sample]) for place, column in enumerate(table.columns))


def _profile(column: Column, values: Sequence[Value]) -> Profile:
    filled = [value for value in values if value is not None]
    texts = [text for value in filled if (text := as_text(value)) is not None]
    form = None
    if dates.sounds_like_a_date(column.name, column.declared) or len(texts) == len(filled):
        form = dates.recognised(filled, column.name)
    return Profile(
        column,
        filled=len(filled) / max(1, len(values)),
        texts=len(texts) / max(1, len(values)),
        average_length=sum(map(len, texts)) / max(1, len(texts)),
        distinct=len(set(filled)) / max(1, len(filled)),
        form=form if form == "iso" or dates.sounds_like_a_date(column.name, column.declared) else None,
    )


def looked_at(table: Table, rows: int, sample: Sequence[Sequence[Value]]) -> Look:
    """Return what a person has to know of a table to choose."""
    profiles = profiled(table, sample)
    return Look(table, rows, profiles, _proposed(table, profiles))


def ranked(looks: Sequence[Look]) -> list[Look]:
    """Return the tables, the one with most text first."""
    return sorted(looks, key=lambda look: (-look.weight, look.table.name))


def content_score(profile: Profile) -> float:
    """Return how well a column suits as content: its share of text by its length, a telling name counting ten times."""
    if profile.form is not None or profile.texts == 0:
        return 0.0
    named = bool(_CONTENT.search(profile.name)) and not _ID.search(profile.name)
    if profile.average_length < _SHORTEST_CONTENT and not named:
        return 0.0
    return profile.texts * profile.average_length * (10 if named else 1)


def _proposed(table: Table, profiles: Sequence[Profile]) -> TableMapping | None:
    content = max(profiles, key=content_score, default=None)
    if content is None or content_score(content) == 0:
        return None
    rest = [profile for profile in profiles if profile.name != content.name]
    title = _first(rest, _TITLE, _LONGEST_TITLE)
    rest = [profile for profile in rest if profile.name != title]
    created = _created(rest)
    return TableMapping(
        table.name,
        (content.name,),
        title=title,
        category=_first([profile for profile in rest if profile.distinct <= 0.5], _CATEGORY, _LONGEST_CATEGORY),  # noqa: PLR2004 - half
        created_at=None if created is None else created.name,
        created_at_form=None if created is None else created.form,
        id=() if table.key else _telling(rest),
    )


def _first(profiles: Sequence[Profile], names: re.Pattern[str], longest: int) -> str | None:
    fitting = (each for each in profiles if names.search(each.name) and each.texts and each.form is None)
    return next((each.name for each in fitting if each.average_length <= longest), None)


def _created(profiles: Sequence[Profile]) -> Profile | None:
    dated = [profile for profile in profiles if profile.form is not None]
    first = (profile for profile in dated if _FIRST_DATE.search(profile.name))
    other = (profile for profile in dated if not _LATER_DATE.search(profile.name))
    return next(first, None) or next(other, None) or next(iter(dated), None)


def _telling(profiles: Sequence[Profile]) -> tuple[str, ...]:
    """Return the column that tells rows apart in the sample, for a view."""
    found = (each.name for each in profiles if _ID.search(each.name) and each.filled == each.distinct == 1)
    return tuple(name for name, _ in zip(found, range(1), strict=False))


def suits(profile: Profile) -> str:
    """Return in a word or two what a column would do as; "" for nothing in particular."""
    if profile.form is not None:
        return f"date ({profile.form})"
    if profile.column.key:
        return "id"
    if profile.texts and _TITLE.search(profile.name) and profile.average_length <= _LONGEST_TITLE:
        return "title"
    if content_score(profile):
        return "content"
    few = profile.texts and profile.distinct <= 0.5 and profile.average_length <= _LONGEST_CATEGORY  # noqa: PLR2004 - half
    return "category" if few else ""
