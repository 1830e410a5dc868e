"""A file of records: one document a line, and a bad line is named by its number."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya import records
from aya.errors import DocumentError
from aya.knowledge.types import NewDocument
from aya.records import Record, parse_record, read_records

DEFAULTS = NewDocument("", "general", "notes.jsonl", {"batch": 7})
# Labels that a record does not give, and that undo no edit of the document.
UNNAMED = frozenset({"category", "source"})


def parsed(line: str) -> NewDocument:
    """Return the document in a line that must hold one."""
    record = parse_record("f:1", "/f", line.encode(), DEFAULTS)
    assert record.document is not None, record.reason
    return record.document


def read(file: Path, lines: Iterable[str | bytes]) -> list[Record]:
    """Write lines to a file and read its records."""
    file.write_bytes(b"".join((line if isinstance(line, bytes) else line.encode()) + b"\n" for line in lines))
    return list(read_records(file, category="general", source=None, metadata={}))


def test_a_record_says_all_there_is_to_say() -> None:
    """Known fields are the document's, others and the id go to its metadata, the call's own metadata wins."""
    document = parsed(
        '{"id": 5, "text": "words", "title": "T", "category": "c", "source": "s", "year": 2020,'
        ' "metadata": {"batch": 1, "a": [1]}}'
    )
    metadata = {"year": 2020, "id": 5, "batch": 7, "a": [1]}
    assert document == NewDocument("words", "c", "s", metadata, "T", "/f#5", relabel=True, retitle=True)


@pytest.mark.parametrize(
    ("line", "content"),
    [('{"text": "a"}', "a"), ('{"content": "b"}', "b"), ('{"text": "a", "content": "b"}', "a"), ('{"text": ""}', "")],
)
def test_the_text_stands_under_either_name(line: str, content: str) -> None:
    """What is not named comes from the call, and is no label asked for; without an id there is no place of its own."""
    assert parsed(line) == NewDocument(content, "general", "notes.jsonl", {"batch": 7}, by_default=UNNAMED)


@pytest.mark.parametrize(
    ("date", "moment"),
    [
        ("2021-05-30T12:00:00Z", datetime(2021, 5, 30, 12, tzinfo=UTC)),
        ("2021-05-30 12:00:00.25", datetime(2021, 5, 30, 12, 0, 0, 250_000, tzinfo=UTC)),
        ("2021-05-30T12:00:00+02:00", datetime(2021, 5, 30, 10, tzinfo=UTC)),
        ("2021-05-30", datetime(2021, 5, 30, tzinfo=UTC)),
        ("", None),
    ],
)
def test_a_date_is_in_utc(date: str, moment: datetime | None) -> None:
    """A date without a zone is taken as UTC's, as the database keeps it."""
    assert parsed(json.dumps({"text": "a", "created_at": date})).created_at == moment


@pytest.mark.parametrize("date", ["yesterday", 1622376000, "0001-01-01T00:00:00+02:00", ["2021"]])
def test_what_is_no_date_is_said(date: object) -> None:
    """The line is refused: kept with another date it would be found at the wrong place."""
    record = parse_record("f:1", "/f", json.dumps({"text": "a", "created_at": date}).encode(), DEFAULTS)
    assert record.document is None
    assert '"created_at" is no date' in (record.reason or "")


@pytest.mark.parametrize("nothing", ["null", '""'])
def test_an_empty_field_counts_as_unnamed(nothing: str) -> None:
    """As spreadsheets and databases export it."""
    document = parsed(f'{{"text": "a", "title": {nothing}, "category": {nothing}, "source": {nothing}}}')
    assert document == NewDocument("a", "general", "notes.jsonl", {"batch": 7}, by_default=UNNAMED)


@pytest.mark.parametrize(
    ("line", "words"),
    [
        (b"words", "no JSON"),
        (b'{"text": "a"', "no JSON"),
        (b'{"text": "\xff"}', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"[1]", "JSON list, not an object"),
        (b'"a"', "JSON str, not an object"),
        (b"{}", 'no string "text" or "content"'),
        (b'{"text": 5}', 'no string "text" or "content"'),
        (b'{"text": "a", "title": 5}', '"title" is not a string'),
        (b'{"text": "a", "category": ["c"]}', '"category" is not a string'),
        (b'{"text": "a", "source": {}}', '"source" is not a string'),
        (b'{"text": "a", "title": "\\u0000"}', '"title" holds a NUL byte'),
        (b'{"text": "a", "category": "\\ud800"}', '"category" holds a lone surrogate'),
        (b'{"text": "a", "id": "\\udfff"}', '"id" holds a lone surrogate'),
        (b'{"text": "a", "metadata": [1]}', '"metadata" is not an object'),
        (b'{"text": "a", "metadata": null}', '"metadata" is not an object'),
    ],
)
def test_a_line_that_is_no_record_says_why(line: bytes, words: str) -> None:
    """The reason is a sentence, and there is no document."""
    record = parse_record("f:1", "/f", line, DEFAULTS)
    assert record.document is None
    assert words in (record.reason or "")


@given(st.binary(max_size=200))
def test_no_line_ever_raises(line: bytes) -> None:
    """Whatever the bytes, a line is a document or a reason."""
    record = parse_record("f:1", "/f", line, DEFAULTS)
    assert (record.document is None) == (record.reason is not None)


def test_lines_are_counted_as_an_editor_counts_them(tmp_path: Path) -> None:
    """Blank lines hold no record but count; a byte order mark and CRLF do no harm."""
    file = tmp_path / "notes.jsonl"
    found = read(file, [b'\xef\xbb\xbf{"text": "one"}\r', "", "  ", "nonsense", '{"text": "five"}'])
    assert [(each.where, each.document is not None) for each in found] == [
        (f"{file}:1", True),
        (f"{file}:4", False),
        (f"{file}:5", True),
    ]


def test_a_line_without_end_is_not_read_to_its_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A file that is one long line stops there with a reason; memory stays bounded."""
    monkeypatch.setattr(records, "LONGEST_LINE", 100)
    found = read(tmp_path / "f.jsonl", ['{"text": "a"}', "x" * 1000, '{"text": "never seen"}'])
    assert [each.reason for each in found] == [None, "the line is longer than 100 bytes; the rest is not read"]


def test_a_file_whose_name_cannot_be_kept_is_refused_at_once(tmp_path: Path) -> None:
    """Its name is where the records come from; the error is printable."""
    with pytest.raises(DocumentError, match=r"notes\\xff\.jsonl holds a lone surrogate, or bytes that are not UTF-8"):
        read_records(tmp_path / "notes\udcff.jsonl", category="general", source=None, metadata={})


@pytest.mark.parametrize(("line", "asked"), [('{"text": "a", "id": 1}', False), ('{"text": "a", "year": 1}', True)])
def test_labels_that_a_record_names_are_asked_for(line: str, *, asked: bool) -> None:
    """As those of the call are when somebody gave them."""
    assert parsed(line).relabel is asked
    explicit = parse_record("f:1", "/f", line.encode(), replace(DEFAULTS, relabel=True))
    assert explicit.document is not None
    assert explicit.document.relabel


def test_a_file_that_cannot_be_opened_is_refused_at_once(tmp_path: Path) -> None:
    """Before anything is added."""
    with pytest.raises(DocumentError, match=r"none\.jsonl cannot be read: No such file"):
        read_records(tmp_path / "none.jsonl", category="general", source=None, metadata={})
    with pytest.raises(DocumentError, match="Is a directory"):
        read_records(tmp_path, category="general", source=None, metadata={})


def test_a_record_has_one_place_however_its_file_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Imported from here or from there, a record with an id is the same document."""
    (tmp_path / "inside").mkdir()
    here = read(tmp_path / "notes.jsonl", ['{"id": 1, "text": "a"}'])
    monkeypatch.chdir(tmp_path / "inside")
    there = read_records(Path("../notes.jsonl"), category="general", source=None, metadata={})
    assert [each.document for each in there] == [each.document for each in here]
