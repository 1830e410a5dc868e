"""The rows that `aya verify` inserts: each is marked, found again by its mark, and removed on every node.

A document carries category and source `aya-verify` (one that an assistant's tool adds: the category alone) and the run
in its metadata. A run that was killed left its rows behind; the next one finds them by the same mark. Two runs at once
would remove each other's: each holds a lock at the nodes that it writes to, which goes with its connection.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING
from uuid import UUID, uuid4

from aya import db, outcome, queries
from aya.dsn import DatabaseSettings
from aya.errors import AyaError, DatabaseUnavailable, SyncError

if TYPE_CHECKING:
    from aya.db import Connection

CATEGORY = "aya-verify"
SQL = queries.load("aya.verify")
_CONNECT_SECONDS = 3.0
_LOOK_SECONDS = 0.2
# A copy that follows has a deletion within a second; what is left then is removed there by hand.
_FOLLOW_SECONDS = 5.0
_REMOVE_SECONDS = 30.0
_BRIEF_SECONDS = 2.0
_TELL_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Swept:
    """Documents that were removed, on the servers and on the copy. problem: why some may be left; None: none are."""

    leader: int
    copy: int
    problem: str | None = None


class Marks:
    """The rows of one run. leader: where documents are written, and copy: AIR's; None: there is no way to it."""

    def __init__(self, leader: DatabaseSettings | None, copy: DatabaseSettings | None) -> None:
        self._leader, self._copy = leader, copy
        self.run = uuid4()
        self._uids: set[UUID] = set()
        self._used = False

    @property
    def metadata(self) -> str:
        """Return the mark, as JSON."""
        return json.dumps({"aya_verify": str(self.run)})

    def text(self, about: str) -> str:
        """Return a text to be inserted, that nobody else has, and that has a meaning."""
        self._used = True
        return f"aya verify, {about}: the lighthouse keeper counts ships at dawn. Number {uuid4()}."

    async def insert(self, connection: Connection, texts: Sequence[str], vector: str | None = None) -> list[UUID]:
        """Insert a document for each text, as one types it in psql, each in a commit of its own; return their uids.

        vector: of the only text, as PostgreSQL writes it; then its chunk is typed, too.
        """
        made: list[UUID] = []
        for text in texts:
            async with outcome.transaction(connection):
                uid = await connection.fetchval(SQL["insert_document"], text, CATEGORY, self.metadata)
                if vector is not None:
                    await connection.execute(SQL["insert_chunk"], uid, text, vector)
            made.append(uid)
        self._uids |= {*made}
        return made

    async def queue(self, connection: Connection, text: str) -> tuple[int, UUID]:
        """Type a document into AIR's queue; return the operation's number and the document's uid."""
        row = {"content": text, "category": CATEGORY, "source": CATEGORY, "metadata": json.loads(self.metadata)}
        async with outcome.transaction(connection):
            queued = await connection.fetchrow(SQL["queue_document"], json.dumps(row))
        if queued is None or queued["synced"]:
            raise SyncError("the row was not queued", hint="aya migrate")
        self._uids.add(queued["row_uid"])
        return queued["id"], queued["row_uid"]

    async def remove(self, connection: Connection, uids: Sequence[UUID]) -> int:
        """Remove documents of this run by their uids; return how many there were."""
        async with outcome.transaction(connection):
            return len(await connection.fetch(SQL["delete_documents"], list(uids)))

    @asynccontextmanager
    async def alone(self) -> AsyncGenerator[None]:
        """Be the only run that writes at these nodes. Raises AyaError when another one is at work."""
        async with AsyncExitStack() as stack:
            for settings in (self._leader, self._copy):
                connection = await _entered(stack, settings)
                # The lock is for those who insert: where nobody can, nobody is kept out.
                if connection is not None and not await connection.fetchval(SQL["lock"]):
                    raise AyaError("another aya verify is at work", hint="wait a minute, then aya verify again")
            yield

    async def sweep(self, tell: Callable[[str], None] = lambda _: None) -> Swept:
        """Remove every marked row on every node that answers; takes 30 seconds at most. Raises AyaError."""
        async with AsyncExitStack() as stack:
            leader, copy = await _entered(stack, self._leader), await _entered(stack, self._copy)
            problems = self._silent(leader, copy)
            on_copy, on_leader = await self._noted(copy), 0
            began, told = time.monotonic(), False
            # Where nobody takes writes, nothing that waits on the copy is going to be sent.
            follow, most = (_FOLLOW_SECONDS, _REMOVE_SECONDS) if leader else (0.0, _BRIEF_SECONDS)
            while True:
                seconds = time.monotonic() - began
                gone = await self._delete(leader)
                on_leader += gone
                left = await self._left(copy, by_hand=seconds > follow)
                if not gone and not left:
                    break
                if seconds > most:
                    problems.append(f"{left} rows are left on the copy")
                    break
                if not told and seconds > _TELL_SECONDS:
                    told = True
                    tell("waiting until the copy has let go of what was inserted")
                await asyncio.sleep(_LOOK_SECONDS)
        return Swept(on_leader, on_copy, "; ".join(problems) or None)

    def _silent(self, leader: Connection | None, copy: Connection | None) -> list[str]:
        """Return where this run may have rows that cannot be removed now."""
        if not self._used:
            return []
        found = ["nobody takes writes"] if leader is None else []
        return [*found, "the copy does not answer"] if copy is None and self._copy is not None else found

    async def _noted(self, copy: Connection | None) -> int:
        """Remember whose queued operations are ours, before the documents that say so are gone; return how many."""
        if copy is None:
            return 0
        found = await copy.fetch(SQL["marked"], CATEGORY)
        self._uids |= {row["uid"] for row in found}
        return len(found)

    async def _delete(self, connection: Connection | None) -> int:
        if connection is None:
            return 0
        async with outcome.transaction(connection):
            gone = await connection.fetch(SQL["delete_marked"], CATEGORY)
            self._uids |= {row["uid"] for row in gone}
            # A change that AIR sent after the deletion.
            await connection.execute(SQL["forget_conflicts"], list(self._uids))
        return len(gone)

    async def _left(self, copy: Connection | None, *, by_hand: bool) -> int:
        """Return how many documents and open operations of ours the copy still has; by_hand: remove them there."""
        if copy is None:
            return 0
        follows = bool(await copy.fetchval(SQL["copy_follows"]))
        if by_hand or not follows:
            async with outcome.transaction(copy):
                await copy.execute(SQL["forget_waiting"], CATEGORY)
                await copy.fetch(SQL["delete_marked"], CATEGORY)
        async with outcome.transaction(copy):
            await copy.execute(SQL["forget_done"], CATEGORY, list(self._uids))
        return int(await copy.fetchval(SQL["left_on_copy"], CATEGORY, list(self._uids), follows))


async def _entered(stack: AsyncExitStack, settings: DatabaseSettings | None) -> Connection | None:
    """Lend a connection until the stack ends; None where nobody answers: nothing is inserted there, or removed."""
    if settings is None:
        return None
    try:
        async with asyncio.timeout(_CONNECT_SECONDS):
            with db.translated(settings):
                connection = await db.connect(settings, application_name="aya-verify")
                said = await connection.fetchrow(SQL["leads"])
    except (DatabaseUnavailable, TimeoutError):
        return None
    if said is None or said["in_recovery"] or not said["is_open"]:
        connection.terminate()
        return None
    stack.enter_context(db.translated(settings))
    stack.callback(connection.terminate)
    return connection
