"""Following folders: what is added, changed, renamed and deleted below them is done to their documents.

Events are hints, the scan is the truth: whatever is hinted at is found by the same walk that `aya add` makes, and a
document only goes when a look at the disk says that its file is gone. So an event that is lost, doubled or wrong delays
a change and does no harm.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from watchfiles import awatch  # pyright: ignore[reportUnknownVariableType] (it also takes trio's event)

from aya.backoff import Backoff
from aya.errors import AyaError, DatabaseReadOnly, EmbedderError, ModelMismatch
from aya.file_results import FileResult
from aya.ingest import Labels, Manner, Progress, Whole, absolute, add_files
from aya.knowledge.documents import Documents
from aya.knowledge.places import Places
from aya.read_here import ReadHere
from aya.watch_gone import Asked, FolderGone, NotMeant, Taking, prune
from aya.watch_plan import Hints, Moment, Scan, concerns, hints, rescan

TICK_SECONDS = 1.0
# A burst is over when nothing came for the first time; it is looked at after the second in any case.
_QUIET_SECONDS = 0.2
_BURST_SECONDS = 1.6
# Some programs save by deleting and writing anew.
_SETTLE_SECONDS = 1.0
# Where the system gives no events (the limit of inotify's watches).
_BLIND_SECONDS = 60.0
_TROUBLE = Backoff(first_seconds=1.0, cap_seconds=30.0)


class Shown(Progress, Protocol):
    """Told what happens; must return at once."""

    def following(self, folders: Sequence[Path]) -> None:
        """Say that everything was looked at and changes are waited for."""

    def again(self, why: str) -> None:
        """Say that everything is looked at again."""

    def trouble(self, error: AyaError) -> None:
        """Say what holds it up; it goes on by itself."""

    def blind(self, why: str) -> None:
        """Say that the system gives no events, so that it looks every minute instead."""


@dataclass(frozen=True, slots=True)
class Followed:
    """What is followed, and how. meant: asked when so much is gone at once that it may be a mistake.

    ledger: what this machine has read, which alone may be gone.
    """

    roots: Sequence[Path]
    labels: Labels
    meant: Asked
    ledger: ReadHere


class Attaching:
    """A progress that holds back what was found to be an equal file, until it is known whether it is a new name.

    Files that are as they were, or of a kind that is not read, are not told of, nor the same failure twice; everything:
    they are, once.
    """

    def __init__(self, shown: Progress, told: set[FileResult], *, everything: bool) -> None:
        self._shown = shown
        self._told = told
        self._everything = everything
        self.attached: dict[int, list[FileResult]] = {}

    def total(self, files: int) -> None:
        """Pass it on."""
        self._shown.total(files)

    def done(self, result: FileResult) -> None:
        """Pass it on, unless it is held back or was told before."""
        if result.status == "skipped" and result.document_id is not None:
            self.attached.setdefault(result.document_id, []).append(result)
        elif self._everything or self._is_news(result):
            self._shown.done(result)

    def _is_news(self, result: FileResult) -> bool:
        if result.status in {"unchanged", "skipped"} or result in self._told:
            return False
        if result.status in {"failed", "kept"}:
            self._told.add(result)
        return True

    def released(self, renamed: Sequence[FileResult]) -> None:
        """Tell of the equal files that are no new name."""
        names = {result.path for result in renamed if result.status == "renamed"}
        for results in self.attached.values():
            for result in results:
                if result.path not in names:
                    self._shown.done(result)


async def add_and_prune(
    documents: Documents, places: Places, followed: Followed, shown: Attaching, hinted: Hints = None
) -> None:
    """Add what is there, then take out what is gone: in this order, so that a renamed file keeps its document.

    hinted: look only there. Raises the AyaError that concerns all files; what was done before stays done.
    """
    looks = None if hinted is None else _looks(hinted)
    whole: dict[str, Whole] = {}

    def read_whole(file: Whole) -> None:
        whole[file.path] = file
        for place in file.places:
            followed.ledger.note(place)

    manner = Manner(known=places.known, wanted=looks, listed=False, noted=followed.ledger.note, whole=read_whole)
    if hinted is None or await asyncio.to_thread(lambda: any(map(os.path.lexists, hinted))):
        ingested = await add_files(documents, followed.roots, followed.labels, shown, manner)
        if ingested.stopped_by is not None:
            raise ingested.stopped_by
    results: list[FileResult] = []
    try:
        taking = Taking(followed.meant, followed.ledger.has, frozenset(shown.attached), whole)
        results += await prune(places, followed.roots, shown, taking, hinted)
    finally:
        shown.released(results)


def _looks(hinted: frozenset[Path]) -> Callable[[Path], bool]:
    """Return what says whether a path is hinted at, itself or as what a link leads to."""
    return lambda path: concerns(path, hinted) or (path.is_symlink() and concerns(Path(os.path.realpath(path)), hinted))


async def follow(documents: Documents, places: Places, followed: Followed, shown: Shown) -> None:
    """Add everything below the folders, then follow their changes until cancelled.

    What passes (the database or the embedder away, a folder that is missing for a while) is told and waited for. Raises
    an AyaError that does not pass by itself.
    """
    told: set[FileResult] = set()
    first = True
    failures = 0
    while True:
        try:
            async with aclosing(_batches(followed.roots, shown)) as batches:
                async for hinted in batches:
                    progress = Attaching(shown, told, everything=first)
                    try:
                        await add_and_prune(documents, places, followed, progress, hinted)
                    except NotMeant as error:
                        shown.trouble(error)
                    if hinted is None:
                        shown.following(followed.roots)
                    first, failures = False, 0
        except AyaError as error:
            if not passes(error):
                raise
            failures += 1
            if failures == 1:
                shown.trouble(error)
            await asyncio.sleep(_TROUBLE.delay_seconds(failures, random.uniform))


def passes(error: AyaError) -> bool:
    """Return whether it may pass without anybody's help, so that following goes on; pure."""
    if isinstance(error, ModelMismatch):
        return False
    return error.retryable or isinstance(error, FolderGone | EmbedderError | DatabaseReadOnly)


async def _batches(roots: Sequence[Path], shown: Shown) -> AsyncGenerator[Hints]:
    """Yield where to look: everything first, then what is hinted at, and everything again when hints may be missing.

    The system is watched before everything is looked at, so that no change falls in between. What happens while a batch
    is being looked at is in the next one.
    """
    folders = _names(roots)
    before = _now()
    async with aclosing(_changes(list(roots), shown)) as changes:
        await anext(changes)
        yield None
        last = Scan(_now(), _now().monotonic - before.monotonic)
        before = last.ended
        async for changed in changes:
            hinted = None if changed is None else hints(folders, changed)
            now = _now()
            why = rescan(len(hinted or ()), before, now, last)
            if why is not None or hinted is None:
                shown.again(why or "there are no events")
                yield None
                last = Scan(_now(), _now().monotonic - now.monotonic)
            elif hinted:
                if not all(map(os.path.lexists, hinted)):
                    await asyncio.sleep(_SETTLE_SECONDS)
                yield hinted
            before = _now()


def _names(roots: Sequence[Path]) -> dict[Path, Path]:
    """Return the folders by every name that an event may give them."""
    return {name: absolute(root) for root in roots for name in (Path(os.path.realpath(root)), absolute(root))}


def _now() -> Moment:
    return Moment(time.time(), time.monotonic())


async def _changes(roots: Sequence[Path], shown: Shown) -> AsyncGenerator[set[str] | None]:
    """Yield the paths that changed, or an empty set every tick; None, every minute, where there are no events."""
    watching = awatch(
        *roots,
        watch_filter=None,
        debounce=int(_BURST_SECONDS * 1000),
        step=int(_QUIET_SECONDS * 1000),
        rust_timeout=int(TICK_SECONDS * 1000),
        yield_on_timeout=True,
        ignore_permission_denied=True,
    )
    try:
        # Closed by whoever leaves it: what is left to the collector ends later, beside the next one.
        async with aclosing(watching):
            async for changed in watching:
                yield {path for _, path in changed}
    except FileNotFoundError as error:
        raise FolderGone(f"{error}: nothing is taken for deleted", hint="mount its disk") from error
    except (OSError, RuntimeError) as error:
        shown.blind(str(error))
        while True:
            yield None
            await asyncio.sleep(_BLIND_SECONDS)
