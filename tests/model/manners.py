"""What any single decision owes, whatever was seen: said once more, in other words than the tables'."""

from __future__ import annotations

from aya_watchdog import protocol
from aya_watchdog.decide import (
    AWAKE_SECONDS,
    CONTACT_SECONDS,
    GIVE_UP_SECONDS,
    HANDOVER_SECONDS,
    HOLD_SECONDS,
    HUNG_SECONDS,
    NEAR_BYTES,
    SILENT_SECONDS,
    STRIKES,
    Decision,
)  # fmt: skip
from aya_watchdog.views import Common, Peer, PrimaryView, StandbyView

# Acts on a server that answers.
_ON_RUNNING = frozenset({
    "tighten", "relax", "arm", "open", "fence", "resign", "begin", "intend", "force", "promote", "finish",
    "export", "settle",
})  # fmt: skip


def fault(seen: PrimaryView | StandbyView, decision: Decision) -> str:
    """Return what is wrong with a decision; empty when nothing."""
    action = decision.action
    if action in _ON_RUNNING and seen.server != "running":
        return f"{action} on a server that is {seen.server}"
    if action == "start" and seen.server != "stopped":
        return "starts a server that runs"
    hung = seen.server == "hung" and seen.server_age >= HUNG_SECONDS
    if action == "restart" and not hung:
        return "restarts a server that does not hang for long"
    if isinstance(seen, PrimaryView):
        return _primary(seen, action) or _primary_name(seen, decision)
    return _standby(seen, action) or _way_back(seen, action) or _standby_name(seen, decision)


def _leads_later(seen: Common) -> bool:
    return seen.peer is not None and seen.peer.role == "primary" and seen.peer.epoch > seen.state.epoch


def _primary(seen: PrimaryView, action: str) -> str:
    heard = seen.peer is not None and seen.peer_age <= CONTACT_SECONDS
    resolved = heard and seen.peer is not None and seen.peer.intent is not None
    follower = seen.follower
    held = protocol.may_acknowledge_alone(seen.state)
    up = seen.server == "running" and not _leads_later(seen)
    streams = follower is not None and follower.streaming and follower.flushed >= seen.recovered
    same = seen.peer is not None and seen.peer.role == "standby" and seen.peer.epoch == seen.state.epoch
    wrong = {
        "starts in the middle of a handover": action == "start" and seen.resigned_age < HANDOVER_SECONDS,
        "a hung server is left hanging": seen.server == "hung"
        and seen.server_age >= HUNG_SECONDS
        and seen.resigned_age >= HANDOVER_SECONDS
        and action != "restart",
        "commits wait for nobody while the token is away": up
        and not held
        and not seen.setting
        and action not in {"tighten", "fence"},
        "closes what is closed": action == "fence" and not seen.open,
        "opens what is open": action == "open" and seen.open,
        "opens while the partner is being promoted": action == "open" and resolved,
        "opens what the partner has not got": action == "open"
        and not held
        and not (streams and heard and same and _synchronous(seen)),
        "stays open while the partner is being promoted": up
        and seen.open
        and resolved
        and action not in _BEFORE_CLOSING,
        "vouches unasked": action == "vouch" and seen.order != "degrade",
        "does not vouch": up and seen.order == "degrade" and action not in {"vouch", "tighten"},
        "resigns unasked": action == "resign" and not (seen.order == "switchover" and seen.open and streams and heard),
        "resigns though the partner may not lead": action == "resign"
        and (held or not same or not _synchronous(seen) or not _keeps(seen) or seen.armed.arming != seen.state.arming),
        "arms who has not caught up": action == "arm" and not (streams and heard and same),
        "arms who lacks a lot": action == "arm" and (follower is None or seen.position - follower.flushed > NEAR_BYTES),
        "arms who is about to go": action == "arm" and seen.peer is not None and (resolved or seen.peer.leaving),
        "writes an epoch twice": action == "begin" and seen.began,
        "stays open without a word": up
        and seen.open
        and not held
        and seen.setting
        and _silent(seen)
        and not (seen.peer is not None and seen.peer.given_up >= seen.state.arming)
        and action not in _BEFORE_CLOSING,
        "does not resign": _is_to_resign(seen, up=up, well=streams and heard and same and not resolved)
        and action not in {"resign", "vouch"},
    }
    return next((what for what, holds in wrong.items() if holds), "")


_BEFORE_CLOSING = frozenset({"fence", "tighten", "vouch"})


def _is_to_resign(seen: PrimaryView, *, up: bool, well: bool) -> bool:
    armed = not protocol.may_acknowledge_alone(seen.state) and seen.armed == protocol.Armed(
        seen.state.epoch, seen.state.arming
    )
    waits = seen.setting and _synchronous(seen)
    return up and seen.order == "switchover" and seen.open and well and armed and _keeps(seen) and waits


def _keeps(seen: PrimaryView) -> bool:
    return seen.peer is not None and seen.peer.given_up < seen.state.arming


def _synchronous(seen: PrimaryView) -> bool:
    return seen.follower is not None and seen.follower.synchronous


def _standby(seen: StandbyView, action: str) -> str:
    state, peer = seen.state, seen.peer
    may = protocol.may_be_promoted(state, seen.armed)
    quiet = state.intent is None and not state.rejoin and not _leads_later(seen)
    stands = quiet and seen.in_recovery is True and not (state.void and _led(seen))
    handed = peer is not None and peer.resigned is not None and seen.replayed >= peer.resigned
    handed = handed and peer is not None and peer.epoch == state.epoch
    asked = seen.order == "failover" or handed or seen.in_recovery is False or state.intent is not None
    doubted = (
        (seen.strikes < STRIKES and not _says_gone(seen))
        or (seen.probe_age < SILENT_SECONDS and not seen.refused)
        or (seen.following and seen.stream_age < SILENT_SECONDS)
        or seen.awake_age < AWAKE_SECONDS
        or seen.alone
        or seen.replay_paused
    )
    wrong = {
        "a hung server is left hanging": quiet and seen.server == "hung" and seen.server_age >= HUNG_SECONDS
        and action not in {"restart", "give_up"},
        "resolves to lead without the right": action == "intend" and not may,
        "false failover": action == "intend" and not asked and doubted,
        "does not lead though the primary is gone": stands and may and not doubted and action not in _LEADS
        and seen.order is None and not _cannot_follow(seen) and not seen.leaving
        and not ((seen.diverged or seen.lost) and _led(seen)),
        "promotes while the stream is open": action == "promote" and seen.following,
        "promotes without the right": action == "promote" and not (may or state.forced),
        "forces unasked": action == "force" and seen.order != "force" and not state.forced,
        "does not force": stands and seen.order == "force" and action not in {"force", "give_up"},
        "does not lead though it is asked": stands and may and seen.order == "failover" and action not in _LEADS
        and not seen.leaving,
        "does not take what is handed over": stands and may and handed and peer is not None and seen.order is None
        and peer.epoch == state.epoch and action not in _LEADS and not seen.leaving,
        "is copied unasked": action == "rejoin" and not state.rejoin and seen.order != "rejoin"
        and not (seen.diverged or seen.lost),
        "is copied from nobody": action == "rejoin" and not _led(seen),
        "is not copied": stands and seen.order == "rejoin" and _led(seen) and action not in {"rejoin", "give_up"},
        "gives up what it has": action == "give_up" and state.void and not _cannot_follow(seen),
        "gives up while it follows": action == "give_up" and seen.server == "running" and not seen.leaving
        and not _cannot_follow(seen),
        "keeps the primary waiting": stands and _cannot_follow(seen) and seen.order is None and may
        and not seen.diverged and not seen.lost and action not in {"give_up", *_LEADS},
        "gives up nothing": action == "give_up" and seen.server == "running" and not seen.leaving
        and state.given_up >= max(state.arming, seen.armed.arming, peer.arming if peer else 0),
        "keeps its right though it leaves": stands and seen.leaving and not state.void and action != "give_up",
        "is armed again while it leaves": action == "settle" and seen.leaving,
        "settles what does not follow": action == "settle" and seen.in_recovery is not True,
        "is not copied though it cannot follow": stands and (seen.diverged or seen.lost) and _led(seen)
        and not seen.leaving and action not in {"rejoin", *_LEADS},
        "exports what it keeps": action == "export" and (not state.rejoin or seen.exported),
        "forgets what it was told": action == "abandon" and (state.forced or (may and seen.server == "running")),
    }  # fmt: skip
    return next((what for what, holds in wrong.items() if holds), "")


def _way_back(seen: StandbyView, action: str) -> str:
    """A former primary keeps what only it has, then it is rewound; nothing of that waits for ever."""
    state = seen.state
    if not (state.rejoin and state.intent is None and _led(seen) and not _leads_later(seen)):
        return ""
    hung = seen.server == "hung" and seen.server_age >= HUNG_SECONDS
    wrong = {
        "gives up what it has not kept": action == "rejoin" and not seen.exported,
        "does not give way": seen.exported and not hung and action != "rejoin",
        "does not start to keep what it has": seen.server == "stopped" and not seen.exported and action != "start",
        "does not keep what it has": seen.server == "running" and not seen.exported and action != "export",
        "a hung server is left hanging": hung and action != "restart",
    }
    return next((what for what, holds in wrong.items() if holds), "")


def _silent(seen: PrimaryView) -> bool:
    follower = seen.follower
    streams = follower is not None and follower.streaming and follower.reply_age <= CONTACT_SECONDS
    return not streams and (seen.peer is None or seen.peer_age > CONTACT_SECONDS)


def _primary_name(seen: PrimaryView, decision: Decision) -> str:
    """A primary that is left as it is has the name of what it is."""
    if decision.action != "nothing" or seen.server != "running" or seen.resigned_age < HANDOVER_SECONDS:
        return ""
    silent = _silent(seen)
    name = "SYNC" if seen.open else "FENCED" if silent else "QUARANTINE"
    if protocol.may_acknowledge_alone(seen.state):
        name = "SOLO"
    in_step = decision.state == "SYNC" and not silent
    return "" if decision.state == name or in_step else f"is called {decision.state}, and is {name}"


def _standby_name(seen: StandbyView, decision: Decision) -> str:
    """A standby that is about to lead, or to be copied, is called so."""
    if decision.action != "nothing" or _leads_later(seen):
        return ""
    name = decision.state
    if seen.in_recovery is True:
        may = protocol.may_be_promoted(seen.state, seen.armed)
        follows = seen.strikes == 0 and not _says_gone(seen)
        name = ("ARMED" if may else "FOLLOW") if follows else name if name in {"SUSPECT", "STRANDED"} else "SUSPECT"
    if seen.state.intent is not None or seen.state.rejoin:
        name = "FENCING" if seen.state.intent is not None else "REJOINING"
    return "" if decision.state == name else f"is called {decision.state}, and is {name}"


_LEADS = frozenset({"intend", "force"})


def _led(seen: StandbyView) -> bool:
    leads = seen.peer is not None and seen.peer.role == "primary" and seen.peer.epoch == seen.state.epoch
    return leads and seen.peer_age <= CONTACT_SECONDS


def _says_gone(seen: StandbyView) -> bool:
    peer = seen.peer
    return peer is not None and seen.peer_age <= CONTACT_SECONDS and _is_gone(peer)


def _is_gone(peer: Peer) -> bool:
    return peer.server != "running" and peer.server_since >= HOLD_SECONDS and peer.resigned is None


def _cannot_follow(seen: StandbyView) -> bool:
    return _led(seen) and not seen.following and seen.stream_age >= GIVE_UP_SECONDS
