"""The database: a pool that opens when it is first needed, and one boundary where its errors are translated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Self, cast

import asyncpg
from pgvector.asyncpg import register_vector  # pyright: ignore[reportMissingTypeStubs]

from aya import errors, outcome, reach
from aya.dsn import DatabaseSettings
from aya.reach import FAILED, LOST, Client, Reached

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy

    Check = Callable[["Connection"], Awaitable[object]]
    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

CONNECT_TIMEOUT_SECONDS = 10.0
_CLOSE_SECONDS = 2.0
COMMAND_TIMEOUT_SECONDS = 60.0

_FULL = (
    asyncpg.DiskFullError,
    asyncpg.OutOfMemoryError,
    asyncpg.TooManyConnectionsError,
    asyncpg.ConfigurationLimitExceededError,
)
_REFUSED = (
    asyncpg.InvalidPasswordError,
    asyncpg.InvalidAuthorizationSpecificationError,
    asyncpg.InsufficientPrivilegeError,
)


@contextmanager
def translated(settings: DatabaseSettings) -> Generator[None]:
    """Turn the driver's errors into AYA's, with the original as cause."""
    where = settings.display()
    try:
        yield
    except asyncpg.InvalidCatalogNameError as error:
        raise errors.SchemaMismatch(f"{where}: the database does not exist", hint="aya up, or aya migrate") from error
    except (asyncpg.UndefinedTableError, asyncpg.UndefinedFunctionError, asyncpg.UndefinedColumnError) as error:
        raise errors.SchemaMismatch(
            f"{where}: its schema is not the one expected ({error})", hint="aya migrate"
        ) from error
    except _REFUSED as error:
        raise errors.DatabaseRefused(f"{where} refused {settings.user}: {error}", hint="aya status") from error
    except _FULL as error:
        raise errors.DatabaseFull(
            f"{where} is full: {error}", hint="free disk space or close connections, then run the same again"
        ) from error
    except (asyncpg.DeadlockDetectedError, asyncpg.SerializationError) as error:
        raise errors.DatabaseConflict(f"{where}: {error}", hint="run the same again") from error
    except asyncpg.ReadOnlySQLTransactionError as error:
        raise errors.DatabaseReadOnly(
            f"{where} is read-only (a standby)", hint="aya status names the primary"
        ) from error
    except TimeoutError as error:
        raise errors.DatabaseUnavailable(f"{where} did not answer in time", hint="aya status") from error
    except LOST as error:
        reason = str(error) or type(error).__name__
        raise errors.DatabaseUnavailable(
            f"{where} cannot be reached: {reason}", hint="aya status, then aya up"
        ) from error
    except asyncpg.PostgresError as error:
        raise errors.DatabaseError(f"{where}: {error}", hint="aya status") from error


async def prepare_connection(connection: asyncpg.Connection[asyncpg.Record]) -> None:
    """Teach a connection AYA's types: vector as a NumPy array, jsonb as Python values.

    Raises SchemaMismatch in a database without pgvector.
    """
    try:
        await register_vector(connection)
    except ValueError as error:
        raise errors.SchemaMismatch(
            "the database has no pgvector in its schema public",
            hint='psql as its superuser: CREATE EXTENSION vector; or unset the DSN, then "aya up"',
        ) from error
    await connection.set_type_codec("jsonb", encoder=_to_json, decoder=json.loads, schema="pg_catalog", format="text")


def _to_json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, allow_nan=False)


async def connect(
    settings: DatabaseSettings, *, application_name: str, command_timeout: float | None = COMMAND_TIMEOUT_SECONDS
) -> Reached:
    """Open one plain connection, without the codecs. Errors are the driver's: use it inside `translated`.

    command_timeout: seconds a statement may take; None for work whose length nobody can know (a migration).
    """
    return await reach.connect(settings, Client(application_name, command_timeout))


async def close(connection: Reached) -> None:
    """Close a connection, politely at first; never raises what the driver says of it."""
    try:
        await connection.close(timeout=_CLOSE_SECONDS)
    except FAILED:
        reach.abandon(connection)


async def _give_back(pool: asyncpg.Pool[asyncpg.Record], connection: PoolConnectionProxy[asyncpg.Record]) -> None:
    """Give a connection back; one that ends meanwhile takes nothing along: what was done on it is done."""
    with suppress(*FAILED):  # the pool has ended it itself then
        await pool.release(connection)


class Database:
    """A small pool on one database, opened on first use and reopened by itself after a loss.

    Of several servers it uses the one that was asked for, and leaves one that is so no more.

    check: run once, on the first connection that is lent; what it raises ends that use, and the next one checks again.
    """

    def __init__(
        self, settings: DatabaseSettings, *, application_name: str, max_size: int = 4, check: Check | None = None
    ) -> None:
        self.settings = settings
        self._unchecked = check
        self._application_name = application_name
        self._max_size = max_size
        self._pool: asyncpg.Pool[asyncpg.Record] | None = None
        self._opening = asyncio.Lock()

    async def _opened(self) -> asyncpg.Pool[asyncpg.Record]:
        async with self._opening:
            if self._pool is None:
                self._pool = await asyncpg.create_pool(
                    min_size=0, max_size=self._max_size, connect=cast("Any", self._connect), connection_class=Reached
                )
        return self._pool

    async def _connect(self, *_: object, **__: object) -> Reached:
        client = Client(self._application_name, COMMAND_TIMEOUT_SECONDS, prepare_connection)
        return await reach.connect(self.settings, client)

    @property
    def has_choice(self) -> bool:
        """Whether there are several servers, so that another may answer when one does not."""
        return len(self.settings.hosts) > 1

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend a connection; every driver error inside comes out as an AyaError."""
        with translated(self.settings):
            pool = await self._opened()
            connection = await pool.acquire(timeout=CONNECT_TIMEOUT_SECONDS)
            where = cast("Reached", connection).where
            async with reach.watched(connection, where, alone=not self.has_choice):
                try:
                    if self._unchecked is not None:
                        await self._unchecked(connection)
                        self._unchecked = None
                    yield connection
                except BaseException as error:
                    await self._leave(pool, connection, error)
                    raise
                finally:
                    await _give_back(pool, connection)

    async def _leave(self, pool: asyncpg.Pool[asyncpg.Record], connection: Connection, error: BaseException) -> None:
        """Use neither this connection again, nor the others to its server, after what says that it is not the one."""
        if isinstance(error, (TimeoutError, asyncio.CancelledError)):
            reach.abandon(connection)
        if isinstance(error, (*LOST, asyncpg.ReadOnlySQLTransactionError, errors.OutcomeUnknown)):
            if self.has_choice:
                reach.abandon(connection)
            await pool.expire_connections()

    @asynccontextmanager
    async def transaction(self, *, readonly: bool = False) -> AsyncGenerator[Connection]:
        """Lend a connection inside a transaction: committed when the block ends well, else rolled back.

        readonly: every statement sees the same moment (repeatable read).
        """
        isolation: outcome.Isolation = "repeatable_read" if readonly else "read_committed"
        async with (
            self.connection() as connection,
            outcome.transaction(connection, isolation=isolation, readonly=readonly),
        ):
            yield connection

    async def close(self) -> None:
        """Close the pool, politely at first."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(_CLOSE_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
