"""`aya import sqlite`: the tables of a SQLite file, whatever their columns are."""

from __future__ import annotations

import os
import shlex
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from aya.cli import import_display, output, session
from aya.cli.given import check_words
from aya.cli.import_ask import ask
from aya.errors import EXIT_FAILED, DocumentError, UsageError
from aya.home import Home
from aya.knowledge.validation import LONGEST_SOURCE
from aya.records import unkeepable
from aya.sqlite_import import run
from aya.sqlite_import.database import Source, copied, opened
from aya.sqlite_import.documents import Plan
from aya.sqlite_import.judge import Look
from aya.sqlite_import.mapping import (
    REST,
    TableMapping,
    checked,
    dumps,
    loads,
    split_date,
    split_names,
)
from aya.textfile import shown_path

_LONGEST_MAPPING = 1024 * 1024


@dataclass(frozen=True, slots=True)
class Choices:
    """The columns as they were typed."""

    table: str | None
    content: str | None
    title: str | None
    category: str | None
    source: str | None
    created_at: str | None
    key: str | None
    metadata: str
    where: str | None

    def mapping(self, source: Source) -> TableMapping | None:
        """Return the mapping that the options say; None when they do not say which column is the content."""
        if self.table is None or self.content is None:
            return None
        table = run.table_named(source, self.table)
        created_at, form = (None, None) if self.created_at is None else split_date(self.created_at, table)
        return checked(
            TableMapping(
                table.name,
                split_names(self.content, table),
                self.title,
                self.category,
                self.source,
                created_at,
                form,
                () if self.key is None else split_names(self.key, table),
                REST if self.metadata == REST else split_names(self.metadata, table),
                self.where,
            ),
            table,
        )


@click.command(name="sqlite")
@click.argument("file", type=click.Path(path_type=Path))
@click.option("--table", metavar="T", help="The table or view.")
@click.option("--content", metavar="COL[,COL…]", help="The text; several are joined, a blank line between.")
@click.option("--title", metavar="COL", help="The title.")
@click.option("--category", metavar="COL|=WORD", help="A column, or one word for all (default: general).")
@click.option("--source", metavar="COL|=WORD", help="A column, or one word for all (default: the file's name).")
@click.option("--created-at", metavar="COL[:FORM]", help="The date; FORM: iso, unix, unix-ms, unix-us, julian, apple …")
@click.option("--id", "key", metavar="COL[,COL…]", help="What tells a row (default: the primary key, else the rowid).")
@click.option("--metadata", metavar="COL,…|rest", default=REST, show_default=True, help="What else is kept.")
@click.option("--where", metavar="SQL", help="Only rows of which this is true, such as 'deleted = 0'.")
@click.option("--mapping", "mapping_file", type=click.Path(path_type=Path), help="Read all of this from a TOML file.")
@click.option("--save-mapping", type=click.Path(path_type=Path), help="Write it to a TOML file, to run it again.")
@click.option("--as", "name", metavar="NAME", help="Know the file by this name, wherever it is moved.")
@click.option("--dry-run", is_flag=True, help="Show what would come out; write nothing.")
@click.option("--samples", type=click.IntRange(0, 100), default=3, show_default=True, help="Documents shown.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@session.node_option
@session.json_option
@click.pass_obj
def command(
    home: Home,
    /,
    *,
    file: Path,
    table: str | None,
    content: str | None,
    title: str | None,
    category: str | None,
    source: str | None,
    created_at: str | None,
    key: str | None,
    metadata: str,
    where: str | None,
    mapping_file: Path | None,
    save_mapping: Path | None,
    name: str | None,
    dry_run: bool,
    samples: int,
    yes: bool,
    node: str | None,
    as_json: bool,
) -> int:
    """Import the tables of a SQLite file, whatever their columns are: a row becomes a document.

    The file is only read, and may be in use. Without --table and --content a terminal is asked, with a proposal for
    each question; elsewhere the tables are shown. Importing again replaces rows that changed and leaves the rest; rows
    that are gone are named, and their documents stay. docs/importing.md
    """
    check_words(table=table, category=category, source=source, where=where)
    file = file.expanduser()
    place = _place(file, name)
    choices = Choices(table, content, title, category, source, created_at, key, metadata, where)
    asking = sys.stdin.isatty() and output.is_terminal() and not as_json and not yes
    with opened(file) as found:
        mappings = _mappings(found, file, choices, mapping_file, asking=asking, place=place, as_json=as_json)
        plans = [_plan(found, mapping, file, place) for mapping in mappings]
        if save_mapping is not None:
            _save(save_mapping, mappings)
        total = sum(found.count(plan.mapping.table, plan.mapping.where) for plan in plans)
        if dry_run or asking:
            _rehearse(found, plans, total, samples, as_json=as_json)
    if dry_run or (asking and not click.confirm("Import them?", default=True)):
        output.progress("nothing was written")
        return 0
    return _import(home, node, file, plans, total, as_json=as_json)


def _place(file: Path, name: str | None) -> str:
    """Return what documents' places begin with."""
    place = os.path.abspath(file) if name is None else name.strip()  # noqa: PTH100 (Path.absolute keeps "..")
    if why := unkeepable(place):
        raise DocumentError(f"the name {shown_path(file)} {why}", hint="rename the file, or --as NAME")
    if not place or ("#" in place and name is not None):
        raise UsageError("--as takes a name without #", hint="--as notes")
    return place


def _plan(found: Source, mapping: TableMapping, file: Path, place: str) -> Plan:
    return run.plan(found, mapping, place=place, label=shown_path(Path(file.name))[:LONGEST_SOURCE])


def _mappings(
    found: Source,
    file: Path,
    choices: Choices,
    mapping_file: Path | None,
    *,
    asking: bool,
    place: str,
    as_json: bool,
) -> list[TableMapping]:
    if mapping_file is not None:
        if choices != Choices(None, None, None, None, None, None, None, REST, None):
            raise UsageError("--mapping says it all; other columns contradict it", hint="edit the mapping file")
        return _read(mapping_file)
    given = choices.mapping(found)
    if given is not None:
        return [given]
    only = None if choices.table is None else run.table_named(found, choices.table).name
    looks = run.look(found, only)
    if not looks:
        raise DocumentError(f"{shown_path(file)} has no tables", hint="look for another file")
    if asking:
        return ask(looks, lambda mapping: _plan(found, mapping, file, place))
    if as_json:
        output.document({"tables": [import_display.described(look) for look in looks]})
    else:
        import_display.tables(looks)
        output.line()
        import_display.columns(looks[0])
    raise UsageError("say which table and which column is the content", hint=_proposal(looks, file))


def _proposal(looks: Sequence[Look], file: Path) -> str:
    """Return the call that imports what is proposed first."""
    proposal = next((look.proposal for look in looks if look.proposal is not None), None)
    if proposal is None:
        return shlex.join(["aya", "import", "sqlite", str(file), "--table", looks[0].table.name, "--content", "COLUMN"])
    form = "" if proposal.created_at_form is None else f":{proposal.created_at_form}"
    options = {
        "--table": proposal.table,
        "--content": ",".join(proposal.content),
        "--title": proposal.title,
        "--category": proposal.category,
        "--created-at": None if proposal.created_at is None else proposal.created_at + form,
        "--id": ",".join(proposal.id) or None,
    }
    words = [word for option, value in options.items() if value is not None for word in (option, value)]
    return shlex.join(["aya", "import", "sqlite", str(file), *words, "--dry-run"])


def _read(file: Path) -> list[TableMapping]:
    try:
        with file.open("rb") as stream:
            return loads(stream.read(_LONGEST_MAPPING).decode(), str(file))
    except (OSError, UnicodeDecodeError) as error:
        raise UsageError(
            f"{shown_path(file)} cannot be read: {error}", hint="--save-mapping FILE writes one"
        ) from error


def _save(file: Path, mappings: Sequence[TableMapping]) -> None:
    try:
        with file.open("x", encoding="utf-8") as stream:
            stream.write(dumps(mappings))
    except FileExistsError as error:
        raise UsageError(f"{shown_path(file)} is there already", hint="give another name, or remove it") from error
    except OSError as error:
        raise UsageError(f"{shown_path(file)} cannot be written: {error.strerror}", hint="give another name") from error
    output.progress(f"wrote {shown_path(file)}; again: aya import sqlite FILE --mapping {shlex.quote(str(file))}")


def _rehearse(found: Source, plans: Sequence[Plan], total: int, samples: int, *, as_json: bool) -> None:
    with import_display.Meter(total, "rows", quiet=as_json) as meter:
        results = [(plan.mapping.table, run.rehearse(found, plan, samples, meter.advance)) for plan in plans]
    if as_json:
        output.document({"tables": [import_display.rehearsed(name, result) for name, result in results]})
        return
    for name, result in results:
        import_display.rehearsal(name, result)


def _import(home: Home, node: str | None, file: Path, plans: Sequence[Plan], total: int, *, as_json: bool) -> int:
    imported = run.Imported()
    try:
        with copied(file) as copy, import_display.Meter(total, "rows", quiet=as_json) as meter:
            session.run(
                home,
                node,
                lambda here: run.run(copy, plans, here.documents, here.database, imported, meter),
            )
    except KeyboardInterrupt:
        import_display.summary(imported, whole=False)
        raise
    return finished(imported, as_json=as_json)


def finished(imported: run.Imported, *, as_json: bool) -> int:
    """Print what became of an import and return the exit code. Raises the error that stopped it."""
    if as_json:
        output.document(import_display.document(imported))
    else:
        import_display.summary(imported, whole=imported.tally.stopped_by is None)
    if imported.tally.stopped_by is not None:
        raise imported.tally.stopped_by
    return EXIT_FAILED if imported.tally.statuses["failed"] else 0
