"""What the columns of a table are in a document: the choice, checked against a table, and its TOML file; pure."""

from __future__ import annotations

import difflib
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, Literal, cast

import tomlkit

from aya.errors import UsageError
from aya.json_object import json_object
from aya.sqlite_import.dates import FORMS, Form
from aya.sqlite_import.schema import Table

REST: Literal["rest"] = "rest"
_KEYS = ("table", "content", "title", "category", "source", "created_at", "created_at_form", "id", "metadata", "where")
_HEAD = "What the tables of a SQLite file are in AYA: aya import sqlite FILE --mapping THIS"


@dataclass(frozen=True, slots=True)
class TableMapping:
    """One table's choice; names are those of columns.

    content: joined with a blank line between. category, source: a column, or a constant after "=". created_at_form:
    None has it recognised. id: what tells a row; () is its primary key. metadata: columns, or "rest" for all others.
    where: an SQL expression that chooses rows.
    """

    table: str
    content: tuple[str, ...]
    title: str | None = None
    category: str | None = None
    source: str | None = None
    created_at: str | None = None
    created_at_form: Form | None = None
    id: tuple[str, ...] = ()
    metadata: tuple[str, ...] | Literal["rest"] = REST
    where: str | None = None

    def columns(self) -> tuple[str, ...]:
        """Return the columns with a place of their own, metadata aside, each once."""
        labels = (_column(self.category), _column(self.source))
        named = (*self.content, self.title, *labels, self.created_at)
        return tuple(dict.fromkeys(name for name in named if name is not None))


def _column(label: str | None) -> str | None:
    return None if label is None or label.startswith("=") else label


def constant(label: str | None) -> str | None:
    """Return what stands after "="; None for a column, or nothing."""
    return label[1:].strip() or None if label is not None and label.startswith("=") else None


def split_names(text: str, table: Table) -> tuple[str, ...]:
    """Return the columns in "a,b"; a name that holds a comma is taken whole."""
    if text in table.names:
        return (text,)
    return tuple(name for name in (part.strip() for part in text.split(",")) if name)


def split_date(text: str, table: Table) -> tuple[str, Form | None]:
    """Return the column and the form in "COLUMN:FORM", where the form may be left out."""
    name, colon, form = text.rpartition(":")
    if colon and text not in table.names and form in FORMS:
        return name, form
    return text, None


def checked(mapping: TableMapping, table: Table) -> TableMapping:
    """Return the mapping with every name as the table spells it. Raises UsageError for one that is no column."""
    if not mapping.content:
        raise UsageError(f"no column of {table.name!r} is its content", hint="--content COLUMN[,COLUMN…]")

    def names(option: str, given: Iterable[str]) -> tuple[str, ...]:
        return tuple(_known(option, name, table) for name in given)

    def name(option: str, given: str | None) -> str | None:
        return None if given is None else _known(option, given, table)

    def label(option: str, given: str | None) -> str | None:
        return given if _column(given) is None else name(option, given)

    return replace(
        mapping,
        content=names("content", mapping.content),
        title=name("title", mapping.title),
        category=label("category", mapping.category),
        source=label("source", mapping.source),
        created_at=name("created-at", mapping.created_at),
        id=names("id", mapping.id),
        metadata=REST if mapping.metadata == REST else names("metadata", mapping.metadata),
    )


def _known(option: str, name: str, table: Table) -> str:
    spelled = {column.casefold(): column for column in table.names}
    if name in table.names:
        return name
    if name.casefold() in spelled:
        return spelled[name.casefold()]
    close = difflib.get_close_matches(name, table.names, n=1)
    constant_too = f", or --{option} ={name} for a constant" if option in {"category", "source"} else ""
    hint = f"--{option} {close[0]}" if close else f"its columns: {', '.join(table.names)}"
    raise UsageError(f"{table.name!r} has no column {name!r} (--{option})", hint=hint + constant_too)


def dumps(mappings: Sequence[TableMapping]) -> str:
    """Return the TOML file that `loads` reads."""
    document = tomlkit.document()
    document.add(tomlkit.comment(_HEAD))
    tables = tomlkit.aot()
    for mapping in mappings:
        table = tomlkit.table()
        for key in _KEYS:
            value = getattr(mapping, key)
            if isinstance(value, str):
                table.add(key, value)
            elif value or (value is not None and key == "metadata"):
                table.add(key, list(cast("tuple[str, ...]", value)))
        tables.append(table)  # pyright: ignore[reportUnknownMemberType] - tomlkit leaves the type open
    document.add("mapping", tables)
    return tomlkit.dumps(document)


def loads(text: str, name: str) -> list[TableMapping]:
    """Return the mappings in a TOML file. name: the file's, for a UsageError that says what is wrong in it."""
    try:
        document = tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        raise UsageError(f"{name} is no TOML: {error}", hint="--save-mapping FILE writes one") from error
    entries = document.get("mapping")
    if not isinstance(entries, list) or not entries or document.keys() != {"mapping"}:
        raise UsageError(f"{name} has no [[mapping]], or something else", hint="--save-mapping FILE writes one")
    return [
        _mapping(json_object(entry) or {}, f"{name}, mapping {number}")
        for number, entry in enumerate(cast("list[object]", entries), 1)
    ]


def _mapping(entry: Mapping[str, Any], where: str) -> TableMapping:
    if unknown := entry.keys() - set(_KEYS):
        raise UsageError(f"{where}: there is no key {min(unknown)!r}", hint=f"the keys: {', '.join(_KEYS)}")
    form = entry.get("created_at_form")
    if form is not None and form not in FORMS:
        raise UsageError(f"{where}: {form!r} is no form of dates", hint=f"one of {', '.join(FORMS)}")
    metadata = entry.get("metadata", REST)
    words = {key: _word(entry, key, where) for key in ("title", "category", "source", "created_at", "where")}
    return TableMapping(
        table=_word(entry, "table", where) or _missing("table", where),
        content=_words(entry.get("content", []), "content", where) or _missing("content", where),
        created_at_form=form,
        id=_words(entry.get("id", []), "id", where),
        metadata=REST if metadata == REST else _words(metadata, "metadata", where),
        **words,
    )


def _missing(key: str, where: str) -> Any:  # noqa: ANN401 - it never returns
    raise UsageError(f"{where}: {key!r} is missing", hint=f'{key} = "…"')


def _word(entry: Mapping[str, Any], key: str, where: str) -> str | None:
    value = entry.get(key)
    if not isinstance(value, str | None):
        raise UsageError(f"{where}: {key!r} is no string", hint=f'{key} = "…"')
    return value


def _words(value: object, key: str, where: str) -> tuple[str, ...]:
    several = [value] if isinstance(value, str) else value
    if not isinstance(several, list) or not all(isinstance(each, str) for each in cast("list[object]", several)):
        raise UsageError(f"{where}: {key!r} is no array of strings", hint=f'{key} = ["…"]')
    return tuple(cast("list[str]", several))
