"""The part of a passage that shows best why it answers a query."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left, bisect_right
from collections import Counter
from dataclasses import dataclass, field

MOST_QUERY_WORDS = 64
"""Further distinct words of a query are not looked for."""
SHARED_LETTERS = 4
SHARED_SHARE = 0.6
"""Two words are kin if they begin with as many letters in common, and these are this share of the longer one."""
ELLIPSIS = "…"

Span = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Snippet:
    """A line of a passage.

    text: white space runs are one space; … stands where something was cut off.
    highlights: (start, end) in code points of `text`, end excluded, in order, of the words the query has too.
    at: where the first of them, or without any the line, begins in the passage, in code points.
    """

    text: str
    highlights: list[Span] = field(default_factory=list[Span])
    at: int = 0


def snippet(text: str, query: str, *, width: int = 240) -> Snippet:
    """Return the window of `text` with most of the query's distinct words, then most words, then the earliest.

    width: the most code points of the result, ellipses included; at least 16. Cut between words, except inside a word
    longer than the window. Words are compared case-folded, NFKC, and by their beginning (descale, descaling);
    English function words count only in a query of nothing else. A query without a word found shows the beginning.
    Raises ValueError on a smaller width. Linear in the text; the same call gives the same result.
    """
    if width < _LEAST_WIDTH:
        raise ValueError(f"width must be at least {_LEAST_WIDTH}, got {width}")
    line = " ".join(text.split())
    matches = _matches(line, _query_words(query))
    start, end = (0, len(line)) if len(line) <= width else _window(line, matches, width - 2 * len(ELLIPSIS))
    before, after = ELLIPSIS if start else "", ELLIPSIS if end < len(line) else ""
    shift = len(before) - start
    shown = [(low, high) for low, high, _ in matches if start <= low and high <= end]
    highlights = [(low + shift, high + shift) for low, high in shown]
    return Snippet(before + line[start:end] + after, highlights, _in_text(text, line, shown[0][0] if shown else start))


_LEAST_WIDTH = 16

_IDEOGRAPH = r"\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff"
"""Kana and Han are written without spaces: each character is a word."""
_MARKS = r"\u0300-\u036f\u0900-\u0dff\u0e31-\u0e4e"
"""Combining marks, among them the vowel signs of India and Thailand, which \\w leaves out."""
_WORD = re.compile(rf"[{_IDEOGRAPH}]|[^\W{_IDEOGRAPH}](?:[^\W{_IDEOGRAPH}]|[{_MARKS}])*+")
_FUNCTION_WORD = re.compile(
    "a|about|am|an|and|any|are|as|at|be|been|but|by|can|could|did|do|does|for|from|had|has|have|how|i|if|in|into|is|it|"
    "its|me|my|no|not|of|on|or|our|should|so|than|that|the|their|them|then|there|these|they|this|to|us|was|we|were|"
    "what|when|where|which|who|why|will|with|would|you|your"
)


def _folded(word: str) -> str:
    return unicodedata.normalize("NFKC", word).casefold()


def _query_words(query: str) -> list[str]:
    words = dict.fromkeys(_folded(found[0]) for found in _WORD.finditer(query))
    telling = [word for word in words if not _FUNCTION_WORD.fullmatch(word)]
    return (telling or list(words))[:MOST_QUERY_WORDS]


def _matches(line: str, words: list[str]) -> list[tuple[int, int, str]]:
    """Return (start, end, the query's word) of each word of the line that the query has too."""
    kin: dict[str, str | None] = {}
    found: list[tuple[int, int, str]] = []
    for each in _WORD.finditer(line):
        word = _folded(each[0])
        if word not in kin:
            kin[word] = next((asked for asked in (word, *words) if asked in words and _akin(word, asked)), None)
        asked = kin[word]
        if asked is not None:
            found.append((*each.span(), asked))
    return found


def _akin(word: str, asked: str) -> bool:
    """Tell whether two words are the same, or differ in their endings only."""
    if word[:SHARED_LETTERS] != asked[:SHARED_LETTERS]:
        return False
    shared = next(
        (at for at, (a, b) in enumerate(zip(word, asked, strict=False)) if a != b), min(len(word), len(asked))
    )
    longer = max(len(word), len(asked))
    return word == asked or (shared >= SHARED_LETTERS and shared >= SHARED_SHARE * longer)


def _in_text(text: str, line: str, at: int) -> int:
    """Return where in `text` stands what is at `at` in the line made of it: behind as many signs that are no blanks."""
    before = at - line.count(" ", 0, at)
    for place, sign in enumerate(text):
        if not sign.isspace():
            if not before:
                return place
            before -= 1
    return 0


def _window(line: str, matches: list[tuple[int, int, str]], room: int) -> Span:
    """Return the best `room` code points, as wide as words allow, the matches in the middle."""
    first, last = _best(matches, room)
    low, high = (matches[first][0], matches[last][1]) if matches else (0, 0)
    high = min(high, low + room)
    start = max(0, min(low - (room - (high - low)) // 2, len(line) - room))
    return _at_word_bounds(line, start, start + room, low, high)


def _best(matches: list[tuple[int, int, str]], room: int) -> tuple[int, int]:
    """Slide over the matches; return the first and the last of the best run that fits."""
    best, score = (0, 0), (0, 0)
    seen: Counter[str] = Counter()
    first = 0
    for last, (_, end, asked) in enumerate(matches):
        seen[asked] += 1
        while first < last and end - matches[first][0] > room:
            dropped = matches[first][2]
            seen[dropped] -= 1
            if not seen[dropped]:
                del seen[dropped]
            first += 1
        if (len(seen), last - first + 1) > score:
            best, score = (first, last), (len(seen), last - first + 1)
    return best


def _at_word_bounds(line: str, start: int, end: int, low: int, high: int) -> Span:
    """Move the bounds inwards to the nearest spaces, but not past the matches in [low, high)."""
    spaces = [at for at in range(start, end) if line[at] == " "]
    if start > 0 and line[start - 1] != " ":
        at = bisect_left(spaces, start)
        start = spaces[at] + 1 if at < len(spaces) and spaces[at] < low else start
    if end < len(line) and line[end] != " ":
        at = bisect_right(spaces, end) - 1
        end = spaces[at] if at >= 0 and spaces[at] >= max(high, start + 1) else end
    return start, end
