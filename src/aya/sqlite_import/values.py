"""SQLite's values as text and as JSON; pure.

SQLite gives None, int, float, str, bytes (a BLOB); NotUtf8 stands for a text whose bytes are none, which SQLite
neither checks nor mends (https://www.sqlite.org/invalidutf.html).
"""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from typing import Any, Literal, NoReturn, cast

from aya.records import unkeepable
from aya.sqlite_import import dates

LONGEST_IN_METADATA = 64 * 1024
"""Characters: a longer text is content, or it is something that no filter needs in an index."""
DEEPEST_JSON = 64

LeftOut = Literal["BLOB", "not UTF-8", "NUL byte", "too long"]


@dataclass(frozen=True, slots=True)
class NotUtf8:
    """A text whose bytes are not UTF-8."""

    raw: bytes


Value = None | int | float | str | bytes | NotUtf8


def read_text(raw: bytes) -> str | NotUtf8:
    """Return a text as SQLite keeps it; the text_factory of every connection here."""
    try:
        return raw.decode("utf-8")
    except UnicodeDecodeError:
        return NotUtf8(raw)


def as_text(value: Value) -> str | None:
    """Return what `value` says as words: a text, or a BLOB that is text in UTF-8; None when it says none."""
    if isinstance(value, bytes):
        decoded = read_text(value)
        return decoded if isinstance(decoded, str) and "\x00" not in decoded else None
    return value if isinstance(value, str) else None


def as_label(value: Value) -> str | None:
    """Return `value` as a short text on one line, numbers included; None when it says nothing, or cannot be kept."""
    said = str(value) if isinstance(value, int | float) else as_text(value)
    line = " ".join((said or "").split())
    return line if line and not unkeepable(line) else None


def as_json(value: Value, form: dates.Form | None = None) -> tuple[Any, LeftOut | None]:
    """Return `value` as metadata keeps it, and why it is left out (the value is None then).

    form: the form of the column's dates, which become ISO 8601. An array or an object in a text becomes one.
    """
    if form is not None and (found := dates.moment(value, form)) is not None:
        return found.isoformat().replace("+00:00", "Z"), None
    if isinstance(value, float) and not math.isfinite(value):
        return str(value), None
    if isinstance(value, bytes):
        return None, "BLOB"
    if isinstance(value, NotUtf8):
        return None, "not UTF-8"
    return _text_as_json(value) if isinstance(value, str) else (value, None)


def _text_as_json(value: str) -> tuple[Any, LeftOut | None]:
    if len(value) > LONGEST_IN_METADATA:
        return None, "too long"
    if unkeepable(value):
        return None, "NUL byte"
    return (_parsed(value) if value.lstrip()[:1] in {"{", "["} else value), None


def _parsed(text: str) -> object:
    """Return the array or object in `text`; the text itself when it is none, or one that jsonb cannot keep."""
    try:
        parsed: object = json.loads(text, parse_constant=_refuse)
        whole = json.dumps(parsed, ensure_ascii=False, allow_nan=False)
    except (ValueError, RecursionError):
        return text
    return text if _depth(parsed) > DEEPEST_JSON or "\\u0000" in whole or unkeepable(whole) else parsed


def _refuse(constant: str) -> NoReturn:
    raise ValueError(constant)


def _depth(value: object) -> int:
    """Return how deep a parsed JSON value is nested; 1 for a plain one."""
    level, depth = [value], 0
    while level:
        level = [child for item in level for child in _children(item)]
        depth += 1
    return depth


def _children(value: object) -> list[object]:
    if isinstance(value, dict):
        return list(cast("dict[str, object]", value).values())
    return cast("list[object]", value) if isinstance(value, list) else []
