"""What the tables decide, done: a promise is on disk before its effect; every step may be cut off and made again.

The steps and their order are those of docs/failover.md.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from dataclasses import replace
from math import inf

from aya import log
from aya.errors import AyaError, PostgresError
from aya.postgres.cluster import SUPERUSER
from aya.postgres.config import Guard, slot_name
from aya.reach import FAILED
from aya_watchdog import keeping, protocol, state_file, way_back
from aya_watchdog.config import Config
from aya_watchdog.observe import Observer
from aya_watchdog.patience import Patience
from aya_watchdog.protocol import Armed, State
from aya_watchdog.server import SQL, Connection, Server
from aya_watchdog.views import Peer

_PROMOTE_SECONDS = 20
_CLOSE_SECONDS = 5.0
_STOP_SECONDS = 10.0
_LOOK_SECONDS = 0.02
_UNREAD: tuple[type[Exception], ...] = (AyaError, ValueError, *FAILED)


class Actor:
    """Carries out decisions on one node. state: what the file holds; nobody else writes it."""

    def __init__(self, config: Config, server: Server, observer: Observer, state: State) -> None:
        self._config = config
        self._server = server
        self._observer = observer
        self._file = state_file.path(config.directory)
        self._saving = asyncio.Lock()
        self.state = state
        self.resigned: int | None = None
        self.resigned_at = -inf
        self.exported = way_back.is_broken(server.cluster)
        self._way = ""
        self._patience = Patience()
        self.why = "created"
        self._reason = "created"
        self.by = ""
        self.asked = False
        self.peer: Callable[[], Peer | None] = lambda: None
        self.tell_partner: Callable[[], None] = lambda: None
        self.actions: dict[str, Callable[[], Awaitable[None]]] = {
            "start": self.start, "restart": self.restart, "yield": self.yield_,
            "tighten": self.tighten, "relax": self.relax, "arm": self.arm, "open": self.open, "fence": self.fence,
            "vouch": self.vouch, "resign": self.resign, "begin": self.begin, "consent": self.consent,
            "intend": self.intend, "force": self.force, "promote": self.promote, "abandon": self.abandon,
            "finish": self.finish, "give_up": self.give_up, "settle": self.settle, "rejoin": self.rejoin,
            "export": self.export,
        }  # fmt: skip

    async def become(self, change: Callable[[State], State]) -> None:
        """Change the state: on disk first, to the end even if the caller is cancelled.

        Raises ProtocolError, and nothing has changed.
        """
        await asyncio.shield(asyncio.ensure_future(self._become(change)))

    async def _become(self, change: Callable[[State], State]) -> None:
        async with self._saving:
            changed = change(self.state)
            if changed != self.state:
                await asyncio.to_thread(state_file.save, self._file, changed)
                self.state = changed

    # What a server is told

    def guard(self, *, read_only: bool = True) -> Guard:
        """Return the settings of this node in its present state.

        Every server of ours waits for its partner, but a primary that may acknowledge alone: also one that somebody
        else promotes, and one that is only started for its rows to be kept.
        """
        partner, state = self._config.partner, self.state
        if partner is None:
            return Guard(read_only=read_only)
        if state.role == "primary":
            alone = protocol.may_acknowledge_alone(state)
            return Guard(synchronous=None if alone else partner.name, read_only=read_only)
        if state.intent is not None or state.rejoin:
            return Guard(synchronous=partner.name)
        known = partner.preferring(self._way)
        upstream = way_back.source(self._server.cluster, known, self._config.stream_password, self._config.node)
        return Guard(synchronous=partner.name, upstream=upstream, slot=slot_name(self._config.node))

    async def start(self) -> None:
        """Start the server closed to clients; a standby's opens for readers by itself."""
        state = self.state
        if state.rejoin:
            # For its rows to be kept; one that does not come up has none to give.
            if self._patience.is_over_at_start(time.monotonic()):
                self._give_up("its server does not start")
        elif state.role == "standby" and state.intent is None and not self._server.follows:
            self._server.cluster.mark_standby()
        if self.resigned is not None:
            self.resigned, self.resigned_at, self.by = None, -inf, ""
        await self._server.start(self.guard())

    async def stop(self) -> None:
        """Stop the server."""
        await self._server.stop(seconds=_STOP_SECONDS)

    async def restart(self) -> None:
        """End a server that answers nobody; it is started again by the next decision."""
        await self._server.kill()

    # A primary's

    async def tighten(self) -> None:
        """Have every commit wait for the partner, from now on and until it has given its right up."""
        await self._server.reload(self.guard(read_only=not self._observer.row.get("open")), everywhere=True)

    async def relax(self) -> None:
        """Have commits wait for nobody: everything that waits is acknowledged."""
        await self._server.reload(self.guard(read_only=not self._observer.row.get("open")))

    async def open(self) -> None:
        """Let clients write."""
        await self._server.reload(self.guard(read_only=False))

    async def fence(self) -> None:
        """Let nobody write, and nobody wait: a commit that waits for the partner ends with an unknown outcome.

        A server whose settings cannot be written (its disk is full) is ended: left open, clients would go on to it.
        """
        try:
            await self._server.reload(self.guard(read_only=True))
        except PostgresError as error:
            log.get_logger().warning("server.not_closed", error=error.message)
            await self._server.kill()
            return
        await self._server.run("end_waiting", SUPERUSER)

    async def arm(self) -> None:
        """Give the partner the right to be promoted.

        In this order: the state says that we may not acknowledge alone; the setting holds in every process (two
        reloads were seen by a session, and the checkpointer, which publishes it, has made a checkpoint since); then the
        row is committed, which itself waits for the partner. Whatever was acknowledged without the partner is before
        that row in the log, so who has replayed the row has it.
        """
        peer = self.peer()
        await self.become(lambda state: protocol.begin_arming(state, peer.given_up if peer else 0))
        arming, epoch = self.state.arming, self.state.epoch
        await self._server.reload(self.guard(read_only=not self._observer.row.get("open")), everywhere=True)
        partner = self._config.partner
        async with self._server.connected() as session:
            await session.execute("CHECKPOINT")
            await session.execute(SQL["write_arming"], arming, epoch, partner.name if partner else "")

    async def begin(self) -> None:
        """Write the row of the epoch; the first of a new primary's, which waits for nobody."""
        async with self._server.connected(synchronous_commit="local") as session:
            await self._begin_on(session)

    async def _begin_on(self, session: Connection) -> None:
        if not self._observer.row.get("founded"):
            await session.execute(SQL["found"])
        await session.execute(SQL["write_epoch"], self.state.epoch, self._config.node, self._reason)

    async def vouch(self) -> None:
        """Go on alone, on a person's word."""
        await self.become(protocol.vouch)

    async def consent(self) -> None:
        """Take the partner's written word that it will not be promoted."""
        peer = self.peer()
        if peer is not None:
            await self.become(lambda state: protocol.note_consent(state, peer.given_up))

    async def resign(self) -> None:
        """Stop for the partner to take over. Everything is sent before the server ends.

        The partner is told as soon as the last record is written; it takes over when it has replayed that. What is not
        archived yet is archived after the next start: a server that archives ends only when it has done so.
        """
        present = self.guard(read_only=not self._observer.row.get("open"))
        await self._server.reload(replace(present, archiving=False))
        async with self._server.connected() as session:
            await session.execute("CHECKPOINT")
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.stop(), name="stop")
            # The last record begins there; who has replayed more than that has replayed it.
            self.resigned = await self._server.shut_down_at() + 1
            self.resigned_at = time.monotonic()
            self.tell_partner()

    async def yield_(self) -> None:
        """Follow whoever leads a later epoch."""
        peer = self.peer()
        if peer is None:
            return
        was = self.state.role
        resigned = self.resigned is not None
        await self.become(lambda state: protocol.yield_to(state, peer.epoch, resigned=resigned))
        self.resigned, self.resigned_at = None, -inf
        self.exported = way_back.is_broken(self._server.cluster)
        self._patience.begin_anew()
        if was == "standby" and self.state.intent is None and self._server.pid is not None:
            await self._server.reload(self.guard())

    # A standby's

    def _resolved(self) -> None:
        """Keep why and on whose word this node resolved to lead, for the row of the epoch."""
        peer = self.peer()
        word = self.by or (peer.word if peer else "")
        self.asked = bool(word)
        self._reason = f"{self.why}; {word}" if word else self.why

    async def intend(self) -> None:
        """Resolve to be promoted, and close the stream."""
        self._resolved()
        await self.become(lambda state: protocol.intend(state, self._observer.armed))
        await self._close_stream()

    async def force(self) -> None:
        """Resolve to be promoted without the right to it, and close the stream."""
        self._resolved()
        await self.become(lambda state: protocol.force(state, self._observer.epoch))
        await self._close_stream()

    async def _close_stream(self) -> None:
        async with self._server.connected() as session:
            await self._server.reload_on(session, self.guard())
            await _receiver_gone(session)

    async def promote(self) -> None:
        """Be promoted; the right to it is looked at again when the stream is closed for certain.

        A watchdog that crashed may have left the settings as they were; and just before the server read them it may
        have begun to follow once more.
        """
        async with self._server.connected() as session, asyncio.timeout(_PROMOTE_SECONDS):
            if not await session.fetchval(SQL["follows_nobody"]):
                await self._server.reload_on(session, self.guard())
            await _receiver_gone(session)
            if not self.state.forced:
                found = await session.fetchrow(SQL["latest_arming"])
                replayed = Armed(found["epoch"], found["arming"]) if found else Armed()
                protocol.require_right(self.state, replayed)
            # pg_promote itself looks only ten times in a second whether it is done.
            await session.execute(SQL["promote"])
            while await session.fetchval(SQL["in_recovery"]):  # noqa: ASYNC110 - in another process
                await asyncio.sleep(_LOOK_SECONDS / 4)

    async def abandon(self) -> None:
        """Give the intent up, and follow again."""
        await self.become(protocol.abandon)
        if self._server.pid is not None:
            await self._server.reload(self.guard())

    async def finish(self) -> None:
        """Lead the new epoch: its row first, then the clients."""
        seen = self._observer
        await self.become(lambda state: protocol.begin_epoch(state, seen.armed, seen.epoch))
        async with self._server.connected(synchronous_commit="local") as session:
            await self._begin_on(session)
            await self._server.reload_on(session, self.guard(read_only=False))
        log.get_logger().warning("epoch.begun", epoch=self.state.epoch, reason=self._reason)

    async def give_up(self) -> None:
        """Never be promoted by any arming so far; known or not."""
        await self.become(lambda state: protocol.give_up(state, self._latest()))

    async def settle(self) -> None:
        """Give up what the primary says was armed so far, and be armed anew."""
        await self.become(lambda state: protocol.settle(state, self._latest()))

    def _latest(self) -> int:
        peer, armed = self.peer(), self._observer.armed
        return max(self.state.arming, armed.arming, peer.arming if peer else 0)

    # The way back

    async def export(self) -> None:
        """Keep what only this server has in a file; then stop it.

        Tried for a while, for the new primary may not let anybody in yet; then the way back is not barred.
        """
        is_over = self._patience.is_over_at_try(time.monotonic())
        try:
            await self._export()
        except _UNREAD as error:
            told = str(error) or type(error).__name__
            if not is_over:
                raise PostgresError(f"what only this server has was not read: {told}", hint="aya status") from error
            self._give_up(told)
        self.exported = True
        await self.stop()

    def _give_up(self, why: str) -> None:
        """Go on without having kept what only this server has: its directory is, therefore."""
        way_back.note_unkept(self._server.cluster)
        self.exported = True
        log.get_logger().error("rows.not_kept", why=why, hint="docs/operations/failover.md")

    async def _export(self) -> None:
        config, partner, peer = self._config, self._config.partner, self.peer()
        if partner is None:
            return
        if peer is None:
            raise PostgresError("the partner does not answer")
        leads = peer.timeline
        history = await keeping.history_of(partner, config.stream_password, config.node, leads, config.proof)
        await keeping.export(self._server, history, leads, config.directory / "only-here")

    async def rejoin(self) -> None:
        """Make the data directory the primary's again: rewound if that can be, else copied anew."""
        partner = self._config.partner
        if partner is None:
            return
        peer, armed = self.peer(), self._observer.armed
        known = await self._timelines_of(peer) if peer and peer.timeline else None
        await self.become(lambda state: protocol.leave(state, max(armed.arming, peer.arming if peer else 0)))
        await self.stop()
        await asyncio.to_thread(self._server.require_gone)
        upstream = way_back.source(self._server.cluster, partner, self._config.stream_password, self._config.node)
        if not await self._is_rewound(upstream):
            await way_back.copy(self._server.cluster, upstream, self._config.node)
            log.get_logger().info("cluster.copied", primary=partner.name)
        if known:
            await asyncio.to_thread(way_back.clear_archive, self._server.cluster, known)
        self._server.cluster.mark_standby()
        await self.become(protocol.rejoined)
        way_back.tidy(self._server.cluster, rejoin=False)

    async def _timelines_of(self, peer: Peer) -> set[int]:
        """Return the numbers of the primary's timelines, its present one included."""
        config, partner = self._config, self._config.partner
        if partner is None:
            return set()
        leads = peer.timeline
        history = await keeping.history_of(partner, config.stream_password, config.node, leads, config.proof)
        return {*keeping.ends(history), leads}

    async def _is_rewound(self, upstream: str) -> bool:
        """Rewind; return False when only a copy will do. Raises PostgresError while the primary cannot be reached."""
        cluster = self._server.cluster
        if self._server.follows or way_back.is_broken(cluster) or way_back.is_unkept(cluster):
            return False
        try:
            await way_back.rewind(cluster, upstream)
        except PostgresError as error:
            log.get_logger().warning("cluster.not_rewound", why=error.message)
            if way_back.is_unreachable(error):
                raise
            return False
        log.get_logger().info("cluster.rewound")
        return True

    # The stream

    async def tend_stream(self, way: str) -> None:
        """Have a standby that has no stream try the address by which the partner's agent answers. way: that address.

        A receiver connects to one address after the other, and waits for one that is dead as long as the system does.
        """
        partner, row = self._config.partner, self._observer.row
        stands = self._observer.condition == "running" and row.get("in_recovery") and not row.get("streaming")
        follows = self.state.role == "standby" and self.state.intent is None and not self.state.rejoin
        if partner is None or not (stands and follows) or partner.preferring(way) == partner.preferring(self._way):
            return
        self._way = way
        await self._server.reload(self.guard())
        log.get_logger().warning("stream.rerouted", address=way)


async def _receiver_gone(session: Connection) -> None:
    """Wait until nothing is received from a primary. Raises TimeoutError."""
    async with asyncio.timeout(_CLOSE_SECONDS):
        while not await session.fetchval(SQL["receiver_is_gone"]):  # noqa: ASYNC110 - in another process
            await asyncio.sleep(_LOOK_SECONDS / 4)
