"""The pure half of taking files in: what a file becomes, and which errors concern every file."""

from __future__ import annotations

import inspect
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from aya import errors
from aya.file_results import FileResult, Status, result_of, together
from aya.ingest import Labels, concerns_all, find, new_document
from aya.knowledge.types import Added
from aya.knowledge.validation import LONGEST_SOURCE
from aya.textfile import Found, TextFile

EACH = {errors.DocumentError, errors.TextTooLong, errors.DatabaseError, errors.DatabaseConflict}
TREE = [value for value in vars(errors).values() if inspect.isclass(value) and issubclass(value, errors.AyaError)]


def text_file(path: Path) -> TextFile:
    """Return a file that was read from `path`."""
    return TextFile(path, "words", "Title", True, "utf-8", 5, datetime(2026, 1, 1, tzinfo=UTC), {"a": "b", "c": "d"})  # noqa: FBT003


@pytest.mark.parametrize("error", TREE, ids=lambda each: each.__name__)
def test_only_a_documents_own_errors_let_the_next_file_have_its_turn(error: type[errors.AyaError]) -> None:
    """An outage, a full disk or another model ends the run; a bad document ends itself."""
    assert concerns_all(error("x")) == (error not in EACH)


@pytest.mark.parametrize(
    ("root", "file", "source", "where"),
    [
        ("/notes", "/notes/a/b.md", "notes", "a/b.md"),
        ("/notes/b.md", "/notes/b.md", "b.md", "b.md"),
        ("/", "/b.md", "/", "b.md"),
        ("/" + "n" * 150, "/" + "n" * 150 + "/b.md", "n" * LONGEST_SOURCE, "b.md"),
        ("/a\nb", "/a\nb/c.md", r"a\nb", "c.md"),
    ],
)
def test_a_file_is_labelled_after_the_folder_that_was_named(root: str, file: str, source: str, where: str) -> None:
    """The source is the root's name, the path is told below it, and the whole path is the document's place."""
    document = new_document(Path(root), text_file(Path(file)), Labels())
    assert (document.source, document.metadata["path"], document.uri) == (source, where, file)
    assert (document.category, document.title, document.content) == ("general", "Title", "words")


def test_labels_of_the_call_win_over_the_files_own() -> None:
    """--source and --metadata stand above front matter."""
    labels = Labels("c", "s", {"a": 1})
    document = new_document(Path("/n"), text_file(Path("/n/f.md")), labels)
    assert (document.category, document.source) == ("c", "s")
    assert document.metadata == {"a": 1, "c": "d", "path": "f.md"}


@pytest.mark.parametrize("explicit", [False, True])
def test_a_document_knows_whether_its_labels_were_asked_for(*, explicit: bool) -> None:
    """Defaults leave a document's labels alone; what somebody asked for does not."""
    assert new_document(Path("/n"), text_file(Path("/n/f.md")), Labels(explicit=explicit)).relabel is explicit


def test_a_file_under_several_roots_belongs_to_the_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """However they are named: inside each other, twice, or one by one."""
    (tmp_path / "notes" / "sub").mkdir(parents=True)
    for name in ("a.md", "sub/b.md", "paper.cfg"):
        (tmp_path / "notes" / name).write_text("words")
    monkeypatch.chdir(tmp_path)
    notes, sub, paper = Path("notes"), tmp_path / "notes" / "sub", Path("notes/paper.cfg")
    found = list(find([notes, sub, Path("notes/../notes"), paper]))
    assert [(root, entry.path, isinstance(entry, Found)) for root, entry in found] == [
        (notes, notes / "a.md", True),
        # Passed over in the folder, and then named: tried.
        (paper, paper, True),
        (notes, notes / "sub" / "b.md", True),
    ]
    assert [root for root, _ in find([sub, notes])] == [sub, notes, notes]


@pytest.mark.parametrize("root", ["notes", "./notes", "other/../notes"])
def test_a_file_has_one_place_however_it_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, root: str) -> None:
    """Added from here or from there, it is the same document."""
    (tmp_path / "notes").mkdir()
    (tmp_path / "other").mkdir()
    monkeypatch.chdir(tmp_path)
    document = new_document(Path(root), text_file(Path(root) / "f.md"), Labels())
    assert (document.source, document.uri) == ("notes", str(tmp_path / "notes" / "f.md"))


def test_the_folder_above_has_its_own_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`aya add ..` is not labelled with two dots."""
    (tmp_path / "inside").mkdir()
    monkeypatch.chdir(tmp_path / "inside")
    document = new_document(Path(".."), text_file(Path("../f.md")), Labels())
    assert (document.source, document.uri) == (tmp_path.name, str(tmp_path / "f.md"))


@pytest.mark.parametrize(
    ("added", "expected"),
    [
        (Added("indexed", 7, (1, 2)), FileResult("f", "indexed", None, 7, 2)),
        (Added("updated", 7, (3,)), FileResult("f", "updated", None, 7, 1)),
        (Added("unchanged", 7, (3,)), FileResult("f", "unchanged", None, 7, 1)),
        (Added("duplicate", 7, (3,)), FileResult("f", "skipped", "it has the same content as document 7", 7, 1)),
    ],
)
def test_every_outcome_has_its_result(added: Added, expected: FileResult) -> None:
    """A duplicate is skipped and names the document that has its content."""
    assert result_of("f", added) == expected


TOGETHER: list[tuple[list[Status], Status]] = [
    (["indexed", "unchanged"], "indexed"),
    (["unchanged", "updated"], "updated"),
    (["indexed", "failed", "indexed"], "failed"),
    (["skipped", "unchanged"], "unchanged"),
    ([], "failed"),
]


@pytest.mark.parametrize(("statuses", "status"), TOGETHER)
def test_a_file_of_several_documents_ends_as_the_worst_of_them(statuses: list[Status], status: Status) -> None:
    """So no failure is hidden behind what went well."""
    results = [FileResult(f"/m.mbox#{at}", each, None, at, 2) for at, each in enumerate(statuses)]
    one = together("/m.mbox", results)
    assert (one.path, one.status, one.document_id) == ("/m.mbox", status, None)
    assert one.chunks == 2 * sum(each in {"indexed", "updated"} for each in statuses)


def test_a_file_of_several_documents_tells_counts_and_the_first_failures() -> None:
    """Each with the document's name in the file; what concerns the file has none."""
    failures = [FileResult(f"/m.mbox#{at}", "failed", f"Reason {at}.") for at in range(9)]
    good = FileResult("/m.mbox#x", "indexed", None, 1, 1)
    said = together("/m.mbox", [good, FileResult("/m.mbox", "failed", "Cut."), *failures]).reason
    assert said == "documents: 10 failed, 1 indexed; the rest: Cut.; 0: Reason 0.; 1: Reason 1."


def test_a_file_of_one_document_is_told_as_it_is() -> None:
    """With its document's id."""
    result = FileResult("/a.pdf", "indexed", "Page 2 has no text.", 7, 3)
    assert together("/a.pdf", [result]) == result


def test_a_document_inside_a_file_has_a_place_of_its_own() -> None:
    """The file's, with its name in the file."""
    part = replace(text_file(Path("/n/m.mbox")), fragment="1@x")
    assert new_document(Path("/n"), part, Labels()).uri == "/n/m.mbox#1@x"
