"""Pieces of Markdown that mean what their text says; pure."""

from __future__ import annotations

import re
from collections.abc import Sequence

_LOOKS_LIKE_A_BLOCK = re.compile(r"^([ ]{0,3})(#{1,6}(?=\s|$)|`{3,}|~{3,}|(?:=+|-+)[ \t]*$)", re.MULTILINE)
_TICKS = re.compile(r"`{3,}")


def prose(text: str) -> str:
    """Escape the lines of a text that Markdown would take for headings or fences, and nothing else."""
    return _LOOKS_LIKE_A_BLOCK.sub(r"\1\\\2", text)


def heading(level: int, words: str) -> str:
    """Return a heading; its words are put in one line."""
    return f"{'#' * level} {' '.join(words.split())}"


def fenced(code: str, language: str = "") -> str:
    """Return code between fences that are longer than any in it."""
    ticks = "`" * max([3, *(len(run) + 1 for run in _TICKS.findall(code))])
    return f"{ticks}{language}\n{code.rstrip()}\n{ticks}"


def table(rows: Sequence[Sequence[str]]) -> str:
    """Return a table (GFM) whose first row is its head; rows may differ in length. "" for no cells."""
    width = max((len(row) for row in rows), default=0)
    if not width:
        return ""
    head, *body = (_row([*row, *[""] * (width - len(row))]) for row in rows)
    return "\n".join([head, _row(["---"] * width), *body])


def _row(cells: Sequence[str]) -> str:
    return "| " + " | ".join(" ".join(cell.split()).replace("|", r"\|") for cell in cells) + " |"
