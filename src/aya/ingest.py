"""Files and folders into the knowledge base: every file ends in one result, and one bad file never stops the others."""

from __future__ import annotations

import asyncio
import os
import random
import threading
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field, replace
from itertools import islice, pairwise
from pathlib import Path
from typing import Any, Protocol, TypeVar

from aya.backoff import Backoff
from aya.errors import AyaError, DatabaseConflict, DatabaseError, DocumentError, EmbedderOverloaded, TextTooLong
from aya.file_results import KEPT, FileResult, Ingested, Status, result_of, together
from aya.knowledge.documents import Documents
from aya.knowledge.indexing import content_sha256
from aya.knowledge.places import Known
from aya.knowledge.types import Added, NewDocument
from aya.knowledge.validation import LONGEST_SOURCE
from aya.readers.pool import Readers
from aya.records import Record
from aya.textfile import Found, Refused, TextFile, discover, shown_path

# Several at once, so that the embedder can batch across documents: 8 are half as fast again as 4, 16 no faster than 8
# (bench/ingest.py stages).
CONCURRENCY = 8
# So many paths are asked for in one query.
LOOKED_UP_AT_ONCE = 200
_NONE_KNOWN: Mapping[str, Known] = {}
_OVERLOAD = Backoff(first_seconds=0.5, cap_seconds=10.0)
_MOST_OVERLOADS = 8


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
        """Say how many files there are; said when they were counted, which may be after the first are done."""

    def done(self, result: FileResult) -> None:
        """Say that one file is finished."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A file on its way in. root: the named path it was found under. known: what is known, by place."""

    root: Path
    found: Found | Refused
    known: Mapping[str, Known]


KnownPlaces = Callable[[Sequence[str]], Awaitable[Mapping[str, Known]]]
"""Which of many absolute paths a document was read from (aya.knowledge.places)."""
Wanted = Callable[[Path], bool]


Stamp = tuple[int, int, int]
"""By which a file is seen to be as it was: its inode, its size in bytes, when it was changed in nanoseconds."""


@dataclass(frozen=True, slots=True)
class Whole:
    """A file that holds several documents. path: absolute. places: where each stands."""

    path: str
    stamp: Stamp
    places: frozenset[str]


def stamp(path: str | Path) -> Stamp | None:
    """Return a file's stamp; None when it cannot be looked at."""
    try:
        seen = os.stat(path)  # noqa: PTH116 - text, as in the database
    except (OSError, ValueError):
        return None
    return (seen.st_ino, seen.st_size, seen.st_mtime_ns)


@dataclass(frozen=True, slots=True)
class Manner:
    """How many files are gone through.

    known: asked for many files at once, so that one that says what it said costs no question of its own; None: each is
    asked for by itself. wanted: only these absolute paths; None: all. listed: keep every result; False: count them
    only, so that memory does not grow with the files. noted: told of every file that is kept, by its absolute path.
    whole: told of every file of several documents that was read to its end, and stayed as it was meanwhile.
    """

    known: KnownPlaces | None = None
    wanted: Wanted | None = None
    listed: bool = True
    noted: Callable[[str], None] | None = None
    whole: Callable[[Whole], None] | None = None


ONE_BY_ONE = Manner()


async def add_files(
    documents: Documents,
    roots: Sequence[Path],
    labels: Labels,
    progress: Progress,
    manner: Manner = ONE_BY_ONE,
) -> Ingested:
    """Add everything below `roots`, every file once and with one result."""
    over = threading.Event()

    async def count() -> None:
        if manner.wanted is not None:
            return
        files = await asyncio.to_thread(_counted, _chosen(roots, manner.wanted), over)
        if files is not None:
            progress.total(files)

    async def entries() -> AsyncGenerator[Entry]:
        walked = 0
        async with aclosing(_looked_up(_chosen(roots, manner.wanted), manner.known)) as looked_up:
            async for entry in looked_up:
                walked += 1
                yield entry
        over.set()
        progress.total(walked)

    async def add(entry: Entry) -> FileResult:
        result = await _add_entry(documents, readers, entry, labels, manner.whole)
        if manner.noted is not None and (result.document_id is not None or result.status in KEPT):
            manner.noted(str(absolute(entry.found.path)))
        return result

    try:
        async with Readers() as readers:
            return await _all(entries(), add, progress, beside=count, listed=manner.listed)
    finally:
        over.set()


def _chosen(roots: Sequence[Path], wanted: Wanted | None) -> Iterator[tuple[Path, Found | Refused]]:
    found = find(roots)
    return found if wanted is None else ((root, each) for root, each in found if wanted(absolute(each.path)))


def _counted(entries: Iterable[object], over: threading.Event) -> int | None:
    """Count, beside the work; None when it was over first."""
    files = 0
    for _ in entries:
        if over.is_set():
            return None
        files += 1
    return files


async def _looked_up(
    entries: Iterator[tuple[Path, Found | Refused]], known: KnownPlaces | None
) -> AsyncGenerator[Entry]:
    """Yield the entries with what is known of them; the walk advances as they are taken."""
    while batch := await asyncio.to_thread(lambda: list(islice(entries, LOOKED_UP_AT_ONCE))):
        places = [str(absolute(each.path)) for _, each in batch if isinstance(each, Found)]
        there: Mapping[str, Known] = await known(places) if known is not None and places else _NONE_KNOWN
        for root, each in batch:
            yield Entry(root, each, there)


def find(roots: Sequence[Path]) -> Iterator[tuple[Path, Found | Refused]]:
    """Yield what stands below `roots`, each path once, with the first root it was found under.

    What a walk passed over as a kind that is not read is tried when a later root names it.
    """
    if not _overlap(roots):
        return ((root, entry) for root in roots for entry in discover([root]))
    places: dict[Path, tuple[Path, Found | Refused]] = {}
    for root in roots:
        for entry in discover([root]):
            place = absolute(entry.path)
            known = places.get(place)
            if known is None or (isinstance(known[1], Refused) and known[1].skipped):
                places[place] = (root, entry)
    return iter(places.values())


def _overlap(roots: Sequence[Path]) -> bool:
    """Return whether one of them is, or holds, another; else they are walked one after the other, and none is noted."""
    # By their parts, whatever follows a folder in this order first is what it holds.
    return any(
        later[: len(earlier)] == earlier for earlier, later in pairwise(sorted(absolute(root).parts for root in roots))
    )


async def add_records(documents: Documents, records: Iterable[Record], progress: Progress) -> Ingested:
    """Add the documents of a file of records, one result a record, in order."""

    async def each() -> AsyncGenerator[Record]:
        for record in records:
            yield record

    return await _all(each(), lambda record: _add_record(documents, record), progress)


Item = TypeVar("Item")


async def _nothing() -> None:
    """Do nothing beside."""


async def _all(
    items: AsyncGenerator[Item],
    add: Callable[[Item], Awaitable[FileResult]],
    progress: Progress,
    *,
    beside: Callable[[], Coroutine[None, None, None]] = _nothing,
    listed: bool = True,
) -> Ingested:
    results: dict[int, FileResult] = {}
    unlisted: Counter[Status] = Counter()
    taken = 0
    one_at_a_time = asyncio.Lock()

    async def work() -> None:
        nonlocal taken
        while True:
            async with one_at_a_time:
                try:
                    item = await anext(items)
                except StopAsyncIteration:
                    return
                position, taken = taken, taken + 1
            result = await add(item)
            if listed:
                results[position] = result
            else:
                unlisted[result.status] += 1
            progress.done(result)

    stopped_by: AyaError | None = None
    try:
        async with aclosing(items), asyncio.TaskGroup() as group:
            group.create_task(beside(), name="add-count")
            for number in range(CONCURRENCY):
                group.create_task(work(), name=f"add-{number}")
    except* AyaError as errors:
        stopped_by = _first(errors)
    return Ingested([results[position] for position in sorted(results)], stopped_by, unlisted)


def _first(errors: ExceptionGroup[AyaError]) -> AyaError:
    first = errors.exceptions[0]
    return first if isinstance(first, AyaError) else _first(first)


async def _add_entry(
    documents: Documents,
    readers: Readers,
    entry: Entry,
    labels: Labels,
    whole: Callable[[Whole], None] | None,
) -> FileResult:
    if isinstance(entry.found, Refused):
        return _refused(entry.found)
    results: list[FileResult] = []
    places: set[str] = set()
    to_its_end = True
    before = await asyncio.to_thread(stamp, entry.found.path) if whole is not None else None
    async with aclosing(readers.read(entry.found)) as readings:
        async for reading in readings:
            if isinstance(reading, Refused):
                results.append(_refused(reading))
                to_its_end = False
                continue
            if reading.fragment:
                places.add(place_of(reading))
            shown = shown_path(reading.path) + (f"#{reading.fragment}" if reading.fragment else "")
            result = await _add_file(documents, shown, new_document(entry.root, reading, labels), entry.known)
            results.append(replace(result, reason=" ".join(filter(None, (result.reason, *reading.notes))) or None))
    # Somebody who writes it meanwhile may have been half-way.
    as_it_was = before is not None and await asyncio.to_thread(stamp, entry.found.path) == before
    if whole is not None and before is not None and as_it_was and places and to_its_end:
        whole(Whole(str(absolute(entry.found.path)), before, frozenset(places)))
    return together(shown_path(entry.found.path), results)


async def _add_file(documents: Documents, shown: str, new: NewDocument, known: Mapping[str, Known]) -> FileResult:
    """Add what was read from a file, unless it is known to say what it said."""
    before = known.get(new.uri or "")
    if before is not None and not new.relabel and before.read_sha256 == content_sha256(new.content).hex():
        return FileResult(shown, "unchanged", None, before.document_id, before.chunks)
    return await _add_document(documents, shown, new)


def _refused(refused: Refused) -> FileResult:
    return FileResult(refused.shown, "skipped" if refused.skipped else "failed", refused.reason)


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
    name = absolute(root).name
    source = labels.source or (shown_path(Path(name))[:LONGEST_SOURCE] if name else "/")
    return NewDocument(
        content=file.text,
        category=labels.category,
        source=source,
        metadata={**file.metadata, "path": str(where), **labels.metadata},
        title=file.title,
        uri=place_of(file),
        markdown=file.markdown,
        relabel=labels.explicit,
    )


def place_of(file: TextFile) -> str:
    """Return where a document stands: the absolute path of its file, and of a part of one its name behind a #."""
    return str(absolute(file.path)) + (f"#{file.fragment}" if file.fragment else "")


def absolute(path: Path) -> Path:
    """Return the one name of a path, without "..": the same file is the same document wherever it is named from."""
    return Path(os.path.abspath(path))  # noqa: PTH100 (Path.absolute keeps "..")


async def _patiently(documents: Documents, new: NewDocument) -> Added:
    """Add; an embedder with too much to do is asked again, a bounded number of times."""
    for attempt in range(1, _MOST_OVERLOADS):
        try:
            return await documents.add(new)
        except EmbedderOverloaded:
            await asyncio.sleep(_OVERLOAD.delay_seconds(attempt, random.uniform))
    return await documents.add(new)
