"""What one look at a node yields, as frozen values; pure. Ages are in seconds, infinite for what never happened."""

from __future__ import annotations

from dataclasses import dataclass
from math import inf
from typing import Literal

from aya_watchdog.protocol import Armed, Role, State

# stopped: no process. starting: a process that takes no connections yet. running: it answers. hung: it used to.
Server = Literal["stopped", "starting", "running", "hung"]
Order = Literal["switchover", "failover", "force", "degrade", "rejoin"]
NOBODY = Armed()


@dataclass(frozen=True, slots=True)
class Peer:
    """What the partner's agent said of itself last.

    armed: the latest arming row in its database. resigned: it has stopped its server for a handover, and that server's
    last position (in bytes), None when it has not; word: of whom it did so.
    """

    role: Role
    epoch: int
    arming: int = 0
    consent: int = 0
    given_up: int = 0
    intent: int | None = None
    server: Server = "running"
    server_since: float = 0.0
    armed: Armed = NOBODY
    resigned: int | None = None
    word: str = ""
    open: bool = False
    timeline: int = 0
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class Follower:
    """The partner as our walsender sees it. flushed, position in bytes; synchronous: it is the one commits wait for."""

    streaming: bool
    synchronous: bool
    flushed: int
    reply_age: float = 0.0


@dataclass(frozen=True, slots=True)
class Common:
    """What both roles look at.

    paused: a person keeps the agent from changing anything. order: what a person asked for, until it is done.
    server_age: since the server has been in that condition.
    """

    state: State
    server: Server
    in_recovery: bool | None = None
    server_age: float = inf
    peer: Peer | None = None
    peer_age: float = inf
    paused: bool = False
    order: Order | None = None
    armed: Armed = NOBODY
    leaving: bool = False


@dataclass(frozen=True, slots=True)
class PrimaryView(Common):
    """What a primary decides by.

    partner: whether there is one at all. open: clients may write. setting: synchronous_standby_names names the partner.
    recovered: the end of this server's own crash recovery, in bytes: what the partner must have before clients see it.
    position: how far its log is written, in bytes. began: the epoch's own row is written. resigned_age: since the
    server was stopped for a handover.
    """

    partner: bool = True
    open: bool = False
    setting: bool = False
    recovered: int = 0
    position: int = 0
    follower: Follower | None = None
    began: bool = True
    resigned_age: float = inf


@dataclass(frozen=True, slots=True)
class StandbyView(Common):
    """What a standby decides by.

    strikes: consecutive failed looks at the partner's agent, by every address. probe_age: since its server let us in.
    refused: the partner's machine says that no server listens there.
    stream_age: since the stream last brought something. awake_age: since this agent started or its machine woke.
    alone: no other address answers either. replay_paused: a person has stopped the replay.
    following: the stream is open. diverged: its history is not the primary's; lost: the primary has not the WAL needed.
    exported: what only this server has is kept, or there is nothing.
    replayed: position in bytes.
    """

    strikes: int = 0
    refused: bool = False
    probe_age: float = inf
    stream_age: float = inf
    awake_age: float = inf
    alone: bool = False
    replay_paused: bool = False
    following: bool = False
    diverged: bool = False
    lost: bool = False
    exported: bool = False
    replayed: int = 0
