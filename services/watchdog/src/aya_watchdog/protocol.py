"""What a node may promise, take back and become; pure. The state is what the fsynced file holds.

Two nodes, one token: the right to acknowledge a commit alone. A primary that has armed its partner has given the token
away: its setting is FIRST 1 (partner), so what it acknowledges the partner has flushed, and the partner may be promoted
without a loss. It may acknowledge alone again only when the partner has given that arming up, in writing, for good.

Armings are numbered, and the numbers only grow. Every fact that one node tells the other (its epoch, the armings it has
given up) only grows, too: a message that is late, lost or repeated says less than it could, never something false.

Invariants, checked by `check` wherever a state is made:
- An intent is for the epoch after the one that is known, and only a standby has one.
- What the partner has given up is not more than what was begun.
Between two nodes (they are what the enumeration in tests/unit/test_watchdog_enumeration.py proves):
- Never two nodes that may acknowledge at the same time; no acknowledged row is missing on the node that leads.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal

Role = Literal["primary", "standby"]
FIRST_EPOCH = 1


class ProtocolError(Exception):
    """A step that the protocol forbids was asked for; the state is as it was."""


@dataclass(frozen=True, slots=True)
class State:
    """One node's durable state.

    epoch: the latest that this node knows of; whoever leads it is the primary.
    arming: the latest arming that this node knows of; a primary has begun it, its row may not be committed yet.
    consent: a primary's: the partner has given up every arming up to this one.
    given_up: this node will never be promoted by an arming up to this one.
    void: its server has stopped; no arming counts until the primary says which is its latest, and that is given up.
    intent: a standby's: the epoch that it is about to begin; None when it is not.
    forced: a person answered for that intent: it needs no right.
    rejoin: its data directory has a history of its own that must be rewound, or replaced, before it follows.
    """

    role: Role
    epoch: int = FIRST_EPOCH
    arming: int = 0
    consent: int = 0
    given_up: int = 0
    intent: int | None = None
    forced: bool = False
    rejoin: bool = False
    void: bool = False


@dataclass(frozen=True, slots=True)
class Armed:
    """The latest arming row in a node's database: who was armed in which epoch. arming 0: there is none."""

    epoch: int = 0
    arming: int = 0


def check(state: State) -> State:
    """Return `state`; raise ProtocolError when it breaks an invariant."""
    if state.intent is not None and (state.role != "standby" or state.intent != state.epoch + 1):
        raise ProtocolError(f"an intent without the right to one: {state}")
    if state.forced and state.intent is None:
        raise ProtocolError(f"forced, but to nothing: {state}")
    if state.role == "primary" and state.consent > state.arming:
        raise ProtocolError(f"consent to an arming that was never begun: {state}")
    return state


def may_acknowledge_alone(state: State) -> bool:
    """Return whether a primary holds the token: the partner has given up its latest arming."""
    return state.role == "primary" and state.consent >= state.arming


def may_be_promoted(state: State, replayed: Armed) -> bool:
    """Return whether a standby whose database says `replayed` has everything that was ever acknowledged.

    It has replayed the row of an arming of this very epoch, has not given it up since, and its server has not stopped.
    """
    armed = replayed.epoch == state.epoch and replayed.arming > state.given_up
    return state.role == "standby" and armed and not state.void


def begin_arming(state: State, partner_given_up: int) -> State:
    """Give away the right to acknowledge alone; to be durable before the arming's row is written.

    partner_given_up: the new arming's number is above it, or it would be void at once.
    """
    if state.role != "primary":
        raise ProtocolError("a standby arms nobody")
    return check(replace(state, arming=max(state.arming, partner_given_up) + 1))


def note_consent(state: State, given_up: int) -> State:
    """Take note of what the partner has given up, by its own durable word."""
    if state.role != "primary":
        return state
    return check(replace(state, consent=max(state.consent, min(given_up, state.arming))))


def give_up(state: State, arming: int) -> State:
    """Give up being promoted by armings up to this one, and by those not known; durable before anybody hears of it."""
    if state.intent is not None:
        raise ProtocolError(f"epoch {state.intent} is about to begin: nothing is given up")
    return check(replace(state, given_up=max(state.given_up, arming), void=True))


def settle(state: State, arming: int) -> State:
    """Give up all that was armed so far, by the word of this epoch's primary: what it arms from now on counts."""
    if state.intent is not None or state.role != "standby":
        raise ProtocolError(f"nothing is to be settled: {state}")
    return check(replace(state, given_up=max(state.given_up, arming), void=False))


def require_right(state: State, replayed: Armed) -> None:
    """Raise ProtocolError unless a standby has everything that was ever acknowledged."""
    if not may_be_promoted(state, replayed):
        raise ProtocolError(f"{replayed} gives no right to be promoted: {state}")


def intend(state: State, replayed: Armed) -> State:
    """Resolve to be promoted; to be durable before the stream from the old primary is closed."""
    require_right(state, replayed)
    return check(replace(state, intent=state.epoch + 1))


def force(state: State, replayed_epoch: int) -> State:
    """Resolve to be promoted without the right to it: a person answers for the old primary being off for good.

    replayed_epoch: the latest in this node's database, which may be later than what its file knows: no epoch of the
    old primary's is begun a second time.
    """
    if state.role != "standby":
        raise ProtocolError("this node is the primary already")
    epoch = max(state.epoch, replayed_epoch)
    return check(replace(state, epoch=epoch, intent=epoch + 1, forced=True))


def abandon(state: State) -> State:
    """Give the intent up; to be durable before the stream is opened again."""
    return check(replace(state, intent=None, forced=False))


def begin_epoch(state: State, replayed: Armed, replayed_epoch: int) -> State:
    """Return the state of a standby that has been promoted: it leads the new epoch, alone.

    replayed_epoch: the latest in its database; the new one is later, also when it was replayed after the intent.
    """
    if state.intent is None:
        raise ProtocolError("nobody resolved to begin an epoch")
    epoch, arming = max(state.intent, replayed_epoch + 1), max(state.arming, replayed.arming)
    return check(State("primary", epoch=epoch, arming=arming, consent=arming, given_up=arming))


def vouch(state: State) -> State:
    """Acknowledge alone because a person answers for the partner being off for good."""
    if state.role != "primary":
        raise ProtocolError("only the primary acknowledges")
    return check(replace(state, consent=state.arming))


def yield_to(state: State, epoch: int, *, resigned: bool = False) -> State:
    """Return the state of a node that learned of a later epoch: it follows whoever leads it.

    resigned: its server has stopped for a handover, and not run since: what it has, the later epoch has, too.
    """
    if epoch <= state.epoch:
        raise ProtocolError(f"epoch {epoch} is not later than {state.epoch}")
    led = state.role == "primary"
    given_up = max(state.given_up, state.arming) if led else state.given_up
    return check(
        State(
            "standby",
            epoch,
            state.arming,
            given_up=given_up,
            rejoin=(led and not resigned) or state.rejoin,
            void=state.void,
        )
    )


def leave(state: State, arming: int) -> State:
    """Resolve to have the data directory replaced: until that is done it is nobody's to be promoted.

    arming: the latest that is known.
    """
    if state.role != "standby" or state.intent is not None:
        raise ProtocolError(f"only a standby is made anew: {state}")
    return check(replace(state, rejoin=True, given_up=max(state.given_up, state.arming, arming)))


def rejoined(state: State) -> State:
    """Return the state of a standby whose data directory is the primary's again."""
    return check(replace(state, rejoin=False))
