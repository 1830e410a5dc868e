"""What may be kept and asked: every refusal is a sentence, and nothing harmless is refused."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.errors import DocumentError, UsageError
from aya.knowledge import validation
from aya.knowledge.validation import LONGEST_CATEGORY, LONGEST_QUERY, LONGEST_SOURCE, MOST_HITS


@pytest.mark.parametrize(
    ("content", "words"),
    [
        ("", "is empty"),
        (" \n\u2003", "is empty"),
        ("ab\x00c", r"NUL byte \(character 2\)"),
        ("ab\udcffc", r"lone surrogate \(character 2\)"),
    ],
)
def test_content_that_cannot_be_kept_is_refused(content: str, words: str) -> None:
    """Nothing to find, or nothing PostgreSQL can hold; the sentence says where."""
    with pytest.raises(DocumentError, match=words) as caught:
        validation.check_content(content)
    assert caught.value.hint


@given(st.text(st.characters(codec="utf-8", exclude_characters="\x00"), min_size=1).filter(str.strip))
def test_any_other_text_is_content(content: str) -> None:
    """Control characters, emoji and all scripts are kept."""
    validation.check_content(content)


@pytest.mark.parametrize(
    ("category", "source", "words"),
    [
        ("c" * (LONGEST_CATEGORY + 1), None, "category has 51 characters; 50 are kept"),
        (None, "s" * (LONGEST_SOURCE + 1), "source has 101 characters; 100 are kept"),
        ("", None, "category is empty"),
        (" ", None, "category is empty"),
        (None, "a\x00", "source is empty or holds a NUL byte"),
        ("a\udcff", None, "category holds a lone surrogate"),
    ],
)
def test_a_label_that_does_not_fit_its_column_is_refused(category: str | None, source: str | None, words: str) -> None:
    """The column's width is said, and which label it is."""
    with pytest.raises(DocumentError, match=words):
        validation.check_labels(category, source)


def test_labels_up_to_the_columns_width_are_kept() -> None:
    """Characters are counted, not bytes; no label is a label too."""
    validation.check_labels("ü" * LONGEST_CATEGORY, "😀" * LONGEST_SOURCE)
    validation.check_labels(None, None)


@pytest.mark.parametrize(
    ("metadata", "words"),
    [
        ({"n": float("nan")}, "no JSON"),
        ({"n": [float("inf")]}, "no JSON"),
        ({"n": object()}, "no JSON"),
        ({"n": b"bytes"}, "no JSON"),
        ({"n": "a\x00"}, "NUL byte"),
        ({"\x00": 1}, "NUL byte"),
        ({"n": "\\\x00"}, "NUL byte"),
        ({"n": "a\udcff"}, "no JSON"),
        ({"\ud800": 1}, "no JSON"),
    ],
)
def test_metadata_that_jsonb_cannot_hold_is_refused(metadata: dict[str, Any], words: str) -> None:
    """At any depth, in keys and values."""
    with pytest.raises(DocumentError, match=words):
        validation.check_metadata(metadata)


JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(st.characters(codec="utf-8", exclude_characters="\x00")),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(st.characters(codec="ascii", min_codepoint=1)), inner),
    max_leaves=10,
)


@given(st.dictionaries(st.text(st.characters(codec="ascii", min_codepoint=1)), JSON))
def test_any_other_object_is_metadata(metadata: dict[str, Any]) -> None:
    """What JSON can say is kept, and read back from its text as it was."""
    validation.check_metadata(metadata)
    assert validation.parse_metadata(json.dumps(metadata)) == metadata


def test_metadata_nested_without_end_is_refused() -> None:
    """An object that holds itself, or a thousand levels, is no JSON."""
    endless: dict[str, Any] = {}
    deep = endless
    for _ in range(100_000):
        deep["a"] = {}
        deep = deep["a"]
    with pytest.raises(DocumentError, match="no JSON"):
        validation.check_metadata(endless)
    deep["a"] = endless
    with pytest.raises(DocumentError, match="no JSON"):
        validation.check_metadata(endless)


def test_a_backslash_before_u0000_is_no_nul() -> None:
    """The six characters that spell an escape are text like any other."""
    validation.check_metadata({"path": "C:\\u0000"})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "not JSON"),
        ("{", "not JSON"),
        ("project=garden", "not JSON"),
        ("[]", "must be a JSON object, not list"),
        ('"a"', "must be a JSON object, not str"),
        ("null", "must be a JSON object, not NoneType"),
        ("[" * 100_000, "not JSON"),
    ],
)
def test_metadata_that_is_no_object_is_a_wrong_call(text: str, words: str) -> None:
    """The hint shows one that is right."""
    with pytest.raises(UsageError, match=words) as caught:
        validation.parse_metadata(text)
    assert "--metadata" in (caught.value.hint or "")


@pytest.mark.parametrize(
    ("query", "words"),
    [
        ("", "is empty"),
        (" \t", "is empty"),
        ("a" * (LONGEST_QUERY + 1), "10001 characters; 10000 at most"),
        ("a\x00", "NUL"),
        ("a\ud800", "lone surrogate"),
    ],
)
def test_a_query_without_words_is_a_wrong_call(query: str, words: str) -> None:
    """Nothing is asked of the embedder or the database for it."""
    with pytest.raises(UsageError, match=words):
        validation.check_query(query)


@pytest.mark.parametrize("limit", [0, -1, MOST_HITS + 1, 10**9])
def test_a_limit_out_of_bounds_is_a_wrong_call(limit: int) -> None:
    """The bounds are said."""
    with pytest.raises(UsageError, match=rf"{limit} is not a number of results \(1 to 200\)"):
        validation.check_limit(limit)


@pytest.mark.parametrize("limit", [1, MOST_HITS])
def test_the_bounds_themselves_are_limits(limit: int) -> None:
    """One result and two hundred can be asked for."""
    validation.check_limit(limit)
