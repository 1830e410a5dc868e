"""What became of the files of one call; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

from aya.errors import AyaError
from aya.knowledge.types import Added

# The last three: files that are gone (aya.watch).
Status = Literal["indexed", "updated", "unchanged", "skipped", "failed", "renamed", "removed", "kept"]

KEPT: frozenset[Status] = frozenset({"indexed", "updated", "unchanged"})
"""What the file says is in the base."""
_WORST_FIRST: tuple[Status, ...] = ("failed", "indexed", "updated", "unchanged", "skipped")
_MOST_REASONS = 3


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
    unlisted: how many more there were, by status, whose results nobody asked to keep.
    """

    results: list[FileResult]
    stopped_by: AyaError | None = None
    unlisted: Mapping[Status, int] = field(default_factory=dict[Status, int])

    @property
    def counts(self) -> Counter[Status]:
        """How many files ended how."""
        counts: Counter[Status] = Counter(self.unlisted)
        counts.update(result.status for result in self.results)
        return counts


def result_of(shown: str, added: Added) -> FileResult:
    """Return the result for a file whose document was kept; pure."""
    chunks = len(added.chunk_ids)
    if added.outcome == "duplicate":
        reason = f"it has the same content as document {added.document_id}"
        return FileResult(shown, "skipped", reason, added.document_id, chunks)
    return FileResult(shown, added.outcome, None, added.document_id, chunks)


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
