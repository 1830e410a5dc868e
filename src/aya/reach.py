"""Connecting to one of several servers: the first, in order, that answers and is what was asked for.

The driver's own time limit counts for all hosts together, so that one which is silent uses it up. Here a silent host
holds the next one up for a moment only, and each has its own limit (Happy Eyeballs, RFC 8305, section 5).

What hangs later is abandoned, not cancelled: to cancel is to connect again to the server that does not answer.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Coroutine, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any, cast

import asyncpg

from aya.dsn import TARGET, DatabaseSettings
from aya.errors import NoneAnswers

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    _Base = asyncpg.Connection[asyncpg.Record]
    Lent = _Base | PoolConnectionProxy[asyncpg.Record]
else:
    _Base = asyncpg.Connection

ALONE_SECONDS = 10.0
HOST_SECONDS = 3.0
# How long a host may be silent before the next is tried beside it.
HEAD_START_SECONDS = 0.3
# How often a connection in use is looked after, where there is another server to go to.
LOOK_SECONDS = 1.0

LOST: tuple[type[Exception], ...] = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.InterfaceError,
    # What a query meets between the server's farewell and the end of the connection.
    asyncpg.InternalClientError,
    TimeoutError,
    OSError,
)
"""What says that a server is not there, or is not the one that was asked for."""
FAILED: tuple[type[Exception], ...] = (asyncpg.PostgresError, *LOST)


class Reached(_Base):
    """A connection that knows where it goes. where: the settings with the one host that answered."""

    where: DatabaseSettings


@dataclass(frozen=True, slots=True)
class Client:
    """Who connects. command_seconds: how long a statement may take, None: any time. prepare: makes it ready for use."""

    name: str
    command_seconds: float | None = None
    prepare: Callable[[Reached], Awaitable[None]] | None = None


_LOOKING = Client("aya-look")


async def connect(settings: DatabaseSettings, client: Client) -> Reached:
    """Connect to the first host that fits; of several of which none does, to one that answers.

    Errors are the driver's, or NoneAnswers.
    """
    if dict(settings.options).get(TARGET) == "prefer-standby" and len(settings.hosts) > 1:
        with suppress(NoneAnswers, *LOST):
            return await connect(_asking(settings, "standby"), client)
        settings = _asking(settings, "any")
    if len(settings.hosts) == 1:
        return await _connect(settings, client, ALONE_SECONDS)
    failures: dict[str, Exception] = {}

    async def attempt(where: DatabaseSettings) -> Reached | None:
        try:
            return await _connect(where, client, HOST_SECONDS)
        except FAILED as error:
            failures[_name(where)] = error
            return None

    found = await _first([partial(attempt, replace(settings, hosts=(host,))) for host in settings.hosts])
    if found is not None:
        return found
    if any(isinstance(error, asyncpg.TargetServerAttributeNotMatched) for error in failures.values()):
        # Nobody leads at the moment: reading goes on, and the server refuses a write in words.
        return await connect(_asking(settings, "any"), client)
    raise verdict(settings, failures)


def _asking(settings: DatabaseSettings, target: str) -> DatabaseSettings:
    others = tuple((key, value) for key, value in settings.options if key != TARGET)
    return replace(settings, options=(*others, (TARGET, target)))


async def _connect(where: DatabaseSettings, client: Client, seconds: float) -> Reached:
    async with asyncio.timeout(seconds):
        connection: Reached = await asyncpg.connect(
            where.dsn(),
            command_timeout=client.command_seconds,
            server_settings={"application_name": client.name},
            connection_class=cast("Any", Reached),
        )
        connection.where = where
        try:
            if client.prepare is not None:
                await client.prepare(connection)
        except BaseException:
            connection.terminate()
            raise
    return connection


async def _first(attempts: Sequence[Callable[[], Coroutine[Any, Any, Reached | None]]]) -> Reached | None:
    """Return what one of the attempts reached, begun one after another; the others are given up. None: none of them."""
    tasks: list[asyncio.Task[Reached | None]] = []
    found: Reached | None = None
    try:
        while found is None and (len(tasks) < len(attempts) or not all(task.done() for task in tasks)):
            waiting = len(tasks) < len(attempts)
            if waiting:
                tasks.append(asyncio.create_task(attempts[len(tasks)](), name="connect"))
            pending = [task for task in tasks if not task.done()]
            limit = HEAD_START_SECONDS if waiting and len(tasks) < len(attempts) else None
            await asyncio.wait(pending, timeout=limit, return_when=asyncio.FIRST_COMPLETED)
            found = next((task.result() for task in tasks if task.done() and task.result()), None)
    finally:
        await asyncio.shield(_give_up(tasks, found))
    return found


async def _give_up(tasks: Sequence[asyncio.Task[Reached | None]], kept: Reached | None) -> None:
    for task in tasks:
        task.cancel()
    for made in await asyncio.gather(*tasks, return_exceptions=True):
        if isinstance(made, Reached) and made is not kept:
            made.terminate()


@asynccontextmanager
async def watched(
    connection: Lent, where: DatabaseSettings, *, alone: bool, every_seconds: float = LOOK_SECONDS
) -> AsyncGenerator[None]:
    """Abandon the connection as soon as its server does not answer others, or is not what was asked for any more.

    where: its one host. alone: there is no other to go to; then nothing is done, and the time limits are all there is.
    """
    if alone:
        yield
        return
    task = asyncio.create_task(_watch(connection, where, every_seconds), name="watch")
    try:
        yield
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)


async def _watch(connection: Lent, where: DatabaseSettings, every_seconds: float) -> None:
    while True:
        await asyncio.sleep(every_seconds)
        try:
            probe = await _connect(where, _LOOKING, HOST_SECONDS)
        except LOST:
            abandon(connection)
            return
        except asyncpg.PostgresError:
            continue  # it answers
        probe.terminate()


def abandon(connection: Lent) -> None:
    """End a connection at once; whatever runs on it fails now."""
    with suppress(asyncpg.InterfaceError):  # given back to its pool already
        connection.terminate()


def is_closed(connection: Lent) -> bool:
    """Return whether nothing can be sent any more."""
    try:
        return connection.is_closed()
    except asyncpg.InterfaceError:  # given back to its pool already
        return True


def verdict(settings: DatabaseSettings, failures: dict[str, Exception]) -> Exception:
    """Return what to raise when no host fits: a server's own word first, such as a wrong password; pure."""
    for error in failures.values():
        if not isinstance(error, LOST):
            return error
    told = "; ".join(f"{name}: {_reason(error)}" for name, error in failures.items())
    if all(isinstance(error, ConnectionRefusedError | FileNotFoundError) for error in failures.values()):
        return ConnectionRefusedError(told)
    return NoneAnswers(f"no server of {settings.display()} answers ({told})", hint="aya status")


def _reason(error: BaseException) -> str:
    if isinstance(error, TimeoutError):
        return "no answer"
    if isinstance(error, asyncpg.TargetServerAttributeNotMatched):
        return "not open for writing"
    return str(error) or type(error).__name__


def _name(where: DatabaseSettings) -> str:
    ((host, port),) = where.hosts
    return f"{host}:{port}"
