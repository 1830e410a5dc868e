"""How a move to another model is shown: a bar on a terminal, now and then a line elsewhere, a document for programs."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from aya.cli import output
from aya.knowledge import reembedding
from aya.knowledge.binding import describe

if TYPE_CHECKING:
    from aya.db import Connection
    from aya.identity import ModelIdentity
    from aya.knowledge.models import Progress

    Show = Callable[[Progress], None]

_LOOK_SECONDS = 0.5
_LINE_SECONDS = 10.0
# All chunks are counted so rarely: of a million that takes a while.
_COUNT_SECONDS = 10.0
# An indexer that runs has taken its first batch by then, or said why not.
_SILENT_SECONDS = 20.0
_MINUTE = 60


def told(progress: Progress | None, present: ModelIdentity | None) -> dict[str, Any]:
    """Return the document of --json; pure. model: what the vectors are by; move: null when there is none."""
    return {
        "model": present and {"model": present.model, "fingerprint": present.fingerprint},
        "move": progress and progress.to_json(),
    }


def described(progress: Progress) -> list[str]:
    """Return a move in a few lines; pure."""
    move = progress.move
    lines = [
        f"moving to {describe(move.identity)}, since {move.started_at:%Y-%m-%d %H:%M} UTC",
        summary(progress),
    ]
    if move.phase == "preparing":
        lines.append("the index of its vectors is not made yet: aya reembed finishes it")
    if progress.cut:
        lines.append(f"{progress.cut} chunks are longer than its window: their documents are cut anew after the move")
    if progress.refused:
        lines.append(f"{progress.refused} chunks it does not take: their documents are queued after the move")
    if move.error:
        lines.append(f"interrupted: {move.error}")
    return lines


def summary(progress: Progress) -> str:
    """Return how far it is, in one line; pure."""
    share = 100 * progress.done // progress.total if progress.total else 100
    parts = [f"{progress.move.phase}: {progress.done} of {progress.total} chunks ({share} %)"]
    if progress.move.rows_per_second is not None:
        parts.append(f"{progress.move.rows_per_second:.0f} a second")
    if progress.seconds_left is not None:
        parts.append(f"{duration(progress.seconds_left)} left")
    return ", ".join(parts)


def duration(seconds: float) -> str:
    """Return a time as a person says it; pure."""
    if seconds < _MINUTE:
        return f"{seconds:.0f} s"
    minutes = round(seconds / _MINUTE)
    return f"{minutes} min" if minutes < 2 * _MINUTE else f"{minutes / _MINUTE:.0f} h"


async def followed(connection: Connection) -> None:
    """Show the move until it is over, one way or the other."""
    silence = _Silence()
    total, counted_at = None, 0.0
    with _bar() if output.is_terminal(sys.stderr) else _lines() as show:
        while (progress := await reembedding.progress(connection, total=total)) is not None:
            counted_at = counted_at if total is not None else time.monotonic()
            total = progress.total if time.monotonic() - counted_at < _COUNT_SECONDS else None
            show(progress)
            silence.watch(progress, time.monotonic())
            await asyncio.sleep(_LOOK_SECONDS)


class _Silence:
    """Says, once, when nobody seems to work on the move."""

    def __init__(self) -> None:
        self._done = -1
        self._since = 0.0
        self._said = False

    def watch(self, progress: Progress, now: float) -> None:
        quiet = progress.done == self._done and progress.move.phase == "running" and progress.move.error is None
        if not quiet:
            self._done, self._since = progress.done, now
        elif now - self._since > _SILENT_SECONDS and not self._said:
            self._said = True
            output.error("nothing has moved for a while; does the indexer run?", hint="aya status, then aya up")


@contextmanager
def _lines() -> Generator[Show]:
    last: list[tuple[str, str | None, float]] = []

    def show(progress: Progress) -> None:
        state = (progress.move.phase, progress.move.error)
        now = time.monotonic()
        if not last or last[-1][:2] != state or now - last[-1][2] >= _LINE_SECONDS:
            last[:] = [(*state, now)]
            output.progress(summary(progress))
            if progress.move.error:
                output.progress(f"interrupted: {progress.move.error}")

    yield show


@contextmanager
def _bar() -> Generator[Show]:
    # Only here: a pipe never pays for it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import BarColumn, MofNCompleteColumn, TextColumn  # noqa: PLC0415
    from rich.progress import Progress as Bar  # noqa: PLC0415

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[note]}", markup=False),
    )
    with Bar(*columns, console=Console(stderr=True, no_color=not output.colours(sys.stderr))) as bar:
        task = bar.add_task("starting", total=None, note="")

        def show(progress: Progress) -> None:
            note = progress.move.error or ", ".join(summary(progress).split(", ")[1:])
            bar.update(task, description=progress.move.phase, total=progress.total, completed=progress.done, note=note)

        yield show
