"""Files are found and read, or refused with a reason; one bad file never ends a walk."""

import os
import shutil
import socket
import subprocess
import tempfile
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aya.textfile import Found, Refused, TextFile, discover, front_matter, read_text_file, shown_path

NOBODY = 65534


def written(folder: Path, name: str, content: str | bytes = "words") -> Path:
    """Write a file, and the folders above it."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path: Path, max_bytes: int = 1_000_000) -> TextFile:
    """Read a file that must not be refused."""
    result = read_text_file(path, max_bytes=max_bytes)
    assert isinstance(result, TextFile), result
    return result


def reason(path: Path, max_bytes: int = 1_000_000) -> str:
    """Return why a file is refused; it must be."""
    result = read_text_file(path, max_bytes=max_bytes)
    assert isinstance(result, Refused), result
    return result.reason


@pytest.fixture
def as_ordinary_user() -> Iterator[Path]:
    """A folder, and for as long as the test runs no more rights than an ordinary user has, even when root runs it."""
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
        for each in [folder, *folder.rglob("*")]:
            each.chmod(0o700)
        shutil.rmtree(folder)


# Reading

ENCODINGS = [
    ("utf-8", "naïve 数据\n".encode(), "utf-8"),
    ("utf-8 with a mark", b"\xef\xbb\xbf" + "naïve 数据\n".encode(), "utf-8-sig"),
    ("utf-16, little end first", b"\xff\xfe" + "naïve 数据\n".encode("utf-16-le"), "utf-16-le"),
    ("utf-16, big end first", b"\xfe\xff" + "naïve 数据\n".encode("utf-16-be"), "utf-16-be"),
]


@pytest.mark.parametrize(("data", "encoding"), [row[1:] for row in ENCODINGS], ids=[row[0] for row in ENCODINGS])
def test_unicode_is_read_with_or_without_a_byte_order_mark(tmp_path: Path, data: bytes, encoding: str) -> None:
    """UTF-8 needs no mark, UTF-16 does; the mark is no part of the text."""
    found = read(written(tmp_path, "a.txt", data))
    assert (found.text, found.encoding, found.size_bytes) == ("naïve 数据\n", encoding, len(data))


REFUSALS = [
    ("empty", b"", "It is empty."),
    ("a mark alone", b"\xef\xbb\xbf", "It is empty."),
    ("blank", " \r\n\t\u2003".encode(), "It holds only white space."),
    ("binary", b"GIF89a\x00\x01", "It is a binary file: there is a NUL byte at offset 6."),
    ("control characters", b"text" + bytes(range(1, 7)) * 9, "54 of its first 58 bytes are control characters"),
    ("a late NUL", b"line\n" * 2000 + b"a\0b", "It has a NUL character in line 2001, which PostgreSQL cannot hold."),
    ("a NUL in UTF-16", "\ufeffa\0b".encode("utf-16-le"), "NUL character in line 1"),
    ("UTF-32", "\ufeffab".encode("utf-32-le"), "NUL character in line 1"),
    ("Latin-1", b"words na" + b"\xefve", "not valid UTF-8: byte 0xef at offset 8."),
    ("Latin-1 after a mark", b"\xef\xbb\xbfna\xefve", "byte 0xef at offset 5."),
    ("a surrogate in UTF-8", b"ab\xed\xa0\x80", "byte 0xed at offset 2."),
    ("half a UTF-16 unit", b"\xff\xfea\0b", "not valid UTF-16: byte 0x62 at offset 4."),
    ("too large", b"a" * 101, "It is too large: 101 bytes, and the limit is 100."),
]


@pytest.mark.parametrize(("data", "sentence"), [row[1:] for row in REFUSALS], ids=[row[0] for row in REFUSALS])
def test_what_is_not_text_is_refused_with_a_reason(tmp_path: Path, data: bytes, sentence: str) -> None:
    """Nothing is guessed, cut or replaced silently."""
    limit = 100 if "too large" in sentence else 1_000_000
    assert sentence in reason(written(tmp_path, "a.txt", data), limit)


def test_another_encoding_comes_with_the_command_that_helps(tmp_path: Path) -> None:
    """The command can be pasted, whatever the file's name, and its result is then read."""
    path = written(tmp_path, "it's\nodd \\ name.txt", b"na\xefve")
    command = reason(path).partition("convert it: ")[2]
    assert "\n" not in command
    subprocess.run(["bash", "-c", command], cwd=tmp_path, check=True)  # noqa: S607
    assert read(tmp_path / "converted.txt").text == "naïve"


def test_a_huge_file_is_not_read(tmp_path: Path) -> None:
    """A sparse terabyte is refused by its size alone."""
    path = written(tmp_path, "huge.txt")
    os.truncate(path, 2**40)
    assert "1,099,511,627,776 bytes" in reason(path)


def test_a_file_that_grows_meanwhile_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The limit holds for what is read, not only for what stat said."""
    path = written(tmp_path, "log.txt", b"a" * 50)

    def grow(*_: object) -> None:
        path.write_bytes(b"a" * 500)

    monkeypatch.setattr("aya.textfile._refused_by_status", grow)
    assert reason(path, 100) == "It is too large: more than 100 bytes, and the limit is 100."


def test_a_pipe_is_never_opened(tmp_path: Path) -> None:
    """Opening a named pipe would wait for a writer for ever."""
    os.mkfifo(tmp_path / "pipe.txt")
    assert reason(tmp_path / "pipe.txt") == "It is a named pipe, not a regular file."


def test_a_pipe_that_takes_a_files_place_does_not_block(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Between stat and open anything may happen."""
    os.mkfifo(tmp_path / "pipe.txt")

    def not_yet_a_pipe(*_: object) -> None:
        pass

    monkeypatch.setattr("aya.textfile._refused_by_status", not_yet_a_pipe)
    assert "does not exist" in reason(tmp_path / "pipe.txt")


def test_other_special_files_are_refused_by_their_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A device, a folder and a socket are named for what they are."""
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind("socket.txt")
        assert "a socket" in reason(tmp_path / "socket.txt")
    assert "a character device" in reason(Path("/dev/zero"))
    assert "a folder" in reason(tmp_path)


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    """It may vanish between the walk and the reading."""
    (tmp_path / "broken.txt").symlink_to("nowhere")
    (tmp_path / "loop.txt").symlink_to("loop.txt")
    assert reason(tmp_path / "gone.txt") == "It does not exist (any more)."
    assert reason(tmp_path / "broken.txt") == "It is a symbolic link to something that does not exist."
    assert "It cannot be read" in reason(tmp_path / "loop.txt")
    assert "NUL" in reason(Path("a\0b"))
    assert "It cannot be read: File name too long." in reason(Path("a" * 5000))


def test_a_forbidden_file_is_refused(as_ordinary_user: Path) -> None:
    """Without the right to read, nothing is read."""
    path = written(as_ordinary_user, "secret.txt")
    path.chmod(0)
    assert reason(path) == "It may not be read: permission denied."


def test_a_name_that_is_not_utf8_is_refused_and_shown_escaped(tmp_path: Path) -> None:
    """The database could not hold the name, and a terminal could not print it."""
    (refused,) = discover([Path(os.fsdecode(os.fsencode(tmp_path) + b"/caf\xe9.txt"))])
    assert isinstance(refused, Refused)
    assert refused.shown.endswith("/caf\\xe9.txt")
    assert "not valid UTF-8" in refused.reason


def test_newlines_and_content_are_kept_as_they_are(tmp_path: Path) -> None:
    """The text is the file's, front matter included."""
    content = "---\r\ntitle: A\r\n---\rb\nc\x0b\r\n"
    assert read(written(tmp_path, "a.md", content)).text == content


def test_the_time_of_change_is_utc(tmp_path: Path) -> None:
    """The file's mtime, with its zone."""
    path = written(tmp_path, "a.txt")
    os.utime(path, (0, 86_400))
    assert read(path).modified_at == datetime(1970, 1, 2, tzinfo=UTC)


TITLES = [
    ("first heading", "a.md", "words\n\n## *First* one\n\n# Second", "First one"),
    ("front matter", "a.md", '---\ntitle: "From above"\n---\n# First', "From above"),
    ("neither", "my notes.md", "words", "my notes"),
    ("no heading in plain text", "plain.txt", "# not one", "plain"),
    ("front matter of plain text", "plain.txt", "---\ntitle: T\n---\nwords", "T"),
    ("suffix in capitals", "A.MARKDOWN", "# One", "One"),
    ("no suffix", "README", "# not one", "README"),
]


@pytest.mark.parametrize(("name", "content", "title"), [row[1:] for row in TITLES], ids=[row[0] for row in TITLES])
def test_the_title(tmp_path: Path, name: str, content: str, title: str) -> None:
    """Front matter says it, else the first heading, else the name."""
    assert read(written(tmp_path, name, content)).title == title


SCALARS: list[tuple[str, str, dict[str, str]]] = [
    ("plain", "title: Bread, and butter # really", {"title": "Bread, and butter"}),
    ("quoted", "a: \"x: y # z\"\nb: 'it'", {"a": "x: y # z", "b": "it"}),
    (
        "numbers and dates stay as written",
        "n: 007\nd: 2024-01-31\nt: 12:30",
        {"n": "007", "d": "2024-01-31", "t": "12:30"},
    ),
    ("a hash inside a word", "tag: c#", {"tag": "c#"}),
    ("the last of two", "a: 1\na: 2", {"a": "2"}),
    ("nothing", "a:\nb: ''\nc: # no", {}),
    ("lists", "a: [1, 2]\nb:\n- x\n- y\nc:\n  - z", {}),
    ("nested", "a:\n  b: c", {}),
    ("blocks", "a: |\n  words: two\nb: >-\n  more", {}),
    ("more than a line", "a: one\n  two\nb: three", {"b": "three"}),
    ("anchors, aliases, tags", "a: &x 1\nb: *x\nc: !!str 1", {}),
    ("escapes and broken quotes", 'a: "x\\n"\nb: "x\nc: "', {}),
    ("comments", "# a: b\nc: d", {"c": "d"}),
    ("a colon that YAML forbids", "a: b: c", {}),
]


@pytest.mark.parametrize(("yaml", "pairs"), [row[1:] for row in SCALARS], ids=[row[0] for row in SCALARS])
def test_front_matter_gives_its_flat_scalars(yaml: str, pairs: dict[str, str]) -> None:
    """What is not a scalar on one line stays in the text alone."""
    assert front_matter(f"---\n{yaml}\n---\nwords: not these\n") == pairs


@given(st.text())
def test_any_text_has_front_matter_or_none(text: str) -> None:
    """No text breaks the parser."""
    assert all(key and value for key, value in front_matter(f"---\na: {text}\n---\n").items())


# Finding


def shown(found: Found | Refused, below: Path) -> str:
    """Return the path below a folder, refusals in brackets."""
    name = shown_path(found.path.relative_to(below))
    return name if isinstance(found, Found) else f"({name})"


def walked(folder: Path, *, hidden: bool = False) -> list[str]:
    """Walk one folder."""
    return [shown(each, folder) for each in discover([folder], hidden=hidden)]


def test_a_folder_is_walked_in_order_for_known_suffixes(tmp_path: Path) -> None:
    """Text files come by name; other kinds are skipped with a reason, hidden ones silently."""
    for name in ["b.md", "a/z.TXT", "a/b/c.org", "a.log", "c.zip", "README", ".git/config.txt", ".hidden.md"]:
        written(tmp_path, name)
    assert walked(tmp_path) == ["(README)", "a/b/c.org", "a/z.TXT", "a.log", "b.md", "(c.zip)"]
    assert walked(tmp_path, hidden=True)[:2] == [".git/config.txt", ".hidden.md"]
    assert all(each.skipped for each in discover([tmp_path]) if isinstance(each, Refused))


def test_what_is_named_is_tried_whatever_it_is_called(tmp_path: Path) -> None:
    """A named file needs no known suffix, and a named hidden folder is walked."""
    paths = [written(tmp_path, name) for name in ["README", "code.py", ".profile"]]
    written(tmp_path, ".notes/a.md")
    assert list(discover(paths)) == [Found(path, named=True) for path in paths]
    assert list(discover([tmp_path / ".notes"])) == [Found(tmp_path / ".notes/a.md", named=False)]


def test_a_path_is_found_once(tmp_path: Path) -> None:
    """Naming a folder, a folder in it and a file in that finds the file once, in the first place."""
    path = written(tmp_path, "a/b.md")
    assert list(discover([path, tmp_path / "a", tmp_path, tmp_path / "a/../a"])) == [Found(path, named=True)]


def test_links_cannot_make_a_walk_endless(tmp_path: Path) -> None:
    """A link to a file is followed, a link to a folder only where it is named."""
    written(tmp_path, "a/b.md")
    (tmp_path / "a/up").symlink_to(tmp_path)
    (tmp_path / "a/link.md").symlink_to("b.md")
    (tmp_path / "a/gone.md").symlink_to("nowhere")
    assert walked(tmp_path) == ["a/b.md", "(a/gone.md)", "a/link.md", "(a/up)"]
    assert walked(tmp_path / "a/up") == ["a/b.md", "(a/gone.md)", "a/link.md", "(a/up)"]


def test_one_bad_entry_does_not_end_a_walk(as_ordinary_user: Path) -> None:
    """Closed folders, pipes and odd names are refused; what comes after them is found."""
    written(as_ordinary_user, "closed/a.md")
    (as_ordinary_user / "closed").chmod(0)
    os.mkfifo(as_ordinary_user / "pipe.txt")
    written(as_ordinary_user, "two\nlines.md")
    written(as_ordinary_user, "z.md")
    assert walked(as_ordinary_user) == ["(closed)", "(pipe.txt)", "two\\nlines.md", "z.md"]
    missing, found = discover([as_ordinary_user / "missing", as_ordinary_user / "z.md"])
    assert isinstance(missing, Refused)
    assert isinstance(found, Found)


SHOWN = [
    ("plain.md", "plain.md"),
    ("naïve 数据.md", "naïve 数据.md"),
    ("two\nlines\x1b[0m", "two\\nlines\\x1b[0m"),
    ("caf\udce9", "caf\\xe9"),
    ("left\u202eright", "left\\u202eright"),
]


@pytest.mark.parametrize(("name", "printed"), SHOWN)
def test_a_path_is_shown_in_one_harmless_line(name: str, printed: str) -> None:
    """Nothing in a name can move the cursor or turn the writing round."""
    assert shown_path(Path(name)) == printed
