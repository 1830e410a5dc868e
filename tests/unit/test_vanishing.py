"""What becomes of documents whose files are gone, and when following a folder looks at everything."""

from __future__ import annotations

from pathlib import Path

import pytest

from aya import errors
from aya.file_results import FileResult
from aya.knowledge.vanishing import Placed, Vanishing, decide
from aya.watch import passes
from aya.watch_gone import FolderGone, result_of
from aya.watch_plan import ASLEEP_SECONDS, MOST_HINTS, RESCAN_SECONDS, Moment, Scan, hints, is_suspicious, rescan, tops


def placed(*, content: str = "x", title: str | None = "a", path: str | None = "a.md", **places: str) -> Placed:
    """Return document 7, read from /n/a.md and the like; a name may say a folder: sub_a is /n/sub/a.md."""
    return Placed(7, {f"/n/{name.replace('_', '/')}.md": sha for name, sha in places.items()}, content, title, path)


@pytest.mark.parametrize(
    ("document", "gone", "expected"),
    [
        (placed(a="x"), {"/n/b.md"}, None),
        (placed(a="x"), {"/n/a.md"}, Vanishing("removed", 7, ("/n/a.md",))),
        (placed(a="y"), {"/n/a.md"}, Vanishing("kept", 7, ("/n/a.md",))),
        (placed(a="x", b="x"), {"/n/a.md", "/n/b.md"}, Vanishing("removed", 7, ("/n/a.md", "/n/b.md"))),
        (placed(a="x", b="x"), {"/n/a.md"}, Vanishing("renamed", 7, ("/n/a.md",), "/n/b.md", "b.md", "b")),
        # Called after the one that stays already, or by its author: nothing of that changes.
        (placed(a="x", b="x"), {"/n/b.md"}, Vanishing("renamed", 7, ("/n/b.md",), "/n/a.md")),
        (placed(a="x", b="x", title="T", path=None), {"/n/a.md"}, Vanishing("renamed", 7, ("/n/a.md",), "/n/b.md")),
        # The heir is one that says what the document says, wherever it stands in the alphabet.
        (placed(a="x", b="y", c="x"), {"/n/a.md"}, Vanishing("renamed", 7, ("/n/a.md",), "/n/c.md", "c.md", "c")),
        (
            placed(sub_a="x", b="x", path="sub/a.md"),
            {"/n/sub/a.md"},
            Vanishing("renamed", 7, ("/n/sub/a.md",), "/n/b.md", "b.md", "b"),
        ),
    ],
)
def test_a_document_goes_with_its_last_file_unless_it_says_more(
    document: Placed, gone: set[str], expected: Vanishing | None
) -> None:
    """It stays while another file says it, or when it was edited here."""
    assert decide(document, frozenset(gone)) == expected


def test_a_file_elsewhere_gives_its_name_alone() -> None:
    """Below another folder there is no path to tell."""
    document = Placed(7, {"/n/a.md": "x", "/m/deep/b.md": "x"}, "x", "a", "a.md")
    assert decide(document, frozenset({"/n/a.md"})) == Vanishing(
        "renamed", 7, ("/n/a.md",), "/m/deep/b.md", "b.md", "b"
    )


@pytest.mark.parametrize(
    ("done", "attached", "expected"),
    [
        (Vanishing("removed", 7, ("/a",)), (), FileResult("/a", "removed", "document 7: its file is gone", 7)),
        (
            Vanishing("kept", 7, ("/a",)),
            (),
            FileResult("/a", "kept", "its file is gone, but document 7 was edited here: aya rm 7", 7),
        ),
        (Vanishing("renamed", 7, ("/a",), "/b"), (7,), FileResult("/b", "renamed", "document 7 was /a", 7)),
        (
            Vanishing("renamed", 7, ("/a",), "/b"),
            (8,),
            FileResult("/a", "kept", "it is gone, but /b says what document 7 says", 7),
        ),
    ],
)
def test_the_output_says_why(done: Vanishing, attached: tuple[int, ...], expected: FileResult) -> None:
    """An equal file that came just now is the new name of the one that went; one that was there before is not."""
    assert result_of(done, frozenset(attached)) == expected


@pytest.mark.parametrize(
    ("removed", "total", "suspicious"),
    [(1, 1, False), (10, 10, False), (11, 11, True), (11, 36, True), (11, 37, False), (3000, 10_001, False)],
)
def test_more_than_a_few_and_more_than_three_tenths_at_once_are_asked_about(
    removed: int, total: int, *, suspicious: bool
) -> None:
    """A note of four may go; a disk that went away may not take everything along."""
    assert is_suspicious(removed, total) == suspicious


START = Moment(1000.0, 50.0)
LAST = Scan(START, 1.0)


@pytest.mark.parametrize(
    ("hinted", "now", "last", "why"),
    [
        (0, Moment(1002.0, 52.0), LAST, None),
        (MOST_HINTS, Moment(1002.0, 52.0), LAST, None),
        (MOST_HINTS + 1, Moment(1002.0, 52.0), LAST, "2,001 paths changed at once"),
        (0, Moment(1002.0 + ASLEEP_SECONDS, 52.0), LAST, None),
        (0, Moment(1003.0 + ASLEEP_SECONDS, 52.0), LAST, "the machine slept"),
        # An hour of work is no sleep; the clock that is set back is none, either.
        (0, Moment(4600.0, 3650.0), Scan(Moment(4600.0, 3650.0), 1.0), None),
        (0, Moment(10.0, 52.0), LAST, None),
        (0, Moment(1000.0 + RESCAN_SECONDS + 1, 50.0 + RESCAN_SECONDS + 1), LAST, "it is time"),
        (0, Moment(1700.0, 750.0), Scan(START, 60.0), None),
    ],
)
def test_everything_is_looked_at_again_when_hints_may_be_missing(
    hinted: int, now: Moment, last: Scan, why: str | None
) -> None:
    """After a flood, after sleep, and now and then: the rarer, the longer it takes."""
    assert rescan(hinted, START, now, last) == why


def test_a_folder_stands_for_what_was_in_it() -> None:
    """A path below another is found with it; a name that only begins alike is not below."""
    paths = [Path(each) for each in ("/n/a/b.md", "/n/a", "/n/a/c/d.md", "/n/ab", "/n/a-b", "/m")]
    assert sorted(tops(paths)) == sorted(map(Path, ("/m", "/n/a", "/n/a-b", "/n/ab")))


@pytest.mark.parametrize(
    ("error", "passing"),
    [
        (errors.DatabaseUnavailable, True),
        (errors.DatabaseReadOnly, True),
        (errors.OutcomeUnknown, True),
        (errors.EmbedderError, True),
        (FolderGone, True),
        (errors.ModelMismatch, False),
        (errors.SchemaMismatch, False),
        (errors.DatabaseRefused, False),
        (errors.ConfigError, False),
    ],
)
def test_following_outlives_what_passes(error: type[errors.AyaError], *, passing: bool) -> None:
    """A failover, a restart, a disk that is away; not what only a person can mend."""
    assert passes(error("x")) == passing


def test_what_is_hidden_is_no_hint() -> None:
    """A walk passes over hidden names, and editors and git write under them all the time."""
    roots = {Path("/n"): Path("/n"), Path("/.h"): Path("/.h"), Path("/private/t"): Path("/t")}
    changed = ["/private/t/e.md", "/n/a.md", "/n/.git/index", "/n/.a.md.swp", "/n/sub/.x/b.md", "/m/c.md", "/.h/d.md"]
    assert hints(roots, changed) == {Path("/t/e.md"), Path("/n/a.md"), Path("/.h/d.md")}
