"""`aya add` as it is typed: what --watch and --prune refuse, and what Ctrl-C says."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from aya.cli import add, add_watch
from aya.errors import UsageError
from aya.file_results import FileResult, Status
from aya.home import Home
from aya.ingest import Labels


@pytest.mark.parametrize(
    ("name", "watch", "as_json", "why"),
    [
        ("nowhere", True, False, "nowhere is no folder"),
        ("a.md", False, False, "a.md is no folder"),
        ("", True, True, "--json prints one document, and --watch has no end"),
    ],
)
def test_what_cannot_be_followed_is_refused(tmp_path: Path, name: str, why: str, *, watch: bool, as_json: bool) -> None:
    """A file has nothing that could be gone from it, and a document without an end is none."""
    (tmp_path / "a.md").write_text("Words.")
    folders = add_watch.Folders([tmp_path / name], Labels(), yes=True)
    with pytest.raises(UsageError, match=why):
        add_watch.run(Home(tmp_path), None, folders, watch=watch, as_json=as_json)


def shown_after(*statuses: Status, total: int | None) -> add.Shown:
    """Return what was shown after files ended so."""
    shown = add.Shown(quiet=True)
    if total is not None:
        shown.total(total)
    for number, status in enumerate(statuses):
        shown.done(FileResult(f"/n/{number}.md", status))
    return shown


@pytest.mark.parametrize(
    ("statuses", "total", "said"),
    [
        (("indexed", "indexed", "failed"), 1003, "is kept (2 indexed, 1 failed), 1,000 of 1,003 files are left"),
        (("unchanged", "removed"), 5, "is kept (1 unchanged, 1 removed), 4 of 5 files are left"),
        (("indexed",), None, "is kept (1 indexed), the rest is left"),
        ((), 7, "is kept (nothing yet), 7 of 7 files are left"),
    ],
)
def test_ctrl_c_says_what_is_left_and_how_to_go_on(
    monkeypatch: pytest.MonkeyPatch, statuses: tuple[Status, ...], total: int | None, said: str
) -> None:
    """In numbers, and with the command that was typed, quoted for a shell."""
    monkeypatch.setattr(sys, "argv", ["/bin/aya", "add", "/my notes"])
    with pytest.raises(KeyboardInterrupt) as caught, shown_after(*statuses, total=total):
        raise KeyboardInterrupt
    assert said in str(caught.value)
    assert str(caught.value).endswith("\n  next: aya add '/my notes'")


def test_results_are_kept_only_for_a_document(capsys: pytest.CaptureFixture[str]) -> None:
    """Whoever reads lines needs no list of a million of them."""
    shown = add.Shown(quiet=False)
    shown.done(FileResult("/n/a.md", "removed", "document 5: its file is gone", 5))
    assert (shown.results, shown.counts) == ([], {"removed": 1})
    assert capsys.readouterr().out == "removed    /n/a.md  (document 5: its file is gone)\n"
