"""Cut a document into passages that fit an embedding model, along the document's own structure.

The blocks of Markdown are read in aya.markdown_blocks; below a block, plain regular expressions cut it.
The target of 160 tokens is measured: 100 to 200 tokens along the structure retrieve best, and a chunk over the
model's window is silently cut by the model.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile

from aya.markdown_blocks import LINE, Block, Span, first_heading, front_matter_end, markdown_blocks, nonblank, strip

__all__ = ["MIN_MAX_TOKENS", "Chunk", "chunk", "first_heading", "front_matter_end"]

Cutter = Callable[[str, int, int], list[Span]]

MIN_MAX_TOKENS = 32
"""The smallest limit accepted: one code point alone can need 18 tokens (NFKC turns U+FDFA into 18 letters)."""
CODE_POINTS_PER_TOKEN = 16
"""A chunk is never longer than this times its token limit, however few tokens a model makes of it ([UNK], blanks)."""
MAJOR_LEVEL = 2
"""A heading of this level or higher (h1, h2) begins a new chunk unless the one before it is tiny."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """One passage: `text` is exactly document[start:end], without blanks at its ends.

    index: 0, 1, 2, … in the order of the document.
    start, end: Unicode code points in the document, end excluded.
    heading: the path of headings the passage stands under, "Title > Section", or None.
    tokens: how many of the model's tokens start in [start, end); special tokens are not counted.
    """

    index: int
    text: str
    start: int
    end: int
    heading: str | None
    tokens: int


@dataclass(frozen=True, slots=True)
class _Piece:
    """What is never cut again; level is that of the heading it begins with, body is False without words below one."""

    start: int
    end: int
    path: tuple[str, ...]
    level: int = 0
    body: bool = True


def chunk(
    text: str, token_starts: Sequence[int], *, max_tokens: int, target_tokens: int = 160, markdown: bool
) -> list[Chunk]:
    """Cut `text` into chunks of about `target_tokens` and never more than `max_tokens` tokens.

    token_starts: sorted code point offsets at which the model's tokens begin, special tokens left out.
    max_tokens: the model's window less its special tokens and its prefix, at least MIN_MAX_TOKENS.
    markdown: follow headings, lists, tables and fences; otherwise blank lines, lines and sentences.

    Invariant: the chunks are in order, do not overlap, cover all text that is not blank, and none is over
    max_tokens. A cut falls inside a word only where the word alone is over the limit; such a part can have some
    tokens more when it is tokenised by itself. Raises ValueError on a limit that cannot be met, RuntimeError if
    the invariant is broken. A blank text has no chunks. Time and memory are linear in the text.
    """
    if max_tokens < MIN_MAX_TOKENS or target_tokens < 1:
        raise ValueError(f"max_tokens must be at least {MIN_MAX_TOKENS} and target_tokens at least 1")
    scale = _Scale(text, token_starts, max_tokens, min(target_tokens, max_tokens))
    blocks = markdown_blocks(text) if markdown else (Block(*span) for span in _paragraphs(text, 0, len(text)))
    chunks = [
        Chunk(index, text[run[0].start : run[-1].end], run[0].start, run[-1].end, _heading(run), _tokens(scale, run))
        for index, run in enumerate(_join(_pieces(blocks, scale), scale))
    ]
    _check_invariant(chunks, text, max_tokens)
    return chunks


@dataclass(frozen=True, slots=True)
class _Scale:
    """How large a span is, in tokens, or in code points where a model makes too few tokens of too much text."""

    text: str
    token_starts: Sequence[int]
    most: int
    target: int

    def tokens(self, start: int, end: int) -> int:
        return bisect_left(self.token_starts, end) - bisect_left(self.token_starts, start)

    def size(self, start: int, end: int) -> int:
        return max(self.tokens(start, end), -(-(end - start) // CODE_POINTS_PER_TOKEN))

    @property
    def whole(self) -> int:
        """Up to here a block stays whole and takes a tiny neighbour in."""
        return min(self.most, self.target * 5 // 4)

    @property
    def tiny(self) -> int:
        return self.target // 4


def _tokens(scale: _Scale, run: list[_Piece]) -> int:
    return scale.tokens(run[0].start, run[-1].end)


def _check_invariant(chunks: list[Chunk], text: str, max_tokens: int) -> None:
    bounds = [0, *(offset for each in chunks for offset in (each.start, each.end)), len(text)]
    if bounds != sorted(bounds):
        raise RuntimeError("chunks overlap or are out of order")
    if any(text[before:after].strip() for before, after in zip(bounds[::2], bounds[1::2], strict=True)):
        raise RuntimeError("chunks leave text out")
    if any(each.tokens > max_tokens or each.text != each.text.strip() for each in chunks):
        raise RuntimeError("a chunk is over the limit or has blank ends")


# From blocks to pieces: headings stay with what follows, large blocks are cut.


def _pieces(blocks: Iterable[Block], scale: _Scale) -> Iterator[_Piece]:
    """Yield pieces of at most scale.most; headings lead the first piece of the block after them."""
    lead: list[Block] = []
    for block in blocks:
        if not block.level:
            yield from _led_pieces(lead, block, scale)
            lead = []
            continue
        if lead and scale.size(lead[0].start, block.end) > scale.target // 2:
            yield from _lone_pieces(lead, scale)
            lead = []
        lead.append(block)
    yield from _lone_pieces(lead, scale)


def _led_pieces(lead: list[Block], block: Block, scale: _Scale) -> Iterator[_Piece]:
    taken = scale.size(lead[0].start, lead[-1].end) if lead else 0
    first, *others = _cut_block(block, scale, taken if taken <= scale.most // 2 else 0)
    if lead and scale.size(lead[0].start, first[1]) <= scale.most:
        yield _Piece(lead[0].start, first[1], block.path, lead[0].level, block.body)
    else:
        yield from _lone_pieces(lead, scale)
        yield _Piece(*first, block.path, body=block.body)
    yield from (_Piece(*span, block.path, body=block.body) for span in others)


def _lone_pieces(lead: list[Block], scale: _Scale) -> Iterator[_Piece]:
    """Yield headings that have nothing to stay with."""
    spans = _cut(scale, lead[0].start, lead[-1].end, _PROSE, scale.most) if lead else []
    for at, span in enumerate(spans):
        yield _Piece(*span, lead[-1].path, lead[0].level if at == 0 else 0, body=False)


def _cut_block(block: Block, scale: _Scale, taken: int) -> list[Span]:
    """Cut a block into spans of about scale.target, leaving room for `taken` tokens of headings before it."""
    if scale.size(block.start, block.end) + taken <= scale.whole:
        return [(block.start, block.end)]
    cutters = _VERBATIM if block.verbatim else _PROSE
    limit = max(scale.target - taken, scale.target // 2, 1)
    parts = block.parts or ((block.start, block.end),)
    return _pack(scale, [span for part in parts for span in _cut(scale, *part, cutters, limit)], limit)


def _cut(scale: _Scale, start: int, end: int, cutters: tuple[Cutter, ...], limit: int) -> list[Span]:
    if scale.size(start, end) <= limit:
        return [(start, end)]
    if not cutters:
        return _whole_words(scale, start, end, limit)
    parts = cutters[0](scale.text, start, end)
    return _pack(scale, [span for part in parts for span in _cut(scale, *part, cutters[1:], limit)], limit)


def _whole_words(scale: _Scale, start: int, end: int, limit: int) -> list[Span]:
    """Keep a line or sentence whole up to the hard limit, cut between words above it, inside a word at last."""
    hard = min(scale.most, scale.most - scale.target + limit)
    if scale.size(start, end) <= hard:
        return [(start, end)]
    words = ((start + word.start(), start + word.end()) for word in _WORD.finditer(scale.text[start:end]))
    return _pack(scale, [span for word in words for span in _halve(scale, *word, hard)], limit)


def _halve(scale: _Scale, start: int, end: int, limit: int) -> list[Span]:
    """Cut one word at the middle of its tokens until no part is over the limit; the parts stay about equal."""
    if scale.size(start, end) <= limit or end - start == 1:
        return [(start, end)]
    starts = scale.token_starts
    low, high = bisect_right(starts, start), bisect_left(starts, end)
    middle = starts[(low + high) // 2] if high - low >= limit // 2 and low < high else (start + end) // 2
    return _halve(scale, start, middle, limit) + _halve(scale, middle, end, limit)


def _pack(scale: _Scale, spans: list[Span], limit: int) -> list[Span]:
    """Join neighbours into runs of at most `limit` and of about equal size, so that no crumb is left at the end."""
    total = scale.size(spans[0][0], spans[-1][1])
    aim = total / -(-total // limit)
    runs: list[Span] = []
    for start, end in spans:
        if runs and scale.size(*runs[-1]) < aim and scale.size(runs[-1][0], end) <= limit:
            runs[-1] = (runs[-1][0], end)
        else:
            runs.append((start, end))
    return runs


# From pieces to chunks.


def _join(pieces: Iterable[_Piece], scale: _Scale) -> Iterator[list[_Piece]]:
    """Group neighbours up to the target; a major heading begins a new group unless the one before it is tiny."""
    run: list[_Piece] = []
    for piece in pieces:
        if run and not _fits(run, piece, scale):
            yield run
            run = []
        run.append(piece)
    if run:
        yield run


def _fits(run: list[_Piece], piece: _Piece, scale: _Scale) -> bool:
    if 0 < piece.level <= MAJOR_LEVEL:
        tail_of_a_section = run[0].path and not run[0].level
        if tail_of_a_section or scale.size(run[0].start, run[-1].end) > scale.tiny:
            return False
    tiny_tail = not piece.level and scale.size(piece.start, piece.end) <= scale.tiny
    return scale.size(run[0].start, piece.end) <= (scale.whole if tiny_tail else scale.target)


def _heading(run: list[_Piece]) -> str | None:
    """Return the path that all of a chunk's passages stand under."""
    paths = [piece.path for piece in run if piece.body] or [run[-1].path]
    shared = takewhile(lambda titles: len(set(titles)) == 1, zip(*paths, strict=False))
    return " > ".join(titles[0] for titles in shared) or None


# Where a text may be cut, coarse to fine.

_WORD = re.compile(r"\S+")
_SENTENCE_END = re.compile(r"""[.!?…]["'”’»)\]]{0,3}(?=\s{1,40}[^\sa-z])|[。！？｡][」』”’）]{0,3}""")  # noqa: RUF001


def _paragraphs(text: str, start: int, end: int) -> list[Span]:
    """Group the lines between blank lines."""
    found: list[Span] = []
    after_blank = True
    for line in LINE.finditer(text, start, end):
        blank = line[0].isspace() or not line[0]
        if not blank and after_blank:
            found.append((line.start(), line.end()))
        elif not blank:
            found[-1] = (found[-1][0], line.end())
        after_blank = blank
    return [strip(text, *span) for span in found]


def _lines(text: str, start: int, end: int) -> list[Span]:
    return nonblank(text, [line.span() for line in LINE.finditer(text, start, end)])


def _prose_lines(text: str, start: int, end: int) -> list[Span]:
    """Cut at line ends, except where the lines were wrapped: most of them then go on in lower case."""
    lines = _lines(text, start, end)
    wrapped = sum(text[line_start].islower() for line_start, _ in lines[1:])
    return [(start, end)] if wrapped * 2 >= len(lines) else lines


def _sentences(text: str, start: int, end: int) -> list[Span]:
    """Cut after . ! ? and their kin before a capital or figure, and after the full stops of Chinese and Japanese."""
    ends = [found.end() for found in _SENTENCE_END.finditer(text, start, end)]
    return nonblank(text, list(pairwise([start, *ends, end])))


_PROSE: tuple[Cutter, ...] = (_paragraphs, _prose_lines, _sentences)
_VERBATIM: tuple[Cutter, ...] = (_paragraphs, _lines)
