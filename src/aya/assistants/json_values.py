"""The elements of a JSON array of any size, one at a time, by the standard library alone; pure but for the stream.

An export of conversations is one array, half a gigabyte at times. The decoder is tried on what was read so far, and
on twice as much when that ends within an element: every character is parsed twice at most, and memory is bounded by the
largest element.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import TextIO

from aya.errors import DocumentError

CHUNK = 1024 * 1024
LONGEST_ELEMENT = 256 * 1024 * 1024
"""Characters."""
# An incomplete text ends in an error this near to its end, or in a string that does not end.
_NEAR = 16
_SPACE = " \t\n\r"
_AFTER = _SPACE + ",]"


class _Window:
    """What was read and not used yet."""

    def __init__(self, stream: TextIO, name: str) -> None:
        self._stream, self._name = stream, name
        self._decoder = json.JSONDecoder()
        self.text, self.at, self.ended = "", 0, False

    def more(self) -> bool:
        """Read on, as much as there is already; False at the end."""
        try:
            piece = self._stream.read(max(CHUNK, len(self.text) - self.at))
        except UnicodeDecodeError as error:
            raise self.wrong(f"it is not UTF-8: {error.reason}") from error
        self.text, self.at = self.text[self.at :] + piece, 0
        self.ended = not piece
        return bool(piece)

    def peek(self, skipped: str = _SPACE) -> str:
        """Return the next character that is none of `skipped`, "" at the end."""
        while True:
            while self.at < len(self.text) and self.text[self.at] in skipped:
                self.at += 1
            if self.at < len(self.text) or not self.more():
                return self.text[self.at : self.at + 1]

    def value(self) -> object:
        """Return the value that begins here. Raises DocumentError when it is no JSON, or too large."""
        while True:
            try:
                value, end = self._decoder.raw_decode(self.text, self.at)
            except json.JSONDecodeError as error:
                cut = error.msg.startswith("Unterminated string") or error.pos > len(self.text) - _NEAR
                if not cut or len(self.text) - self.at > LONGEST_ELEMENT or not self.more():
                    raise self.wrong(error.msg) from error
            except (ValueError, RecursionError) as error:
                raise self.wrong(str(error)) from error
            else:
                # A number may go on, with a point or an exponent that was read in part, too.
                whole = not isinstance(value, int | float) or self.text[end : end + 1] in _AFTER
                if (end < len(self.text) and whole) or not self.more():
                    self.at = end
                    return value

    def wrong(self, why: str) -> DocumentError:
        """Return the error that says so."""
        return DocumentError(f"{self._name} is no JSON that is whole: {why}", hint="get the export again")


def elements(stream: TextIO, name: str) -> Iterator[object]:
    """Yield the elements of the array in `stream`; of anything else, that one value. Raises DocumentError.

    name: the file's, for errors. What was yielded before an error was whole.
    """
    window = _Window(stream, name)
    if window.peek() != "[":
        if window.text:
            yield window.value()
        return
    window.at += 1
    while (first := window.peek(_SPACE + ",")) != "]":
        if not first:
            raise window.wrong("it ends before its last element")
        yield window.value()
