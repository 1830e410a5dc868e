"""`aya status --watch`: the same screen again and again, drawn over itself in a terminal, else printed below itself."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import sys
from collections.abc import Awaitable, Callable, Generator, Sequence
from datetime import datetime
from typing import TYPE_CHECKING

from aya.cli import output, status_display
from aya.status.judge import overall
from aya.status.types import document

if TYPE_CHECKING:
    from rich.console import RenderableType

    from aya.home import Home
    from aya.status.types import NodeStatus

    Look = Callable[[], Awaitable[list[NodeStatus]]]

_STYLES = {"healthy": "green", "running": "green", "degraded": "bold yellow", "down": "bold red", "failed": "bold red"}
_QUIT = frozenset("qQ")


async def watch(home: Home, look: Look, every: float, *, as_json: bool) -> Sequence[NodeStatus]:
    """Look every so many seconds until a person presses q; return the last look. Ctrl-C raises KeyboardInterrupt.

    as_json: one document a line instead of a screen. Where standard output is no terminal nothing is drawn over, and
    only Ctrl-C, or whoever reads going away, ends it.
    """
    if as_json or not output.is_terminal():
        return await _printed(home, look, every, as_json=as_json)
    return await _drawn(home, look, every)


async def _printed(home: Home, look: Look, every: float, *, as_json: bool) -> Sequence[NodeStatus]:
    while True:
        found = await look()
        if as_json:
            said = document(home, overall(found), found)
            output.line(json.dumps(said, ensure_ascii=False, allow_nan=False, default=str))
        else:
            output.line(f"# {_now()}")
            status_display.show(home, status_display.screen(found))
            output.line()
        # Through a pipe, too, whoever reads shall see it now.
        sys.stdout.flush()
        await asyncio.sleep(every)


async def _drawn(home: Home, look: Look, every: float) -> Sequence[NodeStatus]:
    from rich.console import Console  # noqa: PLC0415 - only on a terminal
    from rich.live import Live  # noqa: PLC0415

    quits = asyncio.Event()
    console = Console(no_color=not output.colours(), highlight=False)
    found: Sequence[NodeStatus] = await look()
    with _keys(quits), Live(console=console, screen=True, auto_refresh=False) as live:
        while True:
            live.update(_renderable(home, found, every), refresh=True)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(every):
                    await quits.wait()
                    return found
            found = await look()


def _renderable(home: Home, found: Sequence[NodeStatus], every: float) -> RenderableType:
    """Return the screen, what needs a person before what may be cut off at the bottom."""
    from rich.console import Group  # noqa: PLC0415 - only on a terminal
    from rich.text import Text  # noqa: PLC0415

    shown = status_display.screen(found)
    head = Text(f"{home.path}: ")
    health = overall(found)
    head.append(health, style=_STYLES[health])
    head.append(f"  {_now()}, every {every:g} s, q quits", style="dim")
    if not shown.nodes:
        return Group(head, Text("there are no nodes: aya up"))
    parts: list[RenderableType] = [head, output.drawn_table(status_display.NODE_HEADERS, shown.nodes, _STYLES)]
    parts += [Text(problem, style="yellow") for problem in shown.problems] or [Text("no alerts", style="dim")]
    parts += [Text(line, style="dim") for line in (*shown.notes, *shown.versions)]
    parts.append(output.drawn_table(status_display.SERVICE_HEADERS, shown.services, _STYLES))
    return Group(*parts)


def _now() -> str:
    return f"{datetime.now().astimezone():%Y-%m-%d %H:%M:%S}"


@contextlib.contextmanager
def _keys(quits: asyncio.Event) -> Generator[None]:
    """Set `quits` when q is pressed; where standard input is no terminal, nobody can."""
    import termios  # noqa: PLC0415 - only on a terminal
    import tty  # noqa: PLC0415

    if not sys.stdin.isatty():
        yield
        return
    descriptor = sys.stdin.fileno()
    before = termios.tcgetattr(descriptor)
    loop = asyncio.get_running_loop()

    def pressed() -> None:
        if not _QUIT.isdisjoint(os.read(descriptor, 64).decode(errors="replace")):
            quits.set()

    try:
        # cbreak, not raw: Ctrl-C goes on to be a signal.
        tty.setcbreak(descriptor)
        loop.add_reader(descriptor, pressed)
        yield
    finally:
        loop.remove_reader(descriptor)
        termios.tcsetattr(descriptor, termios.TCSADRAIN, before)
