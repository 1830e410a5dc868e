"""What goes between AYA and a worker: frames of JSON, so that a parser that was taken over can send nothing but text.

Each frame is four bytes (its length, big end first) and a JSON value. To the worker: {"path", "format"}. From it:
{"ready": true} once; then for each file any number of {"part"} and {"missing"}, and one {"end": reason or null}.
"""

from __future__ import annotations

import json
import struct
from dataclasses import asdict
from typing import Any

from aya.json_object import json_object
from aya.readers.parts import MOST_CHARACTERS, Missing, Part

HEADER = struct.Struct(">I")
MOST_BYTES = 8 * MOST_CHARACTERS
"""A longer frame is a fault of the worker: JSON takes six bytes for a character at most."""


class BrokenWire(Exception):
    """A frame is no frame."""


def packed(value: dict[str, Any]) -> bytes:
    """Return a frame."""
    data = json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    return HEADER.pack(len(data)) + data


def length_of(header: bytes) -> int:
    """Return how many bytes follow; BrokenWire for too many."""
    length: int = HEADER.unpack(header)[0]
    if length > MOST_BYTES:
        raise BrokenWire(f"a frame of {length:,} bytes")
    return length


def unpacked(data: bytes) -> dict[str, Any]:
    """Return the value of a frame; BrokenWire for what is no JSON object."""
    try:
        value = json_object(json.loads(data))
    except (ValueError, RecursionError) as error:
        raise BrokenWire(f"a frame that is no JSON: {error}") from error
    if value is None:
        raise BrokenWire("a frame that is no object")
    return value


def told(document: Part | Missing) -> dict[str, Any]:
    """Return a document as a frame's value."""
    return {"part" if isinstance(document, Part) else "missing": asdict(document)}


def heard(value: dict[str, Any]) -> Part | Missing | None:
    """Return the document in a frame's value; None where it has none. BrokenWire for one that is wrong."""
    if (missing := json_object(value.get("missing"))) is not None:
        return Missing(_string(missing, "fragment"), _string(missing, "reason"))
    if (part := json_object(value.get("part"))) is None:
        return None
    notes = part.get("notes")
    return Part(
        _string(part, "text"),
        None if part.get("title") is None else _string(part, "title"),
        None if part.get("fragment") is None else _string(part, "fragment"),
        part.get("markdown") is True,
        json_object(part.get("metadata")) or {},
        tuple(str(note) for note in notes) if isinstance(notes, list) else (),  # pyright: ignore[reportUnknownVariableType, reportUnknownArgumentType]
    )


def _string(value: dict[str, Any], key: str) -> str:
    found = value.get(key)
    if not isinstance(found, str):
        raise BrokenWire(f"{key} is no string")
    return found
