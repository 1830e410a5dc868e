"""What became of a change: kept, not kept, or nobody can say. The one place where the three are told apart.

A commit waits for the standby after it was made. Whoever cancels that wait has the server answer COMMIT, with a
warning only: the change is kept here, and a failover may lose it. Whoever ends the session, or the server, takes the
answer away, and the change may be kept or not (https://www.postgresql.org/docs/18/warm-standby.html, 26.2.8.3).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from typing import TYPE_CHECKING, Literal

import asyncpg

from aya import queries
from aya.errors import OutcomeUnknown
from aya.reach import LOST, abandon, is_closed

if TYPE_CHECKING:
    from aya.reach import Lent

_SQL = queries.load("aya", "outcome.sql")
Isolation = Literal["read_committed", "repeatable_read"]
_HINT = "run the same again: what is there already is not done twice"
# The wait for the standby was cancelled. Any other warning of this class during a commit is taken for it.
_CANCELLED_WAIT = "01000"
_COMMITTED = "COMMIT"


@asynccontextmanager
async def told(connection: Lent) -> AsyncGenerator[None]:
    """Around a COMMIT, or a statement that commits by itself: raise OutcomeUnknown unless its outcome is known.

    Other errors of the driver pass: the server refused, or nothing was sent.
    """
    warned: list[str] = []

    def hear(_: object, message: asyncpg.PostgresLogMessage) -> None:
        if message.sqlstate == _CANCELLED_WAIT:
            warned.append(message.message or message.sqlstate)

    if is_closed(connection):
        # Nothing is sent on it any more: the driver says so, and the change is not kept.
        yield
        return
    connection.add_log_listener(hear)
    try:
        yield
    except LOST as error:
        if _nothing_was_sent(connection, error):
            raise
        raise OutcomeUnknown(f"whether the change is kept is unknown: {_reason(error)}", hint=_HINT) from error
    finally:
        with suppress(asyncpg.InterfaceError):
            connection.remove_log_listener(hear)
    if warned:
        raise OutcomeUnknown(f"the change is kept on one server, perhaps not on the other: {warned[0]}", hint=_HINT)


def _nothing_was_sent(connection: Lent, error: BaseException) -> bool:
    """Return whether the driver itself refused, on a connection that lives: a wrong number of arguments, say."""
    return isinstance(error, asyncpg.InterfaceError) and not is_closed(connection)


def _reason(error: BaseException) -> str:
    return str(error) or ("no answer" if isinstance(error, TimeoutError) else type(error).__name__)


@asynccontextmanager
async def transaction(
    connection: Lent, *, isolation: Isolation = "read_committed", readonly: bool = False
) -> AsyncGenerator[None]:
    """Run a block in a transaction: committed when it ends well, else rolled back.

    Raises OutcomeUnknown when it was to be committed and nobody can say whether it is, and
    asyncpg.InFailedSQLTransactionError when the block passed over an error of the server's: nothing is kept then. A
    server that did not answer in time is left, not asked again: then the connection is closed. One cannot be inside
    another.
    """
    if connection.is_in_transaction():
        msg = "one transaction cannot be inside another"
        raise RuntimeError(msg)
    try:
        await connection.execute(_SQL[f"begin_{isolation}{'_readonly' if readonly else ''}"])
        yield
    except (TimeoutError, asyncio.CancelledError):
        abandon(connection)
        raise
    except BaseException:
        await _roll_back(connection)
        raise
    try:
        if readonly:
            await _commit(connection)
        else:
            async with told(connection):
                await _commit(connection)
    except (OutcomeUnknown, TimeoutError, asyncio.CancelledError):
        abandon(connection)
        raise


async def _commit(connection: Lent) -> None:
    # Not the driver's own transaction, which does not look at the answer.
    if await connection.execute(_SQL["commit"]) != _COMMITTED:
        raise asyncpg.InFailedSQLTransactionError(
            "the server rolled the transaction back: a statement in it had failed"
        )


async def _roll_back(connection: Lent) -> None:
    try:
        if not is_closed(connection):
            await connection.execute(_SQL["roll_back"])
    except LOST:
        abandon(connection)
    except asyncio.CancelledError:
        abandon(connection)
        raise
