"""`aya edit`: change a document's text or its labels."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from aya.cli import output, session
from aya.errors import DocumentError, UsageError
from aya.home import Home
from aya.knowledge.types import Changes
from aya.knowledge.validation import parse_metadata
from aya.textfile import Refused, read_text_file


@click.command(name="edit")
@click.argument("document_id", type=click.IntRange(min=-(2**31), max=2**31 - 1))
@click.option("--text", help="The new text; - reads standard input.")
@click.option("--file", "file", type=click.Path(path_type=Path), help="Take the new text from this file.")
@click.option("--category", help="At most 50 characters.")
@click.option("--source", help="At most 100 characters.")
@click.option("--title")
@click.option("--metadata", metavar="JSON", help="The new metadata, whole.")
@session.node_option
@click.pass_obj
def command(
    home: Home,
    /,
    *,
    document_id: int,
    text: str | None,
    file: Path | None,
    category: str | None,
    source: str | None,
    title: str | None,
    metadata: str | None,
    node: str | None,
) -> None:
    """Change a document. Without options its text opens in $EDITOR.

    Somebody else's change in the meantime is never overwritten: the edit is refused and says so.
    """
    if text is not None and file is not None:
        raise UsageError("give either --text or --file", hint=f"aya edit {document_id} --file FILE")
    labels = (category, source, title)
    given = _given_content(text, file)
    changes = Changes(given, *labels, parse_metadata(metadata) if metadata is not None else None)
    expected_rev = None
    if changes == Changes():
        changes, expected_rev = _from_editor(home, node, document_id)
    if changes == Changes():
        output.progress("nothing was changed")
        return
    kept = session.run(
        home, node, lambda opened: opened.documents.edit(document_id, changes, expected_rev=expected_rev)
    )
    output.line(f"updated  document {kept.id} (revision {kept.rev}, {kept.chunk_count} chunks)")


def _given_content(text: str | None, file: Path | None) -> str | None:
    if file is not None:
        read = read_text_file(file)
        if isinstance(read, Refused):
            raise DocumentError(f"{read.shown}: {read.reason}", hint="give a text file")
        return read.text
    return sys.stdin.read() if text == "-" else text


def _from_editor(home: Home, node: str | None, document_id: int) -> tuple[Changes, int]:
    document = session.run(home, node, lambda opened: opened.documents.get(document_id))
    edited = click.edit(document.content, extension=".md", require_save=True)
    changed = None if edited is None or edited == document.content else edited
    return Changes(content=changed), document.rev
