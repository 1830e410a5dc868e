"""Positions, segments and timelines of the WAL, by their names alone; pure.

A segment's name is its timeline, and its running number in two parts, all in hexadecimal (PostgreSQL's documentation,
28.6). A history file, TIMELINE.history, says from which timelines its own comes, and where each of them ended.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

_SEGMENT = re.compile(r"[0-9A-F]{24}")
_HISTORY = re.compile(r"([0-9A-F]{8})\.history")
_LSN = re.compile(r"[0-9A-Fa-f]{1,8}/[0-9A-Fa-f]{1,8}")
_FIELDS = 2


@dataclass(frozen=True, slots=True)
class Span:
    """A part of the line that leads to a timeline. begin, end: positions in bytes; end None: it goes on."""

    timeline: int
    begin: int
    end: int | None


@dataclass(frozen=True, slots=True)
class Segment:
    """One segment. number: its running number, whatever its timeline."""

    timeline: int
    number: int


def position(lsn: str) -> int:
    """Return a position in bytes, of one written as 0/16B3748. Raises ValueError for what is none."""
    if not _LSN.fullmatch(lsn):
        raise ValueError(f"{lsn!r} is no position in the WAL, such as 0/16B3748")
    high, _, low = lsn.partition("/")
    return (int(high, 16) << 32) + int(low, 16)


def lsn_text(place: int) -> str:
    """Return a position as PostgreSQL writes it."""
    return f"{place >> 32:X}/{place & 0xFFFFFFFF:X}"


def segment_of(name: str, segment_bytes: int) -> Segment | None:
    """Return the segment of that name; None when it is another file's."""
    if not _SEGMENT.fullmatch(name):
        return None
    number = int(name[8:16], 16) * _per_file(segment_bytes) + int(name[16:], 16)
    return Segment(int(name[:8], 16), number)


def name_of(segment: Segment, segment_bytes: int) -> str:
    """Return a segment's name."""
    high, low = divmod(segment.number, _per_file(segment_bytes))
    return f"{segment.timeline:08X}{high:08X}{low:08X}"


def _per_file(segment_bytes: int) -> int:
    return (1 << 32) // segment_bytes


def history_timeline(name: str) -> int | None:
    """Return whose history file has that name; None when it is none."""
    match = _HISTORY.fullmatch(name)
    return int(match[1], 16) if match else None


def line_to(timeline: int, history: str) -> list[Span]:
    """Return the spans that lead to `timeline`, oldest first. history: its file; empty for the first timeline."""
    spans: list[Span] = []
    begin = 0
    for line in history.splitlines():
        fields = line.split()
        if len(fields) >= _FIELDS and fields[0].isdecimal() and _LSN.fullmatch(fields[1]):
            end = position(fields[1])
            spans.append(Span(int(fields[0]), begin, end))
            begin = end
    return [*spans, Span(timeline, begin, None)]


def newest_line(histories: Mapping[int, str], present: Iterable[int]) -> list[Span]:
    """Return the line that a recovery follows: to the newest timeline that has a history, or is the first.

    histories: by timeline. present: timelines of which there is a segment.
    """
    newest = max((*histories, min(present, default=1)))
    return line_to(newest, histories.get(newest, ""))


def is_on(line: Sequence[Span], timeline: int, end: int) -> bool:
    """Return whether a base backup of `timeline` that ends at `end` can be rolled forward along `line`."""
    return any(span.timeline == timeline and (span.end is None or end <= span.end) for span in line)


def missing(present: Iterable[Segment], line: Sequence[Span], start: int, segment_bytes: int) -> list[Segment]:
    """Return the segments from the position `start` on that a recovery along `line` would not find.

    Those behind the last one that is there are not missing: they are not written yet. Where a timeline ends inside a
    segment, the next one has that segment, too, and either will do.
    """
    there = set(present)
    ours = [one for one in there if _serves(line, one, segment_bytes)]
    last = max((one.number for one in ours), default=-1)
    numbers = {one.number for one in ours}
    return [
        Segment(_timeline_at(line, number * segment_bytes), number)
        for number in range(start // segment_bytes, last + 1)
        if number not in numbers
    ]


def _serves(line: Sequence[Span], segment: Segment, size: int) -> bool:
    begin = segment.number * size
    return any(
        span.timeline == segment.timeline and begin + size > span.begin and (span.end is None or begin < span.end)
        for span in line
    )


def _timeline_at(line: Sequence[Span], place: int) -> int:
    return next((span.timeline for span in line if span.end is None or place < span.end), 1)


def removable(names: Iterable[str], start: int, segment_bytes: int) -> list[str]:
    """Return the files of an archive that no recovery from the position `start` on needs, in order.

    Segments of any timeline, with what belongs to them by name; history files stay for ever, they are small.
    """
    first = start // segment_bytes
    found: list[str] = []
    for name in sorted(names):
        segment = segment_of(name[:24], segment_bytes)
        if segment is not None and segment.number < first and name[24:25] in {"", "."}:
            found.append(name)
    return found
