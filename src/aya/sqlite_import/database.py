"""A SQLite file, read and never written: what it holds, single rows for a look, all rows of a moment for an import.

Opened with mode=ro, and with immutable=1 where nobody else has it open in WAL mode: a reader of such a file would leave
a -shm and a -wal beside it (https://www.sqlite.org/wal.html#read_only_databases). What is imported is read from a copy
that SQLite's backup makes in one transaction: an import takes hours, and a reader of that length would keep the writers
of a file in rollback mode out, and let the log of one in WAL mode grow.
"""

from __future__ import annotations

import re
import shutil
import sqlite3
import tempfile
from collections.abc import Container, Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from pathlib import Path
from urllib.parse import quote

from aya import queries
from aya.errors import DocumentError, UsageError
from aya.sqlite_import.schema import Column, Kind, Table, quoted, rowid_name
from aya.sqlite_import.values import Value, read_text
from aya.textfile import shown_path

_SQL = queries.load("aya.sqlite_import", "sqlite.sql")
_MAGIC = b"SQLite format 3\x00"
# Byte 18 of the header: 2 for WAL (https://www.sqlite.org/fileformat.html#file_format_version_numbers).
_WAL_AT, _WAL = 18, 2
_BUSY_SECONDS = 5.0
_COPIED_PAGES = 4096
_FETCHED_ROWS = 32
_SAMPLED_BYTES = 4096
_OLDEST = (3, 37, 0)  # PRAGMA table_list, which tells shadow tables
_CONTENT_OPTION = re.compile(r"""\bcontent\s*=\s*(?:'([^']*)'|"([^"]*)"|([^,)\s]*))""", re.IGNORECASE)
Row = tuple[Value, ...]


def is_sqlite(file: Path) -> bool:
    """Return whether `file` begins as a SQLite database does; False when it cannot be read."""
    try:
        with file.open("rb") as stream:
            return stream.read(len(_MAGIC)) == _MAGIC
    except OSError:
        return False


class Source:
    """An open SQLite database. Every error of SQLite's is raised as a DocumentError that says what to do."""

    def __init__(self, file: Path, connection: sqlite3.Connection) -> None:
        self._file = file
        self._connection = connection
        connection.text_factory = read_text

    def tables(self) -> list[Table]:
        """Return tables, views and virtual tables by name; not SQLite's own, nor the shadow tables of an index.

        Left out is what cannot be read here: a view of a table that is gone; a virtual table whose module is not built
        into this SQLite, with the tables that it keeps its data in.
        """
        with self._translated():
            found = self._connection.execute(_SQL["tables"]).fetchall()
        named = [row for row in found if isinstance(row[0], str) and row[1] != "shadow"]
        unreadable = {name: kind for name, kind, _, _ in named if kind != "table" and not self._is_readable(name)}
        hiding = tuple(f"{name}_" for name, kind in unreadable.items() if kind == "virtual")
        return [
            self._table(name, kind, without_rowid=bool(wr), sql=sql)
            for name, kind, wr, sql in named
            if name not in unreadable and not name.startswith(hiding)
        ]

    def _is_readable(self, name: str) -> bool:
        try:
            self._connection.execute(f"SELECT * {_tail(name, None)} LIMIT 0").fetchall()
        except sqlite3.Error:
            return False
        return True

    def _table(self, name: str, kind: Kind, *, without_rowid: bool, sql: object) -> Table:
        with self._translated():
            rows = self._connection.execute(_SQL["columns"], (name,)).fetchall()
        columns = tuple(
            Column(column, declared if isinstance(declared, str) else "", hidden in {2, 3}, key)
            for column, declared, hidden, key in rows
            if hidden != 1 and isinstance(column, str)
        )
        rowid = None if kind == "view" or without_rowid else rowid_name(columns)
        return Table(name, kind, columns, rowid, _copies(sql) if kind == "virtual" else None)

    def count(self, table: str, where: str | None = None) -> int:
        """Return the number of rows; where: an SQL expression over the table's columns."""
        with self._translated(where):
            (number,) = self._connection.execute(f"SELECT count(*) {_tail(table, where)}").fetchone()
        return int(number)

    def shared_keys(self, table: str, key: Sequence[str], where: str | None = None) -> int:
        """Return how many rows have a key that an earlier row has, too; rows without one are not counted."""
        names = ", ".join(map(quoted, key))
        whole = " AND ".join(f"{quoted(name)} IS NOT NULL" for name in key)
        wanted = whole if where is None else f"({where}\n) AND {whole}"
        inner = f"SELECT count(*) AS rows {_tail(table, wanted)} GROUP BY {names}"
        with self._translated(where):
            # Names are quoted, and there is no parameter for a name.
            (number,) = self._connection.execute(f"SELECT coalesce(sum(rows - 1), 0) FROM ({inner})").fetchone()  # noqa: S608
        return int(number)

    def rows(
        self, table: str, columns: Sequence[str], where: str | None = None, *, cut: Container[str] = ()
    ) -> Iterator[Row]:
        """Yield the values of `columns`, a few rows in memory at a time.

        cut: columns of whose BLOBs the first byte says enough; a row may hold a gigabyte.
        """
        return self._rows(table, [_cell(table, name, 1 if name in cut else None) for name in columns], where, None)

    def sample(self, table: str, columns: Sequence[str], where: str | None, rows: int) -> list[Row]:
        """Return the first rows, of BLOBs the beginning."""
        return list(self._rows(table, [_cell(table, name, _SAMPLED_BYTES) for name in columns], where, rows))

    def _rows(self, table: str, cells: Sequence[str], where: str | None, limit: int | None) -> Iterator[Row]:
        chosen = ", ".join(cells)
        bound = "" if limit is None else f" LIMIT {limit:d}"
        with self._translated(where):
            # Not closed by hand: an import that was interrupted leaves this generator until after the file is closed.
            cursor = self._connection.execute(f"SELECT {chosen} {_tail(table, where)}{bound}")
            while several := cursor.fetchmany(_FETCHED_ROWS):
                yield from several

    @contextmanager
    def _translated(self, where: str | None = None) -> Generator[None]:
        try:
            yield
        except sqlite3.Error as error:
            raise _explained(self._file, error, where) from error


def _cell(table: str, column: str, bytes_kept: int | None) -> str:
    """Return the expression for a column; its table before it, or SQLite takes an unknown "name" for a text."""
    cell = f"main.{quoted(table)}.{quoted(column)}"
    if bytes_kept is None:
        return cell
    return f"CASE typeof({cell}) WHEN 'blob' THEN substr({cell}, 1, {bytes_kept:d}) ELSE {cell} END"


def _tail(table: str, where: str | None) -> str:
    # A line break ends a comment that the condition may end in.
    condition = "" if where is None else f" WHERE ({where}\n)"
    return f"FROM main.{quoted(table)}{condition}"


def _copies(sql: object) -> str | None:
    """Return the table in the option content=… of a full-text index; None without it, "" for one that keeps nothing."""
    found = _CONTENT_OPTION.search(sql) if isinstance(sql, str) else None
    return next((part for part in found.groups() if part is not None), "") if found else None


@contextmanager
def opened(file: Path) -> Generator[Source]:
    """Open the file where it stands, for a look at it. Raises DocumentError, or UsageError for an old SQLite."""
    with closing(_connected(file)) as connection:
        yield Source(file, connection)


@contextmanager
def copied(file: Path) -> Generator[Source]:
    """Open a copy of the file as it is now, which goes at the end: for an import, however long. As `opened`."""
    with tempfile.TemporaryDirectory(prefix="aya-import-") as folder:
        _check_room(file, Path(folder))
        with closing(sqlite3.connect(Path(folder) / "copy.db", isolation_level=None)) as copy:
            _copy(file, copy)
            # The copy is in WAL mode if the file was; nobody else has it.
            copy.execute("PRAGMA query_only = ON")
            _guard(copy)
            yield Source(file, copy)


def _copy(file: Path, copy: sqlite3.Connection) -> None:
    before = _state(file)
    _copy_once(file, copy)
    if _state(file) != before:
        # Somebody began to write: by now a log stands beside a file in WAL mode, and it is read with SQLite's locks.
        _copy_once(file, copy)


def _copy_once(file: Path, copy: sqlite3.Connection) -> None:
    with closing(_connected(file)) as connection:
        try:
            # One transaction over all steps: a writer in between would have the copy begin anew, again and again.
            connection.execute("BEGIN")
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
            # In steps, between which Ctrl-C is heard.
            connection.backup(copy, pages=_COPIED_PAGES, progress=_go_on)
        except sqlite3.Error as error:
            raise _explained(file, error, None) from error


def _go_on(_status: int, _remaining: int, _total: int) -> None:
    """Nothing to say: the copy goes on."""


def _state(file: Path) -> tuple[int, int, int]:
    status = file.stat()
    log = Path(f"{file}-wal")
    return status.st_size, status.st_mtime_ns, log.stat().st_size if log.exists() else 0


def _check_room(file: Path, folder: Path) -> None:
    needed, free = _state(file)[0] + _state(file)[2], shutil.disk_usage(folder).free
    if needed > free:
        raise DocumentError(
            f"{shown_path(file)} is copied before it is read: {needed:,} bytes, and {folder.parent} has {free:,}",
            hint="TMPDIR=/another/disk aya import sqlite FILE",
        )


def _connected(file: Path) -> sqlite3.Connection:
    _check(file)
    place = quote(str(file.absolute()))
    immutable = "&immutable=1" if _is_idle_wal(file) else ""
    try:
        connection = sqlite3.connect(
            f"file:{place}?mode=ro{immutable}", uri=True, timeout=_BUSY_SECONDS, isolation_level=None
        )
        try:
            _guard(connection)
            connection.execute("SELECT count(*) FROM sqlite_master").fetchone()
        except sqlite3.Error:
            connection.close()
            raise
    except sqlite3.Error as error:
        raise _explained(file, error, None) from error
    return connection


def _guard(connection: sqlite3.Connection) -> None:
    """Have a file of unknown origin do nothing but hold rows (https://www.sqlite.org/security.html)."""
    connection.execute("PRAGMA trusted_schema = OFF")
    connection.execute("PRAGMA cell_size_check = ON")


def _is_idle_wal(file: Path) -> bool:
    """Return whether the file is in WAL mode and no log stands beside it: everything is in the file."""
    with file.open("rb") as stream:
        header = stream.read(_WAL_AT + 1)
    log = Path(f"{file}-wal")
    return header[_WAL_AT] == _WAL and not log.exists()


def _check(file: Path) -> None:
    if sqlite3.sqlite_version_info < _OLDEST:
        raise UsageError(
            f"Python's SQLite is {sqlite3.sqlite_version}; 3.37 or later is needed", hint="use a newer Python"
        )
    try:
        with file.open("rb") as stream:
            header = stream.read(_WAL_AT + 1)
    except OSError as error:
        raise DocumentError(
            f"{shown_path(file)} cannot be read: {error.strerror}", hint="aya import sqlite FILE"
        ) from error
    if not header:
        raise DocumentError(f"{shown_path(file)} is empty: no table was ever made in it", hint="look for another file")
    if not header.startswith(_MAGIC) or len(header) <= _WAL_AT:
        raise DocumentError(
            f"{shown_path(file)} is no SQLite database, or it is encrypted",
            hint="file FILE says what it is; an encrypted one has to be exported by its program",
        )


def _explained(file: Path, error: sqlite3.Error, where: str | None) -> DocumentError:
    name, said = shown_path(file), " ".join(str(error).split())
    code = (getattr(error, "sqlite_errorcode", None) or 0) & 0xFF
    if code == sqlite3.SQLITE_BUSY:
        return DocumentError(
            f"{name} is locked by the program that writes it", hint="end that program, or try again in a moment"
        )
    if code in {sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB}:
        return DocumentError(
            f"{name} is damaged, or encrypted: {said}",
            hint="sqlite3 FILE .recover | sqlite3 NEW.db saves what can be read; then aya import sqlite NEW.db",
        )
    if code in {sqlite3.SQLITE_READONLY, sqlite3.SQLITE_CANTOPEN}:
        return DocumentError(
            f"{name} was left in the middle of a write, or its folder cannot be read: {said}",
            hint="open it once with its own program, or import a copy of the folder",
        )
    if where is not None:
        return DocumentError(f"SQLite does not take --where {where!r}: {said}", hint="--where 'deleted = 0'")
    return DocumentError(f"{name} cannot be read: {said}", hint="sqlite3 FILE 'PRAGMA integrity_check'")
