"""Very many records into the knowledge base, counted instead of listed: memory stays bounded, however many they are."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from itertools import islice
from typing import Protocol

from aya.errors import AyaError
from aya.file_results import FileResult, Status
from aya.ingest import add_records
from aya.knowledge.documents import Documents
from aya.records import Record

BATCH = 500
"""Records that are handed on together, fewer if they are long. At the end of each those under way are waited for."""
MOST_NAMED = 50
_BATCH_CHARACTERS = 16 * 1024 * 1024
_SAME = "the same content as another document"


@dataclass(slots=True)
class Tally:
    """What became of the records so far.

    statuses: how many ended so. reasons: why the skipped were skipped. failures: the first of those that failed.
    stopped_by: the error that concerns all of them and ended it before its time.
    """

    statuses: Counter[Status] = field(default_factory=Counter[Status])
    reasons: Counter[str] = field(default_factory=Counter[str])
    failures: list[FileResult] = field(default_factory=list[FileResult])
    stopped_by: AyaError | None = None

    def count(self, result: FileResult) -> None:
        """Count one record."""
        self.statuses[result.status] += 1
        if result.status == "failed" and len(self.failures) < MOST_NAMED:
            self.failures.append(result)
        if result.status == "skipped":
            self.reasons[_SAME if result.document_id is not None else result.reason or ""] += 1


class Watcher(Protocol):
    """Told of each record as it is finished; must return at once."""

    def done(self, result: FileResult, /) -> None:
        """Say that one record is finished."""


@dataclass(frozen=True, slots=True)
class _Counted:
    tally: Tally
    watcher: Watcher

    def total(self, files: int) -> None:
        """Nobody asks: a batch is a few of them."""

    def done(self, result: FileResult) -> None:
        self.tally.count(result)
        self.watcher.done(result)


async def add_many(documents: Documents, records: Iterable[Record], tally: Tally, watcher: Watcher) -> None:
    """Add the documents of `records` and count in `tally`, record by record: an interruption loses no count.

    A record without a document is skipped, with its reason. Ends early with tally.stopped_by: an error that concerns
    all of them, or one of reading on; what was read before it is added.
    """
    counted = _Counted(tally, watcher)
    remaining = iter(records)
    while tally.stopped_by is None:
        batch, unread = _next(remaining)
        ended = await add_records(documents, _with_documents(batch, counted), counted)
        tally.stopped_by = ended.stopped_by or unread
        if not batch:
            return


def _next(remaining: Iterator[Record]) -> tuple[list[Record], AyaError | None]:
    """Return the next records, none at the end, and the error that kept more from being read."""
    batch: list[Record] = []
    characters = 0
    try:
        for record in islice(remaining, BATCH):
            batch.append(record)
            characters += 0 if record.document is None else len(record.document.content)
            if characters > _BATCH_CHARACTERS:
                break
    except AyaError as error:
        return batch, error
    return batch, None


def _with_documents(records: Iterable[Record], counted: _Counted) -> Iterator[Record]:
    for record in records:
        if record.document is None:
            counted.done(FileResult(record.where, "skipped", record.reason))
        else:
            yield record
