"""The life of a service: start, run until told to stop, leave cleanly.

SIGTERM and SIGINT set the stop event and the process exits 0; an exception propagates and the process
exits 1, so that the supervisor restarts it (launchd KeepAlive, supervisord autorestart).
"""

from __future__ import annotations

import asyncio
import signal
from collections.abc import Awaitable, Callable

from aya import log
from aya.alerts.alerts import Alerts, channels
from aya.alerts.channel import Result
from aya.alerts.config import NOBODY, AlertSettings
from aya.errors import AyaError

ServiceMain = Callable[[asyncio.Event], Awaitable[None]]
Count = Callable[[Result], None]
_LAST_WORD_SECONDS = 1.0


def _uncounted(_: Result) -> None:
    pass


def run(
    service: str, main: ServiceMain, *, node: str | None = None, told: AlertSettings = NOBODY, count: Count = _uncounted
) -> int:
    """Run `main(stop)` until it returns or a signal sets `stop`; return the exit code.

    main: receives an Event that is set on SIGTERM or SIGINT and must return soon after. told: who hears of what is
    logged and is an alert; count: called with how each of these ended.
    An AyaError is logged with its hint and becomes exit code 1; any other exception keeps its traceback.
    """
    alerts = Alerts(node or "", service, channels(told), count=count) if told.any else None
    log.configure(service=service, node=node, heard=alerts.heard if alerts else None)
    logger = log.get_logger()
    logger.info("service.started")
    exit_code = 0
    try:
        asyncio.run(_until_stopped(main, alerts))
    except* AyaError as group:
        exit_code = 1
        for error in _leaves(group):
            # Explained errors: the sentence and the next command say more than a traceback.
            logger.error("service.failed", error=error.message, hint=error.hint)  # noqa: TRY400
    if exit_code == 0:
        logger.info("service.stopped")
    return exit_code


async def _until_stopped(main: ServiceMain, alerts: Alerts | None) -> None:
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for signum in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(signum, stop.set)
    if alerts is None:
        await main(stop)
        return
    telling = asyncio.create_task(alerts.run(), name="alerts")
    try:
        await main(stop)
    finally:
        # What was its last word is told, too.
        await alerts.finish(_LAST_WORD_SECONDS)
        telling.cancel()
        await asyncio.gather(telling, return_exceptions=True)


def _leaves(group: BaseExceptionGroup[AyaError]) -> list[AyaError]:
    found: list[AyaError] = []
    for error in group.exceptions:
        found += _leaves(error) if isinstance(error, BaseExceptionGroup) else [error]
    return found
