"""What a model may send to each tool; pure. Every refusal is one short sentence that says what to send instead."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, get_args

from aya.errors import UsageError
from aya.knowledge.types import Changes, Filters, Mode
from aya.knowledge.validation import LONGEST_CATEGORY, LONGEST_QUERY, LONGEST_SOURCE, MOST_HITS
from aya_mcp import given as pieces
from aya_mcp.cursor import Cursor, decoded
from aya_mcp.names import ADD, DELETE, FARTHEST, LIST, QUERY, SHOW, UPDATE

MODES: tuple[Mode, ...] = get_args(Mode)
FILTERS = ("category", "source", "context", "since", "until")
CHANGES = ("content", "category", "source", "title", "context")
DEFAULT_LIMIT = 5
DEFAULT_CATEGORY = "general"
# What one call embeds within a client's patience; larger texts go in by `aya add`.
LONGEST_CONTENT = 1_000_000
LONGEST_TITLE = 300
# About 5,000 tokens: a document of a megabyte does not flood a context by itself.
DEFAULT_LENGTH = 20_000
MOST_LENGTH = 200_000
DEFAULT_PAGE = 20
MOST_PAGE = 100
MOST_DELETED = 20


@dataclass(frozen=True, slots=True)
class QueryArguments:
    """The checked arguments of query_aya_rag."""

    query: str
    limit: int = DEFAULT_LIMIT
    mode: Mode = "hybrid"
    filters: Filters = field(default_factory=Filters)


@dataclass(frozen=True, slots=True)
class AddArguments:
    """The checked arguments of add_to_aya_rag."""

    content: str
    category: str = DEFAULT_CATEGORY
    context: Mapping[str, Any] = field(default_factory=dict[str, Any])


@dataclass(frozen=True, slots=True)
class ShowArguments:
    """The checked arguments of show_aya_document; offset and length in characters."""

    document_id: int
    offset: int = 0
    length: int = DEFAULT_LENGTH


@dataclass(frozen=True, slots=True)
class ListArguments:
    """The checked arguments of list_aya_documents. after: None for the first page."""

    limit: int = DEFAULT_PAGE
    filters: Filters = field(default_factory=Filters)
    after: Cursor | None = None


@dataclass(frozen=True, slots=True)
class UpdateArguments:
    """The checked arguments of update_aya_document. expected_rev: None for whatever it is now."""

    document_id: int
    changes: Changes
    expected_rev: int | None = None


def parse_query(sent: Mapping[str, Any]) -> QueryArguments:
    """Check the arguments of query_aya_rag. Raises UsageError."""
    given = pieces.known(sent, QUERY, ("query", "limit", "mode", *FILTERS))
    return QueryArguments(
        query=pieces.text(given, "query", "the question in plain words", longest=LONGEST_QUERY),
        limit=pieces.whole(given, "limit", DEFAULT_LIMIT, 1, MOST_HITS),
        mode=_mode(given.get("mode", "hybrid")),
        filters=_filters(given),
    )


def parse_add(sent: Mapping[str, Any]) -> AddArguments:
    """Check the arguments of add_to_aya_rag. Raises UsageError."""
    given = pieces.known(sent, ADD, ("content", "category", "context"))
    category = pieces.maybe_text(given, "category", "one category's name") or DEFAULT_CATEGORY
    return AddArguments(_content(given, "the text to keep"), category, pieces.context(given) or {})


def parse_show(sent: Mapping[str, Any]) -> ShowArguments:
    """Check the arguments of show_aya_document. Raises UsageError."""
    given = pieces.known(sent, SHOW, ("document_id", "offset", "length"))
    return ShowArguments(
        _document_id(given),
        pieces.whole(given, "offset", 0, 0, FARTHEST),
        pieces.whole(given, "length", DEFAULT_LENGTH, 1, MOST_LENGTH),
    )


def parse_list(sent: Mapping[str, Any]) -> ListArguments:
    """Check the arguments of list_aya_documents. Raises UsageError."""
    given = pieces.known(sent, LIST, (*FILTERS, "limit", "cursor"))
    after = decoded(given["cursor"]) if "cursor" in given else None
    return ListArguments(pieces.whole(given, "limit", DEFAULT_PAGE, 1, MOST_PAGE), _filters(given), after)


def parse_update(sent: Mapping[str, Any]) -> UpdateArguments:
    """Check the arguments of update_aya_document. Raises UsageError."""
    given = pieces.known(sent, UPDATE, ("document_id", *CHANGES, "expected_rev"))
    changes = Changes(
        content=_content(given, "the whole new text") if "content" in given else None,
        category=pieces.maybe_text(given, "category", "one category's name", longest=LONGEST_CATEGORY),
        source=pieces.maybe_text(given, "source", "where it comes from", longest=LONGEST_SOURCE),
        title=pieces.maybe_text(given, "title", "a line that names it", longest=LONGEST_TITLE),
        metadata=pieces.context(given),
    )
    document_id = _document_id(given)
    if changes == Changes():
        raise UsageError("nothing is to be changed", hint=f"send one or more of {', '.join(CHANGES)}")
    return UpdateArguments(document_id, changes, _revision(given))


def parse_delete(sent: Mapping[str, Any]) -> tuple[int, ...]:
    """Return the ids that delete_aya_documents is to delete, each once. Raises UsageError."""
    given = pieces.known(sent, DELETE, ("document_ids",))
    ids = pieces.items(given, "document_ids", MOST_DELETED, "[12], the ones that the user wants deleted")
    return tuple(dict.fromkeys(pieces.document_id(one) for one in ids))


def _document_id(given: Mapping[str, Any]) -> int:
    if "document_id" not in given:
        raise UsageError("document_id is missing", hint=f"send a document_id from {QUERY} or {LIST}, such as 12")
    return pieces.document_id(given["document_id"])


def _content(given: Mapping[str, Any], wanted: str) -> str:
    content = pieces.text(given, "content", wanted)
    if len(content) > LONGEST_CONTENT:
        raise UsageError(
            f"content has {len(content)} characters, {LONGEST_CONTENT} at most",
            hint="send it in parts, or have the user run `aya add FILE`",
        )
    return content


def _filters(given: Mapping[str, Any]) -> Filters:
    since, until = pieces.moment(given, "since"), pieces.moment(given, "until")
    if since is not None and until is not None and since >= until:
        raise UsageError("since is not before until, so nothing can be found", hint="send an earlier since")
    return Filters(
        category=pieces.maybe_text(given, "category", "one category's name"),
        source=pieces.maybe_text(given, "source", "one source's name"),
        metadata=pieces.context(given),
        since=since,
        until=until,
    )


def _revision(given: Mapping[str, Any]) -> int | None:
    if "expected_rev" not in given:
        return None
    value: object = given["expected_rev"]
    if not isinstance(value, int) or isinstance(value, bool) or not 1 <= value < 2**63:
        raise UsageError(
            f"expected_rev must be a revision, not {pieces.shown(value)}",
            hint=f"send the rev that {SHOW} returned, or leave it out",
        )
    return value


def _mode(value: object) -> Mode:
    for mode in MODES:
        if value == mode:
            return mode
    raise UsageError(f"mode must be one of {', '.join(MODES)}, not {pieces.shown(value)}", hint="leave mode out")
