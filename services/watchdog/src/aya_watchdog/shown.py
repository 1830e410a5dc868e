"""What a watchdog says of itself: to its partner, and to whoever asks; and why it refuses an order. From memory."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING, Any

from aya_watchdog.decide import Decision
from aya_watchdog.protocol import Role
from aya_watchdog.views import Order, Peer
from aya_watchdog.wire import to_document

if TYPE_CHECKING:
    from aya_watchdog.loop import Watchdog

_KEPT = ("arming", "consent", "given_up", "intent")


def peer(dog: Watchdog) -> Peer:
    """Return what the partner is told."""
    state, observer = dog.actor.state, dog.observer
    return Peer(
        role=state.role,
        epoch=state.epoch,
        arming=state.arming,
        consent=state.consent,
        given_up=state.given_up,
        intent=state.intent,
        server=observer.condition,
        server_since=round(time.monotonic() - observer.condition_at, 1),
        armed=observer.armed,
        resigned=dog.actor.resigned,
        word=dog.actor.by if dog.actor.resigned is not None else "",
        open=observer.condition == "running" and bool(observer.row.get("open")),
        timeline=int(observer.row.get("timeline") or 0),
        leaving=dog.leaving,
    )


def status(dog: Watchdog) -> dict[str, Any]:
    """Return everything that a person or a program may want to know (its fields: aya_watchdog.board)."""
    state = dog.actor.state
    row = dog.observer.row if dog.observer.condition == "running" else {}
    return {
        "node": dog.config.node,
        "role": state.role,
        "condition": dog.decision.state,
        "why": dog.decision.why,
        "action": dog.job[0] if dog.job else None,
        "order": dog.ordered,
        "epoch": state.epoch,
        "paused": dog.paused,
        "server": dog.observer.condition,
        "server_version": row.get("server_version"),
        "in_recovery": row.get("in_recovery"),
        "writable": state.role == "primary" and bool(row.get("open")),
        "synchronous": bool(row.get("is_synchronous")),
        "timeline": row.get("timeline"),
        "position": row.get("replayed") if row.get("in_recovery") else row.get("position"),
        "received": row.get("received"),
        "lag_bytes": _lag(row),
        "replay_paused": bool(row.get("replay_paused")),
        "armed": dog.observer.armed.arming or None,
        "beat_age_seconds": round(time.monotonic() - dog.looked_at, 2),
        "state": {name: getattr(state, name) for name in _KEPT},
        "partner": _partner(dog),
    }


def _lag(row: dict[str, Any]) -> int | None:
    """Return how much of the primary's log the standby has not replayed (as a standby), or flushed (as a primary)."""
    if row.get("in_recovery"):
        return max(0, int(row["received"]) - int(row["replayed"]))
    return max(0, int(row["position"]) - int(row["flushed"])) if row.get("flushed") is not None else None


def _partner(dog: Watchdog) -> dict[str, Any] | None:
    if dog.partner is None:
        return None
    seen = dog.partner.seen
    return {
        "node": dog.partner.member.name,
        "age_seconds": None if seen.heard_at < 0 else round(time.monotonic() - seen.heard_at, 2),
        "address": seen.address or None,
        "error": seen.error if seen.strikes else None,
        "said": to_document(seen.peer) if seen.peer else None,
    }


def refusal(order: Order, role: Role, decision: Decision, node: str) -> str | None:
    """Return why an order cannot be carried out now; None when it can; pure."""
    wanted = "primary" if order in {"switchover", "degrade"} else "standby"
    if role != wanted:
        return f"{node} is the {role}; this is for the {wanted}"
    if order == "switchover" and decision.state != "SYNC":
        return f"the partner could not take over without a loss ({decision.state}: {decision.why})"
    if order == "failover" and decision.state not in {"ARMED", "SUSPECT"}:
        return f"this node may lack rows ({decision.state}: {decision.why}); --force takes that"
    return None
