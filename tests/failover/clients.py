"""Clients that write all the time, by one unchanged DSN, and keep a journal of what they were told."""

from __future__ import annotations

import asyncio
import itertools
import random
import time
from collections.abc import AsyncGenerator, Coroutine
from contextlib import asynccontextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import asyncpg

from aya.dsn import DatabaseSettings

CONNECT_SECONDS = 1.0
_STATEMENT_SECONDS = 2.0
_PAUSE_SECONDS = 0.02
_PATIENCE_SECONDS = 10
ACCOUNTS = 10
BALANCE = 1000
LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
SCHEMA = f"""
CREATE TABLE IF NOT EXISTS lab_entries (id text PRIMARY KEY);
CREATE TABLE IF NOT EXISTS lab_accounts (id integer PRIMARY KEY, balance integer NOT NULL);
CREATE TABLE IF NOT EXISTS lab_transfers (id text PRIMARY KEY, source integer, target integer, amount integer);
INSERT INTO lab_accounts SELECT number, {BALANCE} FROM generate_series(1, {ACCOUNTS}) AS number ON CONFLICT DO NOTHING;
"""  # noqa: S608 - of constants
# The accounts whose balance is not what the transfers to and from them make it.
_ODD = f"""
SELECT id FROM lab_accounts AS account WHERE balance <> {BALANCE}
    + (SELECT coalesce(sum(amount), 0) FROM lab_transfers WHERE target = account.id)
    - (SELECT coalesce(sum(amount), 0) FROM lab_transfers WHERE source = account.id)
"""  # noqa: S608 - of constants


@dataclass
class Journal:
    """What clients were told. sent, acknowledged, failed, unknown: ids of entries and transfers; acknowledged: when.

    began: when the statement of an acknowledged one was sent. Times are monotonic seconds.
    """

    acknowledged: dict[str, float] = field(default_factory=dict[str, float])
    began: dict[str, float] = field(default_factory=dict[str, float])
    sent: set[str] = field(default_factory=set[str])
    failed: set[str] = field(default_factory=set[str])
    unknown: set[str] = field(default_factory=set[str])

    def add(self, later: Journal) -> None:
        """Take over what another journal has."""
        self.acknowledged.update(later.acknowledged)
        self.began.update(later.began)
        self.sent |= later.sent
        self.failed |= later.failed
        self.unknown |= later.unknown

    def first_after(self, moment: float) -> float | None:
        """Return how many seconds after a moment the first write was acknowledged that was sent since; None: none."""
        found = [at for id_, at in self.acknowledged.items() if self.began[id_] >= moment]
        return min(found) - moment if found else None

    def longest_gap(self, since: float = 0.0) -> float:
        """Return the longest time between two acknowledgements, in seconds. since: of those that end after it."""
        told = sorted(self.acknowledged.values())
        told = [at for number, at in enumerate(told) if at >= since or told[min(number + 1, len(told) - 1)] >= since]
        return max((later - earlier for earlier, later in itertools.pairwise(told)), default=0.0)


class Unacknowledged(Exception):
    """The commit did not wait for the standby to the end: its outcome is unknown."""


class Writer:
    """One client: it connects, writes, and when that fails connects again, to whoever leads by then."""

    def __init__(self, name: str, settings: DatabaseSettings, journal: Journal, seed: int) -> None:
        self._name, self._settings, self._journal = name, settings, journal
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self._numbers = itertools.count(1)
        self._warned = False

    async def run(self) -> None:
        """Write until cancelled."""
        while True:
            connection = None
            try:
                connection = await connected(self._settings)
                connection.add_log_listener(self._hear)
                while True:
                    await self._write(connection)
                    await asyncio.sleep(self._random.random() * _PAUSE_SECONDS)
            except LOST:
                await asyncio.sleep(_PAUSE_SECONDS)
            except Unacknowledged:
                continue
            finally:
                if connection is not None:
                    connection.terminate()

    def _hear(self, _connection: object, message: Any) -> None:  # noqa: ANN401 - asyncpg's own
        self._warned = self._warned or message.sqlstate == "01000"

    async def _write(self, connection: asyncpg.Connection[Any]) -> None:
        id_ = f"{self._name}-{next(self._numbers)}"
        began = time.monotonic()
        self._journal.sent.add(id_)
        try:
            is_entry = self._random.random() < 0.5
            await self._within(self._entry(connection, id_) if is_entry else self._transfer(connection, id_))
        except asyncpg.ReadOnlySQLTransactionError:
            self._journal.failed.add(id_)
            raise
        except asyncio.CancelledError:
            self._journal.unknown.add(id_)
            raise
        except LOST:
            self._journal.unknown.add(id_)
            raise
        if self._warned:
            self._warned = False
            self._journal.unknown.add(id_)
            raise Unacknowledged
        self._journal.began[id_] = began
        self._journal.acknowledged[id_] = time.monotonic()

    async def _within(self, work: Coroutine[Any, Any, None]) -> None:
        """Do it, but wait no longer than so: a server that hangs is left, not asked to cancel what it does not hear."""
        task = asyncio.ensure_future(work)
        try:
            done, _ = await asyncio.wait({task}, timeout=_STATEMENT_SECONDS)
        except asyncio.CancelledError:
            self._leave(task)
            raise
        if not done:
            self._leave(task)
            raise TimeoutError
        task.result()

    def _leave(self, task: asyncio.Future[None]) -> None:
        task.add_done_callback(lambda ended: ended.cancelled() or ended.exception())

    async def _entry(self, connection: asyncpg.Connection[Any], id_: str) -> None:
        await connection.execute("INSERT INTO lab_entries VALUES ($1)", id_)

    async def _transfer(self, connection: asyncpg.Connection[Any], id_: str) -> None:
        source, target = sorted(self._random.sample(range(1, ACCOUNTS + 1), 2))
        amount = self._random.randint(-50, 50)
        async with connection.transaction():
            await connection.execute("UPDATE lab_accounts SET balance = balance - $2 WHERE id = $1", source, amount)
            await connection.execute("UPDATE lab_accounts SET balance = balance + $2 WHERE id = $1", target, amount)
            await connection.execute("INSERT INTO lab_transfers VALUES ($1, $2, $3, $4)", id_, source, target, amount)


async def connected(settings: DatabaseSettings) -> asyncpg.Connection[Any]:
    """Connect to the first host of a DSN that lets clients write; a silent one costs a second.

    As libpq does it with connect_timeout, which counts for each host; asyncpg's counts for all of them together.
    """
    error: BaseException = ConnectionError("no host")
    for host in settings.hosts:
        try:
            return await asyncpg.connect(replace(settings, hosts=(host,)).dsn(), timeout=CONNECT_SECONDS)
        except LOST as failed:
            error = failed
    raise error


async def _patiently(settings: DatabaseSettings) -> asyncpg.Connection[Any]:
    """Connect, within ten seconds: on a machine that is short of time a leader may close itself for a moment."""
    async with asyncio.timeout(_PATIENCE_SECONDS):
        while True:
            try:
                return await connected(settings)
            except LOST:
                await asyncio.sleep(_PAUSE_SECONDS)


@dataclass(frozen=True)
class Found:
    """What the database has. ids: of entries and transfers. total: of all balances.

    odd: accounts that have not what the transfers say.
    """

    ids: frozenset[str]
    total: int
    odd: tuple[int, ...]


async def seen(connection: asyncpg.Connection[Any]) -> Found:
    """Return what the database has."""
    ids = await connection.fetch("SELECT id FROM lab_entries UNION ALL SELECT id FROM lab_transfers")
    total = await connection.fetchval("SELECT sum(balance) FROM lab_accounts")
    odd = await connection.fetch(_ODD)
    return Found(frozenset(row["id"] for row in ids), int(total), tuple(row["id"] for row in odd))


async def check(settings: DatabaseSettings, journal: Journal) -> None:
    """Compare the journal with the database; AssertionError for a lost, a resurrected or an invented row, or money."""
    # The clients write on: what was acknowledged before the look must be there, and what is there must be known after.
    acknowledged = set(journal.acknowledged)
    connection = await _patiently(settings)
    try:
        async with connection.transaction(isolation="repeatable_read", readonly=True):
            there = await seen(connection)
    finally:
        await connection.close()
    compare(there, journal, acknowledged)


def compare(there: Found, journal: Journal, acknowledged: set[str]) -> None:
    """Raise AssertionError for what should not be. acknowledged: before the look."""
    lost = acknowledged - there.ids
    invented = (there.ids & journal.failed) | (there.ids - journal.sent)
    assert not lost, f"{len(lost)} acknowledged rows are lost: {sorted(lost)[:5]}"
    assert not invented, f"{len(invented)} rows are there that were refused, or never sent: {sorted(invented)[:5]}"
    assert there.total == ACCOUNTS * BALANCE, f"the balances add up to {there.total}"
    assert not there.odd, f"accounts {there.odd} have not what the transfers say"
    told = len(journal.acknowledged.keys() & (journal.failed | journal.unknown)) + len(journal.failed & journal.unknown)
    assert not told, f"{told} writes were told to have ended in two ways"


async def prepare(settings: DatabaseSettings) -> None:
    """Make the tables."""
    connection = await asyncpg.connect(settings.dsn(), timeout=10)
    try:
        await connection.execute(SCHEMA)
    finally:
        await connection.close()


@asynccontextmanager
async def writing(
    settings: DatabaseSettings, journal: Journal, *, writers: int = 4, name: str = "w", seed: int = 1
) -> AsyncGenerator[None]:
    """Have clients write for as long as the block lasts."""
    tasks = [
        asyncio.create_task(Writer(f"{name}{number}", settings, journal, seed + number).run())
        for number in range(writers)
    ]
    try:
        yield
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
