"""The top-level blocks of a Markdown document, with the headings they stand under; pure.

The blocks come from markdown-it-py (CommonMark and GFM tables), by its block rules only: a megabyte of prose takes a
tenth of a second, of the densest everyday Markdown two, of nothing but one-letter lines or items eight.
"""

from __future__ import annotations

import re
from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise

from markdown_it import MarkdownIt
from markdown_it.token import Token

Span = tuple[int, int]
"""Where a piece of text lies: (start, end) in Unicode code points, end excluded."""

TITLE_LENGTH = 120
"""A longer heading is shortened to this many code points in a heading path."""
WINDOW_LINES = 2_000
"""Markdown is parsed in windows of this many lines, which grow until a whole block fits."""
MOST_PARSER_TOKENS = 10_000
"""A block that is still open after this many parser tokens is taken as it is: many more make the parser three times
as slow (garbage collection), and memory would have no bound."""
LINE = re.compile(r"[^\r\n]*+(?:\r\n|\r|\n|\Z)")
"""One line with its end, by CommonMark's three line ends; an empty one matches at the end of a text."""


@dataclass(frozen=True, slots=True)
class Block:
    """A top-level block; level is 1 to 6 for a heading, else 0; neither headings nor front matter are body."""

    start: int
    end: int
    path: tuple[str, ...] = ()
    level: int = 0
    body: bool = True
    parts: tuple[Span, ...] = ()
    verbatim: bool = False


def markdown_blocks(text: str) -> Iterator[Block]:
    """Yield front matter and the top-level blocks with their heading paths; nothing but blanks lies between them."""
    front = front_matter_end(text)
    if front:
        yield Block(*strip(text, 0, front), body=False, verbatim=True)
    starts = array("q", [line.start() for line in LINE.finditer(text, front)])
    headings: list[tuple[int, str]] = []
    for first, last, tokens, children in _top_level(text, starts):
        span = strip(text, starts[first], starts[last] if last < len(starts) else len(text))
        level = int(tokens[0].tag[1]) if tokens[0].type == "heading_open" else 0
        if level:
            headings = [*(upper for upper in headings if upper[0] < level), (level, _title(tokens[1].content))]
        path = tuple(title for _, title in headings if title)
        inner = [starts[line] for line in children if starts[line] > span[0]]
        parts = tuple(nonblank(text, list(pairwise([span[0], *inner, span[1]])))) if inner else ()
        if span[0] < span[1]:  # CommonMark takes blanks beyond ASCII for words
            yield Block(*span, path, level, not level, parts, tokens[0].type in _VERBATIM_TYPES)


def first_heading(text: str) -> str | None:
    """Return the first heading of a Markdown text as plain text, or None where there is none."""
    return next((block.path[-1] for block in markdown_blocks(text) if block.level and block.path), None)


def front_matter_end(text: str) -> int:
    """Return where the YAML front matter at the top of a text ends, its closing line included; 0 where there is none.

    Front matter is a first line `---`, directly followed by a key or a comment, up to the next line `---` or `...`
    (as Jekyll and Pandoc define it); a `---` above a blank line or prose is a thematic break.
    """
    found = _FRONT_MATTER.match(text)
    closing = _FRONT_MATTER_CLOSING.search(text, found.end()) if found else None
    return closing.end() if closing else 0


_FRONT_MATTER = re.compile(r"\ufeff?---[ \t]*+(?:\r\n?|\n)(?=#|[\w-]++[ \t]*+:(?:[ \t\r\n]|$))")
_FRONT_MATTER_CLOSING = re.compile(r"(?<=[\r\n])(?:---|\.\.\.)[ \t]*+(?:\r\n|\r|\n|\Z)")


# Spans


def nonblank(text: str, spans: list[Span]) -> list[Span]:
    """Strip every span, and leave out those that have nothing but blanks."""
    stripped = (strip(text, *span) for span in spans)
    return [span for span in stripped if span[0] < span[1]]


def strip(text: str, start: int, end: int) -> Span:
    """Move both ends of a span inwards over blanks; an all blank span becomes empty."""
    right = text[start:end].rstrip()
    return start + len(right) - len(right.lstrip()), start + len(right)


# Parsing

_PARSER = MarkdownIt("commonmark").enable("table").disable(["reference", "inline"])
_INLINE = MarkdownIt("commonmark")
_VERBATIM_TYPES = {"fence", "code_block", "table_open"}


def _title(content: str) -> str:
    """Return a heading's words without its markup."""
    inline = _INLINE.parseInline(content[: 2 * TITLE_LENGTH])[0].children or []
    words = " ".join("".join(" " if "break" in each.type else each.content for each in inline).split())
    return words if len(words) <= TITLE_LENGTH else words[: TITLE_LENGTH - 1] + "…"


def _top_level(text: str, starts: Sequence[int]) -> Iterator[tuple[int, int, list[Token], list[int]]]:
    """Yield (first line, line after, parser tokens, lines where its children start) of each top-level block.

    Where a block starts does not depend on the blocks before it (reference definitions are off), so a window's
    last block, which may go on, is parsed again at the start of the next window.
    """
    first, size = 0, WINDOW_LINES
    while first < len(starts):
        last = min(first + size, len(starts))
        tokens = _PARSER.parse(text[starts[first] : starts[last] if last < len(starts) else len(text)])
        final = last == len(starts) or len(tokens) > MOST_PARSER_TOKENS
        blocks = _grouped(tokens)
        bounds = [*(first + group[0][0] for group in blocks), last]
        settled = len(blocks) if final else len(blocks) - 1
        for at, group in enumerate(blocks[:settled]) if settled > 0 else ():
            children = [first + line for line, _ in group[1:]]
            yield bounds[at], bounds[at + 1], [token for _, token in group], children
        size = 4 * size if settled <= 0 and not final else WINDOW_LINES
        first = bounds[settled] if settled > 0 else last if final else first


def _grouped(tokens: list[Token]) -> list[list[tuple[int, Token]]]:
    """Group the tokens that tell a line, with it, by the top-level block: its own first, then its children's."""
    groups: list[list[tuple[int, Token]]] = []
    for token in tokens:
        if token.map and token.level == 0:
            groups.append([(token.map[0], token)])
        elif token.map and token.level == 1:
            groups[-1].append((token.map[0], token))
    return groups
