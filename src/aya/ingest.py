"""Files and folders into the knowledge base: every file ends in one result, and one bad file never stops the others."""

from __future__ import annotations

import asyncio
import os
import random
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal, Protocol, TypeVar

from aya.backoff import Backoff
from aya.errors import AyaError, DatabaseConflict, DatabaseError, DocumentError, EmbedderOverloaded, TextTooLong
from aya.knowledge.documents import Documents
from aya.knowledge.types import Added, NewDocument
from aya.knowledge.validation import LONGEST_SOURCE
from aya.records import Record
from aya.textfile import Found, Refused, TextFile, discover, read_text_file, shown_path

Status = Literal["indexed", "updated", "unchanged", "skipped", "failed"]
# Several at once, so that the embedder can batch across documents.
CONCURRENCY = 4
_OVERLOAD = Backoff(first_seconds=0.5, cap_seconds=10.0)
_MOST_OVERLOADS = 8


@dataclass(frozen=True, slots=True)
class FileResult:
    """What became of one file. reason: why, for skipped and failed."""

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
    return await _all(found, lambda each: _add_entry(documents, each[0], each[1], labels), progress)


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


async def _add_entry(documents: Documents, root: Path, entry: Found | Refused, labels: Labels) -> FileResult:
    file = await asyncio.to_thread(read_text_file, entry.path) if isinstance(entry, Found) else entry
    if isinstance(file, Refused):
        return FileResult(file.shown, "skipped" if file.skipped else "failed", file.reason)
    return await _add_document(documents, shown_path(file.path), new_document(root, file, labels))


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
        uri=str(_absolute(file.path)),
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
