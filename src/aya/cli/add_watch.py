"""`aya add DIR --watch` and `--prune`: what is gone from folders, too, and what changes in them."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import click

from aya.cli import output, session
from aya.cli.add import Shown, again, report, told
from aya.errors import AyaError, UsageError
from aya.file_results import FileResult, Ingested
from aya.home import Home
from aya.ingest import Labels
from aya.knowledge.places import Places
from aya.read_here import ReadHere
from aya.textfile import shown_path
from aya.watch import Attaching, Followed, add_and_prune, follow


@dataclass(frozen=True, slots=True)
class Folders:
    """The folders that were named. yes: however much is gone, it is meant."""

    roots: Sequence[Path]
    labels: Labels
    yes: bool


def run(home: Home, node: str | None, folders: Folders, *, watch: bool, as_json: bool) -> int:
    """Add, remove what is gone, and with `watch` go on doing both until Ctrl-C; return the exit code."""
    for root in folders.roots:
        if not root.is_dir():
            raise UsageError(
                f"{shown_path(root)} is no folder, so what is gone from it cannot be told",
                hint="name a folder; or leave --watch and --prune out",
            )
    if watch and as_json:
        raise UsageError("--json prints one document, and --watch has no end", hint="aya add DIR --prune --json")
    if watch:
        return _follow(home, node, folders)
    return report(lambda: _add_and_prune(home, node, folders, quiet=as_json), as_json=as_json)


def _add_and_prune(home: Home, node: str | None, folders: Folders, *, quiet: bool) -> Ingested:
    async def work(opened: session.Session) -> None:
        followed = Followed(
            folders.roots, folders.labels, lambda question: folders.yes or _asked(shown, question), ledger
        )
        progress = Attaching(shown, set(), everything=True)
        await add_and_prune(opened.documents, Places(opened.database), followed, progress)

    stopped_by: AyaError | None = None
    with ReadHere(home.read_file) as ledger, Shown(quiet=quiet) as shown:
        try:
            session.run(home, node, work)
        except AyaError as error:
            stopped_by = error
    return Ingested(shown.results, stopped_by, {} if quiet else shown.counts)


def _asked(shown: Shown, question: str) -> bool:
    """Ask a person at a terminal; nobody is there when the output goes elsewhere."""
    if not (sys.stdin.isatty() and output.is_terminal(sys.stderr) and output.is_terminal()):
        return False
    shown.pause()
    return click.confirm(question, err=True)


def _follow(home: Home, node: str | None, folders: Folders) -> int:
    with ReadHere(home.read_file) as ledger, Shown(quiet=False) as shown:
        following = _Following(shown, yes=folders.yes)

        async def work(opened: session.Session) -> None:
            followed = Followed(folders.roots, folders.labels, following.meant, ledger)
            await follow(opened.documents, Places(opened.database), followed, following)

        try:
            session.run(home, node, work)
        except (KeyboardInterrupt, asyncio.CancelledError) as error:
            # asyncio.run takes Ctrl-C for another's cancellation when a scope of anyio, which watchfiles uses, was
            # cancelled with it.
            if not following.began:
                raise KeyboardInterrupt from error
            output.progress(f"\nNo longer followed ({told(shown.counts)}). Again: {again()}")
    return 0


class _Following:
    """Says what happens while folders are followed, beside the files' own lines; only until then is anybody asked."""

    def __init__(self, shown: Shown, *, yes: bool) -> None:
        self._shown = shown
        self._yes = yes
        self.began = False

    def meant(self, question: str) -> bool:
        """Return whether it is meant that so much is gone."""
        return self._yes or (not self.began and _asked(self._shown, question))

    def total(self, files: int) -> None:
        """Set the first scan's length."""
        if not self.began:
            self._shown.total(files)

    def done(self, result: FileResult) -> None:
        """Print a file's line."""
        self._shown.done(result)

    def following(self, folders: Sequence[Path]) -> None:
        """Say so, once a scan."""
        self._shown.pause()
        names = ", ".join(map(shown_path, folders))
        said = told(self._shown.counts) if not self.began else "all of it was looked at"
        self.began = True
        output.progress(f"{_clock()}  following {names} ({said}). Ctrl-C ends it.")

    def again(self, why: str) -> None:
        """Say why there is a scan."""
        output.progress(f"{_clock()}  {why}: looking at everything")

    def trouble(self, error: AyaError) -> None:
        """Say what holds it up."""
        output.error(f"{error.message}; this goes on by itself", error.hint)

    def blind(self, why: str) -> None:
        """Say that there are no events."""
        output.error(
            f"the system tells no changes ({why}), so the folders are looked at every minute",
            "on Linux: sysctl fs.inotify.max_user_watches=1048576",
        )


def _clock() -> str:
    return time.strftime("%H:%M:%S")
