"""A snippet shows the part of a passage that answers the query best."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.snippet import Snippet, snippet

FILLER = " ".join(["nothing"] * 60)


def marked(found: Snippet) -> list[str]:
    """Return the highlighted words."""
    return [found.text[start:end] for start, end in found.highlights]


HIGHLIGHTS: list[tuple[str, str, str, list[str]]] = [
    ("the same word", "Descale the machine", "descale", ["Descale"]),
    ("another ending", "Descaling takes an hour", "descale", ["Descaling"]),
    ("plural", "two bicycles", "bicycle", ["bicycles"]),
    ("no mere likeness", "Describe the category", "descale cat", []),
    ("case folding", "STRASSE and Straße", "straße", ["STRASSE", "Straße"]),
    ("composed and decomposed", "cafe\u0301 culture", "caf\u00e9", ["cafe\u0301"]),
    ("function words do not count", "the machine is in the kitchen", "where is the machine", ["machine"]),
    ("unless there is nothing else", "to be or not", "to be", ["to", "be"]),
    ("short words", "LAN and VPN", "vpn", ["VPN"]),
    ("Chinese", "我们的数据库很好", "数据库", ["数", "据", "库"]),
    ("Hindi", "यह हिन्दी है", "हिन्दी", ["हिन्दी"]),
    ("no word at all", "anything", "?!", []),
]


@pytest.mark.parametrize(
    ("text", "query", "words"), [row[1:] for row in HIGHLIGHTS], ids=[row[0] for row in HIGHLIGHTS]
)
def test_the_words_of_the_query_are_marked(text: str, query: str, words: list[str]) -> None:
    """Words match by their beginning, whatever their case, endings and script."""
    assert marked(snippet(text, query)) == words


def test_a_short_passage_is_shown_whole_on_one_line() -> None:
    """White space becomes single spaces; nothing is cut, so there is no ellipsis."""
    assert snippet(" one\n\n\ttwo ", "two") == Snippet("one two", [(4, 7)], 7)


def test_the_window_holds_most_of_the_distinct_words() -> None:
    """Two different words beat the same word three times."""
    text = f"salt salt salt {FILLER} salt and pepper {FILLER}"
    found = snippet(text, "pepper salt", width=60)
    assert marked(found) == ["salt", "pepper"]
    assert found.text.startswith("…nothing")
    assert found.text.endswith("nothing…")


def test_the_earliest_of_equal_windows_is_taken() -> None:
    """The same call gives the same answer."""
    assert snippet(f"salt one {FILLER} salt two", "salt", width=40).text.startswith("salt one")


def test_without_a_match_the_beginning_is_shown() -> None:
    """A hit by meaning alone has no common word."""
    found = snippet(f"Opening {FILLER}", "unrelated", width=40)
    assert found.text.startswith("Opening nothing")
    assert found.text.endswith("…")
    assert found.highlights == []


def test_a_word_longer_than_the_window_is_cut() -> None:
    """An endless word still gives a snippet of the width asked for."""
    assert len(snippet("x" * 1000, "y", width=40).text) <= 40


def test_a_width_that_shows_nothing_is_refused() -> None:
    """Fifteen code points are too few for words and two ellipses."""
    with pytest.raises(ValueError, match="width"):
        snippet("text", "text", width=15)


@given(
    text=st.lists(
        st.sampled_from(["salt", "salty", "pepper", "…", "ß", "e\u0301", "数据", "\u2028", "x" * 70, "a"])
    ).map(" ".join)
    | st.text(max_size=400),
    query=st.text(max_size=30) | st.just("salt pepper 数 ß"),
    width=st.integers(16, 120),
)
def test_a_snippet_is_a_part_of_the_text_within_the_width(text: str, query: str, width: int) -> None:
    """Whatever the text, the snippet is a run of it, highlights are in order and inside, and the width is kept."""
    found = snippet(text, query, width=width)
    line = " ".join(text.split())
    assert len(found.text) <= width
    assert any(part in line for part in (found.text, found.text[1:], found.text[:-1], found.text[1:-1]))
    edges = [at for span in found.highlights for at in span]
    assert edges == sorted(edges)
    assert all(0 <= start < end <= len(found.text) for start, end in found.highlights)
    for start, end in found.highlights[:1]:
        assert text.startswith(found.text[start:end], found.at)
    assert found == snippet(text, query, width=width)


@pytest.mark.timeout(20)
def test_a_large_text_takes_linear_time() -> None:
    """A megabyte of matches is no trap."""
    assert snippet("salt pepper " * 100_000, "pepper salt").highlights
