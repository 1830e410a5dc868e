"""`aya import` as it is typed: a format or a file, the questions on a real terminal, and what is refused."""

from __future__ import annotations

import json
import os
import pty
import select
import sqlite3
import subprocess
import sys
import time
from collections.abc import Generator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from aya.cli import import_, main
from aya.cli.import_display import progress_of
from aya.sqlite_import.mapping import TableMapping, loads


def run(home: Path, *arguments: str) -> Result:
    """Run `aya import` on a home in which nothing was made."""
    return CliRunner(env={"AYA_DEBUG": None}).invoke(main, ["--home", str(home), "import", *arguments])


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """Notes of a program, and the table that it keeps its settings in."""
    path = tmp_path / "my notes.db"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(
            "CREATE TABLE notes (id INTEGER PRIMARY KEY, title TEXT, body TEXT, folder TEXT, created INTEGER);"
            "INSERT INTO notes VALUES (1, 'Bread', 'Feed the starter twice a day.', 'kitchen', 1622376000),"
            "(2, 'Beans', 'Sow runner beans after the last frost.', 'garden', 1622376001),"
            "(3, 'None', NULL, 'garden', 1622376003),"
            "(4, 'Peas', 'Sow peas in March, under glass.', 'garden', 1622376002);"
            "CREATE TABLE settings (name TEXT, number INT); INSERT INTO settings VALUES ('x', 1);"
        )
    return path


def test_without_a_format_it_is_a_json_lines_file(tmp_path: Path) -> None:
    """As it always was; the formats have names, and one help."""
    assert "cannot be read" in run(tmp_path, str(tmp_path / "none.jsonl")).stderr
    assert "cannot be read" in run(tmp_path, "--category", "x", str(tmp_path / "none.jsonl")).stderr
    assert "cannot be read" in run(tmp_path, "jsonl", str(tmp_path / "none.jsonl")).stderr
    for call in ((), ("--help",)):
        shown = run(tmp_path, *call)
        assert all(name in shown.output for name in import_.FormatGroup.verbs)
    assert "--mapping" in run(tmp_path, "sqlite", "--help").stdout


def test_a_file_of_another_format_names_its_call(file: Path, tmp_path: Path) -> None:
    """Whatever it was taken for, nothing is read as what it is not."""
    chats = tmp_path / "conversations.json"
    chats.write_text(json.dumps([{"mapping": {}, "title": "x"}]))
    for call, hint in (
        ((str(file),), f"aya import sqlite '{file}'"),
        ((str(chats),), f"aya import chatgpt {chats}"),
        (("claude", str(chats)), f"aya import chatgpt {chats}"),
        (("mcp-memory", str(chats)), f"aya import chatgpt {chats}"),
    ):
        done = run(tmp_path, *call)
        assert (done.exit_code, hint in done.stderr) == (2, True), done.stderr


def test_elsewhere_than_on_a_terminal_the_tables_are_shown(file: Path, tmp_path: Path) -> None:
    """With the call that would import what is proposed, which works as it is printed."""
    done = run(tmp_path, "sqlite", str(file))
    assert done.exit_code == 2
    assert "notes" in done.stdout
    assert "date (unix)" in done.stdout
    wanted = "--table notes --content body --title title --category folder --created-at created:unix --dry-run"
    assert f"aya import sqlite '{file}' {wanted}" in done.stderr
    rehearsed = run(tmp_path, "sqlite", str(file), *wanted.split(), "--json")
    assert rehearsed.exit_code == 0
    (table,) = json.loads(rehearsed.stdout)["tables"]
    assert (table["rows"], table["documents"], table["skipped"]) == (4, 3, {"NULL": 1})
    assert table["samples"][0]["uri"] == f"{file}#notes/1"
    listed = json.loads(run(tmp_path, "sqlite", str(file), "--json").stdout)["tables"]
    assert [(each["table"], each["rows"]) for each in listed] == [("notes", 4), ("settings", 1)]


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (("--table", "nots", "--content", "body"), "there is no table 'nots'"),
        (("--table", "notes", "--content", "boddy"), "no column 'boddy'"),
        (("--table", "notes", "--content", "body", "--created-at", "folder"), "holds no dates that are known"),
        (("--table", "notes", "--content", "body", "--id", "folder"), "does not tell the rows"),
        (("--mapping", "none.toml"), "none.toml cannot be read"),
        (("--mapping", "none.toml", "--title", "title"), "--mapping says it all"),
        (("--as", "a#b"), "--as takes a name without #"),
    ],
)
def test_a_call_that_is_wrong_says_what(file: Path, tmp_path: Path, options: tuple[str, ...], said: str) -> None:
    """Before anything is written."""
    done = run(tmp_path, "sqlite", str(file), *options)
    assert (done.exit_code, said in done.stderr) == (2, True), done.stderr


def test_a_mapping_is_saved_and_not_written_over(file: Path, tmp_path: Path) -> None:
    """And read again it says the same."""
    saved = tmp_path / "notes.toml"
    call = ("sqlite", str(file), "--dry-run", "--samples", "0")
    columns = ("--table", "NOTES", "--content", "Title,body", "--category", "=kitchen", "--metadata", "id")
    assert run(tmp_path, *call, *columns, "--save-mapping", str(saved)).exit_code == 0
    assert loads(saved.read_text(), "") == [
        TableMapping("notes", ("title", "body"), category="=kitchen", metadata=("id",))
    ]
    assert run(tmp_path, *call, "--mapping", str(saved)).stdout.startswith("notes: 4 rows, 4 documents")
    assert "is there already" in run(tmp_path, *call, *columns, "--save-mapping", str(saved)).stderr


@dataclass
class Terminal:
    """A process on a pseudo-terminal."""

    descriptor: int
    said: str = field(default="")

    def answer(self, question: str, typed: str) -> None:
        """Wait for a question, and type."""
        deadline = time.monotonic() + 30
        while question not in self.said:
            assert time.monotonic() < deadline, self.said
            if select.select([self.descriptor], [], [], 1)[0]:
                self.said += os.read(self.descriptor, 65536).decode()
        self.said = self.said[self.said.index(question) + len(question) :]
        os.write(self.descriptor, f"{typed}\n".encode())

    def rest(self) -> str:
        """Return what is said until the end."""
        try:
            while piece := os.read(self.descriptor, 65536).decode():
                self.said += piece
        except OSError:
            pass  # Linux says so when the other end is closed
        return self.said


@contextmanager
def terminal(*command: str) -> Generator[tuple[Terminal, subprocess.Popen[bytes]]]:
    """Start a program on a terminal of its own."""
    ours, theirs = pty.openpty()
    environ = {**os.environ, "TERM": "xterm", "COLUMNS": "200", "NO_COLOR": "1"}
    process = subprocess.Popen(command, stdin=theirs, stdout=theirs, stderr=theirs, env=environ)
    os.close(theirs)
    try:
        yield Terminal(ours), process
    finally:
        if process.poll() is None:
            process.kill()
        process.wait()
        os.close(ours)


def test_a_person_is_asked_and_may_go_back(file: Path, tmp_path: Path) -> None:
    """Each question has its proposal; a wrong answer is asked again; what would come out is shown before it is done."""
    saved = tmp_path / "notes.toml"
    program = [str(Path(sys.executable).with_name("aya")), "--home", str(tmp_path), "import", "sqlite", str(file)]
    with terminal(*program, "--save-mapping", str(saved), "--samples", "1") as (screen, process):
        screen.answer("Which table [1]", "9")
        screen.answer("from 1 to 2", "settings")
        screen.answer("[-]", "<")  # nothing in it looks like text: another table
        screen.answer("Which table [1]", "")
        screen.answer("Content", "boddy")
        screen.answer("no column 'boddy'", "")
        screen.answer("Title [title]", "<")
        screen.answer("Content", "body")
        screen.answer("Title [title]", "-")
        screen.answer("[folder]", "=diary")
        screen.answer("[-]", "")
        screen.answer("[created:unix]", "created")
        screen.answer("primary key) [-]", "")
        screen.answer("[rest]", "title")
        screen.answer("Another table, too? [y/N]", "")
        screen.answer("Import them? [Y/n]", "n")
        assert "nothing was written" in screen.rest()
        assert process.wait(timeout=20) == 0
    assert loads(saved.read_text(), "") == [
        TableMapping("notes", ("body",), category="=diary", created_at="created", metadata=("title",))
    ]


@pytest.mark.parametrize(
    ("done", "total", "rate", "said"),
    [
        (10, None, 5.0, "10 rows, 5/s"),
        (1000, 1_000_000, 100.0, "1,000 of 1,000,000 rows, 100/s, about 2.8 h left"),
        (1000, 4000, 100.0, "1,000 of 4,000 rows, 100/s, about 0 min left"),
        (4001, 4000, 0.0, "4,001 of 4,000 rows, 0/s, about 0 min left"),
    ],
)
def test_progress_in_words(done: int, total: int | None, rate: float, said: str) -> None:
    """For a log file, which has no bar."""
    assert progress_of(done, total, rate, "rows") == said
