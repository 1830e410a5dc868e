"""What a table's columns are in a document: checked, proposed, written down; and what a row becomes."""

from __future__ import annotations

import json
from dataclasses import replace
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.errors import DocumentError, UsageError
from aya.knowledge import validation
from aya.knowledge.types import NewDocument
from aya.sqlite_import import judge
from aya.sqlite_import.dates import FORMS, Form
from aya.sqlite_import.documents import LONGEST_CONTENT, Made, key_of, made, planned
from aya.sqlite_import.mapping import TableMapping, checked, dumps, loads, split_date, split_names
from aya.sqlite_import.schema import Column, Table, quoted, rowid_name
from aya.sqlite_import.values import LONGEST_IN_METADATA, NotUtf8, Value, as_json

NOTES = Table(
    "notes",
    "table",
    (
        Column("id", "INTEGER", generated=False, key=1),
        Column("Title", "TEXT", generated=False, key=0),
        Column("body", "TEXT", generated=False, key=0),
        Column("a,b:unix", "", generated=False, key=0),
        Column("created", "INTEGER", generated=False, key=0),
    ),
    rowid="rowid",
)
BODY = TableMapping("notes", ("body",))
names = st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1)
values = st.one_of(
    st.none(),
    st.integers(-(2**63), 2**63 - 1),
    st.floats(),
    st.text(st.characters(exclude_categories=["Cs"])),
    st.binary(),
    st.builds(NotUtf8, st.binary()),
)


def row(mapping: TableMapping = BODY, **given: Value) -> Made:
    """Return what becomes of a row of NOTES; what is not given is NULL, and its key is 1."""
    plan = planned(checked(mapping, NOTES), NOTES, place="/f.db", source="f.db", forms={"created": "unix"})
    whole = {"id": 1, **{name.replace("_", ","): value for name, value in given.items()}}
    return made([whole.get(name) for name in plan.columns], plan)


def document(mapping: TableMapping = BODY, **given: Value) -> NewDocument:
    """Return the document of a row that must become one."""
    found = row(mapping, **given).document
    assert found is not None
    return found


def test_a_row_becomes_a_document() -> None:
    """What has a place of its own goes there, the rest is metadata with dates in ISO 8601; NULLs say nothing."""
    created = replace(BODY, created_at="created", created_at_form="unix")
    mapping = replace(created, title="title", category="=kitchen")
    assert document(mapping, body=" words ", Title="A\n title", created=1_622_376_000) == NewDocument(
        "words",
        "kitchen",
        "f.db",
        {"id": 1},
        "A title",
        "/f.db#notes/1",
        relabel=True,
        by_default=frozenset({"source"}),
        retitle=True,
        created_at=datetime(2021, 5, 30, 12, tzinfo=UTC),
    )
    assert document(created, body="words").by_default == {"category", "source"}
    assert document(body="words", created=1_622_376_000).metadata == {"id": 1, "created": "2021-05-30T12:00:00Z"}


def test_several_columns_are_one_text() -> None:
    """A blank line between; what is no text in them is left out."""
    mapping = replace(BODY, content=("Title", "created", "body"))
    assert document(mapping, Title="T", body="B", created=5).content == "T\n\nB"


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (None, "NULL"),
        (" \n\t", "empty"),
        (b"", "empty"),
        (5, "a number, not text"),
        (5.5, "a number, not text"),
        (b"\xff\xfe", "a BLOB that is not UTF-8"),
        (b"PNG\x00", "a BLOB that is not UTF-8"),
        (NotUtf8(b"\xff"), "text that is not UTF-8"),
        ("a\x00b", "holds a NUL byte"),
        ("x" * (LONGEST_CONTENT + 1), f"longer than {LONGEST_CONTENT:,} bytes"),
        ("ü" * (LONGEST_CONTENT // 2 + 1), f"longer than {LONGEST_CONTENT:,} bytes"),
    ],
)
def test_a_row_without_text_is_skipped_with_its_reason(body: Value, why: str) -> None:
    """The row has its name all the same."""
    assert row(body=body) == Made("notes/1", "/f.db#notes/1", None, why)


def test_a_text_in_a_blob_is_text() -> None:
    """Programs that write bytes get theirs read."""
    assert document(body="Grüße".encode()).content == "Grüße"


@pytest.mark.parametrize(
    ("value", "kept", "why"),
    [
        (b"\x00", None, "BLOB"),
        (NotUtf8(b"\xff"), None, "not UTF-8"),
        ("a\x00", None, "NUL byte"),
        ("x" * (LONGEST_IN_METADATA + 1), None, "too long"),
        (float("inf"), "inf", None),
        (2**63 - 1, 2**63 - 1, None),
        ('{"a": [1, null]}', {"a": [1, None]}, None),
        ("[" * 5000 + "]" * 5000, "[" * 5000 + "]" * 5000, None),
        ("[" * 100 + "]" * 100, "[" * 100 + "]" * 100, None),
        ("[NaN]", "[NaN]", None),
        ('["\\u0000"]', '["\\u0000"]', None),
        ('["\\ud800"]', '["\\ud800"]', None),
        (f"[{'9' * 5000}]", f"[{'9' * 5000}]", None),
        ("[no json", "[no json", None),
        ('"words"', '"words"', None),
    ],
)
def test_metadata_keeps_what_jsonb_can(value: Value, kept: object, why: str | None) -> None:
    """An object or array in a text becomes one where that loses nothing; what is left out has its reason."""
    assert as_json(value) == (kept, why)


def test_a_date_that_is_none_is_said() -> None:
    """The document is from now then; the text of it is not lost from sight."""
    mapping = replace(BODY, created_at="created", created_at_form="unix")
    found = row(mapping, body="words", created="soon")
    assert found.left_out == (("created", "date not understood"),)
    assert found.document is not None
    assert found.document.created_at is None


def test_a_label_is_cut_to_its_column() -> None:
    """The whole of it is metadata then; a number is a label, too."""
    mapping = replace(BODY, category="title", source="created")
    found = document(mapping, body="words", Title="c" * 60, created=7)
    assert (found.category, found.source) == ("c" * 50, "7")
    assert found.metadata == {"id": 1, "Title": "c" * 60}


@given(st.lists(st.one_of(st.none(), st.integers(), st.text(st.characters(exclude_categories=["Cs"])), st.binary())))
def test_a_place_can_be_kept_and_parts_of_a_key_do_not_run_together(key: list[Value]) -> None:
    """Two keys that differ have places that differ, whatever separators stand in them."""
    place = key_of(key)
    if not key or None in key:
        assert place is None
        return
    assert place is not None
    assert "\x00" not in place
    assert place.count(",") == len(key) - 1


@given(
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2),
    st.lists(st.text(st.characters(exclude_categories=["Cs"])), min_size=2, max_size=2),
)
def test_keys_of_text_are_told_apart(one: list[str], other: list[str]) -> None:
    """Both ways."""
    assert (key_of(one) == key_of(other)) == (one == other)


@given(st.fixed_dictionaries(dict.fromkeys(NOTES.names, values)), st.sampled_from(FORMS))
def test_every_row_is_a_document_that_can_be_kept_or_has_a_reason(given_row: dict[str, Any], form: Form) -> None:
    """No value of SQLite's ends an import, and none gets by what PostgreSQL cannot keep."""
    mapping = replace(BODY, title="Title", category="a,b:unix", created_at="created", created_at_form=form)
    plan = planned(checked(mapping, NOTES), NOTES, place="/f.db", source="f.db", forms={})
    found = made([given_row[name] for name in plan.columns], plan)
    assert (found.document is None) != (found.skipped is None)
    if found.document is not None:
        validation.check_content(found.document.content)
        validation.check_labels(found.document.category, found.document.source)
        validation.check_metadata(found.document.metadata)


mappings = st.builds(
    TableMapping,
    names,
    st.lists(names, min_size=1).map(tuple),
    st.none() | names,
    st.none() | names,
    st.none() | names.map("={}".format),
    st.none() | names,
    st.none() | st.sampled_from(FORMS),
    st.lists(names).map(tuple),
    st.just("rest") | st.lists(names).map(tuple),
    st.none() | names,
)


@given(st.lists(mappings, min_size=1, max_size=3))
def test_a_mapping_file_says_what_was_chosen(chosen: list[TableMapping]) -> None:
    """Whatever the names of tables and columns are."""
    assert loads(dumps(chosen), "f.toml") == chosen


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[", "no TOML"),
        ("", r"no \[\[mapping\]\]"),
        ('mapping = "x"', r"no \[\[mapping\]\]"),
        ("[[mapping]]\ntable = 'x'", "'content' is missing"),
        ("[[mapping]]\ncontent = 'x'", "'table' is missing"),
        ("[[mapping]]\ntable = 'x'\ncontent = [5]", "'content' is no array of strings"),
        ("[[mapping]]\ntable = 'x'\ncontent = 'y'\ntitle = 5", "'title' is no string"),
        ("[[mapping]]\ntable = 'x'\ncontent = 'y'\nnew = 5", "no key 'new'"),
        ("[[mapping]]\ntable = 'x'\ncontent = 'y'\ncreated_at_form = 'french'", "no form of dates"),
    ],
)
def test_a_mapping_file_that_is_none_says_what_is_wrong(text: str, said: str) -> None:
    """With the mapping's number."""
    with pytest.raises(UsageError, match=said):
        loads(text, "f.toml")


@pytest.mark.parametrize(
    ("text", "columns"),
    [("body", ("body",)), ("Title, body", ("Title", "body")), ("a,b:unix", ("a,b:unix",)), (" , ", ())],
)
def test_columns_are_split_at_commas_unless_a_column_is_named_so(text: str, columns: tuple[str, ...]) -> None:
    """A name goes before a separator."""
    assert split_names(text, NOTES) == columns


@pytest.mark.parametrize(
    ("text", "date"),
    [
        ("created", ("created", None)),
        ("created:unix-ms", ("created", "unix-ms")),
        ("a,b:unix", ("a,b:unix", None)),
        ("a,b:unix:apple", ("a,b:unix", "apple")),
        ("created:french", ("created:french", None)),
    ],
)
def test_a_date_may_name_its_form(text: str, date: tuple[str, str | None]) -> None:
    """A column's own colon is its own."""
    assert split_date(text, NOTES) == date


def test_names_are_spelled_as_the_table_does() -> None:
    """SQLite takes them in any case of letters; one that is none is refused with the nearest."""
    assert checked(replace(BODY, title="TITLE", id=("ID",)), NOTES) == replace(BODY, title="Title", id=("id",))
    with pytest.raises(UsageError, match="no column 'boddy'") as refused:
        checked(replace(BODY, content=("boddy",)), NOTES)
    assert refused.value.hint == "--content body"
    with pytest.raises(UsageError) as refused:
        checked(replace(BODY, category="work"), NOTES)
    assert "--category =work for a constant" in (refused.value.hint or "")


@given(names)
def test_a_quoted_name_is_one_name(name: str) -> None:
    """Quotes in it are doubled."""
    assert quoted(name)[1:-1].replace('""', "") == name.replace('"', "")


def test_a_rowid_is_reached_by_a_name_that_no_column_took() -> None:
    """SQLite gives it three; a table may take them all."""
    taken = [Column(name, "", generated=False, key=0) for name in ("ROWID", "oid", "_rowid_")]
    assert [rowid_name(tuple(taken[:count])) for count in range(4)] == ["rowid", "_rowid_", "_rowid_", None]


def look(columns: dict[str, tuple[str, list[Value]]], *, key: str = "") -> judge.Look:
    """Return what is proposed for columns given as name → (type, values)."""
    table = Table(
        "t",
        "view" if not key else "table",
        tuple(Column(name, declared, generated=False, key=int(name == key)) for name, (declared, _) in columns.items()),
        rowid=None,
    )
    rows = list(zip(*(given for _, given in columns.values()), strict=True))
    return judge.looked_at(table, len(rows), rows)


def test_a_proposal_for_a_table_of_notes() -> None:
    """By names, by how long the texts are, by what can be a date."""
    found = look(
        {
            "id": ("INTEGER", [1, 2, 3, 4]),
            "title": ("TEXT", ["A", "B", "C", "D"]),
            "body": ("TEXT", ["words " * 20] * 4),
            "folder": ("TEXT", ["x", "x", "y", "y"]),
            "modified": ("INTEGER", [1_700_000_000] * 4),
            "created": ("INTEGER", [1_600_000_000] * 4),
        },
        key="id",
    )
    assert found.proposal == TableMapping(
        "t", ("body",), "title", "folder", created_at="created", created_at_form="unix"
    )


def test_a_view_is_told_by_what_is_different_in_every_row() -> None:
    """It has no key of its own."""
    found = look({"note_id": ("", [1, 2]), "text": ("", ["long words are here", "and here are others"])})
    assert found.proposal is not None
    assert found.proposal.id == ("note_id",)


def test_nothing_is_proposed_where_there_is_no_text() -> None:
    """Numbers, dates and short words are no content."""
    assert look({"a": ("", [1, 2]), "at": ("", ["2021-01-01"] * 2), "w": ("", ["x", "y"])}).proposal is None
    assert look({}).proposal is None


def test_a_document_that_cannot_be_kept_is_one_failure() -> None:
    """The check that the property above relies on is one that refuses."""
    with pytest.raises(DocumentError):
        validation.check_metadata(json.loads('{"a": "\\u0000"}'))
