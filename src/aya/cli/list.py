"""`aya list`: the documents, the newest first."""

from __future__ import annotations

from dataclasses import asdict
from typing import Unpack

import click

from aya.cli import output, session
from aya.cli.search import FilterOptions, filter_options, filters_from
from aya.errors import UsageError
from aya.home import Home
from aya.knowledge.types import Document

_MOST = 10_000
# A bigint, with room for the limit.
_FARTHEST = 2**62


@click.command(name="list")
@click.option("-n", "--limit", type=int, default=20, show_default=True, help=f"How many (1 to {_MOST}).")
@click.option("--offset", type=int, default=0, help="Leave out so many of the newest.")
@filter_options
@session.node_option
@session.json_option
@click.pass_obj
def command(
    home: Home, /, *, limit: int, offset: int, node: str | None, as_json: bool, **filters: Unpack[FilterOptions]
) -> None:
    """List documents, the newest first."""
    if not 1 <= limit <= _MOST or not 0 <= offset <= _FARTHEST:
        raise UsageError(f"list takes 1 to {_MOST} documents from offset 0 to {_FARTHEST}", hint="aya list -n 20")
    wanted = filters_from(filters)
    found = session.run(home, node, lambda opened: opened.documents.newest(wanted, limit=limit, offset=offset))
    if as_json:
        output.document({"count": len(found), "documents": [asdict(document) for document in found]})
        return
    if not found:
        output.progress("No documents. Next: aya add ~/notes")
        return
    output.table(("id", "created", "category", "source", "chunks", "state", "title"), [row_of(each) for each in found])


def row_of(document: Document) -> tuple[str, ...]:
    """Return a document's line of the table; pure."""
    return (
        str(document.id),
        f"{document.created_at:%Y-%m-%d %H:%M}",
        document.category or "",
        document.source or "",
        str(document.chunk_count),
        state_of(document),
        document.title or _beginning(document.content),
    )


def _beginning(content: str) -> str:
    """Return the first words of a text; "" for one that is empty, which only SQL can make."""
    return next(iter(content.strip().splitlines()), "")[:60]


def state_of(document: Document) -> str:
    """Return "indexed", "waiting" or why its index failed; pure."""
    if document.indexed:
        return "indexed"
    return f"failed: {document.index_error}" if document.index_error else "waiting"
