"""What becomes of a document some of whose files are gone: decided from what is known of it; pure.

Rules: a document stays while another file says it, and takes that file's name. A document that says what no file of it
ever said was edited here, and stays as it is: with its place, so that a file that comes back is known again. Any other
goes with its last file.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import PurePath
from typing import Literal

Fate = Literal["renamed", "kept", "removed"]


@dataclass(frozen=True, slots=True)
class Placed:
    """A document that was read from files. places: path → SHA-256 (hex) of what was read there.

    path: what its metadata call it below the folder that was added; None when they call it nothing.
    """

    id: int
    places: Mapping[str, str]
    content_sha256: str
    title: str | None
    path: str | None


@dataclass(frozen=True, slots=True)
class Vanishing:
    """What to do with a document whose files in `gone` are no more.

    heir: the file that it is called after from now on, only of one that is renamed. path, title: what they are from
    now on, None: as they are.
    """

    fate: Fate
    document_id: int
    gone: tuple[str, ...]
    heir: str | None = None
    path: str | None = None
    title: str | None = None


def decide(document: Placed, gone: frozenset[str]) -> Vanishing | None:
    """Return what becomes of the document; None when none of its files is gone."""
    lost = tuple(sorted(gone & document.places.keys()))
    if not lost:
        return None
    remaining = sorted(document.places.keys() - gone)
    if remaining:
        return _renamed(document, lost, remaining)
    if document.content_sha256 not in document.places.values():
        return Vanishing("kept", document.id, lost)
    return Vanishing("removed", document.id, lost)


def _renamed(document: Placed, lost: tuple[str, ...], remaining: list[str]) -> Vanishing:
    """Call it after the first file that says what it says; only what it was called after a lost file is changed."""
    says_it = [place for place in remaining if document.places[place] == document.content_sha256]
    heir = (says_it or remaining)[0]
    path = title = None
    for place in lost:
        if document.path is not None and place.endswith("/" + document.path):
            root = place.removesuffix(document.path)
            path = heir.removeprefix(root) if heir.startswith(root) else PurePath(heir).name
        if document.title == PurePath(place).stem:
            title = PurePath(heir).stem
    return Vanishing("renamed", document.id, lost, heir, path, title)
