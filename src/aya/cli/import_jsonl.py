"""`aya import FILE.jsonl`: many documents from one file, a JSON object a line."""

from __future__ import annotations

import shlex
from pathlib import Path

import click

from aya.assistants.known import format_of
from aya.cli import session
from aya.cli.add import Shown, report
from aya.cli.given import check_words, explicitly
from aya.errors import UsageError
from aya.file_results import Ingested
from aya.home import Home
from aya.ingest import Labels, add_records
from aya.knowledge.validation import check_labels, parse_metadata
from aya.records import read_records
from aya.textfile import shown_path


@click.command(name="jsonl")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--category", default="general", show_default=True, help="For records that name none.")
@click.option("--source", help="For records that name none (default: the file's name).")
@click.option("--metadata", default="{}", metavar="JSON", help="A JSON object kept with every document.")
@session.node_option
@session.json_option
@click.pass_obj
def command(
    home: Home, /, *, file: Path, category: str, source: str | None, metadata: str, node: str | None, as_json: bool
) -> int:
    """Import a JSON Lines file: a JSON object a line.

    It has "text" or "content"; it may have "title", "category", "source", "metadata", "id", "created_at" (ISO 8601).
    Every line ends as indexed, updated, unchanged, skipped or failed, with the reason. Importing again replaces what
    changed and leaves the rest: a record with an "id" is known by the file and its id, one without by its text.
    """
    check_words(category=category, source=source)
    check_labels(category, source)
    labels = Labels(category, source, parse_metadata(metadata), explicitly("category", "source", "metadata"))
    if (found := format_of(file)) is not None:
        raise UsageError(
            f"{shown_path(file)} is no JSON Lines file", hint=shlex.join(["aya", "import", found, str(file)])
        )
    return report(lambda: _import(home, node, file, labels, quiet=as_json), as_json=as_json)


def _import(home: Home, node: str | None, file: Path, labels: Labels, *, quiet: bool) -> Ingested:
    records = read_records(
        file, category=labels.category, source=labels.source, metadata=labels.metadata, explicit=labels.explicit
    )
    with Shown(quiet=quiet) as shown:
        return session.run(home, node, lambda opened: add_records(opened.documents, records, shown))
