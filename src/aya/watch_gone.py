"""Documents whose files are gone: found by looking at every file that they were read from, and taken out."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncGenerator, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

from aya.errors import DocumentError
from aya.file_results import FileResult
from aya.ingest import Progress, Whole, absolute, stamp
from aya.knowledge.places import Places
from aya.knowledge.vanishing import Placed, Vanishing, decide
from aya.textfile import shown_path
from aya.watch_plan import Hints, is_suspicious, tops

# Each document's places are compared with each of so many paths; looking at all files is cheaper than more.
_MOST_LOOKED_AT = 50
Asked = Callable[[str], bool]
"""Asks a person whether a sentence is meant; False where nobody can be asked."""
WasRead = Callable[[str], bool]
"""Tells whether this machine has read the file at an absolute path (aya.read_here)."""


class FolderGone(DocumentError):
    """A folder is missing, or empty as an unmounted disk leaves it: what was read from it is not touched."""


class NotMeant(DocumentError):
    """So much is gone at once that a person has to say that it is meant; nothing was taken out."""


@dataclass(frozen=True, slots=True)
class Taking:
    """How documents are taken out. meant: asked when much goes. attached: the ids of those that just got a file.

    read_here: what it never says of a file, the file of another machine may stand for: it is not gone. whole: of files
    of several documents that were just read to their end where these stand: what else was read from them is gone.
    """

    meant: Asked
    read_here: WasRead
    attached: frozenset[int] = frozenset()
    whole: Mapping[str, Whole] = field(default_factory=dict[str, Whole])


async def prune(
    places: Places, roots: Sequence[Path], progress: Progress, taking: Taking, hinted: Hints = None
) -> list[FileResult]:
    """Take out what was read from below `roots` and is gone; return what became of it. hinted: look only there.

    Raises FolderGone or NotMeant; nothing was taken out then.
    """
    folders = [absolute(root) for root in roots]
    for folder in folders:
        await check(places, folder)
    gone = _Gone(folders, taking)
    looked_at = None if hinted is None else [*_missing(hinted), *map(Path, taking.whole)]
    found = [each async for each in _found(places, folders, gone, looked_at)]
    removed = sum(each.fate == "removed" for each in found)
    await _refuse_what_is_not_meant(places, folders, removed, taking.meant)
    results: list[FileResult] = []
    for each in found:
        done = await places.vanish(each.document_id, gone)
        if done is not None:
            results.append(result_of(done, taking.attached))
            progress.done(results[-1])
    return results


async def check(places: Places, folder: Path) -> None:
    """Raise FolderGone unless the folder is there, and holds something if anything was read from it."""
    try:
        empty = not await asyncio.to_thread(_has_entries, folder)
    except OSError as error:
        raise FolderGone(
            f"{shown_path(folder)} cannot be looked into ({error.strerror}), so nothing is taken for deleted",
            hint="mount its disk, or name the folder that is there",
        ) from error
    if empty and await places.count_below(str(folder)):
        raise FolderGone(
            f"{shown_path(folder)} is empty, as a disk that is not mounted leaves it, so nothing is taken for deleted",
            hint="mount its disk; or, if you emptied it: aya list, then aya rm ID…",
        )


def _missing(hinted: frozenset[Path]) -> list[Path]:
    return tops(path for path in hinted if not os.path.lexists(path))


def _has_entries(folder: Path) -> bool:
    with os.scandir(folder) as entries:
        return next(entries, None) is not None


class _Gone:
    """Whether nothing stands any more at a place below the folders that was read here; no other is said to be gone.

    A part of a file is gone with it, and when this machine has read it there, and later the file to its end without it.
    """

    def __init__(self, folders: Sequence[Path], taking: Taking) -> None:
        self._read_here, self._whole = taking.read_here, taking.whole
        self._prefixes = tuple(f"{folder}/".replace("//", "/") for folder in folders)

    def __call__(self, place: str) -> bool:
        if not place.startswith(self._prefixes):
            return False
        files = _files(place)
        return any(map(self._read_here, files)) and all(map(partial(self._is_without, place), files))

    def _is_without(self, place: str, file: str) -> bool:
        known = self._whole.get(file)
        if known is None:
            return not _stands(Path(file))
        return place not in known.places and self._read_here(place) and stamp(file) == known.stamp


def _files(place: str) -> list[str]:
    """Return the file of that name and, of "path#fragment", the file that holds the fragment."""
    folder, _, name = place.rpartition("/")
    return [place, *(f"{folder}/{name[:at]}" for at, character in enumerate(name) if character == "#" and at)]


def _stands(path: Path) -> bool:
    """Return whether something is there; True as well when that cannot be said."""
    try:
        path.lstat()
        if path.is_symlink():
            return _leads_somewhere(path)
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:
        return True
    return True


def _leads_somewhere(link: Path) -> bool:
    """Return whether the link's file is there, or may be on a disk that is not mounted: its folder is missing, too."""
    target = Path(os.path.realpath(link))
    return target.exists() or not target.parent.is_dir()


async def _found(
    places: Places, folders: Sequence[Path], gone: _Gone, looked_at: Sequence[Path] | None
) -> AsyncGenerator[Vanishing]:
    """Yield what is to be done, a document once. looked_at: what is missing there and below; None: everything."""
    seen: set[int] = set()
    for each in _pages(places, folders, looked_at):
        async for page in each:
            for vanishing in await asyncio.to_thread(_decided, page, gone):
                if vanishing.document_id not in seen:
                    seen.add(vanishing.document_id)
                    yield vanishing


def _pages(
    places: Places, folders: Sequence[Path], looked_at: Sequence[Path] | None
) -> list[AsyncGenerator[list[Placed]]]:
    if looked_at is None or len(looked_at) > _MOST_LOOKED_AT:
        return [places.below(str(folder)) for folder in folders]
    return [places.at([str(path) for path in looked_at])] if looked_at else []


def _decided(page: Sequence[Placed], gone: _Gone) -> list[Vanishing]:
    decided = (decide(document, frozenset(filter(gone, document.places))) for document in page)
    return [each for each in decided if each is not None]


async def _refuse_what_is_not_meant(places: Places, folders: Sequence[Path], removed: int, meant: Asked) -> None:
    total = sum([await places.count_below(str(folder)) for folder in folders]) if is_suspicious(removed, 0) else 0
    if is_suspicious(removed, total) and not meant(
        f"{removed:,} of {total:,} documents have lost their files; remove them?"
    ):
        raise NotMeant(
            f"{removed:,} of {total:,} documents of {', '.join(map(shown_path, folders))} have lost their files;"
            " so many are removed only when it is said to be meant",
            hint="look whether a disk or a folder is missing; if not, aya add DIR --prune --yes",
        )


def _is_part(place: str) -> bool:
    """Return whether what is gone was a part of a file that stands."""
    return any(_stands(Path(file)) for file in _files(place)[1:])


def result_of(done: Vanishing, attached: frozenset[int]) -> FileResult:
    """Return what a person is told of it."""
    lost = ", ".join(shown_path(Path(place)) for place in done.gone)
    number = done.document_id
    if done.fate == "removed":
        what = "it is no more in its file" if all(map(_is_part, done.gone)) else "its file is gone"
        return FileResult(lost, "removed", f"document {number}: {what}", number)
    if done.heir is None:
        reason = f"its file is gone, but document {number} was edited here: aya rm {number}"
        return FileResult(lost, "kept", reason, number)
    heir = shown_path(Path(done.heir))
    if number in attached:
        return FileResult(heir, "renamed", f"document {number} was {lost}", number)
    return FileResult(lost, "kept", f"it is gone, but {heir} says what document {number} says", number)
