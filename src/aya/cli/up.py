"""`aya up`: start this machine's nodes, and make them on first use."""

from __future__ import annotations

import asyncio
import signal
import threading
from types import FrameType

import click

from aya.cli import output
from aya.errors import EXIT_DEGRADED, AyaError
from aya.home import Home
from aya.local.down import down
from aya.local.up import Started, up
from aya.processes.supervisor import Supervisor
from aya.settings import load_config

_POLL_SECONDS = 0.5
_INTERRUPTED = "what this call had started is stopped; aya up tries again"


class _Progress:
    """Each step as a line on standard error. warned: something works, but not all of it."""

    def __init__(self) -> None:
        self.warned = False

    def step(self, node: str, text: str) -> None:
        output.progress(f"{node:<5}  {text}")

    def warn(self, node: str, error: AyaError) -> None:
        self.warned = True
        output.error(f"node {node}: {error.message}", error.hint)


@click.command(name="up")
@click.option("--nodes", metavar="LIST", help="Of alpha, beta, air (default: those made before, else all three).")
@click.option("--detach", is_flag=True, help="Return as soon as everything is healthy.")
@click.pass_obj
def command(home: Home, /, nodes: str | None, *, detach: bool) -> int:
    """Start this machine's nodes, make them on first use, and wait until they are healthy.

    In the foreground it stays, and Ctrl-C (or SIGTERM) stops everything again. Data is kept in every case. Exit code 3
    when the nodes run, but not all of it works.
    """
    names = None if nodes is None else [name.strip() for name in nodes.split(",") if name.strip()]
    for signum in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, _as_interrupt)
    progress = _Progress()
    try:
        started = asyncio.run(up(home, load_config(home), names, progress))
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_INTERRUPTED) from None
    if started.already_running:
        output.progress(f"already running: {_names(started)}")
    # A second call beside a running home is over at once: whoever started it keeps it.
    if detach or started.already_running:
        _say_next(started, progress, detach=True)
        return EXIT_DEGRADED if progress.warned else 0
    # Before it is said that Ctrl-C stops everything, it does.
    asked = _listen()
    _say_next(started, progress, detach=False)
    _stay(home, asked)
    return 0


def _as_interrupt(signum: int, frame: FrameType | None) -> None:
    """Turn TERM and HUP into what Ctrl-C does, also where INT is ignored (a script's background job)."""
    del signum, frame
    raise KeyboardInterrupt


def _names(started: Started) -> str:
    return ", ".join(node.name for node in started.nodes)


def _say_next(started: Started, progress: _Progress, *, detach: bool) -> None:
    """Print what a person would type now."""
    output.line(f"{_names(started)}: {'degraded (see above)' if progress.warned else 'healthy'}")
    output.line()
    for typed, meaning in (
        ("aya add ~/notes", "add a folder of documents"),
        ('aya search "…"', "search them by meaning and by words"),
        ("aya status", "see every node"),
        *((("aya down", "stop everything"),) if detach else ()),
    ):
        output.line(f"  {typed:<18} {meaning}")
    if not detach:
        output.line()
        output.line("Ctrl-C stops everything.")


def _listen() -> threading.Event:
    """Return an event that INT, TERM and HUP set from now on."""
    asked = threading.Event()

    def ask(signum: int, frame: FrameType | None) -> None:
        del signum, frame
        asked.set()

    for signum in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(signum, ask)
    return asked


def _stay(home: Home, asked: threading.Event) -> None:
    """Wait until asked, then stop everything; when the supervisor was ended from elsewhere, what it left behind."""
    supervisor = Supervisor(home)
    lives = supervisor.watch()
    while not asked.wait(_POLL_SECONDS):
        if not lives():
            output.progress("stopped from elsewhere")
            if supervisor.answers():
                return  # and started again: it is not ours any more
            break
    # A second Ctrl-C ends the waiting.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        stopped = down(home)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("something may still run: aya down stops it") from None
    if stopped.names:
        output.progress(f"stopped: {', '.join(stopped.names)}")
