"""Why a standby does not stream from a living primary: its history is another, or the primary's log begins too late.

A standby that does not stream may just be replaying what it has. So evidence is asked of the primary, never guessed.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

import asyncpg

from aya import log
from aya.members import Member
from aya.postgres.config import replication_role, slot_name
from aya_watchdog.observe import Observer
from aya_watchdog.server import SQL
from aya_watchdog.way_back import fork

_CONNECT_SECONDS = 2.0
_PATIENCE_SECONDS = 3.0
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Origin:
    """What the primary says of its log. history: its timeline's file; begins: of what it keeps for us, in bytes."""

    timeline: int
    history: str
    begins: int | None
    lost: bool


def is_diverged(origin: Origin, timeline: int, reached: int) -> bool:
    """Return whether a standby on `timeline` that has `reached` a position went past where the primary forked; pure."""
    if timeline == origin.timeline:
        return False
    forked = fork(origin.history, timeline)
    return forked is None or reached > forked


def is_lost(origin: Origin, reached: int) -> bool:
    """Return whether the primary has not the log any more that comes after `reached`; pure."""
    return origin.lost or (origin.begins is not None and origin.begins > reached)


class Lineage:
    """Looks into it for as long as a standby does not stream, and tells the observer what it found."""

    def __init__(self, observer: Observer, partner: Member, password: str, node: str) -> None:
        self._observer, self._partner, self._password, self._node = observer, partner, password, node

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            await asyncio.sleep(_LOOK_SECONDS)
            observer = self._observer
            if not observer.is_stuck(_PATIENCE_SECONDS):
                observer.diverged = observer.lost = False
                continue
            row = observer.row
            reached = max(row["received"], row["replayed"])
            try:
                origin = await self._ask()
            except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
                continue
            observer.diverged = is_diverged(origin, int(row["timeline"]), reached)
            observer.lost = is_lost(origin, reached)
            if observer.diverged or observer.lost:
                log.get_logger().warning(
                    "stream.impossible", diverged=observer.diverged, lost=observer.lost, reached=reached,
                    timeline=row["timeline"], origin_timeline=origin.timeline, origin_begins=origin.begins,
                )  # fmt: skip

    async def _ask(self) -> Origin:
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await asyncpg.connect(
                host=list(self._partner.addresses),
                port=self._partner.postgres_port,
                user=replication_role(self._node),
                password=self._password,
                database="postgres",
            )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                slot = await connection.fetchrow(SQL["slot_of_partner"], slot_name(self._node))
                timeline = int(await connection.fetchval(SQL["timeline"]))
                history = b""
                if timeline > 1:
                    history = await connection.fetchval(SQL["timeline_history"], f"pg_wal/{timeline:08X}.history")
        finally:
            connection.terminate()
        return Origin(
            timeline=timeline,
            history=history.decode(),
            begins=slot["begins"] if slot else None,
            lost=slot is not None and slot["wal_status"] == "lost",
        )
