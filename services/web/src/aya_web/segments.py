"""A text cut where its highlights begin and end, so that a browser only has to put the parts one after the other; pure.

Here and not there: positions are in code points, and JavaScript counts UTF-16 units.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import TypedDict


class Segment(TypedDict):
    """A part of a text. mark: whether it is highlighted."""

    text: str
    mark: bool


def segments(text: str, highlights: Iterable[tuple[int, int]]) -> list[Segment]:
    """Return the parts of `text`, none empty, which together are it.

    highlights: (start, end) in code points, end excluded, in any order; what overlaps is one, what is outside is cut.
    """
    found: list[Segment] = []
    done = 0
    for start, end in sorted(highlights):
        begins, ends = max(start, done), min(end, len(text))
        if begins >= ends:
            continue
        found += [Segment(text=text[done:begins], mark=False), Segment(text=text[begins:ends], mark=True)]
        done = ends
    found.append(Segment(text=text[done:], mark=False))
    return _joined(part for part in found if part["text"])


def _joined(parts: Iterable[Segment]) -> list[Segment]:
    joined: list[Segment] = []
    for part in parts:
        if joined and joined[-1]["mark"] == part["mark"]:
            joined[-1] = Segment(text=joined[-1]["text"] + part["text"], mark=part["mark"])
        else:
            joined.append(part)
    return joined
