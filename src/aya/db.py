"""The database: a pool that opens when it is first needed, and one boundary where its errors are translated."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncGenerator, Awaitable, Callable, Generator
from contextlib import asynccontextmanager, contextmanager, suppress
from typing import TYPE_CHECKING, Any, Literal, Self

import asyncpg
from pgvector.asyncpg import register_vector  # pyright: ignore[reportMissingTypeStubs]

from aya import errors, servers
from aya.settings import DatabaseSettings

if TYPE_CHECKING:
    from asyncpg.pool import PoolConnectionProxy
    from asyncpg.transaction import Transaction

    Check = Callable[["Connection"], Awaitable[object]]
    Connection = asyncpg.Connection[asyncpg.Record] | PoolConnectionProxy[asyncpg.Record]

CONNECT_TIMEOUT_SECONDS = 10.0
COMMAND_TIMEOUT_SECONDS = 60.0
# A commit that is cancelled while it waits for the standby succeeds, with this warning: it is here, perhaps only here.
_NOT_WAITED = "01000"

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
# The connection is gone, or about to be.
LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.CannotConnectNowError,
    asyncpg.AdminShutdownError,
    asyncpg.CrashShutdownError,
    asyncpg.TargetServerAttributeNotMatched,
    asyncpg.InterfaceError,
    # What a query meets between the server's farewell and the end of the connection.
    asyncpg.InternalClientError,
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
    except (*LOST, OSError) as error:
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
) -> asyncpg.Connection[asyncpg.Record]:
    """Open one plain connection, without the codecs. Errors are the driver's: use it inside `translated`.

    command_timeout: seconds a statement may take; None for work whose length nobody can know (a migration).
    """
    return await servers.connect(
        settings,
        timeout=CONNECT_TIMEOUT_SECONDS,
        command_timeout=command_timeout,
        server_settings={"application_name": application_name},
    )


class Database:
    """A small pool on one database, opened on first use and reopened by itself after a loss.

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
                    connect=self._connect,
                    min_size=0,
                    max_size=self._max_size,
                    timeout=CONNECT_TIMEOUT_SECONDS,
                    command_timeout=COMMAND_TIMEOUT_SECONDS,
                    server_settings={"application_name": self._application_name},
                    init=prepare_connection,
                )
        return self._pool

    async def _connect(self, dsn: str | None = None, **options: Any) -> asyncpg.Connection[asyncpg.Record]:  # noqa: ANN401 - the pool's own
        del dsn  # the pool was given none
        return await servers.connect(self.settings, **options)

    @asynccontextmanager
    async def connection(self) -> AsyncGenerator[Connection]:
        """Lend a connection; every driver error inside comes out as an AyaError."""
        with translated(self.settings):
            pool = await self._opened()
            async with pool.acquire(timeout=CONNECT_TIMEOUT_SECONDS) as connection:
                if self._unchecked is not None:
                    await self._unchecked(connection)
                    self._unchecked = None
                try:
                    yield connection
                except asyncpg.ReadOnlySQLTransactionError:
                    # Another server leads by now, or will soon: the next use looks for it.
                    connection.terminate()
                    raise

    @asynccontextmanager
    async def transaction(self, *, readonly: bool = False) -> AsyncGenerator[Connection]:
        """Lend a connection inside a transaction: committed when the block ends well, else rolled back.

        readonly: every statement sees the same moment (repeatable read). Raises OutcomeUnknown when the commit was sent
        and nobody can say whether it came about.
        """
        isolation: Literal["repeatable_read", "read_committed"] = "repeatable_read" if readonly else "read_committed"
        async with self.connection() as connection:
            transaction = connection.transaction(isolation=isolation, readonly=readonly)
            await transaction.start()
            try:
                yield connection
            except BaseException:
                with suppress(*LOST, OSError):
                    await transaction.rollback()
                raise
            if readonly:
                await transaction.commit()
            else:
                await self._commit(connection, transaction)

    async def _commit(self, connection: Connection, transaction: Transaction) -> None:
        warnings: list[str] = []

        def hear(_: object, message: asyncpg.PostgresLogMessage) -> None:
            warnings.append(str(message.sqlstate))

        connection.add_log_listener(hear)
        try:
            await transaction.commit()
        except (*LOST, OSError) as error:
            raise self._unknown(str(error) or type(error).__name__) from error
        finally:
            with suppress(asyncpg.InterfaceError):
                connection.remove_log_listener(hear)
        if _NOT_WAITED in warnings:
            raise self._unknown("the wait for the standby was cancelled")

    def _unknown(self, why: str) -> errors.OutcomeUnknown:
        return errors.OutcomeUnknown(
            f"{self.settings.display()}: whether the commit came about is not known ({why})",
            hint="run the same again: it is done once",
        )

    async def close(self) -> None:
        """Close the pool, politely at first."""
        if self._pool is None:
            return
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_SECONDS):
                await self._pool.close()
        except TimeoutError:
            self._pool.terminate()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()
