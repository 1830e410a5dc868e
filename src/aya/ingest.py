"""Files and folders into the knowledge base: every file ends in one result, and one bad file never stops the others."""

from __future__ import annotations

import asyncio
import os
import random
from collections import Counter
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from aya.backoff import Backoff
from aya.errors import AyaError, DatabaseConflict, DatabaseError, DocumentError, EmbedderOverloaded, TextTooLong
from aya.knowledge.documents import Documents
from aya.knowledge.types import Added, NewDocument
from aya.knowledge.validation import LONGEST_SOURCE
from aya.readers.pool import Readers
from aya.records import Record
from aya.textfile import Found, Refused, TextFile, discover, shown_path

Status = Literal["indexed", "updated", "unchanged", "skipped", "failed"]
# Several at once, so that the embedder can batch across documents.
CONCURRENCY = 4
_OVERLOAD = Backoff(first_seconds=0.5, cap_seconds=10.0)
_MOST_OVERLOADS = 8


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file. reason: why, for skipped and failed; else what of it could not be taken.

    document_id: None, too, for a file that holds several documents.
    """

    path: str
    status: Status
    reason: str | None = None
    document_id: int | None = None
    chunks: int = 0


@dataclass(frozen=True, slots=True)
class Ingested:
    """What became of one call: the files that were finished, in the order found.

    stopped_by: the error that concerns all files (database or embedder gone, another model) and ended it before its
    time; None when every file was looked at. What was added stays, and adding again finishes.
    """

    results: list[FileResult]
    stopped_by: AyaError | None = None


@dataclass(frozen=True, slots=True)
class Labels:
    """What every document of one call gets. source None: the name of the path that was given.

    explicit: somebody asked for these labels, so documents that are kept already get them, too; False: they are
    defaults, and undo nothing that was changed with `aya edit`.
    """

    category: str = "general"
    source: str | None = None
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    explicit: bool = False


class Progress(Protocol):
    """Told how far it is; must return at once."""

    def total(self, files: int) -> None:
        """Say how many files there are."""

    def done(self, result: FileResult) -> None:
        """Say that one file is finished."""


async def add_files(documents: Documents, roots: Sequence[Path], labels: Labels, progress: Progress) -> Ingested:
    """Add everything below `roots`, every file once and with one result."""
    found = find(roots)
    progress.total(len(found))
    async with Readers() as readers:
        return await _all(found, lambda each: _add_entry(documents, readers, each[0], each[1], labels), progress)


def find(roots: Sequence[Path]) -> list[tuple[Path, Found | Refused]]:
    """Return what stands below `roots`, each path once, with the first root it was found under.

    What a walk passed over as a kind that is not read is tried when a later root names it.
    """
    places: dict[Path, tuple[Path, Found | Refused]] = {}
    for root in roots:
        for entry in discover([root]):
            place = _absolute(entry.path)
            known = places.get(place)
            if known is None or (isinstance(known[1], Refused) and known[1].skipped):
                places[place] = (root, entry)
    return list(places.values())


async def add_records(documents: Documents, records: Iterable[Record], progress: Progress) -> Ingested:
    """Add the documents of a file of records, one result a record, in order."""
    return await _all(records, lambda record: _add_record(documents, record), progress)


Item = TypeVar("Item")


async def _all(items: Iterable[Item], add: Callable[[Item], Awaitable[FileResult]], progress: Progress) -> Ingested:
    results: dict[int, FileResult] = {}
    stopped_by: AyaError | None = None
    waiting = iter(enumerate(items))

    async def work() -> None:
        for position, item in waiting:
            result = await add(item)
            results[position] = result
            progress.done(result)

    try:
        async with asyncio.TaskGroup() as group:
            for number in range(CONCURRENCY):
                group.create_task(work(), name=f"add-{number}")
    except* AyaError as errors:
        stopped_by = _first(errors)
    return Ingested([results[position] for position in sorted(results)], stopped_by)


def _first(errors: ExceptionGroup[AyaError]) -> AyaError:
    first = errors.exceptions[0]
    return first if isinstance(first, AyaError) else _first(first)


async def _add_entry(
    documents: Documents, readers: Readers, root: Path, entry: Found | Refused, labels: Labels
) -> FileResult:
    if isinstance(entry, Refused):
        return _refused(entry)
    results: list[FileResult] = []
    async with aclosing(readers.read(entry)) as readings:
        async for reading in readings:
            if isinstance(reading, Refused):
                results.append(_refused(reading))
                continue
            shown = shown_path(reading.path) + (f"#{reading.fragment}" if reading.fragment else "")
            result = await _add_document(documents, shown, new_document(root, reading, labels))
            results.append(replace(result, reason=" ".join(filter(None, (result.reason, *reading.notes))) or None))
    return together(shown_path(entry.path), results)


def _refused(refused: Refused) -> FileResult:
    return FileResult(refused.shown, "skipped" if refused.skipped else "failed", refused.reason)


def together(shown: str, results: Sequence[FileResult]) -> FileResult:
    """Return the one result of a file from those of its documents; pure.

    The worst status is the file's, so that a failure is never hidden; the reason counts them all, and tells the first
    failures.
    """
    if not results:
        return FileResult(shown, "failed", "It holds no document.")
    if len(results) == 1 and results[0].path == shown:
        return results[0]
    counts = Counter(result.status for result in results)
    said = ", ".join(f"{counts[status]} {status}" for status in _WORST_FIRST if counts[status])
    reasons = [
        f"{result.path.removeprefix(shown).removeprefix('#') or 'the rest'}: {result.reason}"
        for result in results
        if result.status == "failed"
    ]
    told = "; ".join([f"documents: {said}", *reasons[:_MOST_REASONS]])
    chunks = sum(result.chunks for result in results if result.status in {"indexed", "updated"})
    return FileResult(shown, next(each for each in _WORST_FIRST if counts[each]), told, None, chunks)


_WORST_FIRST: tuple[Status, ...] = ("failed", "indexed", "updated", "unchanged", "skipped")
_MOST_REASONS = 3


async def _add_record(documents: Documents, record: Record) -> FileResult:
    if record.document is None:
        return FileResult(record.where, "failed", record.reason)
    return await _add_document(documents, record.where, record.document)


async def _add_document(documents: Documents, shown: str, new: NewDocument) -> FileResult:
    try:
        return result_of(shown, await _patiently(documents, new))
    except AyaError as error:
        if concerns_all(error):
            raise
        return FileResult(shown, "failed", error.message)


def concerns_all(error: AyaError) -> bool:
    """Return whether the next file would fail for the same reason; pure."""
    return not (isinstance(error, DocumentError | TextTooLong | DatabaseConflict) or type(error) is DatabaseError)


def new_document(root: Path, file: TextFile, labels: Labels) -> NewDocument:
    """Return the document for a file that was found under `root`; pure but for the current directory."""
    where = file.path.relative_to(root) if file.path != root else Path(file.path.name)
    name = _absolute(root).name
    source = labels.source or (shown_path(Path(name))[:LONGEST_SOURCE] if name else "/")
    return NewDocument(
        content=file.text,
        category=labels.category,
        source=source,
        metadata={**file.metadata, "path": str(where), **labels.metadata},
        title=file.title,
        uri=str(_absolute(file.path)) + (f"#{file.fragment}" if file.fragment else ""),
        markdown=file.markdown,
        relabel=labels.explicit,
    )


def _absolute(path: Path) -> Path:
    """Return the one name of a path, without "..": the same file is the same document wherever it is named from."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")


def result_of(shown: str, added: Added) -> FileResult:
    """Return the result for a file whose document was kept; pure."""
    chunks = len(added.chunk_ids)
    if added.outcome == "duplicate":
        reason = f"it has the same content as document {added.document_id}"
        return FileResult(shown, "skipped", reason, added.document_id, chunks)
    return FileResult(shown, added.outcome, None, added.document_id, chunks)


async def _patiently(documents: Documents, new: NewDocument) -> Added:
    """Add; an embedder with too much to do is asked again, a bounded number of times."""
    for attempt in range(1, _MOST_OVERLOADS):
        try:
            return await documents.add(new)
        except EmbedderOverloaded:
            await asyncio.sleep(_OVERLOAD.delay_seconds(attempt, random.uniform))
    return await documents.add(new)
