"""Clients that write on both sides, in every way that a person or a service does, and keep a journal."""

from __future__ import annotations

import asyncio
import itertools
import random
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any
from uuid import UUID

import asyncpg
import numpy as np
from tests.sync.lab import Lab
from tests.sync.oracle import Journal, Write

from aya.postgres.cluster import SUPERUSER

LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError)
_PAUSE_SECONDS = 0.03
_NUMBERS = itertools.count(1)
_DOCUMENT = "SELECT id, uid, metadata ->> 'v' AS token FROM documents ORDER BY random() LIMIT 1 FOR UPDATE"
_CHUNK = (
    "SELECT id, uid, metadata ->> 'v' AS token FROM chunks WHERE content_sha256 IS NULL"
    " ORDER BY random() LIMIT 1 FOR UPDATE"
)
_CHUNKS_OF = "SELECT uid, metadata ->> 'v' AS token FROM chunks WHERE document_id = $1 AND metadata ? 'v' FOR UPDATE"
_ALL = "SELECT uid, metadata ->> 'v' AS token FROM {} WHERE metadata ? 'v'"


class RolledBack(Exception):
    """Meant so."""


def vector(text: str) -> np.ndarray[Any, np.dtype[np.float32]]:
    """Return the vector that this text always has here."""
    return np.random.default_rng(zlib.crc32(text.encode())).standard_normal(768).astype(np.float32)


class Client:
    """One that writes on a side until it is told to stop."""

    def __init__(self, lab: Lab, side: str, journal: Journal, seed: int) -> None:
        self._lab, self._side, self._journal = lab, side, journal
        self._random = random.Random(seed)  # noqa: S311 - repeatable
        self._write = Write(side, None, None)

    async def run(self, stop: asyncio.Event) -> None:
        """Write; connect again whenever that fails."""
        while not stop.is_set():
            connection = None
            with suppress(*LOST):
                connection = await self._lab.connect(self._side)
                while not stop.is_set():
                    await self._once(connection)
                    await asyncio.sleep(self._random.random() * _PAUSE_SECONDS)
            if connection is not None:
                connection.terminate()
            await asyncio.sleep(_PAUSE_SECONDS)

    async def _once(self, connection: asyncpg.Connection[Any]) -> None:
        ways: dict[Callable[[asyncpg.Connection[Any]], Awaitable[None]], float] = {
            self._insert: 5, self._edit: 8, self._delete: 2, self._insert_chunk: 4, self._edit_chunk: 4,
            self._delete_chunk: 1, self._copy: 0.5, self._truncate: 0.02,
        }  # fmt: skip
        if self._side == "air":
            ways |= {self._type_insert: 1, self._type_edit: 1, self._type_delete: 0.5}
        elif self._random.random() < 0.05:
            await self._as_replica()
            return
        work = self._random.choices(list(ways), list(ways.values()))[0]
        # What happens within a transaction happens together: several writes of a client are in one now and then.
        begun = len(self._journal.writes)
        state = "not kept"
        try:
            async with self._transaction(connection):
                for _ in range(self._random.choice((1, 1, 1, 2))):
                    await work(connection)
                if self._random.random() < 0.03:
                    await asyncio.sleep(self._random.uniform(0.3, 1.5))
                if self._random.random() < 0.1:
                    raise RolledBack  # noqa: TRY301 - it is how one rolls back here
                state = "unknown"
            state = "kept"
        except RolledBack:
            state = "not kept"
        finally:
            for write in self._journal.writes[begun:]:
                if write.client is self and write.state == "open":
                    write.state = state

    @asynccontextmanager
    async def _transaction(self, connection: asyncpg.Connection[Any]) -> AsyncGenerator[None]:
        async with asyncio.timeout(20):
            async with connection.transaction():
                yield

    def _told(self, uid: UUID | None, token: str | None, replaced: dict[UUID, str] | None = None) -> None:
        self._journal.writes.append(Write(self._side, uid, token, replaced or {}, client=self))

    def _token(self) -> str:
        return f"{self._side}-{next(_NUMBERS)}"

    # Documents

    async def _insert(self, connection: asyncpg.Connection[Any]) -> None:
        token = self._token()
        row = await connection.fetchrow(
            "INSERT INTO documents (content, metadata, category) VALUES ($1, $2, $3)"
            " RETURNING id, uid, content_sha256", f"text {token}", {"v": token}, self._random.choice("abc"),
        )  # fmt: skip
        assert row
        self._told(row["uid"], token)
        if self._random.random() < 0.8:
            await self._cut(connection, row)

    async def _cut(self, connection: asyncpg.Connection[Any], row: asyncpg.Record) -> None:
        """Do as the indexer does: chunks in place of the former ones, and nothing left in its queue."""
        await connection.execute("DELETE FROM chunks WHERE document_id = $1 AND content_sha256 IS NOT NULL", row["id"])
        for number in range(self._random.randint(1, 3)):
            text = f"part {number} of {row['content_sha256'].hex()[:8]}"
            await connection.execute(
                "INSERT INTO chunks (document_id, chunk_text, embedding, chunk_index, content_sha256)"
                " VALUES ($1, $2, $3, $4, $5)", row["id"], text, vector(text), number, row["content_sha256"],
            )  # fmt: skip
        await connection.execute("DELETE FROM index_queue WHERE document_id = $1", row["id"])

    async def _edit(self, connection: asyncpg.Connection[Any]) -> None:
        found = await connection.fetchrow(_DOCUMENT)
        if found is None:
            return await self._insert(connection)
        token = self._token()
        clock = "now()" if self._random.random() < 0.8 else "now() + (random() - 0.5) * interval '2 hours'"
        if self._random.random() < 0.5:
            change = f"UPDATE documents SET metadata = $2, updated_at = {clock} WHERE id = $1"  # noqa: S608 - ours
            await connection.execute(change, found["id"], {"v": token})
        else:
            row = await connection.fetchrow(
                f"UPDATE documents SET metadata = $2, content = $3, updated_at = {clock} WHERE id = $1"  # noqa: S608 - ours
                " RETURNING id, content_sha256", found["id"], {"v": token}, f"text {token}",
            )  # fmt: skip
            assert row
            await self._cut(connection, row)
        self._told(found["uid"], token, _replaced(found))
        return None

    async def _delete(self, connection: asyncpg.Connection[Any]) -> None:
        found = await connection.fetchrow(_DOCUMENT)
        if found is None:
            return
        gone = _replaced(found, *await connection.fetch(_CHUNKS_OF, found["id"]))
        await connection.execute("DELETE FROM documents WHERE id = $1", found["id"])
        self._told(found["uid"], None, gone)

    async def _truncate(self, connection: asyncpg.Connection[Any]) -> None:
        await connection.execute("LOCK TABLE documents, chunks IN ACCESS EXCLUSIVE MODE")
        gone = [row for table in ("documents", "chunks") for row in await connection.fetch(_ALL.format(table))]
        await connection.execute("TRUNCATE documents CASCADE")
        self._told(None, None, _replaced(*gone))

    async def _copy(self, connection: asyncpg.Connection[Any]) -> None:
        tokens = [self._token() for _ in range(5)]
        await connection.copy_records_to_table(
            "documents", records=[(f"copied {token}", f'{{"v": "{token}"}}') for token in tokens],
            columns=["content", "source"],
        )  # fmt: skip
        rows = await connection.fetch(
            "UPDATE documents SET metadata = source::jsonb, source = 'copy' WHERE source LIKE '{%'"
            " RETURNING uid, metadata ->> 'v' AS token"
        )
        for row in rows:
            self._told(row["uid"], row["token"])

    # Chunks that are typed by hand

    async def _insert_chunk(self, connection: asyncpg.Connection[Any]) -> None:
        found = await connection.fetchrow(_DOCUMENT.replace("FOR UPDATE", "FOR KEY SHARE"))
        token = self._token()
        uid = await connection.fetchval(
            "INSERT INTO chunks (document_id, chunk_text, embedding, metadata) VALUES ($1, $2, $3, $4) RETURNING uid",
            found["id"] if found and self._random.random() < 0.9 else None, f"typed {token}",
            vector(token), {"v": token},
        )  # fmt: skip
        self._told(uid, token)

    async def _edit_chunk(self, connection: asyncpg.Connection[Any]) -> None:
        found = await connection.fetchrow(_CHUNK)
        if found is None:
            return
        token = self._token()
        await connection.execute(
            "UPDATE chunks SET chunk_text = $2, metadata = $3, embedding = $4 WHERE id = $1",
            found["id"], f"typed {token}", {"v": token}, vector(token),
        )  # fmt: skip
        self._told(found["uid"], token, _replaced(found))

    async def _delete_chunk(self, connection: asyncpg.Connection[Any]) -> None:
        found = await connection.fetchrow(_CHUNK)
        if found is not None:
            await connection.execute("DELETE FROM chunks WHERE id = $1", found["id"])
            self._told(found["uid"], None, _replaced(found))

    # The contract's queue, typed by hand on AIR

    async def _type(self, connection: asyncpg.Connection[Any], operation: str, data: dict[str, Any]) -> UUID:
        uid = await connection.fetchval(
            "INSERT INTO write_queue (operation, table_name, data) VALUES ($1, 'documents', $2) RETURNING row_uid",
            operation, data,
        )  # fmt: skip
        assert isinstance(uid, UUID)
        return uid

    async def _type_insert(self, connection: asyncpg.Connection[Any]) -> None:
        token = self._token()
        uid = await self._type(connection, "INSERT", {"content": f"typed {token}", "metadata": {"v": token}})
        self._told(uid, token)

    async def _type_edit(self, connection: asyncpg.Connection[Any]) -> None:
        found = await connection.fetchrow(_DOCUMENT)
        if found is not None:
            token = self._token()
            await self._type(connection, "UPDATE", {"id": found["id"], "metadata": {"v": token}})
            self._told(found["uid"], token, _replaced(found))

    async def _type_delete(self, connection: asyncpg.Connection[Any]) -> None:
        found = await connection.fetchrow(_DOCUMENT)
        if found is not None:
            gone = _replaced(found, *await connection.fetch(_CHUNKS_OF, found["id"]))
            await self._type(connection, "DELETE", {"uid": str(found["uid"])})
            self._told(found["uid"], None, gone)

    # As a replica writes, without triggers

    async def _as_replica(self) -> None:
        connection = await self._lab.connect(self._side, SUPERUSER)
        begun, state = len(self._journal.writes), "not kept"
        try:
            await connection.execute("SET session_replication_role = replica")
            async with self._transaction(connection):
                await self._random.choice((self._insert, self._edit, self._edit_chunk))(connection)
                state = "unknown"
            state = "kept"
        finally:
            for write in self._journal.writes[begun:]:
                if write.client is self and write.state == "open":
                    write.state = state
            connection.terminate()


def _replaced(*rows: asyncpg.Record) -> dict[UUID, str]:
    return {row["uid"]: row["token"] for row in rows if row["token"]}


@asynccontextmanager
async def writing(lab: Lab, journal: Journal, *, seed: int, each: int = 2) -> AsyncGenerator[None]:
    """Have clients write on both sides for as long as the block lasts; what they have begun they finish."""
    stop = asyncio.Event()
    tasks = [
        asyncio.create_task(Client(lab, side, journal, seed * 100 + number).run(stop))
        for number, side in enumerate(["primary", "air"] * each)
    ]
    try:
        yield
    finally:
        stop.set()
        await asyncio.gather(*tasks)
