"""The questions of `aya import sqlite` on a terminal: which table, and what its columns are."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import click

from aya.cli import import_display, output
from aya.errors import UsageError
from aya.sqlite_import import judge
from aya.sqlite_import.mapping import REST, TableMapping, checked, split_date, split_names
from aya.sqlite_import.schema import Table

_NONE = "-"
_BACK = "<"
Check = Callable[[TableMapping], object]


def ask(looks: Sequence[judge.Look], check: Check) -> list[TableMapping]:
    """Return what a person wants of the tables. check: raises UsageError for a mapping that cannot be used."""
    output.line(f"Enter takes what stands in brackets, {_NONE} means none, {_BACK} goes back one question.\n")
    mappings: list[TableMapping] = []
    while True:
        look = _table(looks)
        mapping = _mapping(look, check)
        if mapping is None:
            continue
        mappings.append(mapping)
        if not click.confirm("Another table, too?", default=False):
            return mappings


def _table(looks: Sequence[judge.Look]) -> judge.Look:
    import_display.tables(looks)
    while True:
        answer: str = click.prompt("Which table", default="1").strip()
        named = [look for look in looks if look.table.name == answer]
        if named:
            return named[0]
        if answer.isdecimal() and 1 <= int(answer) <= len(looks):
            return looks[int(answer) - 1]
        output.line(f"Give a number from 1 to {len(looks)}, or a name.")


@dataclass(frozen=True, slots=True)
class _Question:
    """key: whose default is shown. take: puts an answer into the mapping."""

    text: str
    default: Callable[[TableMapping], str]
    take: Callable[[TableMapping, str, Table], TableMapping]


def _some(answer: str) -> str | None:
    return None if answer == _NONE else answer


def _take_date(mapping: TableMapping, answer: str, table: Table) -> TableMapping:
    if answer == _NONE:
        return replace(mapping, created_at=None, created_at_form=None)
    name, form = split_date(answer, table)
    return replace(mapping, created_at=name, created_at_form=form)


def _take_metadata(mapping: TableMapping, answer: str, table: Table) -> TableMapping:
    if answer == REST and REST not in table.names:
        return replace(mapping, metadata=REST)
    return replace(mapping, metadata=() if answer == _NONE else split_names(answer, table))


def _date(mapping: TableMapping) -> str:
    form = "" if mapping.created_at_form is None else f":{mapping.created_at_form}"
    return _NONE if mapping.created_at is None else mapping.created_at + form


_QUESTIONS: tuple[_Question, ...] = (
    _Question(
        "Content (one column, or several with commas)",
        lambda mapping: ",".join(mapping.content) or _NONE,
        lambda mapping, answer, table: replace(mapping, content=() if answer == _NONE else split_names(answer, table)),
    ),
    _Question(
        "Title",
        lambda mapping: mapping.title or _NONE,
        lambda mapping, answer, _: replace(mapping, title=_some(answer)),
    ),
    _Question(
        "Category (a column, or =word for all)",
        lambda mapping: mapping.category or _NONE,
        lambda mapping, answer, _: replace(mapping, category=_some(answer)),
    ),
    _Question(
        "Source (a column, or =word for all; none: the file's name)",
        lambda mapping: mapping.source or _NONE,
        lambda mapping, answer, _: replace(mapping, source=_some(answer)),
    ),
    _Question("Date of creation (COLUMN or COLUMN:FORM)", _date, _take_date),
    _Question(
        "What tells a row (none: its primary key)",
        lambda mapping: ",".join(mapping.id) or _NONE,
        lambda mapping, answer, table: replace(mapping, id=() if answer == _NONE else split_names(answer, table)),
    ),
    _Question(
        f"Metadata (columns, or {REST} for all others)",
        lambda mapping: REST if mapping.metadata == REST else ",".join(mapping.metadata) or _NONE,
        _take_metadata,
    ),
)


def _mapping(look: judge.Look, check: Check) -> TableMapping | None:
    """Return the answers of one table; None to choose another."""
    import_display.columns(look)
    mapping = look.proposal or TableMapping(look.table.name, ())
    position = 0
    while position < len(_QUESTIONS):
        question = _QUESTIONS[position]
        answer: str = click.prompt(question.text, default=question.default(mapping)).strip()
        if answer == _BACK:
            if position == 0:
                return None
            position -= 1
            continue
        try:
            answered = question.take(mapping, answer, look.table)
            checked(answered, look.table)
            if position == len(_QUESTIONS) - 1:
                check(answered)
        except UsageError as error:
            output.line(f"{error.message}\n  {error.hint}")
            continue
        mapping, position = answered, position + 1
    return mapping
