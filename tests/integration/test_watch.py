"""Folders that are followed, into a real knowledge base: what is gone goes, and nothing goes that was not meant."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
from tests.integration.conftest import Knowledge

from aya.errors import AyaError
from aya.file_results import FileResult
from aya.ingest import Labels, Whole
from aya.knowledge.places import Places
from aya.knowledge.types import Changes, Document, NewDocument
from aya.read_here import ReadHere
from aya.watch import Attaching, Followed, add_and_prune, follow
from aya.watch_gone import FolderGone, NotMeant, Taking, prune

pytestmark = pytest.mark.database

Told = list[tuple[str, str]]


class Heard:
    """What a person would read, as it comes."""

    def __init__(self) -> None:
        self.lines: asyncio.Queue[tuple[str, str]] = asyncio.Queue()

    def total(self, files: int) -> None:
        """Say nothing."""

    def done(self, result: FileResult) -> None:
        """Note a file's end."""
        self.lines.put_nowait((result.status, Path(result.path).name))

    def following(self, folders: Sequence[Path]) -> None:
        """Note that a look at everything is over."""
        self.lines.put_nowait(("following", folders[0].name))

    def again(self, why: str) -> None:
        """Note why everything is looked at."""
        self.lines.put_nowait(("again", why))

    def trouble(self, error: AyaError) -> None:
        """Note what holds it up."""
        self.lines.put_nowait(("trouble", type(error).__name__))

    def blind(self, why: str) -> None:
        """Fail: this system gives events."""
        raise AssertionError(why)

    def all(self) -> Told:
        """Return what was noted since."""
        return [self.lines.get_nowait() for _ in range(self.lines.qsize())]


def never(question: str) -> bool:
    """Say that it is not meant."""
    del question
    return False


async def looked(
    knowledge: Knowledge,
    *roots: Path,
    hinted: frozenset[Path] | None = None,
    meant: Callable[[str], bool] = never,
    everything: bool = False,
    ledger: Path | None = None,
) -> Told:
    """Look at folders once; return what is said of it, sorted. ledger: of another machine than the one that looks."""
    heard = Heard()
    progress = Attaching(heard, set(), everything=everything)
    with ReadHere(ledger or roots[0].parent / "read.sqlite3") as read_here:
        followed = Followed(roots, Labels(), meant, read_here)
        await add_and_prune(knowledge.documents, Places(knowledge.database), followed, progress, hinted)
    return sorted(heard.all())


def notes(folder: Path, *names: str) -> Path:
    """Write a note of each name, each with its own words."""
    for name in names:
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(f"The words of {name}.\n")
    return folder


async def kept(knowledge: Knowledge) -> dict[str, Document]:
    """Return the documents by the words they hold."""
    async with knowledge.database.connection() as connection:
        ids = [row["id"] for row in await connection.fetch("SELECT id FROM documents ORDER BY id")]
    documents = [await knowledge.documents.get(each) for each in ids]
    return {document.content.removeprefix("The words of ").removesuffix(".\n"): document for document in documents}


async def chunk_ids(knowledge: Knowledge, document_id: int) -> list[int]:
    """Return a document's chunks: they are made anew when it is embedded again."""
    async with knowledge.database.connection() as connection:
        rows = await connection.fetch("SELECT id FROM chunks WHERE document_id = $1 ORDER BY id", document_id)
    return [row["id"] for row in rows]


@pytest.mark.parametrize("hint", [True, False], ids=["hinted", "everything"])
async def test_a_renamed_file_keeps_its_document(knowledge: Knowledge, tmp_path: Path, *, hint: bool) -> None:
    """Its id, its chunks and its labels stay; its place, its path and the title that was its name move."""
    folder = notes(tmp_path / "n", "sub/old.txt", "other.txt")
    await looked(knowledge, folder)
    before = (await kept(knowledge))["sub/old.txt"]
    chunks = await chunk_ids(knowledge, before.id)
    (folder / "sub" / "old.txt").rename(folder / "new.txt")
    hinted = frozenset({folder / "sub" / "old.txt", folder / "new.txt"}) if hint else None
    assert await looked(knowledge, folder, hinted=hinted) == [("renamed", "new.txt")]
    after = (await kept(knowledge))["sub/old.txt"]
    assert (after.id, after.uri, after.title) == (before.id, str(folder / "new.txt"), "new")
    assert after.metadata["path"] == "new.txt"
    assert await chunk_ids(knowledge, before.id) == chunks
    assert await looked(knowledge, folder) == []


async def test_a_renamed_folder_takes_its_documents_along(knowledge: Knowledge, tmp_path: Path) -> None:
    """However many there are, it is no loss: nobody is asked."""
    folder = notes(tmp_path / "n", *(f"a/{number}.md" for number in range(12)))
    await looked(knowledge, folder)
    before = {words: document.id for words, document in (await kept(knowledge)).items()}
    (folder / "a").rename(folder / "b")
    told = await looked(knowledge, folder, hinted=frozenset({folder / "a", folder / "b"}))
    assert {status for status, _ in told} == {"renamed"}
    after = await kept(knowledge)
    assert {words: document.id for words, document in after.items()} == before
    assert all(document.uri and document.uri.startswith(str(folder / "b")) for document in after.values())


async def test_what_is_gone_goes_unless_somebody_else_says_it(knowledge: Knowledge, tmp_path: Path) -> None:
    """A deleted file's document goes; not one that another file says, was edited, or came from elsewhere."""
    folder = notes(tmp_path / "n", "gone.md", "edited.md", "copied.md", "stays.md", "deep/er/gone.md")
    shutil.copy(folder / "copied.md", folder / "copy.md")
    elsewhere = notes(tmp_path / "nn", "elsewhere.md")
    await looked(knowledge, folder)
    await looked(knowledge, elsewhere)
    await knowledge.documents.add(NewDocument("Typed by hand."))
    await knowledge.documents.edit((await kept(knowledge))["edited.md"].id, Changes(content="Edited here."))
    (elsewhere / "elsewhere.md").unlink()
    for name in ("gone.md", "edited.md", "copied.md"):
        (folder / name).unlink()
    shutil.rmtree(folder / "deep")
    assert await looked(knowledge, folder) == [
        ("kept", "copied.md"),
        ("kept", "edited.md"),
        ("removed", "gone.md"),
        ("removed", "gone.md"),
    ]
    assert set(await kept(knowledge)) == {"stays.md", "Edited here.", "copied.md", "elsewhere.md", "Typed by hand."}
    assert (await kept(knowledge))["copied.md"].uri == str(folder / "copy.md")
    # The edited one is said again; its file may come back, and is known then.
    notes(folder, "edited.md")
    assert await looked(knowledge, folder) == []


async def test_a_place_elsewhere_is_not_judged(knowledge: Knowledge, tmp_path: Path) -> None:
    """A path that lies below no followed folder may be another machine's: its document stays."""
    folder, elsewhere = notes(tmp_path / "n", "a.md", "stays.md"), tmp_path / "nn"
    elsewhere.mkdir()
    shutil.copy(folder / "a.md", elsewhere / "a.md")
    await looked(knowledge, folder)
    await looked(knowledge, elsewhere)
    (folder / "a.md").unlink()
    (elsewhere / "a.md").unlink()
    assert await looked(knowledge, folder) == [("kept", "a.md")]
    assert (await kept(knowledge))["a.md"].uri == str(elsewhere / "a.md")


async def test_what_cannot_be_seen_is_not_gone(knowledge: Knowledge, tmp_path: Path) -> None:
    """A folder that is missing or empty is a disk that is not mounted; a link that leads nowhere may lead there."""
    disk = notes(tmp_path / "disk", "far.md")
    folder = notes(tmp_path / "n", "a.md")
    (folder / "far.md").symlink_to(disk / "far.md")
    await looked(knowledge, folder)
    disk.rename(tmp_path / "unplugged")
    assert [status for status, _ in await looked(knowledge, folder)] == ["failed"]
    folder.rename(tmp_path / "away")
    with pytest.raises(FolderGone, match="cannot be looked into"):
        await looked(knowledge, folder, meant=lambda _: True)
    folder.mkdir()
    with pytest.raises(FolderGone, match="is empty"):
        await looked(knowledge, folder, meant=lambda _: True)
    assert set(await kept(knowledge)) == {"a.md", "far.md"}
    # An empty folder that nothing was read from is simply empty.
    (tmp_path / "new").mkdir()
    assert await looked(knowledge, tmp_path / "new") == []


async def test_a_link_goes_with_the_file_that_it_led_to(knowledge: Knowledge, tmp_path: Path) -> None:
    """What a link says is followed with its file: changed with it, and gone with it."""
    folder = notes(tmp_path / "n", "a.md")
    (folder / "link.md").symlink_to("a.md")
    await looked(knowledge, folder)
    notes(folder, "b.md")
    (folder / "b.md").rename(folder / "a.md")
    await looked(knowledge, folder, hinted=frozenset({folder / "a.md", folder / "b.md"}))
    assert set(await kept(knowledge)) == {"b.md"}
    (folder / "a.md").unlink()
    assert await looked(knowledge, folder, hinted=frozenset({folder / "a.md"})) == [("removed", "link.md")]
    assert await kept(knowledge) == {}


async def test_many_at_once_go_only_when_it_is_meant(knowledge: Knowledge, tmp_path: Path) -> None:
    """Somebody is asked with the numbers; until then all of them stay."""
    folder = notes(tmp_path / "n", *(f"{number}.md" for number in range(20)))
    await looked(knowledge, folder)
    for number in range(12):
        (folder / f"{number}.md").unlink()
    asked: list[str] = []

    def noted(question: str) -> bool:
        asked.append(question)
        return False

    with pytest.raises(NotMeant):
        await looked(knowledge, folder, meant=noted)
    assert asked == ["12 of 20 documents have lost their files; remove them?"]
    assert len(await kept(knowledge)) == 20
    assert len(await looked(knowledge, folder, meant=lambda _: True)) == 12
    assert len(await kept(knowledge)) == 8


async def test_a_file_that_comes_back_in_time_stays(knowledge: Knowledge, tmp_path: Path) -> None:
    """The disk is looked at again while the document is held."""
    folder = notes(tmp_path / "n", "a.md")
    await looked(knowledge, folder)
    document = (await kept(knowledge))["a.md"]
    places = Places(knowledge.database)
    assert await places.vanish(document.id, lambda _: False) is None
    assert await places.vanish(document.id + 1, lambda _: True) is None
    assert set(await kept(knowledge)) == {"a.md"}


async def test_a_fragment_lives_as_long_as_its_file(knowledge: Knowledge, tmp_path: Path) -> None:
    """A file may be several documents, each at path#fragment."""
    folder = notes(tmp_path / "n", "book.md", "other.md")
    await looked(knowledge, folder)
    for part in ("one", "two"):
        await knowledge.documents.add(NewDocument(f"Part {part}.", uri=f"{folder}/book.md#{part}"))
    assert await looked(knowledge, folder) == []
    (folder / "book.md").unlink()
    await looked(knowledge, folder, hinted=frozenset({folder / "book.md"}))
    assert set(await kept(knowledge)) == {"other.md"}


@pytest.mark.parametrize("hint", [True, False], ids=["hinted", "everything"])
async def test_what_is_no_more_in_its_file_goes(knowledge: Knowledge, tmp_path: Path, *, hint: bool) -> None:
    """A record, when the file could be read to its end; a file that is named like one stays."""
    folder = notes(tmp_path / "n", "other.md", "some.json#10.md")
    file = folder / "some.json"
    hinted = frozenset({file}) if hint else None
    records = [{"id": number, "title": f"t{number}", "content": f"Record {number}."} for number in range(3)]

    async def parts() -> list[int]:
        everything = "\n".join(await kept(knowledge))
        assert "other.md" in everything
        assert "some.json#10.md" in everything
        return [number for number in range(3) if f"Record {number}." in everything]

    file.write_text(json.dumps(records))
    await looked(knowledge, folder)
    assert await parts() == [0, 1, 2]
    file.write_text(json.dumps(records[:2])[:-2])
    assert await looked(knowledge, folder, hinted=hinted) == [("failed", "some.json")]
    assert await parts() == [0, 1, 2]
    file.write_text(json.dumps(records[:1]))
    told = await looked(knowledge, folder, hinted=hinted, meant=lambda _: True)
    assert [status for status, _ in told] == ["removed", "removed"]
    assert await parts() == [0]
    assert await looked(knowledge, folder, hinted=hinted) == []


async def test_what_another_machine_read_from_a_file_of_that_name_stays(knowledge: Knowledge, tmp_path: Path) -> None:
    """Its file is another one: what is not in ours was never in ours."""
    folder = notes(tmp_path / "n", "other.md")
    file = folder / "r.json"

    async def read(*ids: str, ledger: str) -> Told:
        file.write_text(json.dumps([{"id": each, "content": f"Record {each}."} for each in ids]))
        return await looked(knowledge, folder, ledger=tmp_path / ledger, meant=lambda _: True)

    await read("a1", "a2", ledger="alpha.sqlite3")
    await read("b1", "b2", ledger="air.sqlite3")
    assert [status for status, _ in await read("b1", ledger="air.sqlite3")] == ["removed"]
    everything = "\n".join(await kept(knowledge))
    assert [each for each in ("a1", "a2", "b1", "b2") if f"Record {each}." in everything] == ["a1", "a2", "b1"]


async def test_a_file_that_has_changed_since_it_was_read_loses_nothing(knowledge: Knowledge, tmp_path: Path) -> None:
    """What is in it now may be what was just added by somebody else."""
    folder = notes(tmp_path / "n", "other.md")
    file = folder / "r.json"
    file.write_text(json.dumps([{"id": 1, "content": "Record 1."}, {"id": 2, "content": "Record 2."}]))
    await looked(knowledge, folder)
    stale = Whole(str(file), (0, 0, 0), frozenset({f"{file}#1"}))
    taking = Taking(lambda _: True, lambda _: True, whole={str(file): stale})
    heard = Heard()
    assert await prune(Places(knowledge.database), [folder], Attaching(heard, set(), everything=False), taking) == []
    assert "Record 2." in "\n".join(await kept(knowledge))


@asynccontextmanager
async def followed(knowledge: Knowledge, folder: Path) -> AsyncGenerator[Callable[[int], Awaitable[Told]]]:
    """Follow a folder; lends what waits for so many lines."""
    heard = Heard()

    async def lines(count: int) -> Told:
        async with asyncio.timeout(20):
            return sorted([await heard.lines.get() for _ in range(count)])

    with ReadHere(folder.parent / "read.sqlite3") as read_here:
        what = Followed([folder], Labels(), never, read_here)
        run = asyncio.create_task(follow(knowledge.documents, Places(knowledge.database), what, heard))
        try:
            yield lines
        finally:
            run.cancel()
            with suppress(asyncio.CancelledError):
                await run


async def test_a_day_with_a_folder_that_is_followed(knowledge: Knowledge, tmp_path: Path) -> None:
    """New, written anew by a rename, moved with its folder, deleted: each is told once, and temporary files never."""
    folder = notes(tmp_path / "n", "a.md")
    async with followed(knowledge, folder) as lines:
        assert await lines(2) == [("following", "n"), ("indexed", "a.md")]
        # A new tree: its files are older than anybody could watch its folders.
        notes(folder, "new/deep/b.md", ".hidden/c.md", "d.md~", "e.cfg")
        assert await lines(1) == [("indexed", "b.md")]
        document = (await kept(knowledge))["new/deep/b.md"]
        # An editor's save: a temporary file beside it, renamed onto it.
        (folder / "a.md.tmp").write_text("Saved words.\n")
        (folder / "a.md.tmp").rename(folder / "a.md")
        assert await lines(1) == [("updated", "a.md")]
        (folder / "new").rename(folder / "moved")
        assert await lines(1) == [("renamed", "b.md")]
        (folder / "a.md").unlink()
        assert await lines(1) == [("removed", "a.md")]
    assert {words: each.id for words, each in (await kept(knowledge)).items()} == {"new/deep/b.md": document.id}


async def test_a_folder_that_goes_away_is_waited_for(knowledge: Knowledge, tmp_path: Path) -> None:
    """Unplugged and plugged in again: nothing is removed, and what changed meanwhile is found."""
    folder = notes(tmp_path / "n", "a.md", "b.md")
    async with followed(knowledge, folder) as lines:
        assert await lines(3) == [("following", "n"), ("indexed", "a.md"), ("indexed", "b.md")]
        folder.rename(tmp_path / "unplugged")
        assert await lines(1) == [("trouble", "FolderGone")]
        notes(tmp_path / "unplugged", "c.md")
        (tmp_path / "unplugged" / "b.md").unlink()
        (tmp_path / "unplugged").rename(folder)
        assert await lines(3) == [("following", "n"), ("indexed", "c.md"), ("removed", "b.md")]
    assert set(await kept(knowledge)) == {"a.md", "c.md"}


async def test_too_much_at_once_is_told_and_the_rest_is_followed(knowledge: Knowledge, tmp_path: Path) -> None:
    """What nobody meant to delete stays, and following goes on."""
    folder = notes(tmp_path / "n", *(f"{number}.md" for number in range(15)))
    async with followed(knowledge, folder) as lines:
        await lines(16)
        for number in range(12):
            (folder / f"{number}.md").unlink()
        assert await lines(1) == [("trouble", "NotMeant")]
        notes(folder, "new.md")
        assert await lines(1) == [("indexed", "new.md")]
    assert len(await kept(knowledge)) == 16


async def test_what_another_machine_has_read_is_not_gone(knowledge: Knowledge, tmp_path: Path) -> None:
    """Two Macs with different files under one path: neither takes out what only the other has, its own it does."""
    folder = notes(tmp_path / "n", "both.md", "theirs.md")
    await looked(knowledge, folder)
    (folder / "theirs.md").unlink()
    other = tmp_path / "other.sqlite3"
    assert await looked(knowledge, folder, ledger=other) == []
    assert set(await kept(knowledge)) == {"both.md", "theirs.md"}
    (folder / "both.md").unlink()
    notes(folder, "new.md")
    assert await looked(knowledge, folder, ledger=other) == [("indexed", "new.md"), ("removed", "both.md")]
    assert await looked(knowledge, folder) == [("removed", "theirs.md")]


async def test_what_was_made_on_a_laptop_is_found_gone_too(knowledge: Knowledge, tmp_path: Path) -> None:
    """AIR numbers what the primary has not taken yet downwards from -1."""
    folder = notes(tmp_path / "n", "a.md", "b.md")
    await looked(knowledge, folder)
    async with knowledge.database.connection() as connection:
        await connection.execute("ALTER TABLE chunks DROP CONSTRAINT chunks_document_id_fkey")
        await connection.execute("UPDATE documents SET id = -id")
    (folder / "a.md").unlink()
    assert await looked(knowledge, folder) == [("removed", "a.md")]
