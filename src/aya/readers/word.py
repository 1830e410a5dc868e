"""DOCX: the body with its headings, lists, tables and notes, by mammoth, which makes HTML of it."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NoReturn, cast
from xml.parsers import expat
from zipfile import BadZipFile, ZipFile, ZipInfo

import mammoth  # type: ignore[import-untyped] # pyright: ignore[reportMissingTypeStubs]

from aya.readers.formats import MIB, MOST_BYTES
from aya.readers.parts import Part, Unreadable, check_length, one_line
from aya.readers.web import page_text
from aya.readers.whole import whole_file

MOST_ENTRIES = 10_000
MOST_INFLATED_BYTES = 1024 * MIB
"""All entries together, by what the archive declares: pictures are never inflated."""
MOST_XML_BYTES = 64 * MIB
"""What is inflated and parsed, all entries together: its tree takes about ten times that."""
DEEPEST_XML = 256
_CHUNK_BYTES = 64 * 1024
_STYLES = "p[style-name='Title'] => h1:fresh\np[style-name='Subtitle'] => p:fresh"
_ENCRYPTED_OR_OLD = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""An OLE compound file ([MS-CFB] 2.2): Word's way to encrypt, and its format before 2007."""
_mammoth = cast("Any", mammoth)


def read_docx(path: Path) -> Iterator[Part]:
    """Yield the one document of a DOCX file. Pictures are left out (their descriptions stay), and so are comments."""
    data = whole_file(path, MOST_BYTES["docx"])
    if data.startswith(_ENCRYPTED_OR_OLD):
        raise Unreadable("It is encrypted with a password, or a .doc of before 2007; save it as .docx without one.")
    try:
        with ZipFile(io.BytesIO(data)) as archive:
            check_archive(archive)
            title = _title(archive)
    except (BadZipFile, NotImplementedError, RuntimeError, EOFError, ValueError, OSError) as error:
        raise Unreadable(f"It is damaged, or no DOCX: {error}.") from error
    heading, text = page_text(_html(data))
    if not text.strip():
        raise Unreadable("It has no text.")
    yield Part(check_length(text), title or heading)


def check_archive(archive: ZipFile) -> None:
    """Raise Unreadable for what inflates to too much, and for XML that OOXML forbids or nobody nests so deeply.

    zipfile never inflates an entry beyond the size that it declares, so the sum of those is a bound; what is parsed
    is inflated here all the same, piece by piece. OOXML has no document types (ECMA-376-2, "package shall not
    contain DTD"), hence no entities that grow.
    """
    entries = archive.infolist()
    if len(entries) > MOST_ENTRIES:
        raise Unreadable(f"It holds {len(entries):,} entries; {MOST_ENTRIES:,} are read.")
    if sum(entry.file_size for entry in entries) > MOST_INFLATED_BYTES:
        raise Unreadable(f"It would inflate to more than {MOST_INFLATED_BYTES:,} bytes: a zip bomb?")
    parsed = [entry for entry in entries if entry.filename.lower().endswith((".xml", ".rels"))]
    if sum(entry.file_size for entry in parsed) > MOST_XML_BYTES:
        raise Unreadable(f"Its XML would inflate to more than {MOST_XML_BYTES:,} bytes: a zip bomb?")
    for entry in parsed:
        _check_xml(archive, entry)


def _check_xml(archive: ZipFile, entry: ZipInfo) -> None:
    depth = 0

    def begin(_: str, __: object) -> None:
        nonlocal depth
        depth += 1
        if depth > DEEPEST_XML:
            raise Unreadable(f"Its XML is nested more than {DEEPEST_XML} deep.")

    def end(_: str) -> None:
        nonlocal depth
        depth -= 1

    def document_type(*_: object) -> NoReturn:
        raise Unreadable("Its XML declares a document type, which DOCX forbids: an entity bomb?")

    parser = expat.ParserCreate()
    parser.StartElementHandler, parser.EndElementHandler = begin, end
    parser.StartDoctypeDeclHandler = document_type
    try:
        with archive.open(entry) as file:
            for chunk in iter(lambda: file.read(_CHUNK_BYTES), b""):
                parser.Parse(chunk)
            parser.Parse(b"", True)  # noqa: FBT003 (expat takes it by position)
    except expat.ExpatError as error:
        raise Unreadable(f"Its part {one_line(entry.filename, 80)} is damaged: {error}.") from error


def _html(data: bytes) -> str:
    def no_picture(_: object) -> dict[str, str]:
        return {}

    try:
        picture = _mammoth.images.img_element(no_picture)
        converted = _mammoth.convert_to_html(
            io.BytesIO(data), style_map=_STYLES, convert_image=picture, include_embedded_style_map=False
        )
    except RecursionError as error:
        raise Unreadable("Its parts are nested too deeply.") from error
    # what the library says of damage is a KeyError, an AttributeError, an IndexError …
    except Exception as error:
        raise Unreadable(f"It is damaged, or no DOCX: {type(error).__name__}: {error}.") from error
    return cast("str", converted.value)


def _title(archive: ZipFile) -> str | None:
    """Return dc:title of docProps/core.xml, where there is one; check_archive has parsed it before."""
    try:
        data = archive.read("docProps/core.xml")
    except KeyError:
        return None
    found: list[str] = []
    inside: list[str] = []
    parser = expat.ParserCreate(namespace_separator=" ")
    parser.StartElementHandler = lambda name, _: inside.append(name)
    parser.EndElementHandler = lambda _: inside.pop()
    parser.CharacterDataHandler = lambda text: (
        found.append(text) if inside[-1:] == ["http://purl.org/dc/elements/1.1/ title"] else None
    )
    parser.Parse(data, True)  # noqa: FBT003 (expat takes it by position)
    title = one_line("".join(found))
    return None if title == "Word Document" else title
