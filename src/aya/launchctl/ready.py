"""Waiting until a service that runs is of use: its database takes connections, its embedder answers."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

from aya import db
from aya.dsn import DatabaseSettings
from aya.errors import AyaError
from aya.home import Home
from aya.local import wait
from aya.processes.plist import SERVERS, Process
from aya.settings import Config, node_settings

_SECONDS = 120.0
_PROBE_SECONDS = 2.0
_POLL_SECONDS = 0.2


def await_ready(home: Home, config: Config, process: Process) -> None:
    """Return when the process is of use; at once for one that nobody can ask. AyaError, with its log's end."""
    probe = _probe(home, config, process)
    if probe is None:
        return
    until = time.monotonic() + _SECONDS
    while asyncio.run(_asked(probe)) is None:
        if time.monotonic() > until:
            what = f"{process.service} of node {process.node}"
            raise wait.failed(f"{what} runs, but does not answer within {_SECONDS:.0f} s", Path(process.stderr))
        time.sleep(_POLL_SECONDS)


async def _asked(probe: wait.Probe) -> str | None:
    return await probe()


def _probe(home: Home, config: Config, process: Process) -> wait.Probe | None:
    settings = node_settings(home, process.node, environ={})
    if process.service == "embedder":
        return wait.embedder_probe(settings.embedder_url)
    if process.service in SERVERS and config.dsn is None:
        return database_probe(settings.local)
    return None


def database_probe(settings: DatabaseSettings) -> wait.Probe:
    """Return a probe that answers once a server takes connections."""

    async def probe() -> str | None:
        try:
            async with asyncio.timeout(_PROBE_SECONDS):
                with db.translated(settings):
                    connection = await db.connect(settings, application_name="aya-launchd")
        except (AyaError, TimeoutError):
            return None
        connection.terminate()
        return settings.display()

    return probe
