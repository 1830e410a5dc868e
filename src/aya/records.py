"""Documents in a JSON Lines file (https://jsonlines.org): one object a line."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, BinaryIO

from aya.errors import DocumentError
from aya.json_object import json_object
from aya.knowledge.types import NewDocument
from aya.textfile import shown_path

LONGEST_LINE = 32 * 1024 * 1024
_KNOWN = {"id", "text", "content", "title", "category", "source", "metadata", "created_at"}
_IDENTITY = {"id", "text", "content"}


@dataclass(frozen=True, slots=True)
class Record:
    """One line: the document in it, or why there is none. where: "FILE:LINE"."""

    where: str
    document: NewDocument | None
    reason: str | None = None


def unkeepable(text: str) -> str | None:
    """Return why PostgreSQL cannot keep `text`, as the end of a sentence; None when it can. Pure."""
    if "\x00" in text:
        return "holds a NUL byte"
    try:
        text.encode()
    except UnicodeEncodeError:
        return "holds a lone surrogate, or bytes that are not UTF-8"
    return None


def read_records(
    file: Path, *, category: str, source: str | None, metadata: Mapping[str, Any], explicit: bool = False
) -> Iterator[Record]:
    """Yield the records of `file`, blank lines left out; a bad line is a Record with its reason.

    explicit: these labels were asked for, so documents that are kept already get them, too. Raises DocumentError when
    the file cannot be opened, or its name cannot be kept as where the records come from.
    """
    if why := unkeepable(str(file)):
        raise DocumentError(f"the name {shown_path(file)} {why}", hint="rename the file")
    defaults = NewDocument("", category, source or file.name, metadata, relabel=explicit)
    try:
        stream = file.open("rb")
    except OSError as error:
        raise DocumentError(f"{file} cannot be read: {error.strerror}", hint="aya import FILE.jsonl") from error
    return _lines(file, stream, defaults)


def _lines(file: Path, stream: BinaryIO, defaults: NewDocument) -> Iterator[Record]:
    place = os.path.abspath(file)  # noqa: PTH100 (Path.absolute keeps "..")
    with stream:
        for number, line in enumerate(iter(lambda: stream.readline(LONGEST_LINE + 1), b""), start=1):
            where = f"{file}:{number}"
            if len(line) > LONGEST_LINE:
                yield Record(where, None, f"the line is longer than {LONGEST_LINE:,} bytes; the rest is not read")
                return
            if line.strip():
                yield parse_record(where, place, line, defaults)


def parse_record(where: str, uri: str, line: bytes, defaults: NewDocument) -> Record:
    """Return the record in one line; pure. uri: the file's, to which a record's id is added."""
    try:
        parsed = json.loads(line)
    except (ValueError, RecursionError) as error:
        return Record(where, None, f"it is no JSON: {error}")
    value = json_object(parsed)
    if value is None:
        return Record(where, None, f"it is a JSON {type(parsed).__name__}, not an object")
    text = value.get("text", value.get("content"))
    if not isinstance(text, str):
        return Record(where, None, 'it has no string "text" or "content"')
    return _document(where, uri, text, value, defaults)


def _document(where: str, uri: str, text: str, value: Mapping[str, Any], defaults: NewDocument) -> Record:
    for name in ("title", "category", "source"):
        label = value.get(name)
        if not isinstance(label, str | None):
            return Record(where, None, f'its "{name}" is not a string')
        if why := unkeepable(label or ""):
            return Record(where, None, f'its "{name}" {why}')
    if not isinstance(value.get("metadata", {}), dict):
        return Record(where, None, 'its "metadata" is not an object')
    identity = value.get("id")
    if why := unkeepable(str(identity)):
        return Record(where, None, f'its "id" {why}')
    try:
        created_at = _moment(value.get("created_at"))
    except (TypeError, ValueError):
        return Record(where, None, 'its "created_at" is no date in ISO 8601, such as 2021-05-30T12:00:00Z')
    extra = {name: value[name] for name in value.keys() - _KNOWN}
    kept = {} if identity is None else {"id": identity}
    document = NewDocument(
        content=text,
        category=value.get("category") or defaults.category,
        source=value.get("source") or defaults.source,
        metadata={**extra, **kept, **value.get("metadata", {}), **defaults.metadata},
        title=value.get("title") or None,
        uri=None if identity is None else f"{uri}#{identity}",
        # What a record says of itself is said explicitly, like an option of the call.
        relabel=defaults.relabel or any(value[name] not in (None, "") for name in value.keys() - _IDENTITY),
        by_default=frozenset()
        if defaults.relabel
        else frozenset(name for name in ("category", "source") if not value.get(name)),
        retitle=bool(value.get("title")),
        created_at=created_at,
    )
    return Record(where, document)


def _moment(value: object) -> datetime | None:
    """Return a record's date; without a zone it is UTC. Raises TypeError or ValueError when it is none."""
    if value in (None, ""):
        return None
    if not isinstance(value, str):
        raise TypeError(value)
    moment = datetime.fromisoformat(value)
    try:
        return moment.replace(tzinfo=UTC) if moment.tzinfo is None else moment.astimezone(UTC)
    except OverflowError as error:
        raise ValueError(value) from error
