"""Folders and files of records into a real knowledge base: every file ends in one result, and nothing is lost."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Callable, Generator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from tests.conftest import await_healthy, free_port
from tests.integration.conftest import Knowledge

from aya.db import Database
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseUnavailable, EmbedderOverloaded, EmbedderUnavailable
from aya.file_results import FileResult
from aya.ingest import Labels, add_files, add_records
from aya.knowledge.documents import Beside, Documents
from aya.knowledge.types import Added, Changes, Filters, NewDocument
from aya.records import read_records

pytestmark = pytest.mark.database

NOBODY = 65534
EXPLICIT = Labels("kitchen", "book", {"year": 1999}, explicit=True)


@dataclass
class Counted:
    """A progress that remembers what it was told. after: called with each result."""

    files: int = 0
    results: list[FileResult] = field(default_factory=list[FileResult])
    after: Callable[[FileResult], object] = lambda _: None

    def total(self, files: int) -> None:
        """Remember how many files there are."""
        self.files = files

    def done(self, result: FileResult) -> None:
        """Remember a result."""
        self.results.append(result)
        self.after(result)


def written(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


async def added(knowledge: Knowledge, *roots: Path, labels: Labels | None = None) -> dict[str, FileResult]:
    """Add files; return the results by file name, after checking that the progress was told the same."""
    progress = Counted()
    ingested = await add_files(knowledge.documents, roots, labels or Labels(), progress)
    results = ingested.results
    assert ingested.stopped_by is None
    assert progress.files == len(results)
    assert sorted(progress.results, key=str) == sorted(results, key=str)
    return {Path(result.path).name: result for result in results}


async def contents(knowledge: Knowledge) -> list[str]:
    """Return the contents of all documents, sorted."""
    async with knowledge.database.connection() as connection:
        return sorted(row["content"] for row in await connection.fetch("SELECT content FROM documents"))


async def whole(knowledge: Knowledge) -> bool:
    """Return whether every document has its chunks and vectors, and nothing waits for the indexer."""
    query = """SELECT NOT EXISTS (SELECT FROM index_queue)
               AND NOT EXISTS (SELECT FROM documents AS d
                               WHERE NOT EXISTS (SELECT FROM chunks AS c
                                                 WHERE c.document_id = d.id AND c.embedding IS NOT NULL))"""
    async with knowledge.database.connection() as connection:
        return bool(await connection.fetchval(query))


GOOD: dict[str, str | bytes] = {
    "bread.md": "# Bread\n\nFeed the starter twice a day.\n",
    "deep/down/tea.txt": "Green tea wants water of 70 degrees.",
    "windows.md": "\ufeff# Kettle\r\n\r\nDescale it with vinegar.\r\n",
    "utf16.txt": "Übergrößenträger".encode("utf-16"),
    "line\nbreak.md": "A file name may hold a newline.",
    "-rf.md": "A file name may look like an option.",
    "😀 name.md": "A file name may hold anything else.",
}
BAD: dict[str, tuple[str | bytes, str, str]] = {
    "paper.pdf": (b"%PDF-1.7\n%\xe2\xe3\xcf\xd3\n", "failed", "It is damaged, or no PDF."),
    "backup.tar": (b"x", "skipped", "a .tar file, which is not read from a folder"),
    "picture.md": (b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", "failed", "a binary file"),
    "empty.md": ("", "failed", "is empty"),
    "blank.md": (" \n\t\n", "failed", "only white space"),
    "nul.txt": (b"x" * 9000 + b"\n\x00", "failed", "NUL character in line 2"),
    "latin1.txt": ("Größe".encode("latin-1"), "failed", "not valid UTF-8: byte 0xf6 at offset 2"),
}


async def test_a_folder_of_good_and_bad_files(knowledge: Knowledge, tmp_path: Path) -> None:
    """Each file has its own end, with a reason where it was not taken; the good ones are found."""
    folder = written(tmp_path / "notes", GOOD | {name: content for name, (content, _, _) in BAD.items()})
    (folder / "loop").symlink_to(folder)
    (folder / "broken.md").symlink_to(folder / "nowhere")
    os.mkfifo(folder / "pipe.md")
    with (folder / "huge.md").open("wb") as huge:
        huge.truncate(1024**3)
    results = await added(knowledge, folder)
    for name, (_, status, reason) in BAD.items():
        assert results[name].status == status
        assert reason in (results[name].reason or "")
    assert {name: results[name].status for name in ("loop", "broken.md", "pipe.md", "huge.md")} == {
        "loop": "skipped",
        "broken.md": "failed",
        "pipe.md": "failed",
        "huge.md": "failed",
    }
    assert "1,073,741,824 bytes, and the limit is 33,554,432" in (results["huge.md"].reason or "")
    good = [result for result in results.values() if result.status == "indexed"]
    assert len(good) == len(GOOD) == len(await contents(knowledge))
    assert all(result.chunks and result.document_id and not result.reason for result in good)
    assert results["line\\nbreak.md"].status == "indexed"
    assert all(result.path.isprintable() for result in results.values())
    hits = await knowledge.searcher.search("how hot should water for tea be", limit=1)
    assert (hits[0].source, hits[0].metadata["path"]) == ("notes", "deep/down/tea.txt")
    assert await whole(knowledge)


async def test_a_file_that_is_named_is_tried_whatever_it_is_called(knowledge: Knowledge, tmp_path: Path) -> None:
    """Named files are looked into, whatever their suffix."""
    written(tmp_path, {"disk.img": b"MBR\n" + bytes(range(256)) * 8, "notes.cfg": "words = 1"})
    results = await added(knowledge, tmp_path / "disk.img", tmp_path / "notes.cfg", tmp_path / "nowhere.md")
    assert results["disk.img"].status == "failed"
    assert "binary file" in (results["disk.img"].reason or "")
    assert results["notes.cfg"].status == "indexed"
    assert "does not exist" in (results["nowhere.md"].reason or "")


async def test_formats_arrive_with_their_documents_and_positions(knowledge: Knowledge, tmp_path: Path) -> None:
    """A page's heading, a table's rows and an archive's messages are found; adding again changes what changed."""
    message = "From x\nMessage-ID: <{0}@x>\nSubject: {0}\n\nThe {0} departs at noon.\n\n"
    mbox = message.format("ferry") + message.format("train")
    folder = written(
        tmp_path / "in",
        {
            "bees.html": "<main><h1>Bees</h1><h2>Winter</h2><p>They cluster around the queen.</main>",
            "trips.mbox": mbox,
            "tools.csv": "tool,use\nchisel,carving joints\n",
            "out/generated.md": "Not this.",
            ".ayaignore": "out\n",
        },
    )
    first = await added(knowledge, folder)
    assert {name: result.status for name, result in first.items()} == {
        "bees.html": "indexed",
        "trips.mbox": "indexed",
        "tools.csv": "indexed",
        "in": "skipped",
    }
    assert first["trips.mbox"].reason == "documents: 2 indexed"
    for query, place, heading in [
        ("where do bees cluster", "bees.html", "Bees > Winter"),
        ("when does the train depart", "trips.mbox#train@x", "train"),
        ("what is a chisel for", "tools.csv#row-1", "tools, rows 1 to 1 > chisel"),
    ]:
        (hit,) = await knowledge.searcher.search(query, limit=1)
        assert hit.uri is not None
        assert (hit.uri, hit.heading) == (str(folder / place), heading)
    written(folder, {"trips.mbox": mbox + message.format("bus")})
    assert (await added(knowledge, folder))["trips.mbox"].reason == "documents: 1 indexed, 2 unchanged"
    assert await whole(knowledge)


@contextmanager
def ordinary_user() -> Generator[Path]:
    """Lend a folder, and have no more rights than an ordinary user, even when root runs the tests."""
    folder = Path(tempfile.mkdtemp())
    folder.chmod(0o777)
    root = os.geteuid() == 0
    if root:
        os.seteuid(NOBODY)
    try:
        yield folder
    finally:
        if root:
            os.seteuid(0)
        for each in folder.rglob("*"):
            each.chmod(0o700)
        shutil.rmtree(folder)


async def test_what_may_not_be_read_is_said_and_passed_over(
    knowledge: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A file and a folder without permission fail by themselves."""
    with ordinary_user() as folder:
        monkeypatch.setenv("HOME", str(folder))  # the driver looks for certificates there
        written(folder, {"secret.md": "mine", "closed/inside.md": "mine", "open.md": "Everybody's words."})
        (folder / "secret.md").chmod(0)
        (folder / "closed").chmod(0)
        results = await added(knowledge, folder)
    assert {name: result.status for name, result in results.items()} == {
        "secret.md": "failed",
        "closed": "failed",
        "open.md": "indexed",
    }
    assert "permission denied" in (results["secret.md"].reason or "")


async def test_adding_again_replaces_what_changed_and_leaves_the_rest(
    knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Known files stay, changed ones are replaced under their id, new ones come; from wherever they are named."""
    folder = written(tmp_path / "notes", {"a.md": "First words.", "b.md": "Second words."})
    first = await added(knowledge, folder)
    assert {result.status for result in first.values()} == {"indexed"}
    monkeypatch.chdir(tmp_path)
    again = await added(knowledge, Path("notes/../notes"))
    assert {result.status for result in again.values()} == {"unchanged"}
    written(folder, {"b.md": "Other words.", "c.md": "Third words."})
    third = await added(knowledge, Path("notes"))
    assert {name: result.status for name, result in third.items()} == {
        "a.md": "unchanged",
        "b.md": "updated",
        "c.md": "indexed",
    }
    assert {name: result.document_id for name, result in again.items()} == {
        name: third[name].document_id for name in again
    }
    assert await contents(knowledge) == ["First words.", "Other words.", "Third words."]
    assert await whole(knowledge)


async def test_labels_that_were_asked_for_are_a_change(knowledge: Knowledge, tmp_path: Path) -> None:
    """The same file under another category is updated, not left as it was."""
    folder = written(tmp_path, {"a.md": "Words."})
    await added(knowledge, folder)
    (result,) = (await added(knowledge, folder, labels=EXPLICIT)).values()
    assert (result.status, result.document_id) == ("updated", (await knowledge.documents.get(1)).id)
    document = await knowledge.documents.get(1)
    assert (document.category, document.source, document.metadata) == (
        "kitchen",
        "book",
        {"path": "a.md", "year": 1999},
    )


async def test_default_labels_undo_no_edit(knowledge: Knowledge, tmp_path: Path) -> None:
    """Labels changed with `aya edit` stay when the folder is added again, unless others are asked for."""
    folder = written(tmp_path, {"a.md": "Words."})
    await added(knowledge, folder)
    await knowledge.documents.edit(1, Changes(category="mine", source="me"))
    (again,) = (await added(knowledge, folder)).values()
    document = await knowledge.documents.get(1)
    assert (again.status, document.category, document.source) == ("unchanged", "mine", "me")
    (relabelled,) = (await added(knowledge, folder, labels=EXPLICIT)).values()
    assert (relabelled.status, (await knowledge.documents.get(1)).category) == ("updated", "kitchen")


async def test_roots_that_hold_each_other_settle(knowledge: Knowledge, tmp_path: Path) -> None:
    """A file below two roots is added once, labelled after the first, and the next run finds nothing to do."""
    folder = written(tmp_path / "notes", {"a.md": "One.", "sub/b.md": "Two."})
    first = await added(knowledge, folder, folder / "sub", labels=Labels(explicit=True))
    assert {name: result.status for name, result in first.items()} == {"a.md": "indexed", "b.md": "indexed"}
    assert {document.source for document in await knowledge.documents.newest(Filters(), limit=5)} == {"notes"}
    again = await added(knowledge, folder, folder / "sub", labels=Labels(explicit=True))
    assert {result.status for result in again.values()} == {"unchanged"}


async def test_the_same_content_twice_names_the_document_that_has_it(knowledge: Knowledge, tmp_path: Path) -> None:
    """A copy is skipped; the number in the reason is the first one's."""
    await added(knowledge, written(tmp_path / "one", {"a.md": "The same words."}))
    results = await added(knowledge, written(tmp_path / "two", {"b.md": "The same words."}))
    first = await knowledge.documents.get(1)
    assert results["b.md"] == FileResult(
        str(tmp_path / "two" / "b.md"), "skipped", f"it has the same content as document {first.id}", first.id, 1
    )


async def test_two_adds_of_one_folder_at_once_make_each_document_once(knowledge: Knowledge, tmp_path: Path) -> None:
    """Two processes, one folder: every file is indexed by one of them and unchanged for the other."""
    folder = written(tmp_path, {f"{number}.md": f"Note number {number}." for number in range(20)})
    async with (
        Database(knowledge.settings, application_name="aya-other") as database,
        EmbedderClient(knowledge.embedder.url) as embedder,
    ):
        both = await asyncio.gather(
            add_files(knowledge.documents, [folder], Labels(), Counted()),
            add_files(Documents(database, embedder), [folder], Labels(), Counted()),
        )
    for one, other in zip(both[0].results, both[1].results, strict=True):
        assert one.document_id == other.document_id
        assert {one.status, other.status} <= {"indexed", "unchanged"}
    assert Counter(result.status for each in both for result in each.results)["indexed"] == 20
    assert len(await contents(knowledge)) == 20
    assert await whole(knowledge)


@contextmanager
def own_embedder(port: int, log_file: Path) -> Generator[subprocess.Popen[bytes]]:
    """Run an embedder that a test may kill."""
    environment = {**os.environ, "AYA_EMBEDDER_PORT": str(port), "AYA_MODEL": "minilm"}
    with log_file.open("wb") as log:
        process = subprocess.Popen([sys.executable, "-m", "aya_embedder"], env=environment, stdout=log, stderr=log)
    try:
        await_healthy(f"http://127.0.0.1:{port}/health", process, log_file)
        yield process
    finally:
        process.kill()
        process.wait()


@pytest.mark.slow
async def test_an_embedder_that_is_killed_in_the_middle_loses_nothing(knowledge: Knowledge, tmp_path: Path) -> None:
    """The run says what was finished and what stopped it; what was added is whole, running again adds the rest."""
    folder = written(tmp_path / "notes", {f"{number}.md": f"Note number {number}." for number in range(40)})
    port = free_port()
    async with EmbedderClient(f"http://127.0.0.1:{port}") as embedder:
        documents = Documents(knowledge.database, embedder)
        with own_embedder(port, tmp_path / "embedder.log") as process:
            progress = Counted(after=lambda _: process.send_signal(signal.SIGKILL))
            stopped = await add_files(documents, [folder], Labels(), progress)
        assert isinstance(stopped.stopped_by, EmbedderUnavailable)
        assert sorted(stopped.results, key=str) == sorted(progress.results, key=str)
        kept = len(await contents(knowledge))
        assert 0 < kept < 40
        assert len(progress.results) <= kept
        assert await whole(knowledge)
        with own_embedder(port, tmp_path / "embedder.log"):
            results = (await add_files(documents, [folder], Labels(), Counted())).results
    assert Counter(result.status for result in results) == {"unchanged": kept, "indexed": 40 - kept}
    assert len(await contents(knowledge)) == 40


async def test_a_cancelled_add_leaves_whole_documents(knowledge: Knowledge, tmp_path: Path) -> None:
    """Ctrl-C in the middle: no document without its chunks, and the next run finishes."""
    folder = written(tmp_path, {f"{number}.md": f"Note number {number}." for number in range(40)})
    begun = asyncio.Event()
    run = asyncio.create_task(add_files(knowledge.documents, [folder], Labels(), Counted(after=lambda _: begun.set())))
    await begun.wait()
    run.cancel()
    with pytest.raises(asyncio.CancelledError):
        await run
    assert 0 < len(await contents(knowledge)) < 40
    assert await whole(knowledge)
    assert len(await added(knowledge, folder)) == len(await contents(knowledge)) == 40


async def test_a_database_that_goes_away_ends_the_run_in_words(knowledge: Knowledge, tmp_path: Path) -> None:
    """What concerns all files is not reported forty times."""
    folder = written(tmp_path, {f"{number}.md": f"Note number {number}." for number in range(10)})
    settings = replace(knowledge.settings, hosts=(("127.0.0.1", free_port()),))
    progress = Counted()
    async with Database(settings, application_name="aya-test") as database:
        ingested = await add_files(Documents(database, knowledge.embedder), [folder], Labels(), progress)
    assert isinstance(ingested.stopped_by, DatabaseUnavailable)
    assert ingested.results == progress.results == []


async def test_an_error_nobody_expected_is_no_result(knowledge: Knowledge, tmp_path: Path) -> None:
    """A progress whose output nobody reads any more (`aya add … | head -1`) ends the run, as what it is."""

    def unread(_: FileResult) -> None:
        raise BrokenPipeError(errno.EPIPE, "nobody reads")

    folder = written(tmp_path, {f"{number}.md": f"Note number {number}." for number in range(10)})
    with pytest.raises(ExceptionGroup) as caught:
        await add_files(knowledge.documents, [folder], Labels(), Counted(after=unread))
    assert caught.value.subgroup(BrokenPipeError) is not None
    assert await whole(knowledge)


async def test_an_embedder_with_too_much_to_do_is_waited_for(
    knowledge: Knowledge, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Overload is no failure of a file: it is asked again, later."""
    refusals = iter([True, True])

    class Busy(Documents):
        """Documents whose embedder refuses twice."""

        async def add(self, new: NewDocument, *, beside: Beside | None = None) -> Added:
            """Refuse, then add."""
            if next(refusals, False):
                raise EmbedderOverloaded("busy")
            return await super().add(new, beside=beside)

    async def at_once(_: float) -> None:
        """Do not wait."""

    monkeypatch.setattr("aya.ingest.asyncio.sleep", at_once)
    folder = written(tmp_path, {"a.md": "Words."})
    documents = Busy(knowledge.database, knowledge.embedder)
    (result,) = (await add_files(documents, [folder], Labels(), Counted())).results
    assert result.status == "indexed"


async def imported(knowledge: Knowledge, file: Path) -> list[FileResult]:
    """Import a file of records."""
    records = read_records(file, category="general", source=None, metadata={})
    return (await add_records(knowledge.documents, records, Counted())).results


async def test_bad_lines_of_an_import_are_reported_by_number(knowledge: Knowledge, tmp_path: Path) -> None:
    """Every line has its result, in order; a bad one stops nobody, whatever is wrong with it."""
    lines: list[tuple[object, str, str | None]] = [
        ({"id": 1, "text": "One."}, "indexed", None),
        ("no object", "failed", "a JSON str, not an object"),
        ({"id": 2, "text": ""}, "failed", "the document is empty"),
        ({"id": 3, "text": "NUL \x00"}, "failed", "NUL byte"),
        ({"id": 4, "text": "lone \ud800"}, "failed", "lone surrogate"),
        ({"id": 5, "text": "T", "title": "lone \ud800"}, "failed", '"title" holds a lone surrogate'),
        ({"id": 6, "text": "T", "title": "NUL \x00"}, "failed", '"title" holds a NUL byte'),
        ({"id": 7, "text": "C", "category": "c" * 51}, "failed", "51 characters; 50 are kept"),
        ({"id": 8, "text": "S", "source": "lone \ud800"}, "failed", '"source" holds a lone surrogate'),
        ({"id": 9, "text": "M", "metadata": {"a": "lone \ud800"}}, "failed", "the metadata is no JSON"),
        ({"id": 10, "text": "M", "metadata": {"a": float("nan")}}, "failed", "the metadata is no JSON"),
        ({"id": "11\x00", "text": "I"}, "failed", '"id" holds a NUL byte'),
        ({"id": "lone \ud800", "text": "I"}, "failed", '"id" holds a lone surrogate'),
        ({"id": 12, "text": "Kept."}, "skipped", "the same content as document"),
        ({"id": 13, "text": "Two."}, "indexed", None),
    ]
    await knowledge.documents.add(NewDocument("Kept."))
    file = tmp_path / "notes.jsonl"
    file.write_text("".join(json.dumps(line) + "\n" for line, _, _ in lines))
    results = await imported(knowledge, file)
    assert [result.path for result in results] == [f"{file}:{number}" for number in range(1, len(lines) + 1)]
    for result, (line, status, reason) in zip(results, lines, strict=True):
        assert result.status == status, (line, result)
        assert (reason or "") in (result.reason or "")
    assert await contents(knowledge) == ["Kept.", "One.", "Two."]
    assert await whole(knowledge)


async def test_an_import_again_replaces_by_id(knowledge: Knowledge, tmp_path: Path) -> None:
    """A record with an id is known by it; one without is known by its text."""
    file = tmp_path / "notes.jsonl"
    file.write_text('{"id": "a", "text": "One."}\n{"text": "Two."}\n')
    await imported(knowledge, file)
    file.write_text('{"id": "a", "text": "One, changed."}\n{"text": "Two."}\n')
    results = await imported(knowledge, file)
    assert [result.status for result in results] == ["updated", "skipped"]
    assert await contents(knowledge) == ["One, changed.", "Two."]


async def test_what_a_record_says_of_itself_is_said_explicitly(knowledge: Knowledge, tmp_path: Path) -> None:
    """A label that changed in the file is taken; a record without labels undoes no edit."""
    file = tmp_path / "notes.jsonl"
    file.write_text('{"id": "a", "text": "One.", "category": "x"}\n{"id": "b", "text": "Two."}\n')
    first = await imported(knowledge, file)
    named, bare = (result.document_id or 0 for result in first)
    await knowledge.documents.edit(bare, Changes(category="mine"))
    await knowledge.documents.edit(named, Changes(source="mine"))
    file.write_text('{"id": "a", "text": "One.", "category": "y"}\n{"id": "b", "text": "Two."}\n')
    assert [result.status for result in await imported(knowledge, file)] == ["updated", "unchanged"]
    assert (await knowledge.documents.get(named)).source == "mine"
    assert (await knowledge.documents.get(named)).category == "y"
    assert (await knowledge.documents.get(bare)).category == "mine"


async def test_a_record_keeps_its_date(knowledge: Knowledge, tmp_path: Path) -> None:
    """In UTC; without one a document is from now, and an import again takes a date that changed and undoes none."""
    file = tmp_path / "notes.jsonl"

    async def dates(*lines: str) -> list[str]:
        file.write_text("".join(line + "\n" for line in lines))
        await imported(knowledge, file)
        async with knowledge.database.connection() as connection:
            rows = await connection.fetch(
                "SELECT CASE WHEN created_at > localtimestamp - interval '1 minute' THEN 'now' "
                "ELSE created_at::text END AS date FROM documents ORDER BY content"
            )
        return [row["date"] for row in rows]

    first = ('{"id": 1, "text": "A", "created_at": "2021-03-28T02:30:00+02:00"}', '{"id": 2, "text": "B"}')
    assert await dates(*first) == ["2021-03-28 00:30:00", "now"]
    assert await dates('{"id": 1, "text": "A, changed"}', first[1]) == ["2021-03-28 00:30:00", "now"]
    again = ('{"id": 1, "text": "A, changed", "created_at": "1999-12-31"}', '{"id": 2, "text": "B"}')
    assert await dates(*again) == ["1999-12-31 00:00:00", "now"]
    assert await dates('{"id": 2, "text": "B, too", "created_at": "2020-02-29 12:00"}') == [
        "1999-12-31 00:00:00",
        "2020-02-29 12:00:00",
    ]
