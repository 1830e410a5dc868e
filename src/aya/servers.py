"""Connecting to whichever of several servers lets clients write, when who that is may change.

All are tried at once, so that one that hangs costs nothing: the first that is found writable is taken. While there is
none, any that answers is: reading goes on, and a write is refused in words (DatabaseReadOnly).
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace
from typing import Any

import asyncpg

from aya.settings import DatabaseSettings

HOST_SECONDS = 2.0


def is_writable(connection: asyncpg.Connection[Any]) -> bool:
    """Return whether its server lets clients write: it is no standby, and its watchdog has not closed it."""
    said = connection.get_settings()
    return bool(said.default_transaction_read_only == "off" and said.in_hot_standby == "off")


async def connect(settings: DatabaseSettings, *, timeout: float, **options: Any) -> asyncpg.Connection[Any]:  # noqa: ANN401, ASYNC109 - the driver's own
    """Open one connection. Errors are the driver's; of several servers, the first one's.

    timeout: in seconds; of several servers each has at most HOST_SECONDS.
    """
    if len(settings.hosts) == 1:
        only: asyncpg.Connection[Any] = await asyncpg.connect(settings.dsn(), timeout=timeout, **options)
        return only
    one_host = [replace(settings, hosts=(host,), options=_without_target(settings)) for host in settings.hosts]
    trying = [
        asyncio.ensure_future(asyncpg.connect(one.dsn(), timeout=min(timeout, HOST_SECONDS), **options))
        for one in one_host
    ]
    chosen: asyncpg.Connection[Any] | None = None
    try:
        chosen = await _writable(trying) or _any(trying)
    finally:
        for attempt in trying:
            attempt.add_done_callback(lambda ended: _let_go(ended, chosen))
            attempt.cancel()
    if chosen is None:
        raise _first_error(trying)
    return chosen


async def _writable(trying: Sequence[asyncio.Future[asyncpg.Connection[Any]]]) -> asyncpg.Connection[Any] | None:
    waiting = set(trying)
    while waiting:
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        for attempt in done:
            if not attempt.cancelled() and attempt.exception() is None and is_writable(attempt.result()):
                return attempt.result()
    return None


def _any(trying: Sequence[asyncio.Future[asyncpg.Connection[Any]]]) -> asyncpg.Connection[Any] | None:
    return next((attempt.result() for attempt in trying if attempt.exception() is None), None)


def _first_error(trying: Sequence[asyncio.Future[asyncpg.Connection[Any]]]) -> BaseException:
    errors = [attempt.exception() for attempt in trying]
    return next((error for error in errors if error is not None), ConnectionError("no server is named"))


def _let_go(attempt: asyncio.Future[asyncpg.Connection[Any]], chosen: asyncpg.Connection[Any] | None) -> None:
    """End a connection that was not taken; also one that is made just now."""
    if attempt.cancelled() or attempt.exception() is not None:
        return
    if attempt.result() is not chosen:
        with suppress(Exception):
            attempt.result().terminate()


def _without_target(settings: DatabaseSettings) -> tuple[tuple[str, str], ...]:
    return tuple((key, value) for key, value in settings.options if key != "target_session_attrs")
