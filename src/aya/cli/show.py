"""`aya show`: one document, whole."""

from __future__ import annotations

from dataclasses import asdict

import click

from aya.cli import output, session
from aya.cli.list import state_of
from aya.home import Home


# A document of AIR's that the primary has not numbered yet has a negative number: no option.
@click.command(name="show", context_settings={"ignore_unknown_options": True})
@click.argument("document_id", type=click.IntRange(min=-(2**31), max=2**31 - 1))
@session.node_option
@session.json_option
@click.pass_obj
def command(home: Home, /, *, document_id: int, node: str | None, as_json: bool) -> None:
    """Show one document: its text on standard output, what is known of it on standard error."""
    document = session.run(home, node, lambda opened: opened.documents.get(document_id))
    if as_json:
        output.document(asdict(document))
        return
    facts = {
        "document": f"{document.id} (revision {document.rev}, {document.chunk_count} chunks, {state_of(document)})",
        "title": document.title,
        "category": document.category,
        "source": document.source,
        "from": document.uri,
        "metadata": document.metadata or None,
        "created": f"{document.created_at:%Y-%m-%d %H:%M:%S}, updated {document.updated_at:%Y-%m-%d %H:%M:%S} (UTC)",
    }
    for name, value in facts.items():
        if value is not None:
            output.progress(f"{name:>9}: {value}")
    output.line(document.content)
