"""The page's service in the test's own process: over a real database, on a free port, with nodes that were made up."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from tests.unit.test_status_judge import GOOD, STANDBY
from tests.unit.test_sync_judge import COPY, PRIMARY

from aya.dsn import DatabaseSettings
from aya.home import Home
from aya.settings import NodeSettings
from aya.status.judge import judge
from aya.status.types import Backups, Replication
from aya.sync.types import SyncStatus
from aya_web.base import Base, Figures
from aya_web.config import Config
from aya_web.history import Sample
from aya_web.server import Parts, answer, listening
from aya_web.watcher import Look, Watcher

BETA = replace(
    STANDBY, replication=Replication("streaming", "sync", 4096), backups=Backups(1, "2026-01-02T03:30:05+00:00")
)
AIR = replace(GOOD, name="air", role="copy", sync=SyncStatus(replace(COPY, seconds_behind=2.5), PRIMARY))


@dataclass(frozen=True)
class Page:
    """A page that is served. watcher: it does not look by itself: what it saw is for the test to say."""

    url: str
    watcher: Watcher
    base: Base


@asynccontextmanager
async def served(
    database: DatabaseSettings,
    embedder_url: str,
    directory: Path,
    *,
    token: str | None = None,
    allowed_hosts: frozenset[str] = frozenset(),
) -> AsyncGenerator[Page]:
    """Serve the page over a database for as long as the block lasts."""
    config = Config(Home(directory), "alpha", port=0, allowed_hosts=allowed_hosts)
    stop = asyncio.Event()
    listener = listening("127.0.0.1", 0)
    url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    async with Base(NodeSettings("alpha", database, embedder_url), database) as base:
        watcher = Watcher(config.home, "alpha", base)
        seen(watcher)
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(answer(Parts(config, base, watcher), listener, stop, token))
            try:
                yield Page(url, watcher, base)
            finally:
                stop.set()


def seen(watcher: Watcher, *, ago: float = 0.0) -> None:
    """Have the watcher have seen three nodes, so many seconds ago, and something of them for ten minutes."""
    now = time.time() - ago
    nodes = tuple(judge(node) for node in (GOOD, BETA, AIR))
    watcher.last = Look(now, 0.1, nodes, Figures(3.5, 1))
    watcher.history = [
        Sample(now - 5 * back, {("lag_bytes", "beta"): 100.0 * back, ("lag_seconds", "air"): 1.0 + back % 3})
        for back in range(120, -1, -1)
    ]
