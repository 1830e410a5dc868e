"""The root of the command line: lazy verbs, errors in words, exit codes, tables, shell assignments."""

from __future__ import annotations

import errno
import io
import json
import os
import re
import subprocess
import sys
from importlib import import_module
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from aya import cli
from aya.cli import LazyGroup, main, output
from aya.cli.env import assignments
from aya.dsn import DatabaseSettings
from aya.errors import AyaError, ConfigError, UsageError
from aya.settings import NodeSettings

HEAVY = ("asyncpg", "rich", "numpy", "httpx2", "psutil", "structlog", "mlx")


def group_of(verb: click.Command) -> click.Group:
    """Return a group like the real one, in which every name is `verb`."""

    class Group(LazyGroup):
        def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
            del ctx, cmd_name
            return verb

    return Group("aya")


def run_raising(error: BaseException) -> tuple[int, str]:
    """Run a verb that raises, under the real group; return exit code and standard error."""

    @click.command()
    def verb() -> None:
        raise error

    result = CliRunner().invoke(group_of(verb), ["verb"])
    return result.exit_code, result.stderr


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (AyaError("it broke, because", hint="aya up"), 1, "aya: it broke, because\n  next: aya up\n"),
        (ConfigError("no hint"), 1, "aya: no hint\n"),
        (UsageError("wrong call", hint="aya --help"), 2, "aya: wrong call\n  next: aya --help\n"),
        (ExceptionGroup("g", [ExceptionGroup("h", [AyaError("inside")])]), 1, "aya: inside\n"),
        (KeyboardInterrupt("half is done"), 130, "aya: interrupted; half is done\n"),
        (
            ZeroDivisionError("two\nlines"),
            1,
            "aya: unexpected ZeroDivisionError: two lines\n  next: AYA_DEBUG=1 aya … shows where it came from\n",
        ),
        (
            ExceptionGroup("g", [AyaError("known"), ExceptionGroup("h", [ValueError("x")])]),
            1,
            "aya: unexpected ValueError: x\n  next: AYA_DEBUG=1 aya … shows where it came from\n",
        ),
        (click.UsageError("no such option"), 2, "Error: no such option\n"),
    ],
)
def test_an_error_becomes_words_and_an_exit_code(
    error: BaseException, code: int, said: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What and why, then the next command; never a traceback."""
    monkeypatch.delenv("AYA_DEBUG", raising=False)
    exit_code, stderr = run_raising(error)
    assert exit_code == code
    assert stderr.endswith(said)


@pytest.mark.parametrize(
    "error",
    [
        BrokenPipeError(errno.EPIPE, "x"),
        ExceptionGroup("g", [AyaError("too"), ExceptionGroup("h", [BrokenPipeError(errno.EPIPE, "x")])]),
    ],
)
def test_output_that_nobody_reads_is_quiet(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    """Exit code 141, as of a program that SIGPIPE ended; in a task group too."""
    monkeypatch.delenv("AYA_DEBUG", raising=False)
    assert run_raising(error) == (141, "")


def test_debugging_shows_the_traceback(monkeypatch: pytest.MonkeyPatch) -> None:
    """AYA_DEBUG=1 lets the exception through."""
    monkeypatch.setenv("AYA_DEBUG", "1")
    with pytest.raises(ZeroDivisionError):
        cli.report(ZeroDivisionError())


def test_a_verb_may_return_an_exit_code() -> None:
    """A number returned is the exit code, as `aya status` does for degraded."""

    @click.command()
    def verb() -> int:
        return 3

    assert CliRunner().invoke(group_of(verb), ["verb"]).exit_code == 3


def test_help_imports_no_verb() -> None:
    """`aya --help` lists every verb, and loads neither driver nor terminal library."""
    code = (
        "import sys; from aya.cli import main\n"
        "try: main(['--help'])\n"
        f"finally: print(sorted(set({HEAVY!r}) & set(sys.modules)))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.splitlines()[-1] == "[]"
    assert all(f"\n  {verb} " in done.stdout for verb in cli.VERBS)


@pytest.mark.parametrize("verb", cli.VERBS)
def test_every_verb_in_the_table_exists(verb: str) -> None:
    """The table names a click command for each."""
    module, _, attribute = cli.VERBS[verb][0].partition(":")
    assert isinstance(getattr(import_module(module), attribute), click.Command)


def test_an_unknown_verb_is_a_usage_error() -> None:
    """Exit code 2, as for every wrong call."""
    assert CliRunner().invoke(main, ["fly"]).exit_code == 2


def test_a_closed_pipe_is_quiet() -> None:
    """`aya --help | head -0` says nothing."""
    reader, writer = os.pipe()
    os.close(reader)
    code = "from aya.cli import main; main(['--help'])"
    done = subprocess.run([sys.executable, "-c", code], stdout=writer, stderr=subprocess.PIPE, check=False)
    os.close(writer)
    assert done.stderr == b""


@pytest.mark.parametrize("closed", ["stdout", "both"])
def test_a_verb_that_nobody_reads_is_quiet(tmp_path: Path, closed: str) -> None:
    """`aya status | true` says nothing and ends with 141, whichever of its two streams is closed."""
    reader, writer = os.pipe()
    os.close(reader)
    command = [sys.executable, "-c", "from aya.cli import main; main()", "--home", str(tmp_path), "status"]
    error = writer if closed == "both" else subprocess.PIPE
    environ = {name: value for name, value in os.environ.items() if name != "AYA_DEBUG"}
    done = subprocess.run(command, stdout=writer, stderr=error, env=environ, check=False)
    os.close(writer)
    assert (done.returncode, done.stderr or b"") == (141, b"")


@given(st.text())
def test_an_inert_text_is_as_long_and_commands_nothing(text: str) -> None:
    """What a terminal would obey is gone, but for line ends, tabs and colours; places in the text stay true."""
    shown = output.inert(text)
    assert len(shown) == len(text)
    assert not re.search(r"[\x00-\x08\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f]|\x1b(?!\[[0-9;]*m)|\r(?!\n)", shown)
    assert output.inert(shown) == shown


def test_colours_and_line_ends_stay() -> None:
    """Our own words are coloured, too."""
    assert output.inert("\x1b[1;33ma\x1b[0m\tb\r\nc") == "\x1b[1;33ma\x1b[0m\tb\r\nc"
    assert output.inert("a\x1b[2Jb\x1b]0;t\x07") == "a\ufffd[2Jb\ufffd]0;t\ufffd"


def test_columns_are_aligned_by_what_the_eye_sees() -> None:
    """Wide characters take two columns, combining ones none; a line break never breaks a row."""
    rows = [("知識", "x"), ("e\u0301", "two\nlines"), ("plain", "")]
    lines = output.plain_table(("A", "B"), rows)
    assert lines == ["A      B", "知識   x", "e\u0301      two lines", "plain"]


def test_a_pipe_gets_plain_text_and_json_is_one_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Nothing but the document is on standard output."""
    output.progress("working")
    output.document({"name": "知識", "at": None})
    captured = capsys.readouterr()
    assert json.loads(captured.out) == {"name": "知識", "at": None}
    assert captured.err == "working\n"


class Terminal(io.StringIO):
    """A stream that claims to be a terminal."""

    def isatty(self) -> bool:
        """Claim to be one."""
        return True


@pytest.mark.parametrize(
    ("environ", "terminal", "colours"),
    [
        ({}, True, True),
        ({"NO_COLOR": "1"}, True, False),
        ({"NO_COLOR": ""}, True, True),
        ({"TERM": "dumb"}, False, False),
    ],
)
def test_no_color_is_honoured(environ: dict[str, str], *, terminal: bool, colours: bool) -> None:
    """Set and not empty turns colours off; a dumb terminal gets plain text."""
    assert output.is_terminal(Terminal(), environ) is terminal
    assert output.colours(Terminal(), environ) is colours
    assert output.colours(io.StringIO(), environ) is False


def test_shell_assignments_of_a_node() -> None:
    """The contract's six names, the password as it is."""
    settings = NodeSettings("alpha", DatabaseSettings((("h", 1),), "aya_rag", "aya_user", "p w'"), "http://e")
    assert assignments(settings) == [
        ("DB_HOST", "h"),
        ("DB_PORT", "1"),
        ("DB_NAME", "aya_rag"),
        ("DB_USER", "aya_user"),
        ("DB_PASSWORD", "p w'"),
        ("EMBEDDING_URL", "http://e"),
    ]


def test_several_ports_have_no_assignment() -> None:
    """DB_PORT is one number: an error, and not half of the truth."""
    settings = NodeSettings("alpha", DatabaseSettings((("a", 1), ("b", 2)), "d", "u"), "http://e")
    with pytest.raises(ConfigError, match="several ports"):
        assignments(settings)
