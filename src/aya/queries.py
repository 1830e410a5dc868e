"""SQL lives in .sql files, named and described; this loads them.

The files are shipped with the package and never built at run time: their text is as literal as a string in the source.

A file is a sequence of blocks, each starting with `-- name: snake_case` and a comment that describes it.
(The form comes from procrastinate's sql/queries.sql.)
"""

from __future__ import annotations

import re
from importlib.resources import files
from typing import LiteralString, cast

_NAME = re.compile(r"^-- name: (?P<name>[a-z][a-z0-9_]*)\s*$", re.MULTILINE)


def load(package: str, filename: str = "queries.sql") -> dict[str, LiteralString]:
    """Return the queries of `filename` in `package`, by name.

    Raises ValueError when two queries share a name or the file holds none.
    """
    return parse(files(package).joinpath(filename).read_text(encoding="utf-8"), f"{package}/{filename}")


def parse(text: str, where: str) -> dict[str, LiteralString]:
    """Return the queries in the text of a file, by name; pure. where: the file, in errors."""
    starts = list(_NAME.finditer(text))
    if not starts:
        msg = f"{where} has no '-- name:' line"
        raise ValueError(msg)
    queries: dict[str, LiteralString] = {}
    for match, following in zip(starts, [*starts[1:], None], strict=True):
        name = match["name"]
        if name in queries:
            msg = f"{where} has two queries named {name}"
            raise ValueError(msg)
        body = text[match.end() : following.start() if following else len(text)]
        queries[name] = cast("LiteralString", body.strip())
    return queries
