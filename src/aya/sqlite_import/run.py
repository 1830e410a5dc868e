"""A look at a SQLite file, the import of its tables without writing, and the import."""

from __future__ import annotations

import hashlib
from array import array
from collections import Counter
from collections.abc import AsyncGenerator, Callable, Generator, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np

from aya import queries
from aya.bulk import Tally, Watcher, add_many
from aya.db import Database
from aya.errors import UsageError
from aya.knowledge.documents import Documents
from aya.knowledge.types import NewDocument
from aya.records import Record
from aya.sqlite_import import dates, judge
from aya.sqlite_import.database import Source
from aya.sqlite_import.documents import Lost, Made, Plan, made, planned
from aya.sqlite_import.mapping import TableMapping, checked
from aya.sqlite_import.schema import Table

_SQL = queries.load("aya.sqlite_import")
_ASKED_DOCUMENTS = 2000
_TOLD_ROWS = 1000
MOST_NAMED = 20


def look(source: Source, only: str | None = None) -> list[judge.Look]:
    """Return the tables with what is proposed for each, the one with most text first. only: one table's name."""
    looks: list[judge.Look] = []
    for table in source.tables():
        if only in (None, table.name) and table.columns:
            sample = source.sample(table.name, table.names, None, judge.SAMPLED_ROWS)
            looks.append(judge.looked_at(table, source.count(table.name), sample))
    return judge.ranked(looks)


def table_named(source: Source, name: str) -> Table:
    """Return a table by its name, in any case of letters. Raises UsageError with the tables there are."""
    tables = source.tables()
    exact = [table for table in tables if table.name == name]
    found = exact or [table for table in tables if table.name.casefold() == name.casefold()]
    if not found:
        there = ", ".join(table.name for table in tables) or "none"
        raise UsageError(f"there is no table {name!r}", hint=f"the tables and views: {there}")
    return found[0]


def plan(source: Source, mapping: TableMapping, *, place: str, label: str) -> Plan:
    """Return how a table is read. place, label: the file's name in documents' places, and as their source.

    Raises UsageError for a name that is no column, for a key that several rows share, and for dates of an unknown form.
    """
    table = table_named(source, mapping.table)
    right = checked(mapping, table)
    sample = source.sample(table.name, table.names, right.where, judge.SAMPLED_ROWS)
    forms: dict[str, dates.Form] = {
        each.name: each.form for each in judge.profiled(table, sample) if each.form is not None
    }
    if right.created_at is not None and right.created_at_form is None:
        place_of_date = table.names.index(right.created_at)
        values = [row[place_of_date] for row in sample]
        form = dates.recognised(values, right.created_at)
        if form is None and any(value is not None for value in values):
            raise UsageError(
                f"{right.created_at!r} holds no dates that are known, such as {values[0]!r}",
                hint=f"--created-at {right.created_at}:FORM, one of {', '.join(dates.FORMS)}; or leave it out",
            )
        forms[right.created_at] = form or "iso"
    made_plan = planned(right, table, place=place, source=label, forms=forms)
    if right.id and (shared := source.shared_keys(table.name, right.id, right.where)):
        raise UsageError(
            f"--id {','.join(right.id)} does not tell the rows of {table.name!r} apart: {shared:,} share theirs",
            hint="name more columns, or leave --id out",
        )
    return made_plan


def read(source: Source, plan: Plan) -> Generator[Made]:
    """Yield what becomes of each row, as the file is read."""
    # No BLOB is kept in the metadata.
    cut = set(plan.metadata) - {*plan.key, *plan.mapping.columns()}
    for row in source.rows(plan.mapping.table, plan.columns, plan.mapping.where, cut=cut):
        yield made(row, plan)


@dataclass(slots=True)
class Rehearsal:
    """What an import would do. skipped: reasons. left_out: (column, why) of what documents would lack."""

    rows: int = 0
    documents: int = 0
    without_key: int = 0
    samples: list[NewDocument] = field(default_factory=list[NewDocument])
    skipped: Counter[str] = field(default_factory=Counter[str])
    left_out: Counter[tuple[str, Lost]] = field(default_factory=Counter[tuple[str, Lost]])

    def count(self, row: Made, samples: int) -> None:
        """Count one row. samples: how many documents are kept to be shown."""
        self.rows += 1
        self.left_out.update(row.left_out)
        if row.document is None:
            self.skipped[row.skipped or ""] += 1
            return
        self.documents += 1
        self.without_key += row.document.uri is None
        if len(self.samples) < samples:
            self.samples.append(row.document)


def rehearse(source: Source, plan: Plan, samples: int, read_on: Callable[[int], object]) -> Rehearsal:
    """Read all rows as the import would, and write nothing. read_on: is told of every thousand rows."""
    rehearsal = Rehearsal()
    for row in read(source, plan):
        rehearsal.count(row, samples)
        if rehearsal.rows % _TOLD_ROWS == 0:
            read_on(_TOLD_ROWS)
    return rehearsal


class Seen:
    """The places that were read, 64 bits of each: eight bytes a row, and 10^-13 that one hides behind a million."""

    def __init__(self) -> None:
        self._hashes = array("Q")

    def add(self, place: str) -> None:
        """Remember one."""
        self._hashes.append(_hash(place))

    def missing(self) -> Callable[[Sequence[str]], list[str]]:
        """Return what tells which of some places were not seen; nothing is added from then on."""
        known = np.sort(np.frombuffer(self._hashes, dtype=np.uint64)) if self._hashes else np.empty(0, dtype=np.uint64)

        def missing(places: Sequence[str]) -> list[str]:
            hashes = np.array([_hash(place) for place in places], dtype=np.uint64)
            there = np.isin(hashes, known, assume_unique=False)
            return [place for place, is_there in zip(places, there, strict=True) if not is_there]

        return missing


def _hash(place: str) -> int:
    return int.from_bytes(hashlib.blake2b(place.encode(), digest_size=8).digest(), "little")


@dataclass(slots=True)
class Imported:
    """What became of a file. vanished: documents whose rows are gone from it; named: the first of their places."""

    tally: Tally = field(default_factory=Tally)
    left_out: Counter[tuple[str, Lost]] = field(default_factory=Counter[tuple[str, Lost]])
    vanished: int = 0
    named: list[str] = field(default_factory=list[str])


async def run(  # noqa: PLR0913, PLR0917 - what is read, where to, and who is told
    source: Source,
    plans: Sequence[Plan],
    documents: Documents,
    database: Database,
    imported: Imported,
    watcher: Watcher,
) -> None:
    """Import the tables, one after the other, and count in `imported`; then look for documents whose rows are gone."""
    for each in plans:
        seen = Seen()
        await add_many(documents, _records(source, each, imported, seen), imported.tally, watcher)
        if imported.tally.stopped_by is not None:
            return
        # A condition leaves rows out that are still there.
        if each.key and each.mapping.where is None:
            missing = seen.missing()
            async for places in _places_below(database, each.prefix):
                gone = missing(places)
                imported.vanished += len(gone)
                imported.named += gone[: MOST_NAMED - len(imported.named)]


def _records(source: Source, plan: Plan, imported: Imported, seen: Seen) -> Iterator[Record]:
    for row in read(source, plan):
        imported.left_out.update(row.left_out)
        # A row that has become empty is no row that vanished.
        if row.place is not None:
            seen.add(row.place)
        yield Record(row.where, row.document, row.skipped)


async def _places_below(database: Database, prefix: str) -> AsyncGenerator[list[str]]:
    # AIR gives negative numbers to what is written there.
    last = -(2**31)
    while True:
        async with database.connection() as connection:
            rows = await connection.fetch(_SQL["places_below"], last, prefix, _ASKED_DOCUMENTS)
        if not rows:
            return
        yield [place for row in rows for place in row["places"]]
        last = rows[-1]["id"]
