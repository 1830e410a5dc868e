"""JSON: an array of objects is a document an object; anything else is one document, as it is written."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, cast

from aya.json_object import json_object
from aya.readers import markdown
from aya.readers.formats import MOST_BYTES
from aya.readers.parts import Fragments, Part, Unreadable, check_length, clean, one_line
from aya.readers.plain import plain_text

_IDENTITIES = ("id", "_id", "uid", "uuid", "key")
_TITLES = ("title", "name", "subject", "label")
_SHORT = 200
"""A string of more characters, or of several lines, stands below a heading of its own."""


def read_json(path: Path) -> Iterator[Part]:
    """Yield the documents of a JSON file: each object of an array is named by its id, or by its place."""
    text = plain_text(path, MOST_BYTES["json"] or 0)
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        reason = "it is nested too deeply" if isinstance(error, RecursionError) else error
        raise Unreadable(f"It is no JSON: {reason}.") from error
    objects = [json_object(each) for each in cast("list[object]", parsed)] if isinstance(parsed, list) else []
    if not objects or None in objects:
        yield Part(clean(text), path.name, markdown=False)
        return
    names = Fragments()
    for number, value in enumerate(objects, start=1):
        yield object_part(value or {}, number, path.stem, names)


def object_part(value: Mapping[str, Any], number: int, name: str, names: Fragments) -> Part:
    """Return the document of one object; pure."""
    identity = _first(value, _IDENTITIES) or str(number)
    title = one_line(_first(value, _TITLES)) or f"{name}, {identity}"
    try:
        blocks = [markdown.heading(1, title), *_blocks(value)]
    except RecursionError as error:
        raise Unreadable("It is nested too deeply.") from error
    return Part(check_length(clean("\n\n".join(blocks))), title, names.take(identity))


def _first(value: Mapping[str, Any], keys: tuple[str, ...]) -> str | None:
    """Return the first scalar under one of the keys, as a string."""
    found = (value.get(key) for key in keys)
    return next((str(each) for each in found if isinstance(each, str | int) and str(each).strip()), None)


def _blocks(value: Mapping[str, Any]) -> Iterator[str]:
    short: list[str] = []
    long: list[str] = []
    for key, each in value.items():
        words = each if isinstance(each, str) else json.dumps(each, ensure_ascii=False)
        if isinstance(each, str) and (len(words) > _SHORT or "\n" in words.strip()):
            long.append(f"{markdown.heading(2, key)}\n\n{markdown.prose(words.strip())}")
        elif words.strip() and each is not None:
            short.append(f"- {key}: {' '.join(words.split())}")
    if short:
        yield "\n".join(short)
    yield from long
