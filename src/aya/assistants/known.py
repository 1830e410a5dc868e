"""Which format a file is, by its first bytes and its first element."""

from __future__ import annotations

import json
from contextlib import closing
from pathlib import Path
from typing import Literal

from aya.assistants import chatgpt, claude, mcp_memory
from aya.assistants.conversation import parsed_object
from aya.assistants.members import members
from aya.errors import DocumentError
from aya.sqlite_import.database import is_sqlite

Format = Literal["sqlite", "chatgpt", "claude", "mcp-memory"]
_LONGEST_FIRST_LINE = 1024 * 1024


def format_of(path: Path) -> Format | None:
    """Return the format of a file, an archive or a folder; None for one that is not known, or not readable."""
    if is_sqlite(path):
        return "sqlite"
    if path.is_file() and _first_line_is_a_memory(path):
        return "mcp-memory"
    try:
        first = members(path, claude.FILES)[0]
        with closing(first.elements()) as found:
            element = next(found, None)
    except DocumentError:
        return None
    if chatgpt.looks_like_one(element):
        return "chatgpt"
    return "claude" if claude.looks_like_one(element) else None


def _first_line_is_a_memory(path: Path) -> bool:
    try:
        with path.open("rb") as stream:
            return mcp_memory.looks_like_one(parsed_object(json.loads(stream.readline(_LONGEST_FIRST_LINE))))
    except (OSError, ValueError, RecursionError):
        return False
