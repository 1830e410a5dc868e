"""The daemon as a process of its own, which may be told where to die: `python -m tests.sync.daemon`.

AYA_LAB_DAEMON: JSON, how both ends are reached. AYA_LAB_DIES: "before:NAME" or "after:NAME" with the name of a query of
local.sql or primary.sql, or "in:TABLE", where rows are being copied into a temporary table; nothing: it lives.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from typing import Any

from aya import log, queries
from aya.backoff import Backoff
from aya.dsn import DatabaseSettings
from aya.reach import Reached
from aya_syncd import loop, pull, push
from aya_syncd.config import Config
from aya_syncd.loop import Sync

DIED = 77
PATIENCE_SECONDS = 0.3
BACKOFF = Backoff(first_seconds=0.02, cap_seconds=0.3)


def settings(known: dict[str, Any]) -> DatabaseSettings:
    """Return how an end is reached, from its JSON."""
    hosts = tuple((host, port) for host, port in known["hosts"])
    return DatabaseSettings(hosts, known["database"], known["user"], known["password"])


def config() -> Config:
    """Return what the daemon is told, with a laptop's patience shortened to a test's."""
    known = json.loads(os.environ["AYA_LAB_DAEMON"])
    return Config(
        "air", settings(known["local"]), settings(known["primary"]), poll_seconds=known.get("poll_seconds", 0.3),
        beat_seconds=0.3, beat_limit=1.5, compare_seconds=1.0, outage=BACKOFF,
    )  # fmt: skip


def _die() -> None:
    os._exit(DIED)


def arm(point: str) -> None:
    """Have this process die at a point, as by kill -9: nothing is flushed, closed or rolled back."""
    when, _, name = point.partition(":")
    if when == "in":
        _die_in_copy(name)
        return
    wanted = {
        text for file in ("local.sql", "primary.sql") for found, text in queries.load("aya_syncd", file).items()
        if found == name
    }  # fmt: skip
    assert wanted, f"there is no query {name}"
    for method in ("execute", "fetch", "fetchrow", "fetchval"):
        setattr(Reached, method, _dying(getattr(Reached, method), wanted, when))


def _dying(method: Callable[..., Awaitable[Any]], wanted: set[Any], when: str) -> Callable[..., Awaitable[Any]]:
    async def call(self: Reached, query: str, *arguments: Any, **options: Any) -> Any:  # noqa: ANN401 - passed on
        if query in wanted and when == "before":
            _die()
        result = await method(self, query, *arguments, **options)
        if query in wanted:
            _die()
        return result

    return call


def _die_in_copy(table: str) -> None:
    method = Reached.copy_to_table

    async def half(source: AsyncIterator[bytes]) -> AsyncGenerator[bytes]:
        async for piece in source:
            yield piece
            await asyncio.sleep(0.02)
            _die()

    async def call(self: Reached, name: str, *, source: Any, **options: Any) -> str:  # noqa: ANN401 - passed on
        return await method(self, name, source=half(source) if name == table else source, **options)

    setattr(Reached, "copy_to_table", call)  # noqa: B010 - a test's


async def _work() -> None:
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    told = config()
    assert told.primary is not None
    await Sync(told, told.primary).run(stop)


def main() -> None:
    """Run until SIGTERM, or until the point where it is to die."""
    log.configure(service="syncd", node="air")
    push.PATIENCE_SECONDS = PATIENCE_SECONDS
    loop._LOG_EVERY_SECONDS = 0.0  # pyright: ignore[reportPrivateUsage]
    # A copy of few rows is indexed at its end, too.
    pull._MANY_ROWS, pull._FRESH_SHARE = 0, 0.0  # pyright: ignore[reportPrivateUsage]
    point = os.environ.get("AYA_LAB_DIES")
    if point:
        arm(point)
    asyncio.run(_work())


if __name__ == "__main__":
    main()
