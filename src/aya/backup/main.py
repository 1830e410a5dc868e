"""The service that makes base backups: it looks every minute whether one is due, and sleeps otherwise.

By the clock on the wall, so that a Mac that slept through the night makes up for it when it wakes.
"""

from __future__ import annotations

import asyncio
import os
import sys
from collections.abc import Mapping
from contextlib import suppress
from datetime import UTC, datetime

from aya import log, service
from aya.alerts.of_home import alerts_of
from aya.backup import archive, failed, schedule
from aya.backup.catalogue import newest_good
from aya.backup.create import Place, create, place, prune
from aya.errors import AyaError, ConfigError
from aya.home import Home, locate
from aya.settings import Config, load_config

_LOOK_SECONDS = 60.0


def main() -> None:
    """Run the service until SIGTERM."""
    try:
        node, home, config = read(os.environ)
        where = place(home, config, node)
    except AyaError as error:
        sys.exit(f"aya-backup: {error.message}" + (f"\n  next: {error.hint}" if error.hint else ""))
    sys.exit(service.run("backup", lambda stop: run(where, config, stop), node=node, told=alerts_of()))


def read(environ: Mapping[str, str]) -> tuple[str, Home, Config]:
    """Return the node, the home and its configuration. Raises ConfigError."""
    node = environ.get("AYA_NODE")
    if not node or not environ.get("AYA_HOME"):
        raise ConfigError("AYA_HOME and AYA_NODE must say whose backups to make", hint="aya up")
    home = locate(environ["AYA_HOME"])
    return node, home, load_config(home, environ)


async def run(where: Place, config: Config, stop: asyncio.Event, settling: float | None = None) -> None:
    """Make a base backup whenever one is due, until `stop` is set. settling: seconds before the first look."""
    log.get_logger().info("backup.scheduled", at="{:02}:{:02}".format(*config.backup_at), keep=config.backups_kept)
    wait = schedule.SETTLING.total_seconds() if settling is None else settling
    while not await _stopped(stop, wait):
        wait = _LOOK_SECONDS
        work = asyncio.ensure_future(look(where, config))
        ended = asyncio.ensure_future(stop.wait())
        await asyncio.wait({work, ended}, return_when=asyncio.FIRST_COMPLETED)
        ended.cancel()
        work.cancel()
        with suppress(asyncio.CancelledError):
            await work


async def _stopped(stop: asyncio.Event, seconds: float) -> bool:
    with suppress(TimeoutError):
        await asyncio.wait_for(stop.wait(), seconds)
    return stop.is_set()


async def look(where: Place, config: Config) -> bool:
    """Make a base backup if one is due and the server runs; return whether one was made."""
    logger = log.get_logger()
    try:
        why = await asyncio.to_thread(_why_due, where, config)
        if why is None or where.cluster.postmaster_pid() is None:
            return False
        logger.info("backup.begun", why=why)
        made = await create(where, lambda _: None)
        failed.forget(where.home, where.node)
        gone = await asyncio.to_thread(prune, where, config.backups_kept)
    except AyaError as error:
        logger.error("backup.failed", error=error.message, hint=error.hint)  # noqa: TRY400 - explained
        failed.remember(where.home, where.node, error.message, datetime.now(UTC))
        return False
    logger.info("backup.made", backup=made.name, bytes=made.size, removed=list(gone.backups), files=gone.files)
    return True


def _why_due(where: Place, config: Config) -> str | None:
    backups = where.catalogue.all()
    newest = newest_good(backups)
    broken = newest is not None and bool(archive.gaps(where.archive, [newest], archive.names(where.archive)))
    said = failed.failure(where.home, where.node)
    failed_at = datetime.fromisoformat(said["at"]) if said else None
    now = datetime.now(UTC).astimezone()
    return schedule.why_due(now, config.backup_at, backups, broken=broken, failed_at=failed_at)
