"""SQLite files as they are found: any schema, in use, odd, damaged, locked, encrypted; read and never written."""

from __future__ import annotations

import os
import sqlite3
import subprocess
import sys
from collections.abc import Callable, Generator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from aya.errors import DocumentError, UsageError
from aya.sqlite_import import database, run
from aya.sqlite_import.database import copied, opened
from aya.sqlite_import.documents import Made
from aya.sqlite_import.mapping import TableMapping
from aya.sqlite_import.schema import quoted
from aya.sqlite_import.values import NotUtf8

ODD = ['we"ird\nname', "select", "Ünï, cöde", "a'b", "x;--", "%_", "[brackets]", " space "]


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Where a database is made; its name is none that a URI takes as it is."""
    folder = tmp_path / "a folder?x=1#%41"
    folder.mkdir()
    return folder / "notes.db"


def written(file: Path, script: str) -> Path:
    """Make a database with a script."""
    with closing(sqlite3.connect(file)) as connection:
        connection.executescript(script)
    return file


def documents(file: Path, mapping: TableMapping) -> list[Made]:
    """Return what becomes of the rows of a table, from a copy as an import reads it."""
    with opened(file) as source:
        plan = run.plan(source, mapping, place="/f.db", label="f.db")
    with copied(file) as source:
        return list(run.read(source, plan))


def contents(file: Path, mapping: TableMapping) -> dict[str, str]:
    """Return the texts by their place after the file's."""
    return {
        (made.place or "").removeprefix("/f.db#"): made.document.content
        for made in documents(file, mapping)
        if made.document is not None
    }


@contextmanager
def in_use(file: Path, *statements: str) -> Generator[None]:
    """Have another process run statements and keep the file open; its transaction stays open if it began one."""
    program = (
        "import sqlite3, sys\n"
        "connection = sqlite3.connect(sys.argv[1], isolation_level=None)\n"
        "for statement in sys.argv[2:]: connection.execute(statement)\n"
        "print('ready', flush=True)\n"
        "sys.stdin.read()\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(file), *statements], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    try:
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        yield
    finally:
        process.communicate(timeout=20)


def test_only_a_persons_tables_are_shown(file: Path) -> None:
    """Not SQLite's own, nor what a full-text index keeps its data in; views and the index itself are."""
    written(
        file,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY AUTOINCREMENT, body TEXT);"
        "INSERT INTO notes (body) VALUES ('words that are long enough');"
        "CREATE VIEW v AS SELECT body FROM notes;"
        "CREATE VIRTUAL TABLE f USING fts5(body, content='notes', content_rowid='id');"
        "CREATE VIRTUAL TABLE g USING fts5(title, body);"
        "CREATE VIRTUAL TABLE h USING fts5(body, content='');"
        "CREATE TABLE w (a TEXT, b INT, body TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID;"
        "CREATE TABLE r (rowid TEXT, body TEXT); ANALYZE;",
    )
    with opened(file) as source:
        found = {table.name: (table.kind, table.key, table.copies) for table in source.tables()}
        first = run.look(source)[0]
    assert found == {
        "notes": ("table", ("id",), None),
        "v": ("view", (), None),
        "f": ("virtual", ("rowid",), "notes"),
        "g": ("virtual", ("rowid",), None),
        "h": ("virtual", ("rowid",), ""),
        "w": ("table", ("b", "a"), None),
        "r": ("table", ("_rowid_",), None),
    }
    # The index of another table is proposed after it, though it says the same.
    assert first.table.name == "notes"


def test_a_module_that_is_not_there_hides_its_tables_alone(file: Path) -> None:
    """A file of a program with an extension of its own is read without it."""
    written(
        file,
        "CREATE TABLE notes (body TEXT); CREATE TABLE vectors_chunks (data BLOB);"
        "PRAGMA writable_schema = ON;"
        "INSERT INTO sqlite_master VALUES ('table', 'vectors', 'vectors', 0,"
        "'CREATE VIRTUAL TABLE vectors USING none(x)')",
    )
    with opened(file) as source:
        assert [table.name for table in source.tables()] == ["notes"]


def test_rows_are_known_by_their_key(file: Path) -> None:
    """The primary key in its own order, the rowid where there is none, nothing for a view or a key that is NULL."""
    written(
        file,
        "CREATE TABLE w (a TEXT, b INT, body TEXT, PRIMARY KEY (b, a)) WITHOUT ROWID;"
        "INSERT INTO w VALUES ('x/1,#%', 2, 'one');"
        "CREATE TABLE r (rowid TEXT, body TEXT); INSERT INTO r VALUES ('mine', 'two');"
        "CREATE TABLE k (k TEXT PRIMARY KEY, body TEXT); INSERT INTO k VALUES (NULL, 'three'), (x'00ff', 'four');"
        "CREATE VIEW v AS SELECT a, body FROM w;"
        "CREATE VIRTUAL TABLE g USING fts5(body); INSERT INTO g(rowid, body) VALUES (-7, 'five');",
    )
    assert contents(file, TableMapping("w", ("body",))) == {"w/2,x%2F1%2C%23%25": "one"}
    assert contents(file, TableMapping("r", ("body",))) == {"r/1": "two"}
    assert contents(file, TableMapping("k", ("body",))) == {"": "three", "k/%x00ff": "four"}
    assert contents(file, TableMapping("v", ("body",))) == {"": "one"}
    assert contents(file, TableMapping("v", ("body",), id=("a",))) == {"v/x%2F1%2C%23%25": "one"}
    assert contents(file, TableMapping("g", ("body",))) == {"g/-7": "five"}


def test_a_key_that_rows_share_is_refused(file: Path) -> None:
    """The second row would take the place of the first."""
    written(file, "CREATE TABLE t (a, b, body); INSERT INTO t VALUES (1, 1, 'x'), (1, 2, 'y'), (NULL, 1, 'z');")
    with pytest.raises(UsageError, match="--id a does not tell the rows of 't' apart: 1 share"):
        documents(file, TableMapping("t", ("body",), id=("a",)))
    assert len(documents(file, TableMapping("t", ("body",), id=("a",), where="b = 2 OR a IS NULL"))) == 2
    assert len(documents(file, TableMapping("t", ("body",), id=("b", "a")))) == 3


@pytest.mark.parametrize("name", ODD)
def test_every_name_is_a_name(file: Path, name: str) -> None:
    """Quotes, line breaks, reserved words, what looks like SQL: as table and as column."""
    table = quoted(name)
    written(file, f"CREATE TABLE {table} ({table} TEXT); INSERT INTO {table} VALUES ('words')")  # noqa: S608
    with opened(file) as source:
        (look,) = run.look(source)
    assert look.table.names == (name,)
    (made,) = documents(file, TableMapping(name, (name,)))
    assert made.document is not None
    assert made.document.content == "words"


def test_values_come_as_they_are(file: Path) -> None:
    """SQLite has types by value: what a column declares binds nothing."""
    written(
        file,
        "CREATE TABLE t (id INTEGER PRIMARY KEY, body TEXT, a, g TEXT AS (upper(body)), s AS (body || '!') STORED);"
        "INSERT INTO t VALUES (1, 'one', 9223372036854775807), (2, 'two', 9e999), (3, 'three', -9e999),"
        "(4, 'four', CAST(x'ff' AS TEXT)), (5, 'five', x'00'), (6, 'six', NULL), (7, CAST(x'ff' AS TEXT), 0),"
        "(8, 'seven', '[1]');",
    )
    with opened(file) as source:
        rows = list(source.rows("t", ("a",)))
        table = run.table_named(source, "T")
    assert rows == [
        (2**63 - 1,),
        (float("inf"),),
        (float("-inf"),),
        (NotUtf8(b"\xff"),),
        (b"\x00",),
        (None,),
        (0,),
        ("[1]",),
    ]
    assert [column.name for column in table.columns if column.generated] == ["g", "s"]
    found = documents(file, TableMapping("t", ("g",), metadata=("a", "s")))
    assert [made.document.metadata if made.document else made.skipped for made in found] == [
        {"a": 2**63 - 1, "s": "one!"},
        {"a": "inf", "s": "two!"},
        {"a": "-inf", "s": "three!"},
        {"s": "four!"},
        {"s": "five!"},
        {"s": "six!"},
        "text that is not UTF-8",
        {"a": [1], "s": "seven!"},
    ]


def test_a_file_in_utf_16_is_read(file: Path) -> None:
    """SQLite keeps texts in the encoding the file was made with."""
    written(file, "PRAGMA encoding = 'UTF-16le'; CREATE TABLE t (body); INSERT INTO t VALUES ('Grüße 🎈')")
    assert list(contents(file, TableMapping("t", ("body",))).values()) == ["Grüße 🎈"]


def test_a_blob_that_no_document_keeps_is_not_read(file: Path) -> None:
    """A row with a picture of a gigabyte needs no gigabyte; one that is the content, or the key, is read whole."""
    written(file, "CREATE TABLE t (k BLOB PRIMARY KEY, body, photo); INSERT INTO t VALUES (x'0102', x'6162', x'0304')")
    with opened(file) as source:
        assert list(source.rows("t", ("k", "body", "photo"), cut={"photo"})) == [(b"\x01\x02", b"ab", b"\x03")]
    (made,) = documents(file, TableMapping("t", ("body",)))
    assert (made.place, made.left_out) == ("/f.db#t/%x0102", (("k", "BLOB"), ("photo", "BLOB")))


def test_a_condition_chooses_rows(file: Path) -> None:
    """An expression of SQL, and nothing else: the file cannot be written through it."""
    written(file, "CREATE TABLE t (body, gone); INSERT INTO t VALUES ('a', 0), ('b', 1)")
    assert list(contents(file, TableMapping("t", ("body",), where="gone = 0 -- not b")).values()) == ["a"]
    for wrong in ("nothing = 1", "gone = ", "1); DELETE FROM t; --"):
        with pytest.raises(DocumentError, match="SQLite does not take --where"):
            documents(file, TableMapping("t", ("body",), where=wrong))
    assert len(contents(file, TableMapping("t", ("body",)))) == 2


def test_a_view_that_is_broken_says_so(file: Path) -> None:
    """A view of a table that is gone hides itself alone."""
    written(file, "CREATE TABLE t (body); CREATE VIEW v AS SELECT body FROM t; CREATE TABLE u (body); DROP TABLE t")
    with opened(file) as source:
        assert [table.name for table in source.tables()] == ["u"]


def test_a_file_in_wal_mode_is_read_without_a_trace(file: Path) -> None:
    """Nothing is left beside it, and it is what it was to the byte."""
    written(file, "PRAGMA journal_mode = WAL; CREATE TABLE t (body); INSERT INTO t VALUES ('one')")
    before = file.read_bytes()
    assert list(contents(file, TableMapping("t", ("body",))).values()) == ["one"]
    assert [path.name for path in file.parent.iterdir()] == ["notes.db"]
    assert file.read_bytes() == before


@pytest.mark.parametrize("mode", ["WAL", "DELETE"])
def test_a_file_that_another_program_uses_is_read_as_it_is(file: Path, mode: str) -> None:
    """What it committed is seen, in the log too; what it did not commit is not."""
    written(file, f"PRAGMA journal_mode = {mode}; CREATE TABLE t (body); INSERT INTO t VALUES ('one')")  # noqa: S608
    add = "INSERT INTO t VALUES ('{}')"
    with in_use(file, "PRAGMA wal_autocheckpoint = 0", add.format("two"), "BEGIN", add.format("three")):
        assert sorted(contents(file, TableMapping("t", ("body",))).values()) == ["one", "two"]


def test_a_copy_is_of_one_moment(file: Path) -> None:
    """What is written during an import is the next one's, and the writer does not wait for it."""
    written(file, "CREATE TABLE t (body); INSERT INTO t VALUES ('one')")
    with opened(file) as source:
        plan = run.plan(source, TableMapping("t", ("body",)), place="/f.db", label="f.db")
    with copied(file) as source:
        written(file, "INSERT INTO t VALUES ('two')")
        rows = run.read(source, plan)
        assert next(rows).where == "t/1"
        assert list(rows) == []
        left = run.read(source, plan)
        assert next(left).where == "t/1"
    # As after an interruption: what reads is ended after what is read, in silence.
    left.close()


def test_a_file_that_is_locked_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After a wait: a program that writes is done in a moment."""
    monkeypatch.setattr(database, "_BUSY_SECONDS", 0.05)
    written(file, "CREATE TABLE t (body)")
    with in_use(file, "BEGIN EXCLUSIVE"), pytest.raises(DocumentError, match="locked"), opened(file):
        pass


def _spoil(file: Path) -> None:
    """Overwrite the pages of the table, and leave the header and the schema."""
    written(file, "PRAGMA page_size = 4096; CREATE TABLE t (body); INSERT INTO t VALUES ('words')")
    with file.open("r+b") as stream:
        stream.seek(4096)
        stream.write(b"\xa5" * 4096)


def _cut(file: Path) -> None:
    written(file, "CREATE TABLE t (body); INSERT INTO t VALUES (zeroblob(100000))")
    os.truncate(file, 2000)


MAGIC = b"SQLite format 3\x00"
UNREADABLE: list[tuple[Callable[[Path], object], str]] = [
    (Path.exists, "cannot be read: No such file"),
    (Path.mkdir, "cannot be read: Is a directory"),
    (Path.touch, "is empty"),
    (lambda file: file.write_bytes(MAGIC), "no SQLite database"),
    (lambda file: file.write_bytes(MAGIC + b"\xa5" * 5000), "damaged, or encrypted"),
    (lambda file: file.write_bytes(bytes(range(1, 256)) * 20), "no SQLite database, or it is encrypted"),
    (lambda file: file.write_text("# Notes\n"), "no SQLite database"),
    (_spoil, "damaged"),
    (_cut, "damaged"),
]


@pytest.mark.parametrize(("make", "said"), UNREADABLE)
def test_a_file_that_cannot_be_read_says_why(file: Path, make: Callable[[Path], object], said: str) -> None:
    """Before anything is written, with what to do next."""
    make(file)
    with pytest.raises(DocumentError, match=said) as refused:
        documents(file, TableMapping("t", ("body",)))
    assert refused.value.hint


def test_a_disk_without_room_for_the_copy_says_so(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copy is made where TMPDIR says."""
    written(file, "CREATE TABLE t (body)")

    def large(_: Path) -> tuple[int, int, int]:
        return 2**62, 0, 0

    monkeypatch.setattr(database, "_state", large)
    with pytest.raises(DocumentError, match="is copied before it is read") as refused, copied(file):
        pass
    assert "TMPDIR" in (refused.value.hint or "")


def test_dates_of_no_known_form_are_refused(file: Path) -> None:
    """Rather than keeping every document with today's date."""
    written(file, "CREATE TABLE t (body, at); INSERT INTO t VALUES ('a', 'soon')")
    with pytest.raises(UsageError, match="holds no dates that are known, such as 'soon'"):
        documents(file, TableMapping("t", ("body",), created_at="at"))
    assert [
        made.left_out for made in documents(file, TableMapping("t", ("body",), created_at="at", created_at_form="iso"))
    ] == [(("at", "date not understood"),)]


def test_a_rehearsal_counts_every_row_and_shows_some(file: Path) -> None:
    """What would be skipped and left out, with the reasons."""
    written(
        file,
        "CREATE TABLE t (body, a);"
        "INSERT INTO t VALUES ('one', x'00'), (NULL, 1), ('two', x'00'), (' ', 1), ('three', 1);",
    )
    with opened(file) as source:
        plan = run.plan(source, TableMapping("t", ("body",)), place="/f.db", label="f.db")
        found = run.rehearse(source, plan, 2, lambda _: None)
    assert (found.rows, found.documents, found.without_key) == (5, 3, 0)
    assert found.skipped == {"NULL": 1, "empty": 1}
    assert found.left_out == {("a", "BLOB"): 2}
    assert [document.content for document in found.samples] == ["one", "two"]
