"""What `aya import` shows: what a file holds, how its documents would look, how far it is, what became of it."""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict
from types import TracebackType
from typing import Any, Self

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as RichProgress

from aya.bulk import Tally
from aya.cli import output
from aya.file_results import FileResult, Status
from aya.knowledge.types import NewDocument
from aya.sqlite_import import judge
from aya.sqlite_import.run import Imported, Rehearsal

_STATUSES: tuple[Status, ...] = ("indexed", "updated", "unchanged", "skipped", "failed")
_SHOWN_CHARACTERS = 300
_LINE_SECONDS = 10.0


def tables(looks: Sequence[judge.Look]) -> None:
    """Print the tables, the one with most text first."""
    rows = [
        [
            str(number),
            look.table.name,
            look.table.kind,
            f"{look.rows:,}",
            ", ".join(look.proposal.content) if look.proposal else "-",
            ", ".join(look.table.names),
        ]
        for number, look in enumerate(looks, 1)
    ]
    output.table(["", "table", "kind", "rows", "text in", "columns"], rows)


def columns(look: judge.Look) -> None:
    """Print the columns of one table and how well each suits."""
    rows = [
        [
            profile.name,
            profile.column.declared.lower() or "-",
            f"{profile.filled:.0%}",
            f"{profile.average_length:,.0f}" if profile.texts else "-",
            judge.suits(profile) + (" (generated)" if profile.column.generated else ""),
        ]
        for profile in look.profiles
    ]
    output.table(["column", "type", "filled", "characters", "would do as"], rows)


def described(look: judge.Look) -> dict[str, Any]:
    """Return a table for --json; pure."""
    return {
        "table": look.table.name,
        "kind": look.table.kind,
        "rows": look.rows,
        "columns": [
            {
                "name": profile.name,
                "type": profile.column.declared,
                "generated": profile.column.generated,
                "key": profile.column.key,
                "filled": round(profile.filled, 3),
                "average_length": round(profile.average_length, 1),
                "date_form": profile.form,
            }
            for profile in look.profiles
        ],
        "proposal": None if look.proposal is None else asdict(look.proposal),
    }


def rehearsal(name: str, rehearsed: Rehearsal) -> None:
    """Print what an import of one table would do, and its first documents."""
    for document in rehearsed.samples:
        sample(document)
    output.line(f"{name}: {rehearsed.rows:,} rows, {rehearsed.documents:,} documents{_skips(rehearsed.skipped)}")
    for (column, why), number in rehearsed.left_out.most_common():
        output.line(f"  left out of metadata: {column}, {number:,} × {why}")
    if rehearsed.without_key:
        output.line(
            f"  {rehearsed.without_key:,} rows have no key: they are told by their text alone, and what changes "
            "in them later becomes a document of its own (--id)"
        )


def _skips(skipped: Counter[str]) -> str:
    said = ", ".join(f"{number:,} {why}" for why, number in skipped.most_common())
    return f"; {skipped.total():,} skipped: {said}" if said else ""


def sample(document: NewDocument) -> None:
    """Print a document as it would come out."""
    created = "now" if document.created_at is None else f"{document.created_at:%Y-%m-%d %H:%M:%S} (UTC)"
    output.line(f"title     {document.title or '-'}")
    output.line(f"labels    {document.category}, {document.source}, {created}")
    if document.metadata:
        output.line(f"metadata  {json.dumps(document.metadata, ensure_ascii=False)[:_SHOWN_CHARACTERS]}")
    text = document.content[:_SHOWN_CHARACTERS]
    for line in (text + ("…" if len(document.content) > len(text) else "")).splitlines():
        output.line(f"  | {line}")
    output.line()


def rehearsed(name: str, result: Rehearsal) -> dict[str, Any]:
    """Return a rehearsal for --json; pure."""
    return {
        "table": name,
        "rows": result.rows,
        "documents": result.documents,
        "skipped": dict(result.skipped),
        "left_out": [{"column": column, "why": why, "rows": rows} for (column, why), rows in result.left_out.items()],
        "without_key": result.without_key,
        "samples": [asdict(document) for document in result.samples],
    }


class Meter:
    """How far it is, with rate and time left: a bar on a terminal, elsewhere a line every ten seconds.

    What failed is said at once, each in a line; what went well is only counted. total None: it cannot be known.
    """

    def __init__(self, total: int | None, what: str, *, quiet: bool) -> None:
        self._quiet, self._what, self._total = quiet, what, total
        self._done, self._began = 0, time.monotonic()
        self._said = self._began
        self._bar = RichProgress(
            TextColumn(what),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("{task.fields[rate]}"),
            TimeRemainingColumn(),
            console=Console(stderr=True, no_color=not output.colours(sys.stderr)),
            disable=quiet or not output.is_terminal(sys.stderr),
            transient=True,
        )
        self._task = self._bar.add_task("", rate="", total=total)

    def done(self, result: FileResult) -> None:
        """Move the bar by one record."""
        if result.status == "failed" and not self._quiet:
            output.progress(f"failed     {result.path}  ({result.reason})")
        self.advance(1)

    def advance(self, number: int) -> None:
        """Move the bar."""
        self._done += number
        now = time.monotonic()
        rate = self._done / max(now - self._began, 0.001)
        self._bar.update(self._task, advance=number, rate=f"{rate:,.0f}/s")
        if self._bar.disable and not self._quiet and now - self._said > _LINE_SECONDS:
            self._said = now
            output.progress(progress_of(self._done, self._total, rate, self._what))

    def __enter__(self) -> Self:
        self._bar.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._bar.stop()


def progress_of(done: int, total: int | None, rate: float, what: str) -> str:
    """Return how far it is in words; pure. rate: a second."""
    if total is None:
        return f"{done:,} {what}, {rate:,.0f}/s"
    minutes = max(0, total - done) / max(rate, 0.001) / 60
    left = f"{minutes / 60:.1f} h" if minutes >= 90 else f"{minutes:.0f} min"  # noqa: PLR2004 - an hour and a half
    return f"{done:,} of {total:,} {what}, {rate:,.0f}/s, about {left} left"


def summary(imported: Imported, *, whole: bool) -> None:
    """Print what became of everything, on standard error. whole: nothing ended it before its time."""
    tally = imported.tally
    said = ", ".join(f"{tally.statuses[status]:,} {status}" for status in _STATUSES if tally.statuses[status])
    ending = '. Next: aya search "what you want to know"' if whole else ", and then it ended."
    output.progress(f"{said or 'nothing was finished'}{ending}")
    for why, number in tally.reasons.most_common():
        output.progress(f"  skipped {number:,}: {why}")
    for (column, why), number in imported.left_out.most_common():
        output.progress(f"  left out of metadata: {column}, {number:,} × {why}")
    if imported.vanished:
        output.progress(f"  {imported.vanished:,} documents are from rows that are gone; they stay, such as:")
        for place in imported.named[:5]:
            output.progress(f"    {place}")


def document(imported: Imported) -> dict[str, Any]:
    """Return what --json prints; pure."""
    tally: Tally = imported.tally
    told: dict[str, Any] = {
        "summary": {status: tally.statuses[status] for status in _STATUSES},
        "skipped": dict(tally.reasons),
        "failed": [asdict(result) for result in tally.failures],
        "left_out": [{"column": column, "why": why, "rows": rows} for (column, why), rows in imported.left_out.items()],
        "vanished": {"count": imported.vanished, "places": imported.named},
    }
    if tally.stopped_by is not None:
        told["error"] = {"message": tally.stopped_by.message, "hint": tally.stopped_by.hint}
    return told
