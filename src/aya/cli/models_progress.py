"""How far the download of a model is: a bar on a terminal, elsewhere a line every few seconds; on standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterable, Iterator
from typing import Any

from aya.cli import output

_SECONDS_BETWEEN_LINES = 5.0
_MB = 1_000_000
_MINUTE_SECONDS = 60
DOWNLOADING = frozenset({"started", "moved", "retrying", "finished"})

Event = dict[str, Any]


def shown(events: Iterable[Event]) -> Iterator[Event]:
    """Show the events of a download, and yield the others."""
    return _bars(events) if output.is_terminal(sys.stderr) else _lines(events)


def _lines(events: Iterable[Event]) -> Iterator[Event]:
    last = time.monotonic()
    for event in events:
        if event["event"] not in DOWNLOADING:
            yield event
        elif event["event"] != "moved" or time.monotonic() - last >= _SECONDS_BETWEEN_LINES:
            last = time.monotonic()
            output.progress(line(event))


def line(event: Event) -> str:
    """Return one line about a download; pure."""
    done, total = event["done_bytes"], event["total_bytes"]
    match event["event"]:
        case "started":
            here = f", {_size(done)} of them here already" if done else ""
            return f"{event['model']}: {event['files']} files, {_size(total)}{here}"
        case "finished":
            return f"{event['model']}: {_size(total)} are here, {_size(event['new_bytes'])} of them new"
        case "retrying":
            return f"{event['model']}: {event['note']}"
        case _:
            rate, left = event["bytes_per_second"], event["seconds_left"]
            speed = f", {_size(rate)}/s, {duration(left)} left" if rate and left is not None else ""
            return f"{event['model']}: {event['file']}, {_size(done)} of {_size(total)}{speed}"


def _size(count: float) -> str:
    return f"{count / _MB:.1f} MB"


def duration(seconds: float) -> str:
    """Return a time that is left, for people; pure."""
    minutes, rest = divmod(round(seconds), _MINUTE_SECONDS)
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"


def _bars(events: Iterable[Event]) -> Iterator[Event]:
    # Only here: a pipe and `--help` never pay for it.
    from rich.console import Console  # noqa: PLC0415
    from rich.progress import (  # noqa: PLC0415
        BarColumn,
        DownloadColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
        TransferSpeedColumn,
    )

    console = Console(stderr=True, no_color=not output.colours(sys.stderr))
    columns = (
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        DownloadColumn(),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
    )
    with Progress(*columns, console=console) as progress:
        task = None
        for event in events:
            if event["event"] not in DOWNLOADING:
                yield event
                continue
            if task is None:
                task = progress.add_task(event["model"], total=event["total_bytes"])
            progress.update(task, completed=event["done_bytes"], description=event["file"] or event["model"])
            if event["event"] != "moved":
                progress.console.print(line(event), markup=False, highlight=False)
