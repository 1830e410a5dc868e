"""`aya edit`: change a document's text or its labels."""

from __future__ import annotations

from pathlib import Path

import click

from aya.cli import output, session
from aya.cli.draft import draft
from aya.cli.given import check_words, standard_input
from aya.errors import DocumentError, UsageError
from aya.home import Home
from aya.knowledge.types import Changes, Document
from aya.knowledge.validation import parse_metadata
from aya.textfile import Refused, read_text_file


# A document of AIR's that the primary has not numbered yet has a negative number: no option.
@click.command(name="edit", context_settings={"ignore_unknown_options": True})
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

    Somebody else's change in the meantime is never overwritten: the edit is refused, and the file that keeps what
    you typed is named.
    """
    if text is not None and file is not None:
        raise UsageError("give either --text or --file", hint=f"aya edit {document_id} --file FILE")
    check_words(category=category, source=source, title=title)
    labels = (category, source, title)
    given = _given_content(document_id, text, file)
    changes = Changes(given, *labels, parse_metadata(metadata) if metadata is not None else None)
    kept = _edit_by_hand(home, node, document_id) if changes == Changes() else _keep(home, node, document_id, changes)
    if kept is None:
        output.progress("nothing was changed")
        return
    output.line(f"updated  document {kept.id} (revision {kept.rev}, {kept.chunk_count} chunks)")


def _given_content(document_id: int, text: str | None, file: Path | None) -> str | None:
    if file is not None:
        return _read(file)
    return standard_input(f"aya edit {document_id} --text -") if text == "-" else text


def _read(file: Path) -> str:
    read = read_text_file(file)
    if isinstance(read, Refused):
        raise DocumentError(f"{read.shown}: {read.reason}", hint="give a text file")
    return read.text


def _keep(home: Home, node: str | None, document_id: int, changes: Changes, rev: int | None = None) -> Document:
    return session.run(home, node, lambda opened: opened.documents.edit(document_id, changes, expected_rev=rev))


def _edit_by_hand(home: Home, node: str | None, document_id: int) -> Document | None:
    """Open the text in $EDITOR and keep what was typed; None when it is as it was."""
    document = session.run(home, node, lambda opened: opened.documents.get(document_id))
    with draft(home, document_id, document.content) as file:
        click.edit(filename=str(file))
        # An editor ends the last line, which is no change of the text.
        if file.read_bytes().rstrip(b"\r\n") == document.content.encode().rstrip(b"\r\n"):
            return None
        return _keep(home, node, document_id, Changes(content=_read(file)), document.rev)
