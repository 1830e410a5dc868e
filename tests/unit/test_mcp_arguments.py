"""What a model may send to a tool."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.errors import UsageError
from aya.knowledge.types import Filters
from aya_mcp.arguments import LONGEST_CONTENT, AddArguments, QueryArguments, parse_add, parse_query


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
    ],
)
def test_a_question_that_cannot_be_asked_is_refused(sent: dict[str, Any], words: str) -> None:
    """Every refusal names the argument and what is wrong with it."""
    with pytest.raises(UsageError) as refused:
        parse_query(sent)
    assert refused.value.message == words
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


@given(st.dictionaries(st.sampled_from(["query", "limit", "category", "mode", "content", "context", "x"]), _JSON))
def test_whatever_is_sent_is_either_taken_or_refused_in_words_json_can_carry(sent: dict[str, Any]) -> None:
    """No input raises anything else, and no refusal holds what a client could not decode."""
    for parse in (parse_query, parse_add):
        told = ""
        try:
            parse(sent)
        except UsageError as refused:
            told = refused.message
        assert len(told) < 300
        told.encode("utf-8")
