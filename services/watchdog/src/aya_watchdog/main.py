"""The watchdog's process: it starts this node's PostgreSQL, watches both nodes, and decides who leads."""

from __future__ import annotations

import asyncio
import sys

from aya import service
from aya.certificates import identity
from aya.errors import AyaError
from aya.processes.supervisor import own_directory
from aya_watchdog.config import Config, read
from aya_watchdog.hosting import Where, hosted
from aya_watchdog.loop import open_watchdog
from aya_watchdog.metrics import Metrics


def main() -> None:
    """Run the service until SIGTERM; exit 0 then, 1 on a failure that a restart may mend."""
    try:
        config = read()
    except AyaError as error:
        sys.exit(f"aya-watchdog: {error.message}" + (f"\n  next: {error.hint}" if error.hint else ""))
    counters = Metrics()
    told, count = config.alerts, counters.alerted
    sys.exit(
        service.run("watchdog", lambda stop: run(config, counters, stop), node=config.node, told=told, count=count)
    )


async def run(config: Config, counters: Metrics, stop: asyncio.Event) -> None:
    """Watch until `stop` is set."""
    watchdog = open_watchdog(config, counters)
    own_directory(config.socket.parent)
    files = identity(config.home.agent_directory(config.node))
    partner = config.partner.name if config.partner else None
    where = Where(config.listen, config.own.agent_port, config.own.health_port, config.socket)
    async with hosted(watchdog, files, partner, where):
        await watchdog.run(stop)
