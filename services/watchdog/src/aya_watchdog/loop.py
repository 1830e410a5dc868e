"""The watchdog's loop: look, decide by the table, act, and say why; again at every news, and four times a second."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import Any

from aya import log
from aya.errors import AyaError, ConfigError, UsageError, WatchdogError
from aya.postgres import holders
from aya.reach import FAILED
from aya_watchdog import shown, slots, state_file, way_back
from aya_watchdog.act import Actor
from aya_watchdog.config import Config
from aya_watchdog.decide import HANDOVER_SECONDS, Action, Decision, decide_primary, decide_standby
from aya_watchdog.lineage import Lineage
from aya_watchdog.metrics import Metrics
from aya_watchdog.observe import Observer
from aya_watchdog.partner import Partner
from aya_watchdog.protocol import ProtocolError, State
from aya_watchdog.server import SQL, Server
from aya_watchdog.views import Order, Peer, PrimaryView, StandbyView

_UNDONE: tuple[type[Exception], ...] = (AyaError, ProtocolError, *FAILED)
# What may go on while the node is looked at; the others are a matter of milliseconds.
_LONG = frozenset({"start", "arm", "rejoin", "export", "restart", "resign", "promote", "finish"})
# What does not wait for a long one to end, but ends it; an arming waits for a partner that may have given up meanwhile.
_URGENT = frozenset({"fence", "yield", "tighten", "consent", "relax"})
# A tick that comes so late was slept through, or the machine was stopped.
_SLEPT_SECONDS = 2.0
_AFTER_FAILURE_SECONDS = 0.5
# How often it is looked whether the partner's last words have arrived, once it has resigned.
_HANDOVER_LOOK_SECONDS = 0.01
_SLOTS_SECONDS = 5.0
_STREAM_SECONDS = 0.5
_FAREWELL_SECONDS = 3.0
_ORDER_SECONDS = 60.0
_EPOCHS = 100


class Watchdog:
    """One node's. `status` and the like are for whoever asks over HTTP."""

    def __init__(self, config: Config, state: State, counters: Metrics) -> None:
        self.config = config
        self.server = Server(
            config.cluster,
            config.superuser_password,
            config.home.log_directory(config.node) / "postgres.log",
            node=config.node,
            home=config.home.path,
        )
        self.counters = counters
        self._news = asyncio.Event()
        self._led = asyncio.Event()
        self.partner = self._make_partner()
        self.observer = Observer(self.server, config.node, self.partner, config.witnesses)
        self.actor = Actor(config, self.server, self.observer, state)
        self.actor.peer = lambda: self.partner.seen.peer if self.partner else None
        if self.partner:
            self.actor.tell_partner = self.partner.tell
        self.decision = Decision("QUARANTINE", "nothing", "the watchdog has just started")
        self.view: PrimaryView | StandbyView | None = None
        self.paused = False
        self.ordered: Order | None = None
        self._ordered_at = 0.0
        self.leaving = False
        self.job: tuple[Action, asyncio.Task[None]] | None = None
        self._failed: dict[str, float] = {}
        self._told: tuple[str, str] | None = None
        self.looked_at = time.monotonic()

    def _make_partner(self) -> Partner | None:
        member = self.config.partner
        if member is None:
            return None
        return Partner(member, self.config, changed=self._news.set)

    async def run(self, stop: asyncio.Event) -> None:
        """Work until `stop` is set; then say goodbye to the partner and stop the server."""
        with holders.alone(self.config.cluster.data_directory):
            async with asyncio.TaskGroup() as tasks:
                work = [
                    tasks.create_task(self._work(), name="loop"),
                    tasks.create_task(self._slots(), name="slots"),
                    tasks.create_task(self._stream(), name="stream"),
                ]
                if self.partner:
                    config, member = self.config, self.partner.member
                    lineage = Lineage(self.observer, member, config.stream_password, config.node, config.proof)
                    work.append(tasks.create_task(self.partner.run(), name="partner"))
                    work.append(tasks.create_task(lineage.run(), name="lineage"))
                await stop.wait()
                await self._leave()
                for task in work:
                    task.cancel()
            self.observer.close()

    async def _work(self) -> None:
        last = time.monotonic()
        while True:
            now = time.monotonic()
            if now - last > _SLEPT_SECONDS:
                log.get_logger().warning("machine.slept", seconds=round(now - last, 1))
                self.observer.woke()
            last = now
            if not await self._tick():
                with suppress(TimeoutError):
                    async with asyncio.timeout(self._patience()):
                        await self._news.wait()
            self._news.clear()

    def _patience(self) -> float:
        """Return how long nothing need be looked at, in seconds, unless there is news."""
        seen = self.partner.seen if self.partner else None
        hands_over = seen is not None and seen.peer is not None and seen.peer.resigned is not None
        if hands_over and seen is not None and time.monotonic() - seen.heard_at < HANDOVER_SECONDS:
            return _HANDOVER_LOOK_SECONDS
        return self.config.poll_seconds

    async def _tick(self) -> bool:
        """Make one step; return whether something was done, so that the next look comes at once."""
        await self.observer.look(self.actor.state)
        self.looked_at = time.monotonic()
        self.view = view = await self._view()
        decision = decide_primary(view) if isinstance(view, PrimaryView) else decide_standby(view)
        self._tell(decision)
        if self.ordered and time.monotonic() - self._ordered_at > _ORDER_SECONDS:
            self.ordered = None
        if decision.action == "nothing":
            return False
        return await self._act(decision)

    async def _view(self) -> PrimaryView | StandbyView:
        state = self.actor.state
        common = self.observer.common(state, paused=self.paused, order=self.ordered, leaving=self.leaving)
        if state.role == "primary":
            return self.observer.primary(common, self.actor.resigned_at)
        exported = self.actor.exported or self.server.follows
        return await self.observer.standby(common, exported=exported)

    async def _act(self, decision: Decision) -> bool:
        action = decision.action
        if self.job is not None and self.job[1].done():
            self.job = None
        if self.job is not None:
            if self.job[0] == action or action not in _URGENT:
                return False
            self.job[1].cancel()
            self.job = None
        if time.monotonic() < self._failed.get(action, 0.0):
            return False
        self.actor.why = decision.why
        self.counters.decided(action)
        work = self._attempt(action, self.actor.actions[action]())
        if action in _LONG:
            self.job = (action, asyncio.create_task(work, name=action))
            return False
        await work
        return True

    async def _attempt(self, action: Action, work: Awaitable[None]) -> None:
        began = time.monotonic()
        try:
            await work
        except _UNDONE as error:
            self.counters.failed(action)
            self._failed[action] = time.monotonic() + _AFTER_FAILURE_SECONDS
            log.get_logger().warning("action.failed", action=action, error=str(error) or type(error).__name__)
        else:
            log.get_logger().info("action.done", action=action, seconds=round(time.monotonic() - began, 3))
            self._order_done(action)
            if action == "finish":
                self.counters.began_epoch(asked=self.actor.asked)
                self._led.set()
        self._news.set()
        if self.partner and action in {"resign", "intend", "force", "finish", "give_up", "consent", "open"}:
            self.partner.tell()

    def _order_done(self, action: str) -> None:
        ends = {"vouch": "degrade", "resign": "switchover", "intend": "failover", "force": "force", "rejoin": "rejoin"}
        if self.ordered is not None and ends.get(action) == self.ordered:
            self.ordered = None
        if action in {"finish", "yield"}:
            self.actor.by = ""

    def _tell(self, decision: Decision) -> None:
        told = (decision.state, decision.why)
        if told != self._told:
            log.get_logger().info(
                "condition.changed", condition=decision.state, action=decision.action, why=decision.why,
                epoch=self.actor.state.epoch, role=self.actor.state.role,
            )  # fmt: skip
            self._told = told
        self.decision = decision

    async def _slots(self) -> None:
        while True:
            self._led.clear()
            partner = self.config.partner
            with suppress(*FAILED):
                if partner is not None and self.observer.condition == "running":
                    await slots.tend(self.server, partner)
            with suppress(TimeoutError):
                async with asyncio.timeout(_SLOTS_SECONDS):
                    await self._led.wait()

    async def _stream(self) -> None:
        """Look after a stream that is broken on one way while the partner is heard on another."""
        broken = 0
        while True:
            await asyncio.sleep(_STREAM_SECONDS)
            seen = self.partner.seen if self.partner else None
            row, heard = self.observer.row, seen is not None and seen.strikes == 0 and bool(seen.address)
            broken = broken + 1 if heard and row.get("in_recovery") and not row.get("streaming") else 0
            if seen is not None and broken > 1 and self.job is None:
                with suppress(*FAILED, AyaError):
                    await self.actor.tend_stream(seen.address)

    async def _leave(self) -> None:
        """Let the partner know that it need not reckon with us, then stop the server."""
        self.leaving = True
        self._news.set()
        if self.job is not None:
            self.job[1].cancel()
        if self.paused:
            return
        state = self.actor.state
        if state.role == "standby" and state.intent is None:
            with suppress(ProtocolError, OSError):
                await self.actor.give_up()
            if self.partner:
                self.partner.tell()
            with suppress(TimeoutError):
                async with asyncio.timeout(_FAREWELL_SECONDS):
                    while self._is_counted_on():  # noqa: ASYNC110 - in another process
                        await asyncio.sleep(0.05)
        await self.server.stop()

    def _is_counted_on(self) -> bool:
        peer = self.partner.seen.peer if self.partner else None
        fresh = self.partner is not None and self.partner.seen.strikes == 0
        return fresh and peer is not None and peer.role == "primary" and not peer.leaving and peer.consent < peer.arming

    # What is asked of it (aya_watchdog.board.Board)

    def peer(self) -> Peer:
        """Return what the partner is told."""
        return shown.peer(self)

    def nudged(self) -> None:
        """Hear that the partner has news."""
        if self.partner:
            self.partner.hurry()

    def status(self) -> dict[str, Any]:
        """Return everything that a person or a program may want to know."""
        return shown.status(self)

    def metrics(self) -> bytes:
        """Return what is measured and counted, in Prometheus' text format."""
        return self.counters.render(self.status())

    async def order(self, order: Order, by: str) -> dict[str, Any]:
        """Take a person's order. Raises UsageError when it cannot be carried out, saying why."""
        refused = shown.refusal(order, self.actor.state.role, self.decision, self.config.node)
        if refused:
            raise UsageError(refused, hint="aya status, or docs/operations/failover.md")
        self.ordered, self._ordered_at, self.actor.by = order, time.monotonic(), by
        self._news.set()
        return self.status()

    def set_paused(self, paused: bool, by: str) -> None:  # noqa: FBT001 as in the Board
        """Leave everything as it is from now on, or look after it again."""
        self.paused = paused
        log.get_logger().warning("watchdog.paused" if paused else "watchdog.resumed", by=by)
        self._news.set()

    async def history(self) -> list[dict[str, Any]]:
        """Return the epochs, the latest first, as this node's server has them. Raises WatchdogError."""
        try:
            async with self.server.connected() as session:
                rows = await session.fetch(SQL["history"], _EPOCHS)
        except FAILED as error:
            raise WatchdogError(f"the server of {self.config.node} does not answer", hint="aya status") from error
        return [{**dict(row), "began_at": row["began_at"].isoformat()} for row in rows]


def open_watchdog(config: Config, counters: Metrics) -> Watchdog:
    """Return the watchdog of a node that has a cluster. A node without a state file assumes the least."""
    file, newborn = state_file.path(config.directory), config.home.newborn_file(config.node)
    state = state_file.load(file)
    way_back.tidy(config.cluster, rejoin=state is not None and state.rejoin)
    if not config.cluster.exists():
        raise ConfigError(f"{config.cluster.data_directory} holds no PostgreSQL cluster", hint="aya up")
    if state is None:
        state = _begun(newborn, file, alone=config.partner is None)
        state_file.save(file, state)
    newborn.unlink(missing_ok=True)
    return Watchdog(config, state, counters)


def _begun(newborn: Path, file: Path, *, alone: bool) -> State:
    """Return the state of a node without a file. Raises ConfigError when it may have promised something.

    newborn: says what it was made as, or, by a person's hand, "copy": give everything up for the partner's.
    """
    if not newborn.exists():
        if alone:
            return State("primary")
        raise ConfigError(
            f"{file} is lost, and with it what this node promised its partner",
            hint="docs/operations/failover.md, A watchdog's file is lost",
        )
    made = newborn.read_text(encoding="utf-8").strip()
    if made == "copy":
        return State("standby", void=True, rejoin=True)
    return State("standby" if made == "standby" else "primary")
