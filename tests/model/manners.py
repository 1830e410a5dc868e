"""What any single decision owes, whatever was seen: said once more, in other words than the tables'."""

from __future__ import annotations

from aya_watchdog import protocol
from aya_watchdog.decide import (
    AWAKE_SECONDS,
    CONTACT_SECONDS,
    GIVE_UP_SECONDS,
    HANDOVER_SECONDS,
    HUNG_SECONDS,
    SILENT_SECONDS,
    STRIKES,
    Decision,
)  # fmt: skip
from aya_watchdog.views import Common, PrimaryView, StandbyView

# Acts on a server that answers.
_ON_RUNNING = frozenset({
    "tighten", "relax", "arm", "open", "fence", "resign", "begin", "intend", "force", "promote", "finish", "export", "settle",
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
    return _primary(seen, action) if isinstance(seen, PrimaryView) else _standby(seen, action)


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
        "closes what is closed": action == "fence" and not seen.open,
        "opens what is open": action == "open" and seen.open,
        "opens while the partner is being promoted": action == "open" and resolved,
        "opens what the partner has not got": action == "open" and not held and not (streams and heard and same),
        "stays open while the partner is being promoted": up
        and seen.open
        and resolved
        and action not in _BEFORE_CLOSING,
        "vouches unasked": action == "vouch" and seen.order != "degrade",
        "does not vouch": up and seen.order == "degrade" and action not in {"vouch", "tighten"},
        "resigns unasked": action == "resign" and not (seen.order == "switchover" and seen.open and streams and heard),
        "resigns though the partner may not lead": action == "resign" and (held or not same or seen.armed.arming == 0),
        "arms who has not caught up": action == "arm" and not (streams and heard and same),
        "arms who is about to go": action == "arm" and seen.peer is not None and (resolved or seen.peer.leaving),
        "writes an epoch twice": action == "begin" and seen.began,
        "does not resign": _is_to_resign(seen, up=up, well=streams and heard and same and not resolved)
        and action not in {"resign", "vouch"},
    }
    return next((what for what, holds in wrong.items() if holds), "")


_BEFORE_CLOSING = frozenset({"fence", "tighten", "vouch"})


def _is_to_resign(seen: PrimaryView, *, up: bool, well: bool) -> bool:
    armed = not protocol.may_acknowledge_alone(seen.state) and seen.armed == protocol.Armed(
        seen.state.epoch, seen.state.arming
    )
    kept = seen.peer is not None and seen.peer.given_up < seen.state.arming
    waits = seen.setting and seen.follower is not None and seen.follower.synchronous
    return up and seen.order == "switchover" and seen.open and well and armed and kept and waits


def _standby(seen: StandbyView, action: str) -> str:
    state, peer = seen.state, seen.peer
    may = protocol.may_be_promoted(state, seen.armed)
    quiet = state.intent is None and not state.rejoin and not _leads_later(seen)
    stands = quiet and seen.in_recovery is True and not (state.void and _led(seen))
    handed = peer is not None and peer.resigned is not None and seen.replayed >= peer.resigned
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
        and seen.order is None and not _cannot_follow(seen) and not (seen.diverged and _led(seen)) and not seen.leaving,
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
        and not seen.diverged and action not in {"give_up", *_LEADS},
        "exports what it keeps": action == "export" and (not state.rejoin or seen.exported),
        "forgets what it was told": action == "abandon" and (state.forced or (may and seen.server == "running")),
    }  # fmt: skip
    return next((what for what, holds in wrong.items() if holds), "")


_LEADS = frozenset({"intend", "force"})


def _led(seen: StandbyView) -> bool:
    leads = seen.peer is not None and seen.peer.role == "primary" and seen.peer.epoch == seen.state.epoch
    return leads and seen.peer_age <= CONTACT_SECONDS


def _says_gone(seen: StandbyView) -> bool:
    peer = seen.peer
    return peer is not None and seen.peer_age <= CONTACT_SECONDS and peer.server != "running" and peer.resigned is None


def _cannot_follow(seen: StandbyView) -> bool:
    return _led(seen) and not seen.following and seen.stream_age >= GIVE_UP_SECONDS
