"""`aya import chatgpt`, `claude` and `mcp-memory`: what other assistants kept."""

from __future__ import annotations

import os
import shlex
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import click

from aya.assistants import chatgpt as chatgpt_export
from aya.assistants import claude as claude_export
from aya.assistants import mcp_memory as memory_file
from aya.assistants.conversation import Labels
from aya.assistants.known import Format, format_of
from aya.assistants.members import Member, members
from aya.bulk import add_many
from aya.cli import import_display, output, session
from aya.cli.given import check_words
from aya.cli.import_sqlite import finished
from aya.errors import DocumentError, UsageError
from aya.home import Home
from aya.knowledge.validation import check_labels, parse_metadata
from aya.records import LONGEST_LINE, Record, unkeepable
from aya.sqlite_import.documents import Made
from aya.sqlite_import.run import Imported, Rehearsal
from aya.textfile import shown_path

Decorated = TypeVar("Decorated", bound=Callable[..., Any])
Reader = Callable[[str, object, Labels], Iterator[Record]]


def _options(function: Decorated) -> Decorated:
    """Add what the three commands have in common."""
    for option in (
        session.json_option,
        session.node_option,
        click.option("--samples", type=click.IntRange(0, 100), default=3, show_default=True, help="Documents shown."),
        click.option("--dry-run", is_flag=True, help="Show what would come out; write nothing."),
        click.option("--metadata", default="{}", metavar="JSON", help="A JSON object kept with every document."),
        click.option("--source", help="At most 100 characters (default: the format's name)."),
        click.option("--category", help="At most 50 characters (default: what the export says)."),
        click.argument("path", type=click.Path(path_type=Path)),
    ):
        function = option(function)
    return function


@click.command(name="chatgpt")
@_options
@click.pass_obj
def chatgpt(home: Home, /, *, path: Path, **options: Any) -> int:  # noqa: ANN401 - those of _options
    """Import ChatGPT's data export: its .zip, its folder, or conversations.json. A conversation is a document.

    What was shown last counts: regenerated answers, tools and hidden messages are left out. A later export replaces
    conversations that went on, and adds the new ones.
    """
    _check("chatgpt", path)
    found = members(path.expanduser(), chatgpt_export.FILES)
    return _run(home, lambda labels: _records(found, chatgpt_export.read, labels), **options)


@click.command(name="claude")
@_options
@click.pass_obj
def claude(home: Home, /, *, path: Path, **options: Any) -> int:  # noqa: ANN401 - those of _options
    """Import Claude's data export: its .zip, its folder, or one of its files.

    A conversation, a project's instructions, each of a project's documents and each memory is a document. A later
    export replaces what changed, and adds what is new.
    """
    _check("claude", path)
    found = members(path.expanduser(), claude_export.FILES)
    return _run(home, lambda labels: _records(found, claude_export.read, labels), **options)


@click.command(name="mcp-memory")
@_options
@click.option("--as", "name", metavar="NAME", help="Know the file by this name, wherever it is moved.")
@click.pass_obj
def mcp_memory(home: Home, /, *, path: Path, name: str | None, **options: Any) -> int:  # noqa: ANN401 - those of _options
    """Import the file of the MCP server "memory" (memory.jsonl): a document an entity, with all that is known of it."""
    file = path.expanduser()
    _check("mcp-memory", path)
    place = os.path.abspath(file) if name is None else name  # noqa: PTH100 (Path.absolute keeps "..")
    if why := unkeepable(place):
        raise DocumentError(f"the name {shown_path(file)} {why}", hint="rename the file, or --as NAME")
    return _run(home, lambda labels: memory_file.read(shown_path(file), place, _lines(file), labels), **options)


def _check(wanted: Format, path: Path) -> None:
    """Raise UsageError for a file that is another format, with the call that imports it."""
    found = format_of(path.expanduser())
    if found is not None and found != wanted:
        raise UsageError(f"{shown_path(path)} is of another kind", hint=shlex.join(["aya", "import", found, str(path)]))


def _lines(file: Path) -> Iterator[bytes]:
    try:
        with file.open("rb") as stream:
            yield from iter(lambda: stream.readline(LONGEST_LINE), b"")
    except OSError as error:
        raise DocumentError(f"{shown_path(file)} cannot be read: {error.strerror}", hint="name the file") from error


def _records(found: Iterable[Member], read: Reader, labels: Labels) -> Iterator[Record]:
    for member in found:
        for element in member.elements():
            yield from read(member.name, element, labels)


def _run(
    home: Home,
    records: Callable[[Labels], Iterator[Record]],
    *,
    category: str | None,
    source: str | None,
    metadata: str,
    dry_run: bool,
    samples: int,
    node: str | None,
    as_json: bool,
) -> int:
    check_words(category=category, source=source)
    check_labels(category, source)
    labels = Labels(category, source, parse_metadata(metadata))
    if dry_run:
        return _rehearse(records(labels), samples, as_json=as_json)
    imported = Imported()
    try:
        with import_display.Meter(None, "documents", quiet=as_json) as meter:
            session.run(home, node, lambda here: add_many(here.documents, records(labels), imported.tally, meter))
    except KeyboardInterrupt:
        import_display.summary(imported, whole=False)
        raise
    return finished(imported, as_json=as_json)


def _rehearse(records: Iterable[Record], samples: int, *, as_json: bool) -> int:
    rehearsal = Rehearsal()
    for record in records:
        place = None if record.document is None else record.document.uri
        rehearsal.count(Made(record.where, place, record.document, record.reason), samples)
    if as_json:
        output.document(import_display.rehearsed("export", rehearsal))
    else:
        import_display.rehearsal("it holds", rehearsal)
        output.progress("nothing was written")
    return 0
