"""A SQLite file into a real base: once, again, changed, moved, interrupted, and in very many rows."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from tests.integration.conftest import Knowledge

from aya import bulk
from aya.assistants import claude
from aya.assistants.conversation import Labels
from aya.bulk import Tally, add_many
from aya.embedder_client import EmbedderClient
from aya.errors import EmbedderUnavailable
from aya.file_results import FileResult
from aya.knowledge.documents import Documents
from aya.knowledge.types import Changes, NewDocument
from aya.records import Record
from aya.sqlite_import import run
from aya.sqlite_import.database import copied, opened
from aya.sqlite_import.mapping import TableMapping

pytestmark = pytest.mark.database
NOTES = TableMapping("notes", ("body",), title="title", category="folder", created_at="created")


class Silent:
    """Is told how far it is, and remembers how many."""

    def __init__(self) -> None:
        self.finished = 0

    def done(self, _: FileResult) -> None:
        """Count."""
        self.finished += 1


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """A few notes."""
    path = tmp_path / "notes.db"
    change(
        path,
        "CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, body TEXT, folder TEXT, created INTEGER, stars INT)",
        "INSERT INTO notes VALUES (1, 'Bread', 'Feed the starter twice a day.', 'kitchen', 1622376000, 5)",
        "INSERT INTO notes VALUES (2, 'Beans', 'Sow runner beans in May.', 'garden', 1622376001, NULL)",
        "INSERT INTO notes VALUES (3, 'Nothing', NULL, 'garden', 1622376002, 1)",
    )
    return path


def change(path: Path, *statements: str) -> None:
    """Run statements on the file, as its program would."""
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


async def imported(knowledge: Knowledge, path: Path, *mappings: TableMapping, name: str | None = None) -> run.Imported:
    """Import tables of a file."""
    with opened(path) as source:
        plans = [run.plan(source, mapping, place=name or str(path), label=path.name) for mapping in mappings or [NOTES]]
    result = run.Imported()
    with copied(path) as source:
        await run.run(source, plans, knowledge.documents, knowledge.database, result, Silent())
    return result


def counts(result: run.Imported) -> dict[str, int]:
    """Return how many rows ended how."""
    return {status: number for status, number in result.tally.statuses.items() if number}


async def kept(knowledge: Knowledge, columns: str) -> list[dict[str, Any]]:
    """Return columns of all documents, by content."""
    async with knowledge.database.connection() as connection:
        rows = await connection.fetch(f"SELECT {columns} FROM documents ORDER BY content")  # noqa: S608
    return [dict(row) for row in rows]


async def test_rows_become_documents_with_their_dates(knowledge: Knowledge, file: Path) -> None:
    """Searchable at once; a row without text is skipped with its reason."""
    result = await imported(knowledge, file)
    assert counts(result) == {"indexed": 2, "skipped": 1}
    assert result.tally.reasons == {"NULL": 1}
    assert await kept(
        knowledge, "content, title, category, source, metadata, created_at::text, places ->> 'x' AS x"
    ) == [
        {
            "content": "Feed the starter twice a day.",
            "title": "Bread",
            "category": "kitchen",
            "source": "notes.db",
            "metadata": {"id": 1, "stars": 5},
            "created_at": "2021-05-30 12:00:00",
            "x": None,
        },
        {
            "content": "Sow runner beans in May.",
            "title": "Beans",
            "category": "garden",
            "source": "notes.db",
            "metadata": {"id": 2},
            "created_at": "2021-05-30 12:00:01",
            "x": None,
        },
    ]
    hits = await knowledge.searcher.search("when are beans sown", limit=1)
    assert [hit.uri for hit in hits] == [f"{file}#notes/2"]


async def test_an_import_again_takes_what_changed(knowledge: Knowledge, file: Path) -> None:
    """A text that changed replaces its document, a label or date that changed is taken, and the rest is left."""
    await imported(knowledge, file)
    before = await kept(knowledge, "id")
    assert counts(await imported(knowledge, file)) == {"unchanged": 2, "skipped": 1}
    change(
        file,
        "UPDATE notes SET body = 'Feed the starter once a day.' WHERE id = 1",
        "UPDATE notes SET folder = 'plot', title = 'Peas', created = 1622376061, stars = 4 WHERE id = 2",
    )
    assert counts(await imported(knowledge, file)) == {"updated": 2, "skipped": 1}
    assert await kept(knowledge, "id") == before
    assert await kept(knowledge, "title, category, created_at::text AS at, metadata -> 'stars' AS stars") == [
        {"title": "Bread", "category": "kitchen", "at": "2021-05-30 12:00:00", "stars": 5},
        {"title": "Peas", "category": "plot", "at": "2021-05-30 12:01:01", "stars": 4},
    ]


async def test_rows_that_vanished_are_named_and_stay(knowledge: Knowledge, file: Path) -> None:
    """A row whose text is gone did not vanish; other tables, other files and a condition do not count."""
    change(file, "CREATE TABLE notes2 (body)", "INSERT INTO notes2 VALUES ('Of another table.')")
    await imported(knowledge, file, NOTES, TableMapping("notes2", ("body",)))
    await knowledge.documents.add(NewDocument("Of another file.", uri="/other#notes/9"))
    change(file, "DELETE FROM notes WHERE id = 2", "UPDATE notes SET body = NULL WHERE id = 1")
    result = await imported(knowledge, file)
    assert (result.vanished, result.named) == (1, [f"{file}#notes/2"])
    assert len(await kept(knowledge, "id")) == 4
    filtered = TableMapping("notes", ("body",), where="id = 3")
    assert (await imported(knowledge, file, filtered)).vanished == 0


def move(path: Path, name: str) -> Path:
    """Rename a file."""
    return path.rename(path.with_name(name))


async def test_a_moved_file_is_noticed_by_its_texts(knowledge: Knowledge, file: Path) -> None:
    """Nothing is doubled; under a name of its own it is the same file wherever it stands."""
    await imported(knowledge, file)
    moved = move(file, "moved.db")
    result = await imported(knowledge, moved)
    assert counts(result) == {"skipped": 3}
    assert result.tally.reasons == {"the same content as another document": 2, "NULL": 1}
    assert counts(await imported(knowledge, moved)) == {"unchanged": 2, "skipped": 1}
    await imported(knowledge, moved, name="notes")
    change(moved, "UPDATE notes SET body = 'Sow broad beans in March.' WHERE id = 2")
    again = move(moved, "again.db")
    result = await imported(knowledge, again, name="notes")
    assert (counts(result), result.vanished) == ({"unchanged": 1, "indexed": 1, "skipped": 1}, 0)


async def test_an_edit_here_outlives_an_import(knowledge: Knowledge, file: Path) -> None:
    """A text that was changed in the base stays as long as its row says what it said."""
    await imported(knowledge, file)
    (first, _) = await kept(knowledge, "id")
    await knowledge.documents.edit(first["id"], Changes(content="Feed it when it asks.", source="mine"))
    assert counts(await imported(knowledge, file)) == {"unchanged": 2, "skipped": 1}
    assert await kept(knowledge, "content, source") == [
        {"content": "Feed it when it asks.", "source": "mine"},
        {"content": "Sow runner beans in May.", "source": "notes.db"},
    ]


async def test_an_interrupted_import_keeps_what_it_did_and_goes_on(knowledge: Knowledge, file: Path) -> None:
    """What was counted is what is there, and the next call finds it unchanged."""
    change(file, *(f"INSERT INTO notes (body) VALUES ('Note number {number}.')" for number in range(20)))  # noqa: S608
    with opened(file) as source:
        plan = run.plan(source, NOTES, place=str(file), label=file.name)
    result = run.Imported()
    enough = asyncio.Event()

    class Watcher:
        def done(self, result: FileResult) -> None:
            if result.status == "indexed":
                enough.set()

    async def go() -> None:
        with copied(file) as source:
            await run.run(source, [plan], knowledge.documents, knowledge.database, result, Watcher())

    task = asyncio.create_task(go())
    await enough.wait()
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    there = len(await kept(knowledge, "id"))
    # Up to four were under way: kept, and nobody was told.
    assert 0 < counts(result)["indexed"] <= there < 22
    assert counts(await imported(knowledge, file)) == {"unchanged": there, "indexed": 22 - there, "skipped": 1}


async def test_an_embedder_that_is_gone_ends_the_import_with_its_reason(knowledge: Knowledge, file: Path) -> None:
    """Rows are not skipped for it one by one."""
    tally = Tally()
    async with EmbedderClient("http://127.0.0.1:9") as nobody:
        documents = Documents(knowledge.database, nobody)
        records = (Record(str(number), NewDocument(f"Number {number}.")) for number in range(2000))
        await add_many(documents, records, tally, Silent())
    assert isinstance(tally.stopped_by, EmbedderUnavailable)
    assert next(records).where == str(bulk.BATCH)


async def test_very_many_records_are_counted_and_not_kept(knowledge: Knowledge) -> None:
    """No more than a batch is read ahead, and of the failures the first are named."""
    watcher, tally, ahead = Silent(), Tally(), 0

    def records() -> Iterator[Record]:
        nonlocal ahead
        for number in range(5 * bulk.BATCH):
            ahead = max(ahead, number + 1 - watcher.finished)
            yield Record(str(number), None, "odd") if number % 2 else Record(str(number), NewDocument("NUL \x00"))

    await add_many(knowledge.documents, records(), tally, watcher)
    half = 5 * bulk.BATCH // 2
    assert ahead == bulk.BATCH
    assert tally.statuses == {"failed": half, "skipped": half}
    assert tally.reasons == {"odd": half}
    assert [failure.path for failure in tally.failures] == [str(2 * number) for number in range(bulk.MOST_NAMED)]


async def test_a_later_export_takes_what_went_on(knowledge: Knowledge) -> None:
    """A conversation is known by its number, from whatever file: its document is replaced, and new ones are added."""
    export: dict[str, Any] = {"uuid": "1", "name": "Beans", "created_at": "2021-05-30T12:00:00Z", "chat_messages": []}

    async def imported_export(*messages: str) -> dict[str, int]:
        tally = Tally()
        said = [{"sender": "human", "text": message} for message in messages]
        elements = [{**export, "chat_messages": said}, {**export, "uuid": "2", "name": "Empty"}]
        records = (record for element in elements for record in claude.read("f", element, Labels()))
        await add_many(knowledge.documents, records, tally, Silent())
        return {status: number for status, number in tally.statuses.items() if number}

    assert await imported_export("When?") == {"indexed": 1, "skipped": 1}
    assert await imported_export("When?") == {"unchanged": 1, "skipped": 1}
    assert await imported_export("When?", "And peas?") == {"updated": 1, "skipped": 1}
    columns = "title, category, source, created_at::text AS at, position('peas' IN content) > 0 AS new"
    assert await kept(knowledge, columns) == [
        {"title": "Beans", "category": "conversation", "source": "claude", "at": "2021-05-30 12:00:00", "new": True}
    ]
