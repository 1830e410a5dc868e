"""The document verbs without a database: what is refused at once, what is printed, and a draft that is never lost."""

from __future__ import annotations

import json
import shlex
from datetime import UTC, datetime
from pathlib import Path
from uuid import UUID

import pytest
from click.testing import CliRunner, Result

from aya.cli import add, main
from aya.cli import list as list_verb
from aya.cli import search as search_verb
from aya.cli.draft import draft
from aya.errors import AyaError, EmbedderUnavailable
from aya.file_results import FileResult, Ingested
from aya.home import Home
from aya.knowledge.types import Document, Hit

NOW = datetime(2026, 1, 2, tzinfo=UTC)
NO_UTF8 = b"\xff".decode("utf-8", "surrogateescape")


def run(home: Path, *arguments: str, given: bytes | None = None) -> Result:
    """Run a verb on a home in which nothing was made."""
    return CliRunner(env={"AYA_DEBUG": None, "DB_HOST": None}).invoke(main, ["--home", str(home), *arguments], given)


@pytest.mark.parametrize("words", ["a\x00b", NO_UTF8], ids=["nul", "bytes"])
@pytest.mark.parametrize(
    "call",
    [
        ("add", "--text", "x", "--title"),
        ("add", "--text", "x", "--category"),
        ("add", "--text", "x", "--source"),
        ("import", "f.jsonl", "--category"),
        ("import", "f.jsonl", "--source"),
        ("list", "--category"),
        ("list", "--source"),
        ("search", "words", "--category"),
        ("search", "words", "--source"),
        ("edit", "1", "--title"),
        ("edit", "1", "--category"),
        ("edit", "1", "--source"),
    ],
    ids=" ".join,
)
def test_words_that_no_document_can_have_are_a_usage_error(tmp_path: Path, call: tuple[str, ...], words: str) -> None:
    """Refused before anything is opened, with the option's name."""
    done = run(tmp_path, *call, words)
    assert done.exit_code == 2
    assert done.stderr.startswith(f"aya: {call[-1]} holds a ")
    assert f"next: type {call[-1]} in UTF-8" in done.stderr


@pytest.mark.parametrize("options", [("--offset", str(10**20)), ("--offset", "-1"), ("-n", "0"), ("-n", str(10**20))])
def test_a_list_beyond_all_bounds_is_a_usage_error(tmp_path: Path, options: tuple[str, str]) -> None:
    """In our words, not the driver's."""
    done = run(tmp_path, "list", *options)
    assert (done.exit_code, "aya: list takes 1 to 10000 documents" in done.stderr) == (2, True)


@pytest.mark.parametrize("call", [("add", "-"), ("edit", "1", "--text", "-")])
def test_standard_input_that_is_not_utf8_is_refused(tmp_path: Path, call: tuple[str, ...]) -> None:
    """With the command that converts it."""
    done = run(tmp_path, *call, given=b"Gr\xf6\xdfe")
    assert (done.exit_code, "standard input is not UTF-8 (byte 2)" in done.stderr) == (1, True)
    assert f"iconv -f WINDOWS-1252 -t UTF-8 FILE | aya {' '.join(call)}" in done.stderr


def document(content: str, title: str | None = None) -> Document:
    """Return a document that has nothing but a content."""
    return Document(7, UUID(int=7), 1, content, title, None, None, None, {}, NOW, NOW, 0, True, None)  # noqa: FBT003


@pytest.mark.parametrize(
    ("content", "title", "shown"),
    [
        ("", None, ""),
        (" \n ", None, ""),
        ("\n first \n second", None, "first "),
        ("x", "T", "T"),
        ("y" * 70, "", "y" * 60),
    ],
)
def test_a_row_of_the_list_ends_with_what_a_document_is_about(content: str, title: str | None, shown: str) -> None:
    """Its title, else its first words; a document that somebody left empty has neither."""
    assert list_verb.row_of(document(content, title))[-1] == shown


def hit(document_id: int | None) -> Hit:
    """Return a hit whose document says nothing of itself."""
    return Hit(
        chunk_id=12,
        chunk_ids=(12,),
        document_id=document_id,
        chunk_index=0,
        chunk_text="w",
        snippet="w",
        highlights=(),
        heading=None,
        char_start=None,
        char_end=None,
        page=None,
        score=1.0,
        distance=None,
        ranks={},
        title=None,
        uri=None,
        category=None,
        source=None,
        metadata={},
        created_at=NOW,
        document_content="w",
    )


def test_a_passage_of_no_document_is_shown_as_what_it_is() -> None:
    """A chunk typed by hand may belong to nothing."""
    assert (search_verb.place_of(hit(None)), search_verb.facts_of(hit(None))) == ("chunk 12 of no document",) * 2
    assert (search_verb.place_of(hit(3)), search_verb.facts_of(hit(3))) == ("document 3",) * 2


STOPPED = Ingested(
    [FileResult("a.md", "indexed", None, 1, 2), FileResult("b.md", "failed", "It is empty.")],
    EmbedderUnavailable("it is gone", hint="aya up"),
)
COUNTS = {"indexed": 1, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 1}


def test_what_was_finished_is_told_before_what_stopped_it(capsys: pytest.CaptureFixture[str]) -> None:
    """The summary for a person; the error follows as every error does."""
    with pytest.raises(EmbedderUnavailable):
        add.report(lambda: STOPPED, as_json=False)
    assert capsys.readouterr().err == "1 indexed, 1 failed, and then it had to stop.\n"


def test_a_failed_call_still_prints_its_document(capsys: pytest.CaptureFixture[str]) -> None:
    """--json: the files that were finished, and the error with its hint."""
    with pytest.raises(EmbedderUnavailable):
        add.report(lambda: STOPPED, as_json=True)
    told = json.loads(capsys.readouterr().out)
    assert told["error"] == {"message": "it is gone", "hint": "aya up"}
    assert told["summary"] == COUNTS
    assert [file["path"] for file in told["files"]] == ["a.md", "b.md"]


def test_a_call_that_never_began_prints_its_document_too(tmp_path: Path) -> None:
    """No node, no file to import: the document has no files and the reason."""
    for call in (("add", "--text", "x"), ("import", str(tmp_path / "none.jsonl"))):
        done = run(tmp_path, *call, "--json")
        told = json.loads(done.stdout)
        assert (done.exit_code, told["files"]) == (1, [])
        assert done.stderr.startswith(f"aya: {told['error']['message']}\n")


def edits(home: Home) -> list[Path]:
    """Return the drafts in a home."""
    return sorted((home.path / "edits").iterdir())


def type_into_a_draft(home: Home, text: str, error: BaseException | None = None) -> None:
    """Edit document 7, and have the edit end with `error`."""
    with draft(home, 7, "before") as file:
        assert (file.read_text(), file.stat().st_mode & 0o777) == ("before", 0o600)
        file.write_text(text)
        if error is not None:
            raise error


def test_a_draft_that_was_kept_is_removed(tmp_path: Path) -> None:
    """The knowledge base has it now."""
    type_into_a_draft(Home(tmp_path / "home"), "after")
    assert edits(Home(tmp_path / "home")) == []


@pytest.mark.parametrize("text", ["before", " \n"])
def test_a_draft_without_words_of_its_own_is_removed(tmp_path: Path, text: str) -> None:
    """Nothing typed, nothing kept; the error passes as it is."""
    with pytest.raises(AyaError) as caught:
        type_into_a_draft(Home(tmp_path), text, AyaError("no", hint="aya up"))
    assert caught.value.hint == "aya up"
    assert edits(Home(tmp_path)) == []


@pytest.mark.parametrize(
    ("hint", "start"), [("aya show 7", "aya show 7; your text is kept: "), (None, "your text is ")]
)
def test_a_draft_that_was_refused_stays_and_the_error_says_where(tmp_path: Path, hint: str | None, start: str) -> None:
    """With the command that takes it, quoted for a shell."""
    home = Home(tmp_path / "my home")
    with pytest.raises(AyaError) as caught:
        type_into_a_draft(home, "after", AyaError("somebody was faster", hint=hint))
    (kept,) = edits(home)
    assert kept.read_text() == "after"
    assert kept.name.startswith("document-7-2")
    assert (caught.value.hint or "").startswith(start)
    assert (caught.value.hint or "").endswith(f"aya edit 7 --file {shlex.quote(str(kept))}")


def test_a_draft_survives_ctrl_c(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """What is no AyaError is said in a line of its own."""
    with pytest.raises(KeyboardInterrupt):
        type_into_a_draft(Home(tmp_path), "after", KeyboardInterrupt())
    (kept,) = edits(Home(tmp_path))
    assert f"your text is kept: aya edit 7 --file {kept}" in capsys.readouterr().err


def test_a_home_that_cannot_be_written_has_its_drafts_elsewhere(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """In the directory for temporary files, still for nobody else to read."""
    (tmp_path / "home").write_text("a file")
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    with draft(Home(tmp_path / "home"), 7, "before") as file:
        assert (file.parent, file.stat().st_mode & 0o777) == (tmp_path, 0o600)
