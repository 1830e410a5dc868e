"""CSV and TSV (RFC 4180): a document for every 50 rows, each row a section with the names of its columns."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice, zip_longest
from pathlib import Path

from aya.readers import markdown
from aya.readers.parts import Part, Unreadable, check_length, clean, one_line
from aya.readers.whole import open_regular
from aya.textfile import SNIFFED_BYTES, binary_reason, encoding_of

ROWS_IN_A_DOCUMENT = 50
MOST_COLUMNS = 2_000
LONGEST_CELL = 8 * 1024 * 1024
_LONGEST_ROW_TITLE = 80
_DELIMITERS = ",;\t|"


def read_rows(path: Path) -> Iterator[Part]:
    """Yield a document for every ROWS_IN_A_DOCUMENT rows, named after the first of them; the first row is the head.

    The first documents stay what they are when rows are added at the end. What separates cells is the character of
    `,;|` and tab that is most frequent in the head; in a .tsv it is a tab.
    """
    csv.field_size_limit(LONGEST_CELL)
    with open_regular(path) as file:
        sniffed = file.read(SNIFFED_BYTES)
        encoding, mark = encoding_of(sniffed)
        if not mark.startswith((b"\xff", b"\xfe")) and (reason := binary_reason(sniffed)):
            raise Unreadable(reason)
        file.seek(len(mark))
        lines = io.TextIOWrapper(file, encoding=encoding.removesuffix("-sig"), newline="")
        try:
            yield from documents(lines, path.stem, "\t" if path.suffix.lower() == ".tsv" else None)
        except UnicodeDecodeError as error:
            raise Unreadable(f"It is not valid {error.encoding.upper()}; convert it with iconv.") from error


def documents(lines: Iterable[str], name: str, delimiter: str | None) -> Iterator[Part]:
    """Yield the documents of a table; pure. Raises Unreadable for what is no table, after what came before it."""
    waiting = iter(lines)
    first = next(waiting, "")
    separator = delimiter or max(_DELIMITERS, key=first.count)
    rows = csv.reader(_chained(first, waiting), delimiter=separator)
    nothing: list[str] = []
    try:
        head = [one_line(cell) or f"column {number}" for number, cell in enumerate(next(rows, nothing), start=1)]
        if len(head) > MOST_COLUMNS:
            raise Unreadable(f"It has {len(head):,} columns; {MOST_COLUMNS:,} are read.")
        numbered = ((number, row) for number, row in enumerate(rows, start=1) if any(cell.strip() for cell in row))
        some = False
        while group := list(islice(numbered, ROWS_IN_A_DOCUMENT)):
            some = True
            yield _document(head, group, name)
    except csv.Error as error:
        raise Unreadable(f"It is no table of cells: {error}.") from error
    if not some:
        raise Unreadable("It has no rows below its head.")


def _chained(first: str, others: Iterator[str]) -> Iterator[str]:
    yield first
    yield from others


def _document(head: Sequence[str], group: Sequence[tuple[int, Sequence[str]]], name: str) -> Part:
    first, last = group[0][0], group[-1][0]
    title = f"{name}, rows {first} to {last}"
    sections = "\n\n".join(_section(head, number, row) for number, row in group)
    text = clean(f"{markdown.heading(1, title)}\n\n{sections}")
    return Part(check_length(text), title, f"row-{first}", metadata={"rows": [first, last]})


def _section(head: Sequence[str], number: int, row: Sequence[str]) -> str:
    columns = zip_longest(head, row[:MOST_COLUMNS], fillvalue="")
    pairs = [(name or f"column {at}", " ".join(cell.split())) for at, (name, cell) in enumerate(columns, start=1)]
    title = one_line(next((cell for _, cell in pairs if cell), None), _LONGEST_ROW_TITLE) or f"row {number}"
    return "\n".join([markdown.heading(2, title), "", *(f"- {name}: {cell}" for name, cell in pairs if cell)])
