"""Many files at once: asked for together, counted beside the work, and finished after the process was killed."""

from __future__ import annotations

import asyncio
import multiprocessing
import random
from collections import Counter
from collections.abc import Sequence
from multiprocessing.connection import Connection
from pathlib import Path

import pytest
from tests.integration.conftest import Knowledge

from aya import queries
from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.file_results import FileResult, Ingested
from aya.ingest import LOOKED_UP_AT_ONCE, Labels, Manner, add_files
from aya.knowledge.documents import Beside, Documents
from aya.knowledge.places import Known, Places
from aya.knowledge.types import Added, NewDocument

pytestmark = pytest.mark.database

PLACES = queries.load("aya.knowledge", "places.sql")
KILLS = 3
FILES = 24


class Silent:
    """A progress that nobody looks at, but for the number of files."""

    files: int | None = None

    def total(self, files: int) -> None:
        """Remember how many there are."""
        self.files = files

    def done(self, result: FileResult) -> None:
        """Say nothing."""


def notes(folder: Path, count: int) -> Path:
    """Write so many different notes."""
    folder.mkdir()
    for number in range(count):
        (folder / f"{number}.md").write_text(f"# Note {number}\n\nThe words of note {number}.\n")
    return folder


class Telling(Silent):
    """A progress that tells the parent process of every file."""

    def __init__(self, parent: Connection) -> None:
        self._parent = parent

    def done(self, result: FileResult) -> None:
        """Tell."""
        self._parent.send(result.status)


def add_in_process(settings: DatabaseSettings, embedder_url: str, folder: Path, parent: Connection) -> None:
    """Be a process that adds a folder."""

    async def add() -> None:
        async with Database(settings, application_name="aya-test") as database, EmbedderClient(embedder_url) as client:
            documents = Documents(database, client)
            await add_files(documents, [folder], Labels(), Telling(parent), Manner(Places(database).known))

    asyncio.run(add())


def killed_after(results: int, settings: DatabaseSettings, embedder_url: str, folder: Path) -> list[str]:
    """Add in a process that is killed (SIGKILL) when it told of so many files; return how they ended."""
    spawning = multiprocessing.get_context("spawn")
    here, there = spawning.Pipe(duplex=False)
    process = spawning.Process(target=add_in_process, args=(settings, embedder_url, folder, there))
    process.start()
    there.close()
    try:
        return [here.recv() for _ in range(results)]
    finally:
        process.kill()
        process.join()


async def documents_by_place(knowledge: Knowledge) -> dict[str, int]:
    """Return how many documents say that they were read from each file, and check that each has its vectors."""
    async with knowledge.database.connection() as connection:
        rows = await connection.fetch(
            """SELECT jsonb_object_keys(places) AS place, EXISTS (
                   SELECT FROM chunks AS c WHERE c.document_id = d.id AND c.embedding IS NOT NULL) AS whole
               FROM documents AS d"""
        )
    assert all(row["whole"] for row in rows)
    return Counter(row["place"] for row in rows)


async def test_killed_at_random_points_it_finishes_without_a_double(knowledge: Knowledge, tmp_path: Path) -> None:
    """A kill -9, three times, then once to the end: one document a file, and what was told as finished was finished."""
    folder = notes(tmp_path / "notes", FILES)
    choose = random.Random(17)  # noqa: S311 (no secret)
    finished = 0
    for kill in range(KILLS):
        # The files that are there already come first, and quickly; a few new ones each time.
        after = finished + choose.randrange(1, 5)
        statuses = await asyncio.to_thread(killed_after, after, knowledge.settings, knowledge.embedder.url, folder)
        kept = len(await documents_by_place(knowledge))
        assert finished <= kept < FILES, kill
        assert Counter(statuses)["indexed"] <= kept - finished
        finished = kept
    last = await add(knowledge, [folder])
    assert last.counts == {"unchanged": finished, "indexed": FILES - finished}
    assert await documents_by_place(knowledge) == {str(folder / f"{number}.md"): 1 for number in range(FILES)}


class NeverAsked(Documents):
    """Documents of which none may be added."""

    async def add(self, new: NewDocument, *, beside: Beside | None = None) -> Added:
        """Fail."""
        del beside
        raise AssertionError(new.uri)


async def add(
    knowledge: Knowledge,
    roots: Sequence[Path],
    *,
    documents: Documents | None = None,
    listed: bool = True,
    progress: Silent | None = None,
) -> Ingested:
    """Add files, known ones looked up together; return what became of them, after counting the questions."""
    places = Places(knowledge.database)
    asked: list[int] = []

    async def known(paths: Sequence[str]) -> dict[str, Known]:
        asked.append(len(paths))
        return await places.known(paths)

    manner = Manner(known, listed=listed)
    ingested = await add_files(documents or knowledge.documents, roots, Labels(), progress or Silent(), manner)
    assert ingested.stopped_by is None
    assert max(asked) <= LOOKED_UP_AT_ONCE
    assert len(asked) == -(-sum(asked) // LOOKED_UP_AT_ONCE)
    return ingested


async def test_what_did_not_change_is_known_without_asking_for_each(knowledge: Knowledge, tmp_path: Path) -> None:
    """A question for 200 files; each has the result that it would have by itself, and the total is told."""
    folder = notes(tmp_path / "notes", 12)
    first = await add(knowledge, [folder])
    progress = Silent()
    never = NeverAsked(knowledge.database, knowledge.embedder)
    again = await add(knowledge, [folder], documents=never, progress=progress)
    assert progress.files == 12
    assert [(each.path, each.document_id, each.chunks) for each in again.results] == [
        (each.path, each.document_id, each.chunks) for each in first.results
    ]
    assert again.counts == {"unchanged": 12}


async def test_results_that_nobody_keeps_are_counted(knowledge: Knowledge, tmp_path: Path) -> None:
    """A million files leave a number behind, not a million results."""
    folder = notes(tmp_path / "notes", 5)
    (folder / "empty.md").write_text("")
    ingested = await add(knowledge, [folder], listed=False)
    assert (ingested.results, ingested.counts) == ([], {"indexed": 5, "failed": 1})


async def test_known_files_are_found_by_their_index(knowledge: Knowledge) -> None:
    """Two hundred paths among thousands of documents: the table is not read for them."""
    async with knowledge.database.connection() as connection:
        # Without the triggers: nobody is to index them.
        await connection.execute("ALTER TABLE documents DISABLE TRIGGER USER")
        await connection.execute(
            """INSERT INTO documents (content, content_sha256, places)
               SELECT repeat('words ', 100) || i, 'x', jsonb_build_object('/notes/' || i, 'sha')
               FROM generate_series(1, 20000) AS i"""
        )
        await connection.execute("ANALYZE documents")
        paths = [f"/notes/{number}" for number in range(0, 4000, 20)]
        rows = await connection.fetch(f"EXPLAIN {PLACES['known_places']}", paths)
    assert "idx_documents_places" in "\n".join(row[0] for row in rows)
    assert set(await Places(knowledge.database).known(paths)) == set(paths[1:])
