"""The pieces of what a model sends: each is checked, or refused in one short sentence that says what to send; pure."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from typing import Any, cast

from aya.errors import DocumentError, UsageError
from aya.json_object import json_object
from aya.knowledge.validation import check_metadata
from aya_mcp.names import LARGEST_ID

_EXAMPLE = 'context={"project": "garden"}'


def known(sent: Mapping[str, Any], tool: str, names: Collection[str]) -> dict[str, Any]:
    """Return what was sent without nulls, which many clients send for "left out". Raises UsageError."""
    unknown = [name for name in sent if name not in names]
    if unknown:
        raise UsageError(f"{tool} has no argument {shown(unknown[0])}", hint=f"send only {', '.join(names)}")
    return {name: value for name, value in sent.items() if value is not None}


def text(given: Mapping[str, Any], name: str, wanted: str, *, longest: int | None = None) -> str:
    """Return a text with something in it that PostgreSQL can keep. Raises UsageError."""
    value = given.get(name)
    hint = f"send {name} as a string: {wanted}"
    if value is None:
        raise UsageError(f"{name} is missing", hint=hint)
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a string, not {shown(value)}", hint=hint)
    if not value.strip():
        raise UsageError(f"{name} is empty", hint=hint)
    if "\x00" in value:
        raise UsageError(f"{name} holds a NUL character", hint=f"send {name} without it")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        told = f"{name} holds a lone surrogate (character {error.start}), which is no character"
        raise UsageError(told, hint=f"send {name} without it") from error
    if longest is not None and len(value) > longest:
        raise UsageError(f"{name} has {len(value)} characters, {longest} at most", hint=f"send a shorter {name}")
    return value


def maybe_text(given: Mapping[str, Any], name: str, wanted: str, *, longest: int | None = None) -> str | None:
    """Return a text, or None when it was left out. Raises UsageError."""
    return text(given, name, wanted, longest=longest) if name in given else None


def whole(given: Mapping[str, Any], name: str, default: int, least: int, most: int) -> int:
    """Return a whole number, 5 or 5.0: JSON has one kind. Raises UsageError."""
    value: object = given.get(name, default)
    number = _number(value, least, most)
    if number is None:
        raise UsageError(
            f"{name} must be a whole number from {least} to {most}, not {shown(value)}",
            hint=f"send {name}={default}, or leave it out",
        )
    return number


def document_id(value: object) -> int:
    """Return a document's number; negative is one that AIR made and the primary has not numbered. Raises UsageError."""
    number = _number(value, -LARGEST_ID - 1, LARGEST_ID)
    if number is None:
        raise UsageError(
            f"{shown(value)} is no document_id",
            hint="send a document_id from query_aya_rag or list_aya_documents, such as 12",
        )
    return number


def items(given: Mapping[str, Any], name: str, most: int, wanted: str) -> list[object]:
    """Return a list of 1 to `most` things, whatever they are. Raises UsageError."""
    value: object = given.get(name)
    found = cast("list[object]", value) if isinstance(value, list) else []
    if not 1 <= len(found) <= most:
        told = "missing" if value is None else f"{shown(cast('object', value))}, no list of 1 to {most}"
        raise UsageError(f"{name} is {told}", hint=f"send {name}={wanted}")
    return found


def context(given: Mapping[str, Any]) -> dict[str, Any] | None:
    """Return metadata that PostgreSQL can keep, or None when it was left out. Raises UsageError."""
    if "context" not in given:
        return None
    value = json_object(given["context"])
    if value is None:
        raise UsageError(f"context must be an object, not {shown(given['context'])}", hint=f"send {_EXAMPLE}")
    try:
        check_metadata(value)
    except DocumentError as error:
        raise UsageError(f"context cannot be kept: {error.message}", hint=f"send {_EXAMPLE}") from error
    return value


def moment(given: Mapping[str, Any], name: str) -> datetime | None:
    """Return an ISO 8601 date or moment as UTC without a zone, as PostgreSQL has it; None when it was left out.

    Without an offset it is UTC. Raises UsageError.
    """
    if name not in given:
        return None
    value: object = given[name]
    try:
        parsed = datetime.fromisoformat(value) if isinstance(value, str) else None
        if parsed is not None and parsed.tzinfo is not None:
            parsed = parsed.astimezone(UTC).replace(tzinfo=None)
    except (ValueError, OverflowError):
        parsed = None
    if parsed is None:
        raise UsageError(
            f"{name} must be a date, not {shown(value)}", hint=f'send {name}="2026-05-31" or "2026-05-31T18:00:00Z"'
        )
    return parsed


def shown(value: object) -> str:
    """Return a value in few characters, without any that JSON could not carry."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "that number"


def _number(value: object, least: int, most: int) -> int | None:
    if not isinstance(value, int | float) or isinstance(value, bool) or not least <= value <= most or value % 1:
        return None
    return int(value)
