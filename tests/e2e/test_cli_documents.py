"""The document verbs as a person types them, on a real home: results, exit codes, interruptions, outages."""

from __future__ import annotations

import asyncio
import json
import os
import pty
import shlex
import signal
import subprocess
import time
from collections.abc import Generator, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import asyncpg
import psutil
import pytest
from tests.e2e.test_up_nodes import AYA, ENVIRON, Machine, eventually, new_machine
from tests.integration.test_reembedding import random_model

from aya.settings import node_settings

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(300)]

NOTES: dict[str, str | bytes] = {
    "bread.md": "# Bread\n\nFeed the starter twice a day, with rye flour.\n",
    "garden/beans.md": "# Beans\n\nSow runner beans after the last frost in May.\n",
    "garden/tools.txt": "Oil the shears before the winter.",
}


@pytest.fixture(scope="module")
def prepared() -> Iterator[Machine]:
    """A machine with node alpha."""
    with new_machine() as made:
        made.aya("up", "--nodes", "alpha", "--detach")
        yield made


@pytest.fixture
def machine(prepared: Machine) -> Machine:
    """The machine, healthy whatever the test before did to it, without any document."""
    prepared.aya("up", "--detach")
    run_sql(prepared, "TRUNCATE documents RESTART IDENTITY CASCADE")
    run_sql(prepared, "TRUNCATE chunks CASCADE")
    return prepared


def run_sql(machine: Machine, statement: str) -> Any:  # noqa: ANN401 - whatever the statement returns
    """Run one statement as the owner and return its value."""

    async def run() -> object:
        connection = await asyncpg.connect(node_settings(machine.home, "alpha", environ={}).database.dsn())
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(run())


def told(machine: Machine, *arguments: str, expect: int = 0) -> dict[str, Any]:
    """Run a verb with --json and return its document."""
    document: dict[str, Any] = json.loads(machine.aya(*arguments, "--json", expect=expect).stdout)
    return document


def piped(machine: Machine, *arguments: str, given: bytes) -> subprocess.CompletedProcess[bytes]:
    """Run a verb with something on its standard input."""
    command = [AYA, "--home", str(machine.home.path), *arguments]
    return subprocess.run(command, input=given, capture_output=True, env=ENVIRON, timeout=60, check=False)


def written(folder: Path, files: dict[str, str | bytes]) -> Path:
    """Write files below a folder."""
    for name, content in files.items():
        file = folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(content if isinstance(content, bytes) else content.encode())
    return folder


def many(folder: Path, count: int) -> Path:
    """Write so many different notes, each of several chunks."""
    words = "the starter rises slowly in a cold kitchen and wants patience, flour and water. " * 60
    return written(folder, {f"{number:04}.md": f"# Note {number}\n\n{number} {words}" for number in range(count)})


def whole(machine: Machine) -> bool:
    """Return whether every document has its chunks and vectors."""
    query = """SELECT NOT EXISTS (SELECT FROM documents AS d
                                  WHERE NOT EXISTS (SELECT FROM chunks AS c
                                                    WHERE c.document_id = d.id AND c.embedding IS NOT NULL))"""
    return bool(run_sql(machine, query))


def count(machine: Machine) -> int:
    """Return how many documents there are, after checking that no content is there twice."""
    rows = int(run_sql(machine, "SELECT count(*) FROM documents"))
    assert run_sql(machine, "SELECT count(DISTINCT content) FROM documents") == rows
    return rows


# Adding


def test_a_folder_with_a_bad_file_and_the_same_again(machine: Machine, tmp_path: Path) -> None:
    """A line for each file, a summary, exit code 1 for the bad one; the second time nothing changes."""
    folder = written(tmp_path / "my notes", NOTES | {"latin.txt": "Größe".encode("latin-1"), "paper.tar": b"x"})
    done = machine.aya("add", str(folder), expect=1)
    for name in NOTES:
        assert f"indexed    {folder}/{name}  (document " in done.stdout
    assert f"skipped    {folder}/paper.tar  (It is a .tar file, which is not read from a folder" in done.stdout
    assert f"failed     {folder}/latin.txt  (It is not valid UTF-8: byte 0xf6 at offset 2." in done.stdout
    assert done.stderr.endswith('3 indexed, 1 skipped, 1 failed. Next: aya search "what you want to know"\n')
    (folder / "latin.txt").unlink()
    assert machine.aya("add", str(folder)).stderr.startswith("3 unchanged, 1 skipped.")
    assert count(machine) == 3
    assert whole(machine)


def test_a_folder_and_the_folder_inside_it_settle(machine: Machine, tmp_path: Path) -> None:
    """`aya add notes notes/sub`: each file once, and the second time there is nothing to do."""
    folder = written(tmp_path / "notes", NOTES)
    both = ("add", str(folder), str(folder / "garden"))
    assert told(machine, *both)["summary"]["indexed"] == 3
    assert told(machine, *both)["summary"] == {"indexed": 0, "updated": 0, "unchanged": 3, "skipped": 0, "failed": 0}
    assert {each["source"] for each in told(machine, "list")["documents"]} == {"notes"}


def test_a_text_and_standard_input(machine: Machine) -> None:
    """Their line names the document; a title is theirs to have; the same text twice is skipped."""
    assert machine.aya("add", "--text", "Words.").stdout == "indexed    text  (document 1, 1 chunk)\n"
    assert machine.aya("add", "--text", "Words.").stdout == (
        "skipped    text  (it has the same content as document 1)\n"
    )
    done = piped(machine, "add", "-", "--title", "From a pipe", "--category", "kitchen", given="Größe.".encode())
    assert (done.returncode, done.stdout) == (0, b"indexed    From a pipe  (document 2, 1 chunk)\n")
    shown = told(machine, "show", "2")
    assert (shown["content"], shown["title"], shown["category"]) == ("Größe.", "From a pipe", "kitchen")


def test_what_add_prints_as_json(machine: Machine, tmp_path: Path) -> None:
    """One document: a count by outcome, and a result a file."""
    folder = written(tmp_path / "n", {"a.md": "Words.", "empty.md": ""})
    document = told(machine, "add", str(folder), expect=1)
    assert document["summary"] == {"indexed": 1, "updated": 0, "unchanged": 0, "skipped": 0, "failed": 1}
    assert document["files"] == [
        {"path": f"{folder}/a.md", "status": "indexed", "reason": None, "document_id": 1, "chunks": 1},
        {"path": f"{folder}/empty.md", "status": "failed", "reason": "It is empty.", "document_id": None, "chunks": 0},
    ]


def test_labels_that_were_edited_stay_unless_others_are_asked_for(machine: Machine, tmp_path: Path) -> None:
    """`aya add` again undoes no edit; with --category it does what it is told."""
    folder = written(tmp_path / "n", {"a.md": "Words."})
    machine.aya("add", str(folder))
    machine.aya("edit", "1", "--category", "mine", "--source", "me")
    assert told(machine, "add", str(folder))["summary"]["unchanged"] == 1
    shown = told(machine, "show", "1")
    assert (shown["category"], shown["source"]) == ("mine", "me")
    assert told(machine, "add", str(folder), "--category", "ours")["summary"]["updated"] == 1
    assert told(machine, "show", "1")["category"] == "ours"


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (("add",), 2, "nothing to add"),
        (("add", "--text", "x", "/tmp"), 2, "give either paths or --text"),  # noqa: S108 - never opened
        (("add", "-", "x"), 2, "stands alone"),
        (("add", "x", "--title", "t"), 2, "--title is for --text and -"),
        (("add", "--text", "x", "--metadata", "{"), 2, "the metadata is not JSON"),
        (("add", "--text", " "), 1, "the document is empty"),
        (("add", "--text", "x", "--category", "c" * 51), 1, "51 characters; 50 are kept"),
        (("add", "/nowhere/at/all"), 1, ""),
        (("add", "--text", "x", "--node", "gamma"), 1, "there is no node 'gamma'"),
        (("search", " "), 2, "the query is empty"),
        (("search", "x", "-k", "0"), 2, "0 is not a number of results"),
        (("search", "x", "--mode", "psychic"), 2, "'psychic' is not one of"),
        (("search", "x", "--since", "yesterday"), 2, "does not match the format"),
        (("list", "--offset", "1" + "0" * 20), 2, "list takes 1 to 10000 documents"),
        (("show", "5"), 1, "there is no document 5\n  next: aya list"),
        (("show", "five"), 2, "'five' is not a valid integer"),
        (("rm",), 2, "Missing argument"),
        (("edit", "5", "--title", "t"), 1, "there is no document 5"),
        (("edit", "1", "--text", "a", "--file", "b"), 2, "give either --text or --file"),
        (("import", "/nowhere.jsonl"), 1, "/nowhere.jsonl cannot be read: No such file"),
        (("env", "gamma"), 1, "there is no node 'gamma'"),
        (("fly",), 2, "No such command"),
    ],
)
def test_a_wrong_call_is_words_and_an_exit_code(
    prepared: Machine, arguments: tuple[str, ...], code: int, said: str
) -> None:
    """2 when the call itself is wrong, 1 when it cannot be done; never a traceback."""
    done = prepared.aya(*arguments, expect=code)
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert "unexpected" not in done.stderr


# Looking


def test_search_finds_by_meaning_and_by_words(machine: Machine, tmp_path: Path) -> None:
    """All modes, the filters, --json; a pipe gets plain lines and the summary stands apart."""
    machine.aya("add", str(written(tmp_path / "notes", NOTES)), "--metadata", '{"year": 2026}')
    machine.aya("add", "--text", "Rye is a grain.", "--category", "botany")
    for mode in ("vector", "text", "hybrid"):
        document = told(machine, "search", "rye flour starter", "--mode", mode)
        assert document["mode"] == mode
        assert document["results"][0]["title"] == "Bread"
    plain = machine.aya("search", "when are beans sown", "-k", "1")
    first, second, third = plain.stdout.rstrip().splitlines()
    assert (first, second.strip()[:7]) == ("1. Beans", "# Beans")
    assert "garden/beans.md · characters 0–" in third
    assert "\x1b" not in plain.stdout + plain.stderr
    assert "1 passage in" in plain.stderr
    found = told(machine, "search", "rye", "--category", "botany")["results"]
    assert [hit["category"] for hit in found] == ["botany"]
    assert told(machine, "search", "rye", "--source", "notes", "--metadata", '{"year": 2026}')["count"] == 3
    assert told(machine, "search", "rye", "--metadata", '{"year": 1}')["count"] == 0
    assert told(machine, "search", "rye", "--until", "2020-01-01")["results"] == []
    assert "Nothing found. Next: aya list" in machine.aya("search", "rye", "--since", "2999-01-01").stderr


def test_a_chunk_typed_by_hand_without_a_document_is_found(machine: Machine) -> None:
    """It is shown as what it is; there is no document to show next."""
    run_sql(machine, "INSERT INTO chunks (chunk_text, chunk_index) VALUES ('a lonely zebra', 0)")
    done = machine.aya("search", "zebra", "--mode", "text")
    assert "a lonely zebra" in done.stdout
    assert "of no document" in done.stdout
    assert done.stderr.endswith("Next: aya list\n")
    assert told(machine, "search", "zebra", "--mode", "text")["results"][0]["document_id"] is None


def test_list_and_show(machine: Machine, tmp_path: Path) -> None:
    """The newest first, filtered and cut; an empty document typed by hand breaks nothing."""
    assert machine.aya("list").stderr == "No documents. Next: aya add ~/notes\n"
    machine.aya("add", str(written(tmp_path / "notes", NOTES)))
    machine.aya("add", "--text", "A last word\nand another.")
    run_sql(machine, "INSERT INTO documents (content) VALUES ('')")
    rows = machine.aya("list").stdout.splitlines()
    assert rows[0].split() == ["id", "created", "category", "source", "chunks", "state", "title"]
    ids = [row.split()[0] for row in rows[1:]]
    # Those of one folder are added at the same time, in any order.
    assert (ids[:2], sorted(ids[2:])) == (["5", "4"], ["1", "2", "3"])
    assert rows[2].endswith("indexed  A last word")
    assert [each["id"] for each in told(machine, "list", "-n", "1", "--offset", "1")["documents"]] == [4]
    assert told(machine, "list", "--source", "notes")["count"] == 3
    assert told(machine, "list", "--offset", str(2**62))["count"] == 0
    shown = machine.aya("show", "4")
    assert shown.stdout == "A last word\nand another.\n"
    assert "document: 4 (revision 1, 1 chunks, indexed)" in shown.stderr


def test_rm_removes_what_is_there_and_names_what_is_not(machine: Machine) -> None:
    """Exit code 1 for a document that was missing; the others are gone all the same."""
    machine.aya("add", "--text", "One.")
    machine.aya("add", "--text", "Two.")
    done = machine.aya("rm", "1", "77", expect=1)
    assert done.stdout == "removed  document 1\n"
    assert done.stderr == "aya: there is no document 77\n  next: aya list\n"
    assert told(machine, "rm", "2") == {"removed": [2], "missing": []}
    assert count(machine) == 0


# Changing


def edit_by_hand(machine: Machine, tmp_path: Path, script: str, *, expect: int = 0) -> subprocess.CompletedProcess[str]:
    """Run `aya edit 1` with a shell script as the editor; $1 is the file."""
    editor = tmp_path / "my editor.sh"
    editor.write_text(f"#!/bin/sh\n{script}\n")
    editor.chmod(0o755)
    return machine.aya("edit", "1", expect=expect, EDITOR=shlex.quote(str(editor)), VISUAL="")


def drafts(machine: Machine) -> list[Path]:
    """Return the texts that were typed and not kept."""
    return sorted((machine.home.path / "edits").glob("*"))


def test_edit_takes_a_text_a_file_and_labels(machine: Machine, tmp_path: Path) -> None:
    """A new text is found at once; labels alone leave it as it is."""
    machine.aya("add", "--text", "Before.")
    assert (
        machine.aya("edit", "1", "--text", "The ibis wades.").stdout == "updated  document 1 (revision 2, 1 chunks)\n"
    )
    assert told(machine, "search", "ibis", "--mode", "text")["count"] == 1
    (tmp_path / "new.md").write_text("# New\n\nFrom a file.\n")
    machine.aya("edit", "1", "--file", str(tmp_path / "new.md"), "--title", "New", "--metadata", '{"a": 1}')
    assert piped(machine, "edit", "1", "--text", "-", "--category", "c", given=b"From a pipe.").returncode == 0
    shown = told(machine, "show", "1")
    expected = ("From a pipe.", "New", "c", {"a": 1}, 4)
    assert tuple(shown[name] for name in ("content", "title", "category", "metadata", "rev")) == expected
    (tmp_path / "latin.md").write_bytes("Größe".encode("latin-1"))
    said = machine.aya("edit", "1", "--file", str(tmp_path / "latin.md"), expect=1).stderr
    assert "not valid UTF-8" in said


def test_edit_opens_an_editor(machine: Machine, tmp_path: Path) -> None:
    """What was typed is kept and no draft is left; an editor that only ends the last line changed nothing."""
    machine.aya("add", "--text", "Line one\r\nline two")
    assert edit_by_hand(machine, tmp_path, 'echo >> "$1"').stderr == "nothing was changed\n"
    assert "revision 2" in edit_by_hand(machine, tmp_path, 'echo " und mehr: ü" >> "$1"').stdout
    assert told(machine, "show", "1")["content"] == "Line one\r\nline two und mehr: ü\n"
    assert drafts(machine) == []


def test_a_conflict_keeps_what_was_typed(machine: Machine, tmp_path: Path) -> None:
    """Somebody was faster: the edit is refused, and the command in the hint does it after all."""
    machine.aya("add", "--text", "Before.")
    other = f'"{AYA}" --home "{machine.home.path}" edit 1 --text "Theirs." >&2'
    said = edit_by_hand(machine, tmp_path, f'{other}\necho "Mine." > "$1"', expect=1).stderr
    assert "document 1 was changed meanwhile (it is at revision 2)" in said
    (kept,) = drafts(machine)
    assert (kept.read_text(), kept.stat().st_mode & 0o777) == ("Mine.\n", 0o600)
    assert told(machine, "show", "1")["content"] == "Theirs."
    _, _, typed = said.partition("your text is kept: aya ")
    machine.aya(*shlex.split(typed))
    assert told(machine, "show", "1")["content"] == "Mine.\n"
    kept.unlink()


@pytest.mark.parametrize("script", ['echo "Mine." > "$1"; exit 1', 'printf "Gr\\366\\337e" > "$1"'])
def test_an_editor_that_fails_loses_nothing(machine: Machine, tmp_path: Path, script: str) -> None:
    """It crashed, or saved in another encoding: the file stays, and is named."""
    machine.aya("add", "--text", "Before.")
    said = edit_by_hand(machine, tmp_path, script, expect=1).stderr
    (kept,) = drafts(machine)
    assert f"your text is kept: aya edit 1 --file {shlex.quote(str(kept))}" in said
    assert told(machine, "show", "1")["content"] == "Before."
    kept.unlink()


def test_an_embedder_that_is_down_loses_no_edit(machine: Machine, tmp_path: Path) -> None:
    """The text that was typed stays in its file."""
    machine.aya("add", "--text", "Before.")
    with without_embedder(machine):
        said = edit_by_hand(machine, tmp_path, 'echo "Mine." > "$1"', expect=1).stderr
    (kept,) = drafts(machine)
    assert kept.read_text() == "Mine.\n"
    assert "cannot be reached" in said
    assert f"--file {shlex.quote(str(kept))}" in said
    kept.unlink()


def test_import_names_bad_lines_by_number(machine: Machine, tmp_path: Path) -> None:
    """The good lines are kept; importing again changes nothing."""
    file = tmp_path / "notes.jsonl"
    file.write_text('{"id": 1, "text": "One."}\nnonsense\n\n{"id": "x\\u0000", "text": "Four."}\n{"text": "Five."}\n')
    done = machine.aya("import", str(file), expect=1)
    assert f"failed     {file}:2  (it is no JSON" in done.stdout
    assert f'failed     {file}:4  (its "id" holds a NUL byte)' in done.stdout
    assert done.stderr.startswith("2 indexed, 2 failed.")
    document = told(machine, "import", str(file), expect=1)
    assert document["summary"] == {"indexed": 0, "updated": 0, "unchanged": 1, "skipped": 1, "failed": 2}
    assert count(machine) == 2


# The database and the shell


def test_migrate_again_changes_nothing_and_names_the_model(machine: Machine) -> None:
    """Safe to repeat."""
    done = machine.aya("migrate")
    assert "applied" not in done.stdout
    assert "schema version" in done.stdout
    assert "vectors by " in done.stdout


def test_the_base_moves_to_another_model_and_back(machine: Machine, tmp_path: Path) -> None:
    """Shown until it is over, asked for before, refused where it makes no sense; found before and after."""
    small = str(random_model(tmp_path / "small", 1))
    machine.aya("add", str(written(tmp_path / "notes", NOTES)))
    assert "already" in machine.aya("reembed").stdout
    assert "there is no model 'nonsense'" in machine.aya("reembed", "--model", "nonsense", "--yes", expect=1).stderr
    assert piped(machine, "reembed", "--model", small, given=b"n\n").returncode == 2
    assert told(machine, "reembed", "--status")["move"] is None

    moved = machine.aya("reembed", "--model", small, "--yes")
    assert "vectors by small" in moved.stdout
    assert f'model = "{small}"' in machine.home.config_file.read_text()
    assert told(machine, "reembed", "--status")["model"]["model"] == "small"
    assert told(machine, "search", "rye flour")["results"][0]["title"] == "Bread"
    machine.aya("add", "--text", "Added afterwards.")

    assert told(machine, "reembed", "--model", "minilm", "--yes")["model"]["model"].endswith("MiniLM-L6-v2")
    eventually(lambda: whole(machine), 60)
    assert told(machine, "search", "rye flour", "--mode", "vector")["results"][0]["title"] == "Bread"
    assert machine.alpha()["reembedding"] is None


def test_a_move_is_left_shown_rested_and_given_up(machine: Machine, tmp_path: Path) -> None:
    """Ctrl-C leaves it to the indexer; each flag says what it did, or that there is no move."""
    small = str(random_model(tmp_path / "small", 1))
    machine.aya("add", "--text", "A note.")
    for flag in ("--pause", "--resume", "--cancel", "--status"):
        assert "no move to another model is under way" in machine.aya("reembed", flag).stdout
    machine.aya("reembed", "--pause", "--cancel", expect=2)
    run_sql(machine, "CREATE VIEW mine AS SELECT embedding FROM chunks")
    try:
        with machine.begun("reembed", "--model", small, "--yes") as process:
            eventually(lambda: told(machine, "reembed", "--status")["move"] is not None, 30)
            eventually(lambda: "depend" in str(told(machine, "reembed", "--status")["move"]["error"]), 30)
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
        assert process.returncode == 130
        assert "the move goes on in the indexer" in said
        assert "moving to small" in machine.aya("status", expect=3).stdout
        assert "the move is paused" in machine.aya("reembed", "--pause").stdout
        assert "paused: 1 of 1 chunks (100 %)" in machine.aya("reembed", "--status").stdout
        assert "the move is resumed" in machine.aya("reembed", "--resume").stdout
        with machine.begun("reembed") as joined:
            assert joined.stdout is not None
            assert joined.stderr is not None
            assert "moving to small" in joined.stdout.readline()
            assert joined.stderr.readline().startswith("running: 1 of 1")
            joined.send_signal(signal.SIGINT)
            assert "the move goes on in the indexer" in joined.communicate(timeout=20)[1]
        assert "a move to small" in machine.aya("reembed", "--model", "minilm", "--yes", expect=1).stderr
    finally:
        assert "nobody is there to be asked" in machine.aya("reembed", "--cancel", expect=2).stderr
        machine.aya("reembed", "--cancel", "--yes")
        run_sql(machine, "DROP VIEW mine")
    assert told(machine, "reembed", "--status")["move"] is None
    assert machine.alpha()["health"] == "healthy"


@contextmanager
def unfinished_transaction(machine: Machine) -> Generator[None]:
    """Hold a transaction open that has seen the table: CREATE INDEX CONCURRENTLY waits for its end."""
    runner = asyncio.Runner()
    dsn = node_settings(machine.home, "alpha", environ={}).database.dsn()
    connection: asyncpg.Connection[asyncpg.Record] = runner.run(asyncpg.connect(dsn))
    try:
        runner.run(connection.execute("BEGIN ISOLATION LEVEL REPEATABLE READ; SELECT FROM documents LIMIT 1"))
        yield
    finally:
        runner.run(connection.close())
        runner.close()


@pytest.mark.parametrize("again", [("reembed", "--resume"), ("reembed", "--json")])
def test_a_move_that_was_cut_short_while_its_index_was_made_is_finished(
    machine: Machine, tmp_path: Path, again: tuple[str, ...]
) -> None:
    """Nothing says that the indexer goes on with it, everything says what does, and then it ends."""
    small = str(random_model(tmp_path / again[1], 1))
    before = told(machine, "reembed", "--status")["model"]["fingerprint"]
    machine.aya("add", "--text", "A note.")
    with unfinished_transaction(machine), machine.begun("reembed", "--model", small, "--yes") as process:
        eventually(lambda: told(machine, "reembed", "--status")["move"] is not None, 60)
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=20)
    assert "goes on in the indexer" not in said
    assert "aya reembed finishes it" in said
    assert "aya reembed finishes it" in machine.aya("reembed", "--status").stdout
    assert "aya reembed finishes it" in machine.aya("status", expect=3).stdout
    machine.aya(*again)
    eventually(lambda: told(machine, "reembed", "--status")["move"] is None, 60)
    assert told(machine, "reembed", "--status")["model"]["fingerprint"] != before
    machine.aya("reembed", "--model", "minilm", "--yes")


def test_a_start_after_a_move_that_nobody_watched_follows_the_database(machine: Machine, tmp_path: Path) -> None:
    """aya.toml still names the old model: it is set right; AYA_MODEL is pointed out."""
    small = str(random_model(tmp_path / "small", 1))
    machine.aya("add", "--text", "A note.")
    with unfinished_transaction(machine), machine.begun("reembed", "--model", small, "--yes") as process:
        eventually(lambda: told(machine, "reembed", "--status")["move"] is not None, 60)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=20)
    machine.aya("reembed", "--resume")
    eventually(lambda: told(machine, "reembed", "--status")["move"] is None, 60)
    assert not machine.home.config_file.exists() or small not in machine.home.config_file.read_text()

    machine.aya("down")
    assert "unset AYA_MODEL" in machine.aya("up", "--detach", expect=3, AYA_MODEL="minilm").stderr
    machine.aya("down")
    started = machine.aya("up", "--detach").stderr
    assert f'aya.toml now says  model = "{small}"' in started
    assert "next: " not in started
    assert f'model = "{small}"' in machine.home.config_file.read_text()
    assert machine.alpha()["model"]["embedder"]["model"] == "small"
    assert told(machine, "search", "note")["results"]
    machine.aya("reembed", "--model", "minilm", "--yes")


def test_ctrl_c_before_a_move_has_begun_says_that_nothing_is_left(machine: Machine, tmp_path: Path) -> None:
    """The embedder is frozen while it is asked for the model: there is no move, and none is promised."""
    embedder = psutil.Process(machine.pid("embedder"))
    embedder.suspend()
    try:
        with machine.begun("reembed", "--model", str(random_model(tmp_path / "small", 1)), "--yes") as process:
            assert process.stderr is not None
            assert "the embedder loads" in process.stderr.readline()
            process.send_signal(signal.SIGINT)
            _, said = process.communicate(timeout=20)
    finally:
        embedder.resume()
    assert process.returncode == 130
    assert "no move has begun, and nothing is left" in said
    assert told(machine, "reembed", "--status")["move"] is None


def test_the_shells_environment_reaches_the_node_without_a_home(machine: Machine, tmp_path: Path) -> None:
    """`eval "$(aya env alpha)"` is all that another machine's `aya` needs."""
    machine.aya("add", "--text", "Reached from anywhere.")
    command = f"""
        eval "$({shlex.quote(AYA)} --home {shlex.quote(str(machine.home.path))} env alpha)"
        export DB_HOST DB_PORT DB_NAME DB_USER DB_PASSWORD EMBEDDING_URL
        {shlex.quote(AYA)} --home {shlex.quote(str(tmp_path / "none"))} search --json reached
    """
    done = subprocess.run(["/bin/sh", "-c", command], capture_output=True, text=True, env=ENVIRON, check=True)
    assert json.loads(done.stdout)["results"][0]["chunk_text"] == "Reached from anywhere."


@pytest.mark.parametrize(("no_color", "coloured"), [("", True), ("1", False)])
def test_a_terminal_gets_colours_unless_nobody_wants_them(machine: Machine, no_color: str, *, coloured: bool) -> None:
    """NO_COLOR is honoured on a real terminal."""
    machine.aya("add", "--text", "The ibis wades.")
    leader, follower = pty.openpty()
    command = [AYA, "--home", str(machine.home.path), "search", "ibis"]
    environ = {**ENVIRON, "TERM": "xterm-256color", "NO_COLOR": no_color}
    subprocess.run(command, stdout=follower, stderr=subprocess.DEVNULL, env=environ, check=True)
    os.close(follower)
    said = os.read(leader, 65536).decode()
    os.close(leader)
    assert "ibis" in said
    assert ("\x1b[1;33m" in said) is coloured


HOSTILE = "ibis \x1b]0;owned\x07\x1b[2J\x1b[31mred\x1b[0m\rover \x9b31m \x7f end"


@pytest.mark.parametrize("words", [("search", "--mode", "text", "ibis"), ("show", "1"), ("list",)])
def test_what_was_stored_commands_no_terminal(machine: Machine, words: tuple[str, ...]) -> None:
    """No title is set, no screen cleared, no line overwritten; a pipe gets the text as it is."""
    machine.aya("add", "--text", HOSTILE, "--source", "s\x1b]0;owned\x07")
    leader, follower = pty.openpty()
    command = [AYA, "--home", str(machine.home.path), *words]
    subprocess.run(command, stdout=follower, stderr=follower, env={**ENVIRON, "TERM": "xterm-256color"}, check=True)
    os.close(follower)
    said = os.read(leader, 65536).decode()
    os.close(leader)
    assert "ibis" in said
    assert not [evil for evil in ("\x1b]", "\x07", "\x1b[2J", "\rover", "\x9b", "\x7f") if evil in said]
    if words[0] == "show":
        assert machine.aya(*words).stdout.rstrip("\n") == HOSTILE.replace("\r", "\n")  # as text is read


@pytest.mark.parametrize("verb", ["add", "list"])
def test_a_reader_that_leaves_ends_a_verb_in_silence(machine: Machine, tmp_path: Path, verb: str) -> None:
    """`aya add notes | true`: exit code 141, no word, and only whole documents."""
    machine.aya("add", "--text", "Words.")
    arguments = ["add", str(many(tmp_path / "n", 12))] if verb == "add" else ["list"]
    reader, writer = os.pipe()
    os.close(reader)
    command = [AYA, "--home", str(machine.home.path), *arguments]
    done = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, env=ENVIRON, timeout=60, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr) == (141, b"")
    assert whole(machine)


# Interruptions and outages


def test_ctrl_c_leaves_whole_documents_and_the_next_run_finishes(machine: Machine, tmp_path: Path) -> None:
    """Exit code 130; nothing is half written, and running again makes no doubles."""
    folder = many(tmp_path / "many", 60)
    with machine.begun("add", str(folder)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("indexed")
        os.killpg(process.pid, signal.SIGINT)
        said = process.communicate(timeout=30)[1]
    assert (process.returncode, "aya: interrupted; what was finished is kept" in said) == (130, True)
    kept = count(machine)
    assert 0 < kept < 60
    assert whole(machine)
    assert told(machine, "add", str(folder))["summary"]["indexed"] == 60 - kept
    assert count(machine) == 60
    assert whole(machine)


def test_two_adds_of_one_folder_at_once_make_each_document_once(machine: Machine, tmp_path: Path) -> None:
    """Both end well, and every document is there once and whole."""
    folder = many(tmp_path / "many", 30)
    with machine.begun("add", str(folder), "--json") as one, machine.begun("add", str(folder), "--json") as other:
        told_by = [json.loads(process.communicate(timeout=120)[0]) for process in (one, other)]
    assert (one.returncode, other.returncode) == (0, 0)
    assert sum(document["summary"]["indexed"] for document in told_by) == 30
    assert all(document["summary"]["failed"] == 0 for document in told_by)
    assert count(machine) == 30
    assert whole(machine)


def without_embedder(machine: Machine) -> AbstractContextManager[None]:
    """Return a context in which the embedder is killed, and the supervisor frozen: nobody starts it again."""
    supervisor, embedder = machine.supervisord(), psutil.Process(machine.pid("embedder"))

    @contextmanager
    def outage() -> Generator[None]:
        os.kill(supervisor, signal.SIGSTOP)
        try:
            embedder.kill()
            yield
        finally:
            os.kill(supervisor, signal.SIGCONT)

    return outage()


def test_an_embedder_that_goes_away_ends_an_add_with_what_was_finished(machine: Machine, tmp_path: Path) -> None:
    """The lines so far, a summary, then the error and what to type; afterwards the rest is added."""
    folder, outage = many(tmp_path / "many", 60), without_embedder(machine)
    with machine.begun("add", str(folder)) as process:
        assert process.stdout is not None
        assert process.stdout.readline().startswith("indexed")
        with outage:
            _, said = process.communicate(timeout=60)
    assert process.returncode == 1
    assert " indexed, and then it had to stop.\naya: the embedder at http" in said
    assert "  next: aya status, then aya up" in said
    assert whole(machine)
    machine.aya("up", "--detach")
    assert told(machine, "add", str(folder))["summary"]["failed"] == 0
    assert count(machine) == 60


def test_an_add_that_cannot_begin_says_so_in_its_document(machine: Machine, tmp_path: Path) -> None:
    """--json: no files, the error with its hint, exit code 1, within seconds."""
    folder = written(tmp_path / "n", NOTES)
    with without_embedder(machine):
        began = time.monotonic()
        document = told(machine, "add", str(folder), expect=1)
        assert time.monotonic() - began < 20
    assert document["files"] == []
    assert "cannot be reached" in document["error"]["message"]
    assert document["error"]["hint"] == "aya status, then aya up"


def test_a_frozen_embedder_keeps_nobody_waiting_for_ever(machine: Machine, tmp_path: Path) -> None:
    """A search ends in words, one by words alone needs no embedder; woken, it goes on as if nothing had been."""
    machine.aya("add", "--text", "Words.")
    embedder = psutil.Process(machine.pid("embedder"))
    embedder.suspend()
    try:
        began = time.monotonic()
        assert "did not answer in time" in machine.aya("search", "words", expect=1).stderr
        assert time.monotonic() - began < 30
        assert machine.aya("search", "words", "--mode", "text").stdout.startswith("1. ")
    finally:
        embedder.resume()
    machine.aya("add", str(written(tmp_path / "n", NOTES)))
