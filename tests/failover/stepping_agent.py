"""A watchdog as it is, but that its process ends at a step that a test has chosen: once, as if it were killed there.

Run as a program in place of `python -m aya_watchdog`. A step is "ACTION: WHAT": before, saved (its state file is on
disk), reloaded, started, stopped, killed, ran NAME (of queries.sql), copied, rewound, after. In the node's directory:
ends-at holds the chosen step, and " with its server" behind it when that ends, too; steps-passed, when it is there, is
given a line for each step that is passed. Its server has the clock that it has itself (tests.failover.clock).
"""

from __future__ import annotations

import os
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Mapping
from contextlib import asynccontextmanager, suppress
from contextvars import ContextVar
from pathlib import Path
from typing import Any

import psutil

sys.path.insert(0, str(Path(__file__).resolve().parents[2]))

from tests.failover import clock

from aya import queries
from aya.home import locate
from aya.postgres.cluster import postmaster_pid
from aya.postgres.config import Guard
from aya.postgres.run import server_environment
from aya_watchdog import act, loop, main, server, state_file, way_back
from aya_watchdog.protocol import State

CHOSEN, PASSED, BOTH = "ends-at", "steps-passed", " with its server"
_ACTION: ContextVar[str] = ContextVar("action", default="")
_NAMES = {" ".join(text.split()): name for name, text in queries.load("aya_watchdog").items()}


def _directory() -> Path:
    return locate(os.environ["AYA_HOME"]).node_directory(os.environ["AYA_NODE"])


def passed(what: str) -> None:
    """Be at a step: the end, if it was chosen."""
    action = _ACTION.get()
    if not action:
        return
    step, directory = f"{action}: {what}", _directory()
    if (directory / PASSED).exists():
        with (directory / PASSED).open("a", encoding="utf-8") as file:
            file.write(step + "\n")
    with suppress(FileNotFoundError):
        chosen = (directory / CHOSEN).read_text(encoding="utf-8")
        if chosen in {step, step + BOTH}:
            (directory / CHOSEN).unlink()
            if chosen.endswith(BOTH):
                _end_server(directory / "data")
            os._exit(1)


def _end_server(data: Path) -> None:
    pid = postmaster_pid(data)
    with suppress(psutil.Error):
        if pid is not None:
            postmaster = psutil.Process(pid)
            for process in (postmaster, *postmaster.children(recursive=True)):
                with suppress(psutil.Error):
                    process.kill()


def _stepping(name: str, action: Callable[[], Awaitable[None]]) -> Callable[[], Coroutine[Any, Any, None]]:
    async def step() -> None:
        token = _ACTION.set(name)
        try:
            passed("before")
            await action()
            passed("after")
        finally:
            _ACTION.reset(token)

    return step


class Actor(act.Actor):
    """Its actions have steps."""

    def __init__(self, *arguments: Any, **named: Any) -> None:  # noqa: ANN401 - handed on
        super().__init__(*arguments, **named)
        self.give_up = _stepping("give_up", self.give_up)  # type: ignore[method-assign]
        others = {name: _stepping(name, action) for name, action in self.actions.items() if name != "give_up"}
        self.actions = {**others, "give_up": self.give_up}


class Server(server.Server):
    """What an action does to it are steps of that action."""

    async def start(self, guard: Guard) -> None:
        """Start it."""
        await super().start(guard)
        passed("started")

    async def stop(self, *, seconds: float = 30.0) -> None:
        """Stop it."""
        await super().stop(seconds=seconds)
        passed("stopped")

    async def kill(self) -> None:
        """End it."""
        await super().kill()
        passed("killed")

    async def reload_on(self, session: server.Connection, guard: Guard, *, everywhere: bool = False) -> None:
        """Have it read its settings."""
        await super().reload_on(session, guard, everywhere=everywhere)
        passed("reloaded")

    @asynccontextmanager
    async def connected(self, **named: Any) -> AsyncGenerator[server.Connection]:  # noqa: ANN401 - handed on
        """Lend a connection each of whose statements is a step."""
        async with super().connected(**named) as connection:
            connection.add_query_logger(_ran)
            yield connection


def _ran(record: Any) -> None:  # noqa: ANN401 - asyncpg's own
    text = " ".join(record.query.split())
    passed(f"ran {_NAMES.get(text, 'another statement')}")


def _saved(file: Path, state: State, save: Callable[[Path, State], None] = state_file.save) -> None:
    save(file, state)
    passed("saved")


def _done(name: str, work: Callable[..., Awaitable[None]]) -> Callable[..., Coroutine[Any, Any, None]]:
    async def step(*arguments: Any) -> None:  # noqa: ANN401 - handed on
        await work(*arguments)
        passed(name)

    return step


def _clocked(
    environ: Mapping[str, str], kept: Callable[[Mapping[str, str]], dict[str, str]] = server_environment
) -> dict[str, str]:
    return {**kept(environ), **clock.handed_on()}


def run() -> None:
    """Run the watchdog."""
    server.server_environment = _clocked  # type: ignore[attr-defined]
    state_file.save = _saved
    way_back.rewind = _done("rewound", way_back.rewind)
    way_back.copy = _done("copied", way_back.copy)
    loop.Actor = Actor  # type: ignore[attr-defined]
    loop.Server = Server  # type: ignore[attr-defined]
    main.main()


if __name__ == "__main__":
    run()
