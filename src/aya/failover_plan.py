"""What an order to a watchdog will do, said before it is given; and whether it has come about. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

from aya.errors import UsageError, WatchdogError

Status = Mapping[str, Any]
Statuses = Mapping[str, Status]
"""The watchdogs of this machine that answer, by node; the fields of a status: aya_watchdog.board."""

Order = Literal["failover", "force", "switchover", "degrade", "rejoin"]


_WORDS: dict[Order, tuple[str, ...]] = {
    "switchover": (
        "{here} stops, {other} takes over and leads epoch {later}, {here} follows it",
        "no row is lost; nobody can write for a moment",
    ),
    "failover": (
        "{here} is promoted and leads epoch {later}; {other} follows when it is back",
        "no acknowledged row is lost: it is done only while {here} has them all",
    ),
    "force": (
        "{here} is promoted and leads epoch {later}, with what it has",
        "ROWS MAY BE LOST: those that {other} acknowledged and {here} never received",
        "{other} must be off, or two servers take writes",
    ),
    "degrade": (
        "{here} acknowledges writes alone, in epoch {epoch}, until {other} is back",
        "{other} must be off: if it was promoted, two servers take writes, and those of one are lost",
    ),
    "rejoin": (
        "{here} stops, is rewound or copied anew from {other}, and follows it in epoch {epoch}",
        "until then {other} has no standby; what was changed on {here} alone is given up",
    ),
}


@dataclass(frozen=True, slots=True)
class Leader:
    """Who leads, as far as this machine knows. writable: clients may write there."""

    node: str
    epoch: int
    writable: bool


@dataclass(frozen=True, slots=True)
class Plan:
    """An order and what it means.

    node: whose watchdog is told. leads: who leads afterwards; epoch: of now. words: what will be done, a line each.
    loses: acknowledged rows may be lost, or two servers may take writes, if what is assumed is not so.
    """

    order: Order
    node: str
    leads: str
    epoch: int
    words: tuple[str, ...]
    loses: bool = False


def leader(seen: Statuses) -> Leader | None:
    """Return who leads the latest epoch that anybody knows of; None when nobody does."""
    found = [one for node, status in seen.items() for one in _leaders(node, status)]
    return max(found, key=lambda one: (one.epoch, one.writable), default=None)


def _leaders(node: str, status: Status) -> list[Leader]:
    partner: Status = status.get("partner") or {}
    said: Status = partner.get("said") or {}
    found = [Leader(node, int(status["epoch"]), bool(status["writable"]))] if status["role"] == "primary" else []
    if said.get("role") == "primary":
        writable = bool(said.get("open")) and not partner.get("error")
        found.append(Leader(str(partner.get("node")), int(said["epoch"]), writable))
    return found


def planned(order: Order, seen: Statuses, node: str | None = None) -> Plan:
    """Return the plan of an order. node: whom a person named; None: the one of this machine that it is for.

    Raises UsageError or WatchdogError, with the next command, when there is no such node here.
    """
    chosen = _chosen(order, seen, node)
    status = seen[chosen]
    other = _partner_of(status)
    epoch = max(int(status["epoch"]), getattr(leader(seen), "epoch", 0))
    leads = other if order in {"switchover", "rejoin"} else chosen
    words = tuple(line.format(here=chosen, other=other, epoch=epoch, later=epoch + 1) for line in _WORDS[order])
    return Plan(order, chosen, leads, epoch, (*_now(seen), *words), loses=order in {"force", "degrade"})


def _chosen(order: Order, seen: Statuses, node: str | None) -> str:
    wanted = "primary" if order in {"switchover", "degrade"} else "standby"
    fitting = [name for name, status in seen.items() if status["role"] == wanted]
    if node is not None and node not in seen:
        raise WatchdogError(
            f"the watchdog of {node} does not answer on this machine ({', '.join(seen)} does)",
            hint=f"run the same command on the machine of {node}, or aya status",
        )
    if node is not None and node not in fitting:
        raise UsageError(f"{node} is the {seen[node]['role']}; this is for the {wanted}", hint="aya status")
    if not fitting:
        here = next(iter(seen))
        raise WatchdogError(
            f"{here} is the {seen[here]['role']}; this is for the {wanted}",
            hint=f"run the same command on the machine of {_partner_of(seen[here])}",
        )
    return node or fitting[0]


def _partner_of(status: Status) -> str:
    partner: Status = status.get("partner") or {}
    return str(partner.get("node") or "the other server")


def _now(seen: Statuses) -> tuple[str, ...]:
    found = leader(seen)
    first = f"{found.node} leads epoch {found.epoch}" if found else "nobody leads"
    return (f"now: {first}", *(f"now: {described(node, status)}" for node, status in seen.items()))


def described(node: str, status: Status) -> str:
    """Return a node's condition in one line."""
    paused = " (paused)" if status["paused"] and not str(status["why"]).startswith("paused") else ""
    return f"{node} is {status['condition']}{paused}: {status['why']}"


def is_done(plan: Plan, seen: Statuses, conditions: Mapping[str, set[str]]) -> bool:
    """Return whether what was ordered has come about. conditions: all that each node has been in since."""
    if plan.order == "degrade":
        status: Status = seen.get(plan.node, {})
        return status.get("condition") == "SOLO" and bool(status.get("writable"))
    if plan.order == "rejoin":
        condition = seen.get(plan.node, {}).get("condition")
        return "REJOINING" in conditions.get(plan.node, set()) and condition in {"FOLLOW", "ARMED"}
    found = leader(seen)
    return found is not None and found.epoch > plan.epoch and found.node == plan.leads and found.writable
