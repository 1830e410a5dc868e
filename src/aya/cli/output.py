"""What a verb prints: results on standard output, progress and errors on standard error.

A terminal gets rich's tables and colours (none with NO_COLOR); a pipe or a file gets plain columns; --json gets one
document on standard output and nothing else there.
"""

from __future__ import annotations

import json
import os
import re
import sys
import unicodedata
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, TextIO

import click

if TYPE_CHECKING:
    from rich.table import Table

_GAP = "  "
_CONTROLS = re.compile(r"\x1b(?!\[[0-9;]*m)|\r(?!\n)|[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]")
Rows = Sequence[Sequence[str]]


def is_terminal(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether `stream` (standard output when None) is a terminal that can do more than plain text."""
    chosen = sys.stdout if stream is None else stream
    return chosen.isatty() and environ.get("TERM") != "dumb"


def colours(stream: TextIO | None = None, environ: Mapping[str, str] = os.environ) -> bool:
    """Return whether colours may be used: a terminal, and no NO_COLOR (https://no-color.org: set and not empty)."""
    return is_terminal(stream, environ) and not environ.get("NO_COLOR")


def document(value: object) -> None:
    """Print one JSON document on standard output, with a final newline."""
    click.echo(json.dumps(value, ensure_ascii=False, indent=2, allow_nan=False, default=str))


def inert(text: str) -> str:
    """Return a text that does nothing to a terminal: what would move its cursor or set it up is shown as �; pure.

    As long as before. Line ends, tabs and colours stay (ECMA-48, SGR).
    """
    return _CONTROLS.sub("\ufffd", text)


def line(text: str = "") -> None:
    """Print one line of a result on standard output; on a terminal nothing that was stored can command it.

    Elsewhere it is written as it is; click would take out what looks like a colour.
    """
    click.echo(inert(text) if is_terminal() else text, color=True)


def progress(text: str) -> None:
    """Print one line of progress on standard error."""
    click.echo(inert(text) if is_terminal(sys.stderr) else text, err=True)


def error(message: str, hint: str | None = None) -> None:
    """Print an error in AYA's form on standard error, without ending the command."""
    progress(f"aya: {message}")
    if hint:
        progress(f"  next: {hint}")


def table(headers: Sequence[str], rows: Rows) -> None:
    """Print a table: rich's on a terminal, aligned columns elsewhere."""
    if is_terminal():
        _rich_table(headers, rows)
        return
    for text in plain_table(headers, rows):
        line(text)


def plain_table(headers: Sequence[str], rows: Rows) -> list[str]:
    """Return the lines of a table in aligned columns, no line ending in spaces; pure.

    A line break inside a cell becomes a space: one row stays one line, for grep and awk.
    """
    cells = [list(headers), *[[" ".join(cell.split("\n")) for cell in row] for row in rows]]
    widths = [max(width(row[column]) for row in cells) for column in range(len(headers))]
    return [
        _GAP.join(cell + " " * (size - width(cell)) for cell, size in zip(row, widths, strict=True)).rstrip()
        for row in cells
    ]


def width(text: str) -> int:
    """Return how many columns a terminal gives `text`: wide characters take two, combining ones none; pure."""
    return sum(
        0 if unicodedata.combining(char) else 2 if unicodedata.east_asian_width(char) in "WF" else 1 for char in text
    )


def _rich_table(headers: Sequence[str], rows: Rows) -> None:
    # Only here: a pipe, `--help` and `aya mcp serve` never pay for it.
    from rich.console import Console  # noqa: PLC0415

    Console(no_color=not colours()).print(drawn_table(headers, rows))


def drawn_table(headers: Sequence[str], rows: Rows, styles: Mapping[str, str] | None = None) -> Table:
    """Return rich's table. styles: the style of a cell that says exactly that word."""
    from rich.box import SIMPLE_HEAD  # noqa: PLC0415 as above
    from rich.table import Table  # noqa: PLC0415
    from rich.text import Text  # noqa: PLC0415

    drawn = Table(box=SIMPLE_HEAD, pad_edge=False)
    # The last column gives way, the others do not: one row stays one line, however narrow the terminal.
    for column, header in enumerate(headers[:-1]):
        drawn.add_column(header, no_wrap=True, min_width=max(width(row[column]) for row in (headers, *rows)))
    drawn.add_column(headers[-1], no_wrap=True, overflow="ellipsis")
    for row in rows:
        # Text, not str: what stands in a cell is never read as markup.
        drawn.add_row(*[Text(inert(cell), style=(styles or {}).get(cell, "")) for cell in row])
    return drawn
