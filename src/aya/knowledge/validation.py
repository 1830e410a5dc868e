"""What may be kept and what may be asked; pure. Every refusal is one sentence that says what to do instead."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Any

from aya.errors import DocumentError, UsageError
from aya.json_object import json_object

LONGEST_CATEGORY = 50
LONGEST_SOURCE = 100
LONGEST_QUERY = 10_000
MOST_HITS = 200
_SURROGATE = re.compile("[\ud800-\udfff]")
# An even number of backslashes before it are backslashes themselves.
_ESCAPED_NUL = re.compile(r"(?<!\\)(?:\\\\)*\\u0000")


def check_content(content: str) -> None:
    """Raise DocumentError unless PostgreSQL can keep `content` and there is something in it."""
    if not content.strip():
        raise DocumentError("the document is empty", hint="give it some text")
    if "\x00" in content:
        raise DocumentError(
            f"the document holds a NUL byte (character {content.index(chr(0))}), which text cannot hold",
            hint="remove it: tr -d '\\000' < FILE | aya add -",
        )
    if surrogate := _SURROGATE.search(content):
        raise DocumentError(
            f"the document holds a lone surrogate (character {surrogate.start()}), which is no character",
            hint="convert it to UTF-8 first",
        )


def check_labels(category: str | None, source: str | None) -> None:
    """Raise DocumentError when a label is longer than its column, blank, or no text that PostgreSQL can keep."""
    for name, value, longest in (("category", category, LONGEST_CATEGORY), ("source", source, LONGEST_SOURCE)):
        if value is None:
            continue
        if len(value) > longest:
            raise DocumentError(
                f"the {name} has {len(value)} characters; {longest} are kept", hint=f"shorten the {name}"
            )
        if "\x00" in value or not value.strip():
            raise DocumentError(f"the {name} is empty or holds a NUL byte", hint=f"give another {name}")
        if _SURROGATE.search(value):
            raise DocumentError(
                f"the {name} holds a lone surrogate, which is no character", hint=f"give another {name}"
            )


def check_metadata(metadata: Mapping[str, Any]) -> None:
    """Raise DocumentError unless PostgreSQL can keep `metadata` as jsonb."""
    try:
        text = json.dumps(metadata, allow_nan=False, ensure_ascii=False)
        text.encode("utf-8")
    except (TypeError, ValueError, RecursionError) as error:
        raise DocumentError(
            f"the metadata is no JSON: {error}", hint="use strings, numbers, lists and objects"
        ) from error
    if _ESCAPED_NUL.search(text):
        raise DocumentError("the metadata holds a NUL byte, which jsonb cannot hold", hint="remove it")


def parse_metadata(text: str) -> dict[str, Any]:
    """Return the JSON object in `text`; UsageError when it is none."""
    try:
        parsed = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"the metadata is not JSON: {error}", hint="""--metadata '{"project": "garden"}'""") from error
    value = json_object(parsed)
    if value is None:
        raise UsageError(
            f"the metadata must be a JSON object, not {type(parsed).__name__}",
            hint="""--metadata '{"project": "garden"}'""",
        )
    check_metadata(value)
    return value


def check_query(query: str) -> None:
    """Raise UsageError unless `query` has words to look for."""
    if not query.strip():
        raise UsageError("the query is empty", hint='aya search "what you want to know"')
    if len(query) > LONGEST_QUERY:
        raise UsageError(f"the query has {len(query)} characters; {LONGEST_QUERY} at most", hint="shorten it")
    if "\x00" in query:
        raise UsageError("the query holds a NUL byte", hint="remove it")
    if _SURROGATE.search(query):
        raise UsageError("the query holds a lone surrogate, which is no character", hint="type it in UTF-8")


def check_limit(limit: int) -> None:
    """Raise UsageError unless 1 ≤ limit ≤ 200."""
    if not 1 <= limit <= MOST_HITS:
        raise UsageError(f"{limit} is not a number of results ({1} to {MOST_HITS})", hint="-k 5")
