"""One look at this node and at what is known of its partner, as the frozen value that is decided by."""

from __future__ import annotations

import asyncio
import time
from math import inf
from typing import Any

import asyncpg

from aya.postgres.config import replication_role, slot_name
from aya_watchdog.partner import Partner, reachable
from aya_watchdog.protocol import Armed, State
from aya_watchdog.server import SQL, Connection, Server
from aya_watchdog.views import Follower, Order, PrimaryView, StandbyView
from aya_watchdog.views import Server as Condition

LOOK_SECONDS = 1.0
# A session that is open says nothing of a postmaster that is frozen: after so long another one is opened.
_SESSION_SECONDS = 2.0
_WITNESS_SECONDS = 0.5


class Observer:
    """Remembers what the ages are counted from. now is monotonic seconds. epoch: the database's latest; 0: none."""

    def __init__(
        self, server: Server, node: str, partner: Partner | None, witnesses: tuple[tuple[str, int], ...]
    ) -> None:
        self._server = server
        self._node = node
        self._partner = partner
        self._witnesses = witnesses
        self._session: Connection | None = None
        self._session_at = -inf
        self.condition: Condition = "stopped"
        self.condition_at = time.monotonic()
        self._answered = False
        self.row: dict[str, Any] = {}
        self.armed = Armed()
        self.began = False
        self.epoch = 0
        self.recovered = 0
        self.diverged = self.lost = False
        self._receiver: int | None = None
        self._heard: object = None
        self._heard_at = -inf
        self.awake_at = time.monotonic()

    async def look(self, state: State) -> None:
        """Ask the server; returns within about a second, whatever it does."""
        if self._server.pid is None:
            self._forget()
            self._answered = False
            self._is("stopped")
            return
        row = await self._row(state)
        if row is None:
            self._is("hung" if self._answered else "starting")
            return
        if not self._answered:
            self.recovered = row.get("position") or 0
        self._answered = True
        self._is("running")
        self.row = row
        if row["in_recovery"]:
            # One that asks for what is not there any more streams for a moment, dies, and comes again.
            lasts, self._receiver = row["receiver"] == self._receiver, row["receiver"]
            row["streaming"] = bool(row["streaming"]) and lasts
        # The partner's clock is not ours: that the time it says has changed is what counts.
        if row["streaming"] and row["heard"] != self._heard:
            self._heard, self._heard_at = row["heard"], time.monotonic()

    async def _row(self, state: State) -> dict[str, Any] | None:
        """Return one look's row; None when the server did not give it in time."""
        looking = asyncio.create_task(self._asked(state), name="look")
        done, _ = await asyncio.wait({looking}, timeout=LOOK_SECONDS)
        if not done:
            # Ended from our side: to cancel the statement would ask the very server that does not answer.
            self._forget()
            looking.cancel()
        try:
            return await looking
        except (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError, asyncpg.InternalClientError):
            self._forget()
        except asyncio.CancelledError:
            if asyncio.current_task() is not None and asyncio.current_task().cancelling():  # type: ignore[union-attr]
                raise
        return None

    async def _asked(self, state: State) -> dict[str, Any]:
        session = await self._open()
        if state.role == "primary" and not await session.fetchval("SELECT pg_is_in_recovery()"):
            partner = self._partner.member.name if self._partner else ""
            found = await session.fetchrow(SQL["primary"], partner, replication_role(partner), slot_name(partner))
        else:
            found = await session.fetchrow(SQL["standby"])
        row = dict(found or {})
        self.armed, self.began, self.epoch = Armed(), False, 0
        if row["founded"]:
            armed = await session.fetchrow(SQL["latest_arming"])
            self.armed = Armed(armed["epoch"], armed["arming"]) if armed else Armed()
            self.began = bool(await session.fetchval(SQL["has_epoch"], state.epoch))
            self.epoch = int(await session.fetchval(SQL["latest_epoch"]))
        return row

    async def _open(self) -> Connection:
        if self._session is None or time.monotonic() - self._session_at > _SESSION_SECONDS:
            fresh = await self._server.connect(LOOK_SECONDS)
            self._forget()
            self._session, self._session_at = fresh, time.monotonic()
        return self._session

    def _forget(self) -> None:
        if self._session is not None:
            self._session.terminate()
        self._session = None

    def _is(self, condition: Condition) -> None:
        if condition != self.condition:
            self.condition, self.condition_at = condition, time.monotonic()

    def close(self) -> None:
        """Let go of the session."""
        self._forget()

    def is_stuck(self, seconds: float) -> bool:
        """Return whether this standby runs and has not streamed for so long."""
        stands = self.condition == "running" and bool(self.row.get("in_recovery")) and not self.row.get("streaming")
        return stands and time.monotonic() - max(self._heard_at, self.condition_at) >= seconds

    def woke(self) -> None:
        """Count from now on: this machine slept."""
        self.awake_at = time.monotonic()

    def primary(self, common: dict[str, Any], resigned_at: float) -> PrimaryView:
        """Return what a primary decides by."""
        row, now = self.row, time.monotonic()
        running = self.condition == "running"
        follower = None
        if running and row.get("streaming") is not None:
            follower = Follower(
                streaming=bool(row["streaming"]),
                synchronous=bool(row["is_synchronous"]),
                flushed=row["flushed"] or 0,
                reply_age=now - self._heard_at,
            )
        partner = self._partner.member.name if self._partner else None
        return PrimaryView(
            **common,
            open=running and bool(row.get("open")),
            setting=running and bool(partner) and f"({partner})" in str(row.get("synchronous")),
            recovered=self.recovered,
            position=int(row.get("position") or 0) if running else 0,
            follower=follower,
            began=self.began,
            resigned_age=now - resigned_at,
        )

    async def standby(self, common: dict[str, Any], *, exported: bool) -> StandbyView:
        """Return what a standby decides by; asks the witnesses when it comes to that."""
        row, now, partner = self.row, time.monotonic(), self._partner
        running = self.condition == "running"
        following = running and bool(row.get("streaming"))
        strikes = partner.seen.strikes if partner else 0
        stream_age = now - max(self._heard_at, self.condition_at)
        probe_age = now - partner.seen.entered_at if partner else inf
        alone = False
        if strikes and self._witnesses:
            alone = not await reachable(self._witnesses, _WITNESS_SECONDS)
        return StandbyView(
            **common,
            strikes=strikes,
            probe_age=probe_age,
            refused=partner is not None and partner.seen.refused,
            stream_age=stream_age,
            awake_age=now - self.awake_at,
            alone=alone,
            replay_paused=running and bool(row.get("replay_paused")),
            following=following,
            diverged=running and not following and self.diverged,
            lost=running and not following and self.lost,
            replayed=row.get("replayed", 0) if running else 0,
            exported=exported,
        )

    def common(self, state: State, *, paused: bool, order: Order | None, leaving: bool) -> dict[str, Any]:
        """Return what both roles decide by."""
        now = time.monotonic()
        seen = self._partner.seen if self._partner else None
        running = self.condition == "running"
        return {
            "state": state,
            "server": self.condition,
            "in_recovery": bool(self.row["in_recovery"]) if running else None,
            "server_age": now - self.condition_at,
            "peer": seen.peer if seen else None,
            "peer_age": now - seen.heard_at if seen else inf,
            "paused": paused,
            "order": order,
            "armed": self.armed if running else Armed(),
            "leaving": leaving,
        }
