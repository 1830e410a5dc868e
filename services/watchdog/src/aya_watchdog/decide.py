"""What a node does next: two tables, read from the top, the first row that holds decides; pure.

A row's words are logged verbatim and stand in docs/failover.md. A paused node only looks: its rows are marked.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Generic, Literal, TypeVar

from aya_watchdog.protocol import Armed, may_acknowledge_alone, may_be_promoted
from aya_watchdog.views import PrimaryView, StandbyView

Action = Literal[
    "nothing", "start", "yield", "tighten", "relax", "arm", "open", "fence", "vouch", "resign", "restart",
    "begin", "consent", "intend", "force", "promote", "abandon", "finish", "give_up", "settle", "rejoin", "export",
]  # fmt: skip
View = TypeVar("View", PrimaryView, StandbyView)

CONTACT_SECONDS = 2.0
STRIKES = 4
# Longer than a machine that stalls for three seconds is silent.
SILENT_SECONDS = 3.2
AWAKE_SECONDS = 3.0
HOLD_SECONDS = 3.0
HUNG_SECONDS = 5.0
HANDOVER_SECONDS = 5.0
GIVE_UP_SECONDS = 10.0
# What a partner may lack when commits begin to wait for it: they wait until it has that.
NEAR_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Row(Generic[View]):
    """One line of a table. state: what a person calls the node's condition. always: it holds for a paused node, too."""

    state: str
    when: Callable[[View], bool]
    action: Action
    why: str
    always: bool = False


@dataclass(frozen=True, slots=True)
class Decision:
    """What to do and why, and the name of the condition that the node is in."""

    state: str
    action: Action
    why: str


def _fresh(seen: PrimaryView | StandbyView) -> bool:
    return seen.peer is not None and seen.peer_age <= CONTACT_SECONDS


def _contact(seen: PrimaryView) -> bool:
    follows = seen.follower is not None and seen.follower.streaming and seen.follower.reply_age <= CONTACT_SECONDS
    return _fresh(seen) or follows


def _superseded(seen: PrimaryView | StandbyView) -> bool:
    return seen.peer is not None and seen.peer.role == "primary" and seen.peer.epoch > seen.state.epoch


def _is_taken_over(seen: PrimaryView) -> bool:
    """Return whether the partner says, just now, that it is about to be promoted."""
    return _fresh(seen) and seen.peer is not None and seen.peer.intent is not None


def _alone(seen: PrimaryView) -> bool:
    return may_acknowledge_alone(seen.state)


def _has_caught_up(seen: PrimaryView) -> bool:
    """Return whether the partner follows this very epoch, and has what this server recovered before it opened."""
    follows = seen.follower is not None and seen.follower.streaming and seen.follower.flushed >= seen.recovered
    peer = seen.peer
    return follows and _fresh(seen) and peer is not None and peer.role == "standby" and peer.epoch == seen.state.epoch


def _is_armed(seen: PrimaryView) -> bool:
    """Return whether the row of the latest arming is written, and the partner has not given it up."""
    return (
        not _alone(seen)
        and seen.armed == Armed(seen.state.epoch, seen.state.arming)
        and (seen.peer is None or seen.peer.given_up < seen.state.arming)
    )


def _in_sync(seen: PrimaryView) -> bool:
    return _has_caught_up(seen) and seen.follower is not None and seen.follower.synchronous and _is_armed(seen)


def _may_arm(seen: PrimaryView) -> bool:
    peer = seen.peer
    willing = peer is not None and not peer.leaving and peer.intent is None
    near = seen.follower is not None and seen.position - seen.follower.flushed <= NEAR_BYTES
    return willing and near and _has_caught_up(seen) and not _is_armed(seen)


def _gave_up(seen: PrimaryView) -> bool:
    return not _alone(seen) and seen.peer is not None and seen.peer.given_up >= seen.state.arming


PRIMARY: tuple[Row[PrimaryView], ...] = (
    Row("FENCED", lambda v: v.open and _superseded(v), "fence", "the partner leads a later epoch: nobody writes here",
        always=True),
    Row("REJOINING", lambda v: _superseded(v) and v.server in {"running", "stopped"}, "yield",
        "the partner leads a later epoch: follow it"),
    Row("HANDOVER", lambda v: v.resigned_age < HANDOVER_SECONDS, "nothing", "the partner is asked to take over"),
    Row("QUARANTINE", lambda v: v.server == "stopped", "start", "the server is started closed to clients"),
    Row("QUARANTINE", lambda v: v.server == "starting", "nothing", "the server recovers"),
    Row("QUARANTINE", lambda v: v.server == "hung" and v.server_age >= HUNG_SECONDS, "restart",
        "the server runs and lets nobody in"),
    Row("QUARANTINE", lambda v: v.server == "hung", "nothing", "the server does not answer"),
    Row("ARMING", lambda v: not _alone(v) and not v.setting, "tighten",
        "the partner may be promoted: nothing is acknowledged without it", always=True),
    Row("SOLO", lambda v: v.order == "degrade", "vouch", "a person answers for the partner being off", always=True),
    Row("FENCED", lambda v: v.open and _is_taken_over(v), "fence",
        "the partner is about to be promoted", always=True),
    Row("SOLO", lambda v: _alone(v) and not v.began, "begin", "the first row of an epoch is its own"),
    Row("SYNC", lambda v: v.order == "switchover" and v.open and _in_sync(v), "resign",
        "a person wants the partner to lead: stop, and let it take over", always=True),
    Row("ARMING", _may_arm, "arm", "the partner has caught up: give it the right to be promoted"),
    Row("SOLO", lambda v: _alone(v) and v.setting, "relax", "the partner has given up being promoted: go on alone"),
    Row("SOLO", lambda v: _alone(v) and not v.open and not _is_taken_over(v), "open",
        "nobody else may be promoted: clients may write"),
    Row("SOLO", _alone, "nothing", "acknowledges alone; nobody else may be promoted"),
    Row("SOLO", _gave_up, "consent", "the partner has given up being promoted, in writing"),
    Row("SYNC", lambda v: _in_sync(v) and not v.open and not _is_taken_over(v), "open",
        "the partner has everything: clients may write"),
    Row("SYNC", _in_sync, "nothing", "every acknowledged row is on both nodes"),
    Row("FENCED", lambda v: v.open and not _contact(v), "fence",
        "no word from the partner, which may have been promoted: nobody writes here"),
    Row("SYNC", lambda v: v.open, "nothing", "writes wait for the partner to catch up"),
    Row("FENCED", lambda v: not _contact(v), "nothing",
        "no word from the partner, which may have been promoted: locked until it answers, or a person does"),
    Row("QUARANTINE", lambda _: True, "nothing", "the partner has not got everything yet: closed to clients"),
)  # fmt: skip


def _may(seen: StandbyView) -> bool:
    return may_be_promoted(seen.state, seen.armed)


def _led(seen: StandbyView) -> bool:
    """Return whether a living primary of this epoch is there to be followed."""
    peer = seen.peer
    return _fresh(seen) and peer is not None and peer.role == "primary" and peer.epoch == seen.state.epoch


def _known_arming(seen: StandbyView) -> int:
    return max(seen.state.arming, seen.armed.arming, seen.peer.arming if seen.peer else 0)


def _holds_right(seen: StandbyView) -> bool:
    return seen.state.given_up < _known_arming(seen)


def _handed_over(seen: StandbyView) -> bool:
    peer = seen.peer
    return (
        peer is not None and peer.resigned is not None and peer.epoch == seen.state.epoch
        and seen.replayed >= peer.resigned and _may(seen)
    )  # fmt: skip


def _server_is_gone(seen: StandbyView) -> bool:
    """Return whether the partner's agent lives, and says that its server does not come back."""
    peer = seen.peer
    return peer is not None and peer.server != "running" and peer.server_since >= HOLD_SECONDS and peer.resigned is None


def _struck(seen: StandbyView) -> bool:
    return seen.strikes >= STRIKES or (_fresh(seen) and _server_is_gone(seen))


STANDBY: tuple[Row[StandbyView], ...] = (
    Row("PROMOTED", lambda v: v.state.intent is not None and v.in_recovery is False, "finish",
        "the server is promoted: write the epoch and open", always=True),
    Row("FOLLOW", lambda v: v.state.intent is not None and v.server == "stopped" and not v.state.forced, "abandon",
        "it stopped while it was being promoted: it must be armed again", always=True),
    Row("FENCING", lambda v: v.state.intent is not None and v.server == "stopped", "start",
        "it stopped while it was being promoted"),
    Row("FENCING", lambda v: v.state.intent is not None and _superseded(v), "yield",
        "the partner leads a later epoch: follow it"),
    Row("FENCING", lambda v: v.state.intent is not None and v.following and v.state.forced, "force",
        "the stream is still open: close it first", always=True),
    Row("FENCING", lambda v: v.state.intent is not None and v.following and _may(v), "intend",
        "the stream is still open: close it first", always=True),
    Row("FENCING", lambda v: v.state.intent is not None and v.in_recovery is True and (_may(v) or v.state.forced),
        "promote", "the stream is closed and the right is held: promote", always=True),
    Row("FENCING", lambda v: v.state.intent is not None and v.in_recovery is True, "abandon",
        "the right to be promoted is not held after all", always=True),
    Row("FENCING", lambda v: v.state.intent is not None, "nothing", "the server does not answer yet"),
    Row("FOLLOW", _superseded, "yield", "the partner leads a later epoch: follow it", always=True),
    Row("REJOINING", lambda v: v.state.rejoin and not _led(v), "nothing",
        "waits for the primary, to follow its history"),
    Row("REJOINING", lambda v: v.state.rejoin and v.server == "hung" and v.server_age >= HUNG_SECONDS, "restart",
        "the server runs and lets nobody in"),
    Row("REJOINING", lambda v: v.state.rejoin and v.exported, "rejoin",
        "this server's own history is given up for the primary's"),
    Row("REJOINING", lambda v: v.state.rejoin and v.server == "stopped", "start",
        "the server is started closed to clients: what only it has is kept first"),
    Row("REJOINING", lambda v: v.state.rejoin and v.server == "running", "export",
        "this server has a history of its own: what only it has is kept in a file"),
    Row("REJOINING", lambda v: v.state.rejoin, "nothing", "the server recovers: what only it has is kept first"),
    Row("FOLLOW", lambda v: (v.server == "stopped" or v.leaving) and not v.state.void, "give_up",
        "a server that stops gives up being promoted until it is armed again", always=True),
    Row("FOLLOW", lambda v: v.server == "stopped", "start", "the server is started to follow"),
    Row("FOLLOW", lambda v: v.server == "hung" and v.server_age >= HUNG_SECONDS, "restart",
        "the server runs and lets nobody in"),
    Row("FOLLOW", lambda v: v.server != "running", "nothing", "the server does not answer yet"),
    Row("FOLLOW", lambda v: v.state.void and v.in_recovery is True and _led(v) and not v.leaving, "settle",
        "the primary says what was armed before this server stopped: that is given up", always=True),
    Row("FENCING", lambda v: v.in_recovery is False and _may(v), "intend", "a person has promoted the server"),
    Row("STRAY", lambda v: v.in_recovery is False, "nothing",
        "a person has promoted a server without the right to it: closed to clients (aya failover --force keeps it)"),
    Row("FENCING", lambda v: v.order == "force", "force", "a person answers for the primary being off", always=True),
    Row("FENCING", lambda v: v.order == "failover" and _may(v), "intend", "a person wants this node to lead",
        always=True),
    Row("REJOINING", lambda v: v.order == "rejoin" and _led(v), "rejoin", "a person wants a fresh copy", always=True),
    Row("FENCING", _handed_over, "intend", "the primary has stopped for this node to take over"),
    Row("REJOINING", lambda v: (v.diverged or v.lost) and _led(v), "rejoin",
        "the primary's history cannot be followed from here: it is copied anew"),
    Row("FOLLOW", lambda v: _led(v) and not v.following and v.stream_age >= GIVE_UP_SECONDS and _holds_right(v),
        "give_up", "this node cannot follow: the primary must not wait for it"),
    Row("ARMED", lambda v: not _struck(v) and v.strikes == 0 and _may(v), "nothing", "follows, and may be promoted"),
    Row("FOLLOW", lambda v: not _struck(v) and v.strikes == 0, "nothing", "follows; not armed yet"),
    Row("SUSPECT", lambda v: not _struck(v), "nothing", "the primary's watchdog does not answer"),
    Row("SUSPECT", lambda v: v.probe_age < SILENT_SECONDS and not v.refused, "nothing",
        "its watchdog is gone, its server lets us in"),
    Row("SUSPECT", lambda v: v.following and v.stream_age < SILENT_SECONDS, "nothing", "its server still sends"),
    Row("SUSPECT", lambda v: v.awake_age < AWAKE_SECONDS, "nothing", "this node has just woken up"),
    Row("SUSPECT", lambda v: v.alone, "nothing", "this node sees nobody: it may be the one that is cut off"),
    Row("STRANDED", lambda v: v.replay_paused, "nothing", "the replay is paused: SELECT pg_wal_replay_resume()"),
    Row("STRANDED", lambda v: not _may(v), "nothing",
        "the primary is gone, and this node was not armed: it may lack rows (aya failover --force takes that)"),
    Row("FENCING", lambda _: True, "intend", "the primary is gone, and this node has every acknowledged row"),
)  # fmt: skip


def decide(table: Sequence[Row[View]], seen: View) -> Decision:
    """Return what the first row that holds says. The last row of a table always holds."""
    for row in table:
        if row.when(seen):
            if seen.paused and not row.always and row.action != "nothing":
                return Decision(row.state, "nothing", f"paused by a person; otherwise: {row.why}")
            return Decision(row.state, row.action, row.why)
    raise AssertionError("a table ends with a row that always holds")


def decide_primary(seen: PrimaryView) -> Decision:
    """Return what a primary does next."""
    return decide(PRIMARY, seen)


def decide_standby(seen: StandbyView) -> Decision:
    """Return what a standby does next."""
    return decide(STANDBY, seen)
