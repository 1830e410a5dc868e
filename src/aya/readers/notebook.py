"""Jupyter notebooks: Markdown cells as they are, code cells fenced, outputs left out (they are derived)."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, cast

from aya.chunking import first_heading
from aya.json_object import json_object
from aya.readers import markdown
from aya.readers.formats import MOST_BYTES
from aya.readers.parts import Part, Unreadable, check_length, clean, one_line
from aya.readers.plain import plain_text


def read_notebook(path: Path) -> Iterator[Part]:
    """Yield the one document of a notebook of format 3 or 4."""
    try:
        parsed = json_object(json.loads(plain_text(path, MOST_BYTES["notebook"] or 0)))
    except (ValueError, RecursionError) as error:
        raise Unreadable(f"It is no notebook: {error}.") from error
    if parsed is None:
        raise Unreadable("It is no notebook: its JSON is no object.")
    text = clean(notebook_text(parsed))
    if not text.strip():
        raise Unreadable("Its cells hold no text.")
    language = _language(parsed)
    yield Part(check_length(text), one_line(first_heading(text)), metadata={"language": language} if language else {})


def notebook_text(notebook: dict[str, Any]) -> str:
    """Return the cells as Markdown; pure. Raises Unreadable where there are no cells."""
    worksheets = _list(notebook.get("worksheets"))
    sheets = [notebook, *(sheet for each in worksheets if (sheet := json_object(each)) is not None)]
    if not any(isinstance(sheet.get("cells"), list) for sheet in sheets):
        raise Unreadable("It is no notebook: it has no cells.")
    cells = [cell for sheet in sheets for cell in _list(sheet.get("cells"))]
    return "\n\n".join(_cells(cells, _language(notebook)))


def _cells(cells: Iterable[object], language: str) -> Iterator[str]:
    for each in cells:
        cell = json_object(each) or {}
        source = cell.get("source", cell.get("input", ""))
        text = source if isinstance(source, str) else "".join(str(line) for line in _list(source))
        if not text.strip():
            continue
        match cell.get("cell_type"):
            case "code":
                yield markdown.fenced(text, language)
            case "heading":
                level = cell.get("level")
                yield markdown.heading(level if isinstance(level, int) and 0 < level < 7 else 1, text)  # noqa: PLR2004
            case _:
                yield text.strip("\n")


def _language(notebook: dict[str, Any]) -> str:
    about = json_object(notebook.get("metadata")) or {}
    named = [(json_object(about.get(key)) or {}).get(name) for key, name in _LANGUAGE_AT]
    language = next((each for each in named if isinstance(each, str)), "")
    return language if language.replace("+", "").replace("#", "").isalnum() else ""


_LANGUAGE_AT = (("language_info", "name"), ("kernelspec", "language"))


def _list(value: object) -> list[object]:
    return cast("list[object]", value) if isinstance(value, list) else []
