"""Find text files and read them, each refusal being a value with its reason: one bad file never ends a walk."""

from __future__ import annotations

import os
import re
import shlex
import stat
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import pairwise
from pathlib import Path
from typing import Any

from aya.chunking import first_heading, front_matter_end
from aya.ignoring import NO_RULES, rules_above, rules_in
from aya.readers.formats import CODE_SUFFIXES, MARKDOWN_SUFFIXES, RECORD_SUFFIXES, SUFFIXES

DEFAULT_MAX_BYTES = 32 * 1024 * 1024

SNIFFED_BYTES = 8 * 1024
"""How much of a file is looked at to tell text from binary."""
MOST_CONTROL_CHARACTERS = 0.05
"""The share of control characters above which a file is binary; random bytes have 0.1."""
HEADING_WITHIN = 64 * 1024
"""The title is a heading within this many code points from the top."""


@dataclass(frozen=True, slots=True)
class TextFile:
    """A document that was read from a file: the whole of it, or one of several.

    text: of a text file the whole content, front matter included, newlines as they are in the file; a byte order mark
    is left out. Of other formats what their reader makes of it (aya.readers).
    title: the front matter's title, else the first heading (Markdown), else the file name, without its suffix unless
    it is source code.
    metadata: the front matter's scalars as strings, or what the reader found; of a PDF `pages`, a list whose entry i
    is the code point offset in text at which page i+1 begins.
    encoding: utf-8, utf-8-sig, utf-16-le or utf-16-be; "" where the format is no text.
    size_bytes, modified_at: the file's, the second in UTC.
    fragment: what tells the document from the others in the file; None where the file is one document.
    notes: what of it could not be taken, each a sentence.
    """

    path: Path
    text: str
    title: str
    markdown: bool
    encoding: str
    size_bytes: int
    modified_at: datetime
    metadata: Mapping[str, Any] = field(default_factory=dict[str, Any])
    fragment: str | None = None
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Found:
    """A file worth reading; named is True where the path itself was asked for, not a folder above it."""

    path: Path
    named: bool


@dataclass(frozen=True, slots=True)
class Refused:
    """A path that is not taken in, and why, in a sentence.

    skipped: True where nothing is wrong: a walk met a file of a kind that AYA does not read.
    fragment: which document of the file it concerns; None where it is the file, or the rest of it.
    """

    path: Path
    reason: str
    skipped: bool = False
    fragment: str | None = None

    @property
    def shown(self) -> str:
        """The path as it can be printed: control characters and bytes that are not UTF-8 are escaped."""
        return shown_path(self.path) + ("" if self.fragment is None else f"#{self.fragment}")


def shown_path(path: Path) -> str:
    r"""Return a path in one printable line: a newline becomes \n, a byte that is not UTF-8 \xNN (PEP 383)."""
    return "".join(each if each.isprintable() else _escaped(each) for each in os.fspath(path))


def _escaped(character: str) -> str:
    code = ord(character)
    if "\udc80" <= character <= "\udcff":
        return f"\\x{code - 0xDC00:02x}"
    return repr(character)[1:-1] if character.isascii() else f"\\u{code:04x}"


# Finding


def discover(paths: Iterable[Path], *, hidden: bool = False) -> Iterator[Found | Refused]:
    """Yield the files under `paths` in a fixed order: as named, inside a folder by name.

    A file that is named is tried whatever its suffix; in a folder only SUFFIXES are, and the others come as
    Refused with skipped=True. What .gitignore and .ayaignore leave out, as git would, is counted in one Refused for
    the folder that was named. Hidden entries (.git) below a named folder are left out silently unless `hidden`.
    A link to a file is followed; a link to a folder only where it is named, so a walk ends and stays below its
    root. A path is yielded once. Files are not opened, those of rules excepted. Never raises OSError.
    """
    seen: set[str] = set()
    for path in paths:
        for found in _walk(path, hidden=hidden):
            absolute = os.path.abspath(found.path)  # noqa: PTH100 (Path.absolute keeps "..")
            if absolute not in seen:
                seen.add(absolute)
                yield found


def _walk(root: Path, *, hidden: bool) -> Iterator[Found | Refused]:
    """Walk depth first over a stack of our own: a tree may be deeper than Python's."""
    stack = [(root, NO_RULES)]
    ignored: Counter[str] = Counter()
    while stack:
        path, rules = stack.pop()
        status = _status(path)
        if path is not root and rules and rules.ignore(path, folder=_is_folder(status, path)):
            ignored["folder" if _is_folder(status, path) else "file"] += 1
        elif isinstance(status, Refused):
            yield status
        elif not stat.S_ISDIR(status.st_mode):
            yield _candidate(path, status, named=path is root)
        elif path is not root and path.is_symlink():
            yield Refused(path, "It is a link to a folder; name it to have it walked.", skipped=True)
        else:
            inside = _entries(path, hidden=hidden)
            if isinstance(inside, Refused):
                yield inside
            else:
                within = rules_in(path, rules_above(path) if path is root else rules)
                stack += [(each, within) for each in reversed(inside)]
    if ignored:
        yield Refused(root, f"{_counted(ignored)} left out by .gitignore or .ayaignore.", skipped=True)


def _is_folder(status: os.stat_result | Refused, path: Path) -> bool:
    """Return whether it is a folder for git, to which a link is none, whatever it leads to."""
    return not isinstance(status, Refused) and stat.S_ISDIR(status.st_mode) and not path.is_symlink()


def _counted(kinds: Counter[str]) -> str:
    said = [f"{count:,} {kind}{'s' if count > 1 else ''}" for kind, count in sorted(kinds.items())]
    return f"{' and '.join(said)} {'are' if kinds.total() > 1 else 'is'}"


def _entries(folder: Path, *, hidden: bool) -> list[Path] | Refused:
    try:
        names = sorted(os.listdir(folder), key=os.fsencode)  # noqa: PTH208 (names, not Paths, are sorted)
    except OSError as error:
        return _unreadable(folder, error)
    return [folder / name for name in names if hidden or not name.startswith(".")]


def _candidate(path: Path, status: os.stat_result, *, named: bool) -> Found | Refused:
    suffix = path.suffix.lower()
    if not named and suffix in RECORD_SUFFIXES:
        return Refused(path, "It is a file of records: aya import takes it.", skipped=True)
    if not named and suffix not in SUFFIXES:
        kind = f"a {suffix} file" if suffix.isprintable() and suffix else "a file without a suffix"
        return Refused(path, f"It is {kind}, which is not read from a folder; name it to have it tried.", skipped=True)
    return _refused_by_status(path, status, max_bytes=None) or Found(path, named)


# Reading


def read_text_file(path: Path, *, max_bytes: int = DEFAULT_MAX_BYTES) -> TextFile | Refused:
    """Read one file as text: UTF-8, with or without a byte order mark, or UTF-16 with one. Nothing is guessed.

    Refused are what cannot be read, is not a regular file (it is not even opened), is over max_bytes (it is not
    read), binary, blank or in another encoding, and what PostgreSQL's text cannot hold, a NUL. Never raises OSError.
    """
    status = regular_file(path, max_bytes)
    if isinstance(status, Refused):
        return status
    try:
        data, modified = _read(path, max_bytes)
    except OSError as error:
        return _unreadable(path, error)
    if len(data) > max_bytes:
        return _too_large(path, f"more than {max_bytes:,}", max_bytes)
    return _decoded(path, data, modified)


def regular_file(path: Path, max_bytes: int | None) -> os.stat_result | Refused:
    """Return a regular file's status, or why it is none, cannot be reached or is over max_bytes (None: no limit)."""
    status = _status(path)
    return status if isinstance(status, Refused) else _refused_by_status(path, status, max_bytes) or status


def _status(path: Path) -> os.stat_result | Refused:
    try:
        os.fspath(path).encode()
        return path.stat()
    except UnicodeEncodeError:
        return Refused(path, "Its name is not valid UTF-8, so the database cannot hold it; rename the file.")
    except ValueError:
        return Refused(path, "Its name contains a NUL character, which no file can have.")
    except OSError as error:
        return _unreadable(path, error)


def _unreadable(path: Path, error: OSError) -> Refused:
    match error:
        case FileNotFoundError() if path.is_symlink():
            return Refused(path, "It is a symbolic link to something that does not exist.")
        case FileNotFoundError():
            return Refused(path, "It does not exist (any more).")
        case PermissionError():
            return Refused(path, "It may not be read: permission denied.")
        case _:
            return Refused(path, f"It cannot be read: {error.strerror or error}.")


def _refused_by_status(path: Path, status: os.stat_result, max_bytes: int | None) -> Refused | None:
    if not stat.S_ISREG(status.st_mode):
        return Refused(path, f"It is {_KINDS.get(stat.S_IFMT(status.st_mode), 'something else')}, not a regular file.")
    if max_bytes is not None and status.st_size > max_bytes:
        return _too_large(path, f"{status.st_size:,}", max_bytes)
    return None


_KINDS = {
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a named pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a character device",
    stat.S_IFBLK: "a block device",
}


def _too_large(path: Path, size: str, max_bytes: int) -> Refused:
    return Refused(path, f"It is too large: {size} bytes, and the limit is {max_bytes:,}.")


def _read(path: Path, max_bytes: int) -> tuple[bytes, datetime]:
    """Read at most a byte more than max_bytes; O_NONBLOCK, as a pipe may have taken the file's place since stat."""
    descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(descriptor, "rb") as file:  # noqa: PTH123 (a descriptor)
        status = os.fstat(descriptor)
        if not stat.S_ISREG(status.st_mode):
            raise FileNotFoundError(path)
        return file.read(max_bytes + 1), datetime.fromtimestamp(status.st_mtime, UTC)


def _decoded(path: Path, data: bytes, modified: datetime) -> TextFile | Refused:
    encoding, mark = encoding_of(data)
    binary = None if encoding.startswith("utf-16") else binary_reason(data)
    if binary:
        return Refused(path, binary)
    try:
        text = data[len(mark) :].decode(encoding.removesuffix("-sig"))
    except UnicodeDecodeError as error:
        return Refused(path, _wrong_encoding(path, encoding, data, error.start + len(mark)))
    if not text or text.isspace():
        return Refused(path, "It holds only white space." if text else "It is empty.")
    if "\0" in text:
        line = text.count("\n", 0, text.index("\0")) + 1
        return Refused(path, f"It has a NUL character in line {line}, which PostgreSQL cannot hold.")
    metadata = front_matter(text)
    markdown = path.suffix.lower() in MARKDOWN_SUFFIXES
    title = _title(path, text, metadata, markdown=markdown)
    return TextFile(path, text, title, markdown, encoding, len(data), modified, metadata)


_MARKS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16-le", b"\xfe\xff": "utf-16-be"}


def encoding_of(data: bytes) -> tuple[str, bytes]:
    """Return the encoding that a byte order mark tells, and the mark; UTF-8 and b"" without one."""
    return next(((name, mark) for mark, name in _MARKS.items() if data.startswith(mark)), ("utf-8", b""))


def binary_reason(data: bytes) -> str | None:
    """Return why bytes that are not UTF-16 are no text, in a sentence; None where they may be."""
    head = data[:SNIFFED_BYTES]
    if b"\0" in head:
        return f"It is a binary file: there is a NUL byte at offset {head.index(0)}."
    controls = len(head) - len(head.translate(None, _CONTROLS))
    if controls > MOST_CONTROL_CHARACTERS * len(head):
        return f"It is a binary file: {controls} of its first {len(head)} bytes are control characters."
    return None


_CONTROLS = bytes({*range(32), 127} - set(b"\a\b\t\n\v\f\r\x1b"))


def _wrong_encoding(path: Path, encoding: str, data: bytes, offset: int) -> str:
    family = "UTF-16" if encoding.startswith("utf-16") else "UTF-8"
    return (
        f"It is not valid {family}: byte 0x{data[offset]:02x} at offset {offset}. If it was written in Windows-1252, "
        f"say, convert it: iconv -f WINDOWS-1252 -t UTF-8 {_quoted(path)} > converted.txt"
    )


def _quoted(path: Path) -> str:
    """Quote a path for bash and zsh, in one printable line."""
    name = os.fspath(path)
    if name.isprintable():
        return shlex.quote(name)
    return "$'" + shown_path(Path(name.replace("\\", "\\\\").replace("'", "\\'"))) + "'"


# What a file says about itself


def front_matter(text: str) -> dict[str, str]:
    """Return the `key: value` scalars of the YAML front matter as strings, without their quotes; {} without one.

    Only flat scalars on one line: nested values, lists, block scalars, anchors and tags stay in the text alone.
    """
    lines = text[: front_matter_end(text)].splitlines()[1:]
    pairs = (_scalar(line) for line, following in pairwise(lines) if not following.startswith((" ", "\t")))
    return dict(pair for pair in pairs if pair)


def _scalar(line: str) -> tuple[str, str] | None:
    found = _KEY_AND_VALUE.fullmatch(line.rstrip())
    if not found:
        return None
    key, value = found.groups()
    if value[0] in "\"'":
        inner = value[1:-1]
        plain = len(value) > len(inner) + 1 and value[-1] == value[0] and not set(inner) & {value[0], "\\"}
        return (key, inner) if plain and inner else None
    if value[0] in _NOT_PLAIN or ": " in value:
        return None
    return key, re.split(r"\s#", value, maxsplit=1)[0].rstrip()


_KEY_AND_VALUE = re.compile(r"([\w-]++)[ \t]*+:[ \t]++(\S.*)")
_NOT_PLAIN = frozenset("[]{}|>&*!%@`#,?")


def _title(path: Path, text: str, metadata: Mapping[str, str], *, markdown: bool) -> str:
    heading = first_heading(text[:HEADING_WITHIN]) if markdown and not metadata.get("title") else None
    name = path.name if path.suffix.lower() in CODE_SUFFIXES else path.stem
    return metadata.get("title") or heading or name
