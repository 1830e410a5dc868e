"""What a model may send to a tool; pure. Every refusal is one short sentence that says what to send instead."""

from __future__ import annotations

import reprlib
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any, cast, get_args

from aya.errors import UsageError
from aya.knowledge.types import Mode
from aya.knowledge.validation import LONGEST_QUERY, MOST_HITS

MODES: tuple[Mode, ...] = get_args(Mode)
DEFAULT_LIMIT = 5
DEFAULT_CATEGORY = "general"
# What one call embeds within a client's patience; larger texts go in by `aya add`.
LONGEST_CONTENT = 1_000_000


@dataclass(frozen=True, slots=True)
class QueryArguments:
    """The checked arguments of query_aya_rag."""

    query: str
    limit: int = DEFAULT_LIMIT
    category: str | None = None
    mode: Mode = "hybrid"


@dataclass(frozen=True, slots=True)
class AddArguments:
    """The checked arguments of add_to_aya_rag."""

    content: str
    category: str = DEFAULT_CATEGORY
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])


def parse_query(sent: Mapping[str, Any]) -> QueryArguments:
    """Check the arguments of query_aya_rag. Raises UsageError."""
    given = _known(sent, "query_aya_rag", ("query", "limit", "category", "mode"))
    query = _text(given, "query", "the question in plain words")
    if len(query) > LONGEST_QUERY:
        raise UsageError(f"query has {len(query)} characters, {LONGEST_QUERY} at most", hint="send a shorter query")
    return QueryArguments(
        query=query,
        limit=_limit(given.get("limit", DEFAULT_LIMIT)),
        category=_text(given, "category", "one category's name") if "category" in given else None,
        mode=_mode(given.get("mode", "hybrid")),
    )


def parse_add(sent: Mapping[str, Any]) -> AddArguments:
    """Check the arguments of add_to_aya_rag. Raises UsageError."""
    given = _known(sent, "add_to_aya_rag", ("content", "category", "context"))
    content = _text(given, "content", "the text to keep")
    if len(content) > LONGEST_CONTENT:
        raise UsageError(
            f"content has {len(content)} characters, {LONGEST_CONTENT} at most",
            hint="send it in parts, or have the user run `aya add FILE`",
        )
    context = given.get("context", {})
    if not isinstance(context, dict):
        raise UsageError(f"context must be an object, not {_shown(context)}", hint='send context={"project": "garden"}')
    category = _text(given, "category", "one category's name") if "category" in given else DEFAULT_CATEGORY
    return AddArguments(content, category, cast("dict[str, Any]", context))


def _known(sent: Mapping[str, Any], tool: str, names: Collection[str]) -> dict[str, Any]:
    """Return what was sent without nulls, which many clients send for "left out"."""
    unknown = [name for name in sent if name not in names]
    if unknown:
        raise UsageError(f"{tool} has no argument {_shown(unknown[0])}", hint=f"send only {', '.join(names)}")
    return {name: value for name, value in sent.items() if value is not None}


def _text(given: Mapping[str, Any], name: str, wanted: str) -> str:
    value = given.get(name)
    hint = f"send {name} as a string: {wanted}"
    if value is None:
        raise UsageError(f"{name} is missing", hint=hint)
    if not isinstance(value, str):
        raise UsageError(f"{name} must be a string, not {_shown(value)}", hint=hint)
    if not value.strip():
        raise UsageError(f"{name} is empty", hint=hint)
    if "\x00" in value:
        raise UsageError(f"{name} holds a NUL character", hint=f"send {name} without it")
    return value


def _limit(value: object) -> int:
    if not isinstance(value, int | float) or isinstance(value, bool) or not 1 <= value <= MOST_HITS or value % 1:
        raise UsageError(
            f"limit must be a whole number from 1 to {MOST_HITS}, not {_shown(value)}",
            hint=f"send limit={DEFAULT_LIMIT}, or leave it out",
        )
    return int(value)


def _mode(value: object) -> Mode:
    for mode in MODES:
        if value == mode:
            return mode
    raise UsageError(f"mode must be one of {', '.join(MODES)}, not {_shown(value)}", hint="leave mode out")


def _shown(value: object) -> str:
    """Return a value in few characters, without any that JSON could not carry."""
    try:
        return reprlib.repr(value)
    except ValueError:  # an integer of more digits than Python prints
        return "that number"
