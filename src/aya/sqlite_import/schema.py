"""What a SQLite file holds: its tables and their columns; values, no I/O."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

Kind = Literal["table", "view", "virtual"]
ROWID_NAMES = ("rowid", "_rowid_", "oid")


@dataclass(frozen=True, slots=True)
class Column:
    """declared: its type as CREATE TABLE says it, "" for none. key: its position in the primary key, 0 outside."""

    name: str
    declared: str
    generated: bool
    key: int


@dataclass(frozen=True, slots=True)
class Table:
    """A table, a view, or a virtual table (a full-text index, say).

    rowid: the name by which its rowid is reached; None when it has none, or columns took all its names.
    copies: the table whose texts a full-text index holds without keeping them; None for any other.
    """

    name: str
    kind: Kind
    columns: tuple[Column, ...]
    rowid: str | None
    copies: str | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The columns' names, in order."""
        return tuple(column.name for column in self.columns)

    @property
    def key(self) -> tuple[str, ...]:
        """The names that tell a row: its primary key, else its rowid; () for a view."""
        keyed = sorted((column for column in self.columns if column.key), key=lambda column: column.key)
        if keyed:
            return tuple(column.name for column in keyed)
        return () if self.rowid is None else (self.rowid,)


def rowid_name(columns: tuple[Column, ...]) -> str | None:
    """Return the name of the rowid that no column hides; names of columns are the same in any case of letters."""
    taken = {column.name.casefold() for column in columns}
    return next((name for name in ROWID_NAMES if name not in taken), None)


def quoted(name: str) -> str:
    """Return a name as SQL: in double quotes, those in it doubled, whatever else stands in it."""
    return '"' + name.replace('"', '""') + '"'
