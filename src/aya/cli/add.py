"""`aya add`: files, folders, standard input or a text into the knowledge base."""

from __future__ import annotations

import shlex
import sys
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import click
from rich.console import Console
from rich.progress import BarColumn, ProgressColumn, Task, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress
from rich.text import Text

from aya.cli import output, session
from aya.cli.given import check_words, explicitly, standard_input
from aya.errors import EXIT_FAILED, AyaError, DocumentError, UsageError
from aya.file_results import FileResult, Ingested, Status, result_of
from aya.home import Home
from aya.ingest import Labels, Manner, add_files
from aya.knowledge.places import Places
from aya.knowledge.types import NewDocument
from aya.knowledge.validation import check_labels, parse_metadata
from aya.read_here import ReadHere

_ALWAYS: tuple[Status, ...] = ("indexed", "updated", "unchanged", "skipped", "failed")
_OF_GONE_FILES: tuple[Status, ...] = ("renamed", "removed", "kept")
_STATUSES: tuple[Status, ...] = (*_ALWAYS, *_OF_GONE_FILES)


@click.command(name="add")
@click.argument("paths", nargs=-1, type=str, metavar="PATH…|-")
@click.option("--text", help="Add this text.")
@click.option("--category", default="general", show_default=True, help="At most 50 characters.")
@click.option("--source", help="At most 100 characters (default: the name of the path given).")
@click.option("--metadata", default="{}", metavar="JSON", help="A JSON object kept with every document.")
@click.option("--title", help="Only with --text or -.")
@click.option("--watch", is_flag=True, help="Then follow the folders' changes, deletions too, until Ctrl-C.")
@click.option("--prune", is_flag=True, help="Then remove what was read from below the folders and is gone.")
@click.option("--yes", is_flag=True, help="Remove however much is gone.")
@session.node_option
@session.json_option
@click.pass_obj
def command(
    home: Home,
    /,
    *,
    paths: Sequence[str],
    text: str | None,
    category: str,
    source: str | None,
    metadata: str,
    title: str | None,
    watch: bool,
    prune: bool,
    yes: bool,
    node: str | None,
    as_json: bool,
) -> int:
    """Add files, folders (recursively), standard input (-) or a text.

    Every file ends as indexed, updated, unchanged, skipped or failed, with the reason. Adding again replaces what
    changed and leaves the rest; labels that were changed since stay, unless they are given here. Exit code 1 when
    anything failed; what went well is kept.

    With --watch or --prune a file that is gone takes its document along, unless another file says the same or it was
    edited here; one that was renamed keeps it. Nothing is removed when the folder is missing or empty, nor, without
    --yes, when more than three tenths are gone at once.
    """
    check_words(category=category, source=source, title=title)
    check_labels(category, source)
    labels = Labels(category, source, parse_metadata(metadata), explicitly("category", "source", "metadata"))
    if text is not None or list(paths) == ["-"]:
        _refuse_with_text(watch=watch, prune=prune)
        given = _given_text(paths, text)
        return report(lambda: _add_text(home, node, given, title, labels, quiet=as_json), as_json=as_json)
    roots = _given_paths(paths, title)
    if watch or prune:
        # Only here: nobody else pays for the library that follows folders.
        from aya.cli import add_watch  # noqa: PLC0415

        return add_watch.run(home, node, add_watch.Folders(roots, labels, yes), watch=watch, as_json=as_json)
    return report(lambda: _add_paths(home, node, roots, labels, quiet=as_json), as_json=as_json)


def _refuse_with_text(*, watch: bool, prune: bool) -> None:
    if watch or prune:
        raise UsageError("--watch and --prune are for folders, not for a text", hint="aya add DIR --watch")


def _given_text(paths: Sequence[str], text: str | None) -> str:
    if text is not None:
        if paths:
            raise UsageError("give either paths or --text, not both", hint="aya add --text '…'")
        return text
    return standard_input("aya add -")


def _given_paths(paths: Sequence[str], title: str | None) -> list[Path]:
    if not paths:
        raise UsageError("nothing to add", hint="aya add ~/notes, aya add --text '…', or … | aya add -")
    if "-" in paths:
        raise UsageError("- (standard input) stands alone", hint="aya add PATH…, then … | aya add -")
    if title is not None:
        raise UsageError("--title is for --text and -; a file has its own", hint="leave --title out")
    return [Path(path).expanduser() for path in paths]


def _add_text(home: Home, node: str | None, text: str, title: str | None, labels: Labels, *, quiet: bool) -> Ingested:
    new = NewDocument(text, labels.category, labels.source or "aya", labels.metadata, title, relabel=labels.explicit)
    result = result_of(title or "text", session.run(home, node, lambda opened: opened.documents.add(new)))
    if not quiet:
        output.line(line_of(result))
    return Ingested([result])


def _add_paths(home: Home, node: str | None, roots: list[Path], labels: Labels, *, quiet: bool) -> Ingested:
    async def add(opened: session.Session) -> Ingested:
        manner = Manner(known=Places(opened.database).known, listed=quiet, noted=ledger.note)
        return await add_files(opened.documents, roots, labels, shown, manner)

    with ReadHere(home.read_file) as ledger, Shown(quiet=quiet) as shown:
        ingested = session.run(home, node, add)
    if ingested.stopped_by is None and not ingested.counts:
        raise DocumentError(
            f"there is nothing to read in {', '.join(map(str, roots))}",
            hint="which formats aya add takes: docs/ingestion.md",
        )
    return ingested


class _Pace(ProgressColumn):
    """How many of how many files, and how many a second lately."""

    def render(self, task: Task) -> Text:
        """Return "1,200 of 5,000 files, 45/s"; the total is known when the walk is over."""
        of = "" if task.total is None else f" of {task.total:,.0f}"
        speed = "" if not task.speed else f", {task.speed:,.0f}/s" if task.speed > 1 else f", {task.speed:.1g}/s"
        return Text(f"{task.completed:,.0f}{of} files{speed}")


class Shown:
    """A progress bar on a terminal; everywhere one line a file, as it is finished.

    Above a bar, files that did not change have no line: the bar counts them.
    """

    def __init__(self, *, quiet: bool) -> None:
        self._quiet = quiet
        self._bar = RichProgress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            _Pace(),
            TextColumn("{task.fields[chunks]:,} chunks"),
            TimeRemainingColumn(elapsed_when_finished=True),
            console=Console(stderr=True, no_color=not output.colours(sys.stderr)),
            disable=not output.is_terminal(sys.stderr),
            transient=True,
        )
        self._task = self._bar.add_task("adding", chunks=0, total=None)
        self._chunks = 0
        self.counts: Counter[Status] = Counter()
        self.results: list[FileResult] = []
        self._total: int | None = None

    def total(self, files: int) -> None:
        """Set the bar's length."""
        self._total = files
        self._bar.update(self._task, total=files)

    def done(self, result: FileResult) -> None:
        """Print a file's line and move the bar."""
        self.counts[result.status] += 1
        self._chunks += result.chunks if result.status in {"indexed", "updated"} else 0
        self._bar.update(self._task, advance=result.status not in _OF_GONE_FILES, chunks=self._chunks)
        if self._quiet:
            self.results.append(result)
            return
        if self._bar.disable or not output.is_terminal():
            output.line(line_of(result))
        elif result.status != "unchanged":
            # Through the bar's console, which draws the bar anew below the line.
            self._bar.console.print(Text(output.inert(line_of(result))), soft_wrap=True)

    def pause(self) -> None:
        """Take the bar away, for a question or for good."""
        self._bar.stop()

    def interrupted(self) -> KeyboardInterrupt:
        """Return what Ctrl-C ends in: what was done, what is left, and the command that goes on."""
        done = sum(count for status, count in self.counts.items() if status not in _OF_GONE_FILES)
        left = f"{self._total - done:,} of {self._total:,} files are left" if self._total else "the rest is left"
        said = f"what was finished is kept ({told(self.counts)}), {left}"
        return KeyboardInterrupt(f"{said}\n  next: {again()}")

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()
        if kind is not None and issubclass(kind, KeyboardInterrupt):
            raise self.interrupted() from None


def again() -> str:
    """Return the command that was typed, to be typed again."""
    return shlex.join(["aya", *sys.argv[1:]])


def told(counts: Mapping[Status, int]) -> str:
    """Return how many files ended how, in words; pure."""
    return ", ".join(f"{counts[status]:,} {status}" for status in _STATUSES if counts.get(status)) or "nothing yet"


def line_of(result: FileResult) -> str:
    """Return what a person reads of one file; pure."""
    told = [result.reason] if result.reason else []
    if result.status in {"indexed", "updated"}:
        one = [f"document {result.document_id}"] if result.document_id is not None else []
        told = [", ".join([*one, f"{result.chunks} chunk{'s' if result.chunks != 1 else ''}"]), *told]
    detail = f"  ({'; '.join(told)})" if told else ""
    return f"{result.status:<9}  {result.path}{detail}"


def report(work: Callable[[], Ingested], *, as_json: bool) -> int:
    """Do the work, print what became of the files and what to type next; return the exit code.

    Raises the error that stopped the work, after what was finished has been told.
    """
    try:
        ingested = work()
    except AyaError as error:
        if as_json:
            output.document(document(Ingested([], error)))
        raise
    if as_json:
        output.document(document(ingested))
    else:
        output.progress(_summary(ingested))
    if ingested.stopped_by is not None:
        raise ingested.stopped_by
    return EXIT_FAILED if ingested.counts["failed"] else 0


def _summary(ingested: Ingested) -> str:
    if ingested.stopped_by is not None:
        return f"{told(ingested.counts) if ingested.counts else 'nothing was finished'}, and then it had to stop."
    return f'{told(ingested.counts)}. Next: aya search "what you want to know"'


def document(ingested: Ingested) -> dict[str, Any]:
    """Return what --json prints: "summary", "files" and, where the call was stopped, "error"; pure."""
    counts = ingested.counts
    said: dict[str, Any] = {
        "summary": {status: counts[status] for status in _STATUSES if status in _ALWAYS or counts[status]},
        "files": [asdict(result) for result in ingested.results],
    }
    if ingested.stopped_by is not None:
        said["error"] = {"message": ingested.stopped_by.message, "hint": ingested.stopped_by.hint}
    return said
