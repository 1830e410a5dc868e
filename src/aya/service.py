"""The life of a service: start, run until told to stop, leave cleanly.

SIGTERM and SIGINT set the stop event and the process exits 0; an exception propagates and the process
exits 1, so that the supervisor restarts it (launchd KeepAlive, supervisord autorestart).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from aya import log
from aya.errors import AyaError

ServiceMain = Callable[[asyncio.Event], Awaitable[None]]


def run(service: str, main: ServiceMain, *, node: str | None = None) -> int:
    """Run `main(stop)` until it returns or a signal sets `stop`; return the exit code.

    main: receives an Event that is set on SIGTERM or SIGINT and must return soon after.
    An AyaError is logged with its hint and becomes exit code 1; any other exception keeps its traceback.
    """
    log.configure(service=service, node=node)
    logger = log.get_logger()
    logger.info("service.started")
    exit_code = 0
    try:
        asyncio.run(_until_stopped(main))
    except* AyaError as group:
        exit_code = 1
        for error in _leaves(group):
            # Explained errors: the sentence and the next command say more than a traceback.
            logger.error("service.failed", error=error.message, hint=error.hint)  # noqa: TRY400
    if exit_code == 0:
        logger.info("service.stopped")
    return exit_code


async def _until_stopped(main: ServiceMain) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    await main(stop)


def _leaves(group: BaseExceptionGroup[AyaError]) -> list[AyaError]:
    found: list[AyaError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
