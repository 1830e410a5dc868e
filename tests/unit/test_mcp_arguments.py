"""What a model may send to a tool."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from aya.errors import UsageError
from aya.knowledge.types import Changes, Filters
from aya_mcp.arguments import (
    LONGEST_CONTENT,
    AddArguments,
    ListArguments,
    QueryArguments,
    ShowArguments,
    UpdateArguments,
    parse_add,
    parse_delete,
    parse_list,
    parse_query,
    parse_show,
    parse_update,
)
from aya_mcp.cursor import Cursor

PARSERS: tuple[Callable[[Mapping[str, Any]], object], ...] = (
    *(parse_query, parse_add, parse_show, parse_list, parse_update, parse_delete),
)


def test_only_the_query_is_required() -> None:
    """A question alone searches by meaning and words for five passages."""
    assert parse_query({"query": "why"}) == QueryArguments("why", limit=5, mode="hybrid", filters=Filters())


def test_only_the_content_is_required() -> None:
    """A text alone is filed under general, without metadata."""
    assert parse_add({"content": "a fact"}) == AddArguments("a fact", "general", {})


def test_everything_may_be_sent() -> None:
    """What was sent is what comes out."""
    sent = {"query": "why", "limit": 7, "category": "notes", "mode": "text"}
    assert parse_query(sent) == QueryArguments("why", 7, "text", Filters(category="notes"))
    sent_too = {"content": "a fact", "category": "notes", "context": {"author": "x"}}
    assert parse_add(sent_too) == AddArguments("a fact", "notes", {"author": "x"})


def test_null_is_the_same_as_left_out() -> None:
    """Many clients send null for an argument that the model left out."""
    assert parse_query({"query": "why", "limit": None, "category": None, "mode": None}) == QueryArguments("why")
    assert parse_add({"content": "a fact", "category": None, "context": None}) == AddArguments("a fact")


@pytest.mark.parametrize(("sent", "limit"), [(1, 1), (5, 5), (5.0, 5), (200, 200), (2e2, 200)])
def test_a_whole_number_is_a_limit_however_it_is_written(sent: float, limit: int) -> None:
    """JSON has one kind of number."""
    assert parse_query({"query": "why", "limit": sent}).limit == limit


@pytest.mark.parametrize(
    "limit",
    [0, -1, 10**9, 201, 2.5, "five", "5", True, [5], {}, float("inf"), float("nan"), pytest.param(10**5000, id="huge")],
)
def test_any_other_limit_is_refused_in_one_short_sentence(limit: object) -> None:
    """The model learns what to send, and no more."""
    with pytest.raises(UsageError) as refused:
        parse_query({"query": "why", "limit": limit})
    assert refused.value.message.startswith("limit must be a whole number from 1 to 200, not ")
    assert len(refused.value.message) < 120
    assert refused.value.hint == "send limit=5, or leave it out"


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "query is missing"),
        ({"query": None}, "query is missing"),
        ({"query": ""}, "query is empty"),
        ({"query": " \n\t"}, "query is empty"),
        ({"query": 5}, "query must be a string, not 5"),
        ({"query": ["a"]}, "query must be a string, not ['a']"),
        ({"query": "a\x00b"}, "query holds a NUL character"),
        ({"query": "x" * 10_001}, "query has 10001 characters, 10000 at most"),
        ({"query": "why", "category": ""}, "category is empty"),
        ({"query": "why", "category": 1}, "category must be a string, not 1"),
        ({"query": "why", "mode": "fuzzy"}, "mode must be one of vector, text, hybrid, not 'fuzzy'"),
        ({"query": "why", "mode": ["text"]}, "mode must be one of vector, text, hybrid, not ['text']"),
        ({"query": "why", "top_k": 5}, "query_aya_rag has no argument 'top_k'"),
        ({"query": "why \ud800"}, "query holds a lone surrogate (character 4), which is no character"),
        ({"query": "why", "source": 5}, "source must be a string, not 5"),
        ({"query": "why", "context": "a"}, "context must be an object, not 'a'"),
        ({"query": "why", "context": {"a": "\x00"}}, "context cannot be kept: the metadata holds a NUL byte, which"),
        ({"query": "why", "context": {"a": float("nan")}}, "context cannot be kept: the metadata is no JSON: "),
        ({"query": "why", "since": "2026-13-01"}, "since must be a date, not '2026-13-01'"),
        ({"query": "why", "until": 2026}, "until must be a date, not 2026"),
        ({"query": "why", "until": "0001-01-01T00:00:00+01:00"}, "until must be a date, not '0001-01-"),
        ({"query": "why", "since": "2026-02-01", "until": "2026-02-01"}, "since is not before until, so nothing "),
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(sent: dict[str, Any], words: str) -> None:
    """Every refusal names the argument and what is wrong with it."""
    with pytest.raises(UsageError) as refused:
        parse_query(sent)
    assert refused.value.message.startswith(words)
    assert refused.value.hint


@pytest.mark.parametrize(
    ("sent", "words"),
    [
        ({}, "content is missing"),
        ({"content": ""}, "content is empty"),
        ({"content": {"a": 1}}, "content must be a string, not {'a': 1}"),
        ({"content": "a\x00b"}, "content holds a NUL character"),
        ({"content": "x" * (LONGEST_CONTENT + 1)}, "content has 1000001 characters, 1000000 at most"),
        ({"content": "a", "context": "garden"}, "context must be an object, not 'garden'"),
        ({"content": "a", "context": [1]}, "context must be an object, not [1]"),
        ({"content": "a", "context": 0}, "context must be an object, not 0"),
        ({"content": "a", "metadata": {}}, "add_to_aya_rag has no argument 'metadata'"),
    ],
)
def test_a_text_that_cannot_be_kept_is_refused(sent: dict[str, Any], words: str) -> None:
    """Metadata that is no object, an empty text, a NUL: nothing of it reaches the database."""
    with pytest.raises(UsageError) as refused:
        parse_add(sent)
    assert refused.value.message == words
    assert refused.value.hint


def test_an_unknown_argument_is_refused_with_the_allowed_names() -> None:
    """Dropped in silence, it would search for something else than was meant."""
    with pytest.raises(UsageError) as refused:
        parse_query({"query": "why", "categories": ["a"]})
    assert refused.value.hint == "send only query, limit, mode, category, source, context, since, until"


_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=5,
)


_NAMES = [
    *("query", "limit", "category", "mode", "content", "context", "x", "source", "title", "since", "until", "cursor"),
    *("document_id", "document_ids", "offset", "length", "expected_rev"),
]


@settings(suppress_health_check=[HealthCheck.too_slow])
@given(st.dictionaries(st.sampled_from(_NAMES), _JSON))
def test_whatever_is_sent_is_either_taken_or_refused_in_words_json_can_carry(sent: dict[str, Any]) -> None:
    """No input raises anything else, and no refusal holds what a client could not decode."""
    for parse in PARSERS:
        told = ""
        try:
            parse(sent)
        except UsageError as refused:
            told = refused.message
        assert len(told) < 300
        told.encode("utf-8")


def test_every_filter_may_be_sent_to_a_search_and_to_a_list() -> None:
    """Moments come out as UTC without a zone; a date is its first moment."""
    sent = {
        "category": "c",
        "source": "s",
        "context": {"a": 1},
        "since": "2026-01-02",
        "until": "2026-01-03T01:00+02:00",
    }
    filters = Filters("c", "s", {"a": 1}, datetime(2026, 1, 2), datetime(2026, 1, 2, 23))  # noqa: DTZ001 - as stored
    assert parse_query({"query": "why", **sent}).filters == filters
    assert parse_list(sent).filters == filters


def test_a_list_goes_on_where_its_cursor_says() -> None:
    """What was encoded is what is decoded, whatever the date."""
    for moment in (None, datetime(2026, 1, 2, 3, 4, 5, 678901)):  # noqa: DTZ001 - as stored
        after = Cursor(moment, -7, 40)
        assert parse_list({"cursor": after.encoded(), "limit": 3}) == ListArguments(3, Filters(), after)


@pytest.mark.parametrize("cursor", ["", "page 2", "ü", 5, ["a"], "W10", "WzEsMl0", "W251bGwsIDFlOTksIDBd", "A" * 201])
def test_a_cursor_of_somebody_elses_is_refused(cursor: object) -> None:
    """With where to get one."""
    with pytest.raises(UsageError, match="is no cursor") as refused:
        parse_list({"cursor": cursor})
    assert refused.value.hint == "send the next_cursor of the page before, or leave it out"


def test_a_document_is_shown_from_its_beginning() -> None:
    """20,000 characters, unless another part is asked for; AIR's own numbers are negative."""
    assert parse_show({"document_id": 12}) == ShowArguments(12, 0, 20_000)
    assert parse_show({"document_id": -3.0, "offset": 5, "length": 7}) == ShowArguments(-3, 5, 7)


def test_what_is_left_out_of_an_update_is_not_changed() -> None:
    """Null is left out, too."""
    sent: dict[str, object] = {"document_id": 12, "title": "t", "content": None, "context": {}, "expected_rev": 4}
    assert parse_update(sent) == UpdateArguments(12, Changes(title="t", metadata={}), 4)


def test_documents_are_deleted_by_a_list_each_once() -> None:
    """In the order in which they were sent."""
    assert parse_delete({"document_ids": [3, 1, 3.0]}) == (3, 1)


@pytest.mark.parametrize(
    ("parse", "sent", "words"),
    [
        (parse_show, {}, "document_id is missing"),
        (parse_show, {"document_id": "12"}, "'12' is no document_id"),
        (parse_show, {"document_id": 2**31}, "2147483648 is no document_id"),
        (parse_show, {"document_id": 12, "offset": -1}, "offset must be a whole number from 0 to 1073741824, not -1"),
        (parse_show, {"document_id": 12, "length": 0}, "length must be a whole number from 1 to 200000, not 0"),
        (parse_show, {"document_id": 12, "page": 2}, "show_aya_document has no argument 'page'"),
        (parse_list, {"limit": 101}, "limit must be a whole number from 1 to 100, not 101"),
        (parse_list, {"query": "why"}, "list_aya_documents has no argument 'query'"),
        (parse_update, {"title": "t"}, "document_id is missing"),
        (parse_update, {"document_id": 12}, "nothing is to be changed"),
        (parse_update, {"document_id": 12, "content": ""}, "content is empty"),
        (
            parse_update,
            {"document_id": 12, "content": "x" * 1_000_001},
            "content has 1000001 characters, 1000000 at most",
        ),
        (parse_update, {"document_id": 12, "category": "x" * 51}, "category has 51 characters, 50 at most"),
        (parse_update, {"document_id": 12, "source": "x" * 101}, "source has 101 characters, 100 at most"),
        (parse_update, {"document_id": 12, "title": "x" * 301}, "title has 301 characters, 300 at most"),
        (
            parse_update,
            {"document_id": 12, "title": "t", "expected_rev": "4"},
            "expected_rev must be a revision, not '4'",
        ),
        (parse_update, {"document_id": 12, "metadata": {}}, "update_aya_document has no argument 'metadata'"),
        (parse_delete, {}, "document_ids is missing"),
        (parse_delete, {"document_ids": 12}, "document_ids is 12, no list of 1 to 20"),
        (parse_delete, {"document_ids": []}, "document_ids is [], no list of 1 to 20"),
        (parse_delete, {"document_ids": [1, True]}, "True is no document_id"),
        (parse_delete, {"document_id": 12}, "delete_aya_documents has no argument 'document_id'"),
    ],
)
def test_a_call_on_a_document_that_cannot_be_done_is_refused(
    parse: Callable[[Mapping[str, Any]], object], sent: dict[str, Any], words: str
) -> None:
    """Before anything is opened, in one sentence with what to send."""
    with pytest.raises(UsageError) as refused:
        parse(sent)
    assert refused.value.message == words
    assert refused.value.hint
