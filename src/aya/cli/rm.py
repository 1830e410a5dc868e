"""`aya rm`: documents out of the knowledge base."""

from __future__ import annotations

from collections.abc import Sequence

import click

from aya.cli import output, session
from aya.errors import EXIT_FAILED
from aya.home import Home


# A document of AIR's that the primary has not numbered yet has a negative number: no option.
@click.command(name="rm", context_settings={"ignore_unknown_options": True})
@click.argument("document_ids", nargs=-1, required=True, type=click.IntRange(min=-(2**31), max=2**31 - 1))
@session.node_option
@session.json_option
@click.pass_obj
def command(home: Home, /, *, document_ids: Sequence[int], node: str | None, as_json: bool) -> int:
    """Remove documents with their chunks. The files they were read from are not touched."""
    removed = session.run(home, node, lambda opened: opened.documents.remove(document_ids))
    missing = [each for each in document_ids if each not in removed]
    if as_json:
        output.document({"removed": removed, "missing": missing})
    else:
        for each in removed:
            output.line(f"removed  document {each}")
        for each in missing:
            output.error(f"there is no document {each}", hint="aya list")
    return EXIT_FAILED if missing else 0
