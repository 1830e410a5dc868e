"""A row becomes a document, or there is a reason why not; pure."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal
from urllib.parse import quote

from aya.knowledge.types import NewDocument
from aya.knowledge.validation import LONGEST_CATEGORY, LONGEST_SOURCE
from aya.records import unkeepable
from aya.sqlite_import import dates
from aya.sqlite_import.mapping import REST, TableMapping, constant
from aya.sqlite_import.schema import Table
from aya.sqlite_import.values import LeftOut, NotUtf8, Value, as_json, as_label, as_text
from aya.textfile import DEFAULT_MAX_BYTES

LONGEST_CONTENT = DEFAULT_MAX_BYTES
_PLAIN = re.compile(r"[^%/,#\x00-\x1f\x7f]+")
Lost = LeftOut | Literal["date not understood"]


@dataclass(frozen=True, slots=True)
class Made:
    """What a row became. where: "TABLE/KEY". place: its document's; None for a row that nothing tells from others.

    skipped: why there is no document. left_out: what the document lacks.
    """

    where: str
    place: str | None
    document: NewDocument | None
    skipped: str | None = None
    left_out: tuple[tuple[str, Lost], ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """How the rows of one table are read.

    prefix: what the places of all its rows begin with. source: of rows that name none. key: the columns that tell a
    row, () for none. columns: what is read of a row, in order, each once. forms: of the columns that hold dates.
    """

    mapping: TableMapping
    prefix: str
    source: str
    key: tuple[str, ...]
    metadata: tuple[str, ...]
    columns: tuple[str, ...]
    forms: Mapping[str, dates.Form]


def planned(mapping: TableMapping, table: Table, *, place: str, source: str, forms: Mapping[str, dates.Form]) -> Plan:
    """Return the plan for a mapping that was checked against its table.

    place: the file's path, or the name it was given (--as). forms: of all columns that hold dates.
    """
    taken = mapping.columns()
    rest = tuple(name for name in table.names if name not in taken)
    known = dict(forms)
    if mapping.created_at is not None:
        known[mapping.created_at] = mapping.created_at_form or forms.get(mapping.created_at, "iso")
    metadata = rest if mapping.metadata == REST else tuple(mapping.metadata)
    key = mapping.id or table.key
    columns = tuple(dict.fromkeys((*key, *taken, *metadata)))
    return Plan(mapping, f"{place}#{_escaped(mapping.table)}/", source, key, metadata, columns, known)


def made(row: Sequence[Value], plan: Plan) -> Made:
    """Return the document of a row. row: the values of plan.columns."""
    values = dict(zip(plan.columns, row, strict=True))
    key = key_of([values[name] for name in plan.key])
    where = f"{plan.mapping.table}/{'?' if key is None else key}"
    place = None if key is None else plan.prefix + key
    parts = [values[name] for name in plan.mapping.content]
    content = "\n\n".join(text for part in parts if (text := (as_text(part) or "").strip()))
    if why := _unfit(content, parts):
        return Made(where, place, None, why)
    metadata, lost = _metadata(values, plan)
    created_at = _created_at(values, plan)
    if created_at is None and plan.mapping.created_at and values[plan.mapping.created_at] is not None:
        lost.append((plan.mapping.created_at, "date not understood"))
    category = _label(plan.mapping.category, values, metadata, LONGEST_CATEGORY)
    source = _label(plan.mapping.source, values, metadata, LONGEST_SOURCE)
    title = None if plan.mapping.title is None else as_label(values[plan.mapping.title])
    document = NewDocument(
        content=content,
        category=category or "general",
        source=source or plan.source,
        metadata=metadata,
        title=title,
        uri=place,
        # What a row says of itself is said explicitly, as by a record of `aya import`.
        relabel=bool(metadata or created_at or category or source or title),
        by_default=frozenset(name for name, label in (("category", category), ("source", source)) if label is None),
        retitle=title is not None,
        created_at=created_at,
    )
    return Made(where, place, document, left_out=tuple(lost))


def key_of(values: Sequence[Value]) -> str | None:
    """Return what tells a row, for the end of its place; None when there is nothing, or a part of it is NULL."""
    if not values or any(value is None for value in values):
        return None
    return ",".join(_key_part(value) for value in values)


def _key_part(value: Value) -> str:
    if isinstance(value, bytes):
        return f"%x{value.hex()}"
    if isinstance(value, NotUtf8):
        return f"%t{value.raw.hex()}"
    return str(value) if isinstance(value, int) else _escaped(str(value))


def _escaped(text: str) -> str:
    """Return `text` without what separates the parts of a place, and without what PostgreSQL cannot keep."""
    return "".join(
        part if _PLAIN.fullmatch(part) else quote(part, safe="") for part in re.split(r"([%/,#\x00-\x1f\x7f])", text)
    )


def _unfit(content: str, parts: Sequence[Value]) -> str | None:
    """Return why these columns are no content; None when they are."""
    if content:
        why = unkeepable(content)
        long = len(content) > LONGEST_CONTENT or len(content.encode(errors="replace")) > LONGEST_CONTENT
        return why or (f"longer than {LONGEST_CONTENT:,} bytes" if long else None)
    given = [part for part in parts if part is not None]
    if not given:
        return "NULL"
    if any(isinstance(part, str) for part in given) or b"" in given:
        return "empty"
    if any(isinstance(part, NotUtf8) for part in given):
        return "text that is not UTF-8"
    return "a BLOB that is not UTF-8" if any(isinstance(part, bytes) for part in given) else "a number, not text"


def _created_at(values: Mapping[str, Value], plan: Plan) -> datetime | None:
    name = plan.mapping.created_at
    if name is None:
        return None
    return dates.moment(values[name], plan.forms[name]) or dates.moment(values[name], "iso")


def _metadata(values: Mapping[str, Value], plan: Plan) -> tuple[dict[str, Any], list[tuple[str, Lost]]]:
    """Return the metadata, NULLs left out, and what could not be kept in it."""
    metadata: dict[str, Any] = {}
    lost: list[tuple[str, Lost]] = []
    for name in plan.metadata:
        value, why = as_json(values[name], plan.forms.get(name))
        if why is not None:
            lost.append((name, why))
        elif value is not None:
            metadata[name] = value
    return metadata, lost


def _label(label: str | None, values: Mapping[str, Value], metadata: dict[str, Any], longest: int) -> str | None:
    """Return a constant, or a row's word for it, cut to its column's length; the whole of it is metadata then."""
    if label is None or label.startswith("="):
        return constant(label)
    word = as_label(values[label])
    if word is not None and len(word) > longest:
        metadata[label] = word
    return None if word is None else word[:longest].strip()
