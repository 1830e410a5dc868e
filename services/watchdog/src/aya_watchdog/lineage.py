"""Why a standby does not stream from a living primary: its history is another, or the primary's log begins too late.

A standby that does not stream may just be replaying what it has. So evidence is asked of the primary, never guessed.
"""

from __future__ import annotations

import asyncio
import ssl
from dataclasses import dataclass

import asyncpg

from aya import log
from aya.members import Member
from aya.postgres.config import replication_role
from aya.reach import FAILED
from aya_watchdog.keeping import ends
from aya_watchdog.observe import Observer
from aya_watchdog.server import SQL

_CONNECT_SECONDS = 2.0
_PATIENCE_SECONDS = 3.0
_LOOK_SECONDS = 2.0


@dataclass(frozen=True, slots=True)
class Origin:
    """What the primary says of its log. history: its timeline's file; has: whether it has what comes next."""

    timeline: int
    history: str
    has: bool


def is_diverged(origin: Origin, timeline: int, reached: int) -> bool:
    """Return whether a standby on `timeline` that has `reached` a position went past where the primary forked; pure."""
    if timeline == origin.timeline:
        return False
    forked = ends(origin.history).get(timeline)
    return forked is None or reached > forked


def segments(timelines: tuple[int, ...], reached: int, segment_bytes: int) -> list[str]:
    """Return the files that may hold what comes after `reached`, by the timelines that may have written it; pure."""
    number, per_file = reached // segment_bytes, 2**32 // segment_bytes
    return [f"pg_wal/{each:08X}{number // per_file:08X}{number % per_file:08X}" for each in timelines]


class Lineage:
    """Looks into it for as long as a standby does not stream, and tells the observer what it found."""

    def __init__(
        self, observer: Observer, partner: Member, password: str, node: str, proof: ssl.SSLContext | None
    ) -> None:
        self._observer, self._partner, self._password, self._node = observer, partner, password, node
        self._proof = proof

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
            timeline = int(row["timeline"])
            try:
                origin = await self._ask(timeline, reached)
            except FAILED:
                continue
            observer.diverged = is_diverged(origin, timeline, reached)
            observer.lost = not origin.has
            if observer.diverged or observer.lost:
                log.get_logger().warning(
                    "stream.impossible", diverged=observer.diverged, lost=observer.lost, reached=reached,
                    timeline=timeline, origin_timeline=origin.timeline,
                )  # fmt: skip

    async def _ask(self, timeline: int, reached: int) -> Origin:
        async with asyncio.timeout(_CONNECT_SECONDS):
            connection = await asyncpg.connect(
                host=list(self._partner.addresses),
                port=self._partner.postgres_port,
                user=replication_role(self._node),
                password=self._password,
                database="postgres",
                ssl=self._proof,
            )
        try:
            async with asyncio.timeout(_CONNECT_SECONDS):
                leads = int(await connection.fetchval(SQL["timeline"]))
                size = int(await connection.fetchval(SQL["segment_bytes"]))
                history = b""
                if leads > 1:
                    history = await connection.fetchval(SQL["timeline_history"], f"pg_wal/{leads:08X}.history")
                names = segments((timeline, leads), reached, size)
                has = [await connection.fetchval(SQL["has_file"], name) for name in names]
        finally:
            connection.terminate()
        return Origin(leads, history.decode(), any(has))
