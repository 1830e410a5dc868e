"""What a query's words weigh, and which of them choose the passages."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.knowledge.terms import Term, best_possible, candidate_queries, query_vector


def term(lexeme: str, frequency: int, total: int = 1_000_000) -> Term:
    """Return a word that so many passages hold."""
    return Term(lexeme, f"'{lexeme}'", abs(hash(lexeme)) % 1000 + 1, frequency, total)


TERMS = st.lists(
    st.builds(term, st.text("abc", min_size=1, max_size=3), st.integers(0, 2_000_000)),
    max_size=8,
    unique_by=lambda each: each.lexeme,
)

# what it is for, the words with their frequency, what is asked for, one after the other
CHOSEN: list[tuple[str, dict[str, int], tuple[str, ...]]] = [
    ("no word", {}, ()),
    ("a word that nobody holds", {"zebra": 0}, ()),
    ("few passages hold them: all are compared", {"oil": 900, "chain": 40}, ("'chain' | 'oil'",)),
    ("a frequent word only adds to the score", {"chain": 40, "use": 300_000}, ("'chain'", "'chain' | 'use'")),
    ("rare ones as long as they are few", {"a": 6_000, "b": 4_000, "c": 1}, ("'c' | 'b'", "'c' | 'b' | 'a'")),
    ("all are frequent", {"use": 300_000, "time": 30_000}, ("'time' & 'use'", "'time' | 'use'")),
    (
        "two are enough",
        {"use": 300_000, "time": 30_000, "way": 50_000},
        ("'time' & 'way'", "'time' | 'way' | 'use'"),
    ),
    ("a single frequent word", {"use": 300_000}, ("'use'",)),
]


@pytest.mark.parametrize(("words", "chosen"), [row[1:] for row in CHOSEN], ids=[row[0] for row in CHOSEN])
def test_which_passages_are_compared(words: dict[str, int], chosen: tuple[str, ...]) -> None:
    """The rarest words choose; only where they find too few, whoever holds any word is looked at."""
    assert candidate_queries([term(*each) for each in words.items()]) == chosen


def test_in_a_small_base_nothing_is_left_out() -> None:
    """However frequent the words, whoever holds any of them is compared."""
    assert candidate_queries([term("b", 8_000, 9_000), term("a", 3_000, 9_000)]) == ("'a' | 'b'",)


@given(TERMS)
def test_the_candidates_are_bounded(terms: list[Term]) -> None:
    """Whatever the words: what is asked first is made up by ten thousand passages at most, and all words come last."""
    asked = candidate_queries(terms)
    held = {each.quoted for each in terms if each.frequency > 0}
    assert (asked == ()) == (not held)
    if asked:
        assert set(asked[-1].split(" | ")) == held
    for query in asked[:-1]:
        chosen = query.split(" | ")
        assert " & " in query or sum(each.frequency for each in terms if each.quoted in chosen) <= 10_000


@given(st.integers(1, 10**7), st.integers(0, 10**7), st.integers(0, 10**7))
def test_a_rarer_word_says_more(total: int, one: int, other: int) -> None:
    """The rarity falls with the frequency and is never negative, even where the total is out of date."""
    rarer, commoner = sorted((one, other))
    assert term("a", rarer, total).rarity >= term("b", commoner, total).rarity > 0


def test_the_vector_is_what_pgvector_reads() -> None:
    """Places ascend, two words at one place are one, and the share is of the best that is possible."""
    words = [Term("b", "'b'", 7, 1, 10), Term("a", "'a'", 3, 5, 10), Term("c", "'c'", 7, 9, 10)]
    assert query_vector(words) == f"{{3:{words[1].rarity / 1000:.9f},7:{words[0].rarity / 1000:.9f}}}/1000000000"
    assert best_possible(words[:1]) == pytest.approx(2.2 * words[0].rarity)
