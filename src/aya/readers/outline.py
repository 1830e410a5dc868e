"""A writer of Markdown that is told elements and text in the order of a page; pure."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from aya.readers import markdown

MOST_NESTED = 8
"""Lists and quotations deeper than this are written at this depth."""
WIDEST_SPAN = 50
_SPACES = re.compile(r"[ \t\r\n\f]+")
_ANCHOR_AT_END = re.compile(r"\s*[¶§🔗]\s*$")


@dataclass(slots=True)
class _Container:
    """A quotation, a list, or an item of one; marker: what an item's first line begins with, "" once it is written."""

    kind: str
    number: int = 0
    ordered: bool = False
    marker: str = ""
    width: int = 0


@dataclass(slots=True)
class _Table:
    rows: list[list[str]] = field(default_factory=list[list[str]])
    span: int = 1


class Outline:
    """Collects blocks. Calls come in pairs that need not match: what is closed without being open is ignored."""

    def __init__(self) -> None:
        self._written: list[str] = []
        self._inline: list[str] = []
        self._containers: list[_Container] = []
        self._level = 0
        self._pre: str | None = None
        self._table: _Table | None = None
        self._in_item_before = False
        self.first_heading: str | None = None

    def text(self, data: str) -> None:
        """Take text; white space is folded, except in preformatted text."""
        self._inline.append(data if self._pre is not None else _SPACES.sub(" ", data))

    def line_break(self) -> None:
        """Begin a new line in the same block."""
        self._inline.append("\n")

    def mark(self, mark: str) -> None:
        """Put inline markup, unless the text is preformatted."""
        if self._pre is None:
            self._inline.append(mark)

    def block(self) -> None:
        """Begin or end a paragraph."""
        if self._table is not None:
            self._inline.append(" ")
        elif self._pre is None:
            self._flush()

    def heading(self, level: int) -> None:
        """Begin a heading (level 1 to 6), or end it (0)."""
        self.block()
        self._level = level if self._table is None else 0

    def pre(self, language: str | None) -> None:
        """Begin preformatted text in a language ("" unknown), or end it (None)."""
        if self._table is not None or (self._pre is None) == (language is None):
            return
        if language is None:
            code = "".join(self._inline).strip("\r\n")
            self._inline.clear()
            if code.strip():
                self._write(markdown.fenced(code.replace("\r\n", "\n"), self._pre or ""))
        else:
            self._flush()
        self._pre = language

    def open(self, kind: str, *, ordered: bool = False, first: int = 1) -> None:
        """Begin a "quote", a "list" or an "item"."""
        self.block()
        container = _Container(kind, number=first, ordered=ordered)
        if kind == "item":
            outer = next((each for each in reversed(self._containers) if each.kind == "list"), None)
            container.marker = f"{outer.number}. " if outer and outer.ordered else "- "
            container.width = len(container.marker)
            if outer:
                outer.number += 1
        self._containers.append(container)

    def close(self, kind: str) -> None:
        """End the innermost container, where it is of this kind."""
        self.block()
        if self._containers and self._containers[-1].kind == kind:
            self._containers.pop()

    def table(self, *, begin: bool) -> None:
        """Begin or end a table; tables do not nest."""
        if begin and self._table is None:
            self._flush()
            self._table = _Table()
        elif not begin and self._table is not None:
            self._end_cell(self._table)
            rows = [row for row in self._table.rows if any(row)]
            self._table = None
            if rows:
                self._write(markdown.table(rows))

    def row(self) -> None:
        """Begin a row of the table."""
        if self._table is not None:
            self._end_cell(self._table)
            self._table.rows.append([])

    def cell(self, span: int = 1) -> None:
        """Begin a cell that is `span` columns wide."""
        if self._table is not None:
            self._end_cell(self._table)
            self._table.span = min(max(span, 1), WIDEST_SPAN)
            if not self._table.rows:
                self._table.rows.append([])
            self._table.rows[-1].append("")

    def markdown(self) -> str:
        """Return everything that was told."""
        self.pre(None)
        self.table(begin=False)
        self._flush()
        return "".join(self._written)

    def _end_cell(self, table: _Table) -> None:
        words = " ".join("".join(self._inline).split())
        self._inline.clear()
        if table.rows and table.rows[-1]:
            table.rows[-1][-1] = words
            table.rows[-1] += [""] * (table.span - 1)
            table.span = 1
        elif words:
            self._write(markdown.prose(words))

    def _flush(self) -> None:
        lines = (" ".join(line.split(" ")).strip() for line in "".join(self._inline).split("\n"))
        text = "\n".join(_SPACES.sub(" ", line) for line in lines if line)
        self._inline.clear()
        if not text:
            return
        if not self._level:
            self._write(markdown.prose(text))
            return
        words = _ANCHOR_AT_END.sub("", text)
        self.first_heading = self.first_heading or words
        self._write(markdown.heading(self._level, words))

    def _write(self, block: str) -> None:
        """Write a block behind the marks of what it stands in; a list's items stand line below line."""
        first, later = "", ""
        begins_item = False
        for container in [each for each in self._containers if each.kind != "list"][:MOST_NESTED]:
            if container.kind == "quote":
                first, later = f"{first}> ", f"{later}> "
            else:
                begins_item = begins_item or bool(container.marker)
                first += container.marker or " " * container.width
                later += " " * container.width
                container.marker = ""
        if self._written:
            self._written.append("\n" if begins_item and self._in_item_before else "\n\n")
        self._in_item_before = bool(first.strip(" >")) or later != ""
        self._written.append(first + block.replace("\n", f"\n{later}"))
