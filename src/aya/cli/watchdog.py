"""What the verbs of failover share: finding watchdogs, asking before, showing meanwhile, telling after."""

from __future__ import annotations

import asyncio
import getpass
import sys
import time
from collections.abc import AsyncGenerator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from typing import Any

import click

from aya.cli import output
from aya.dsn import DatabaseSettings
from aya.errors import AyaError, UsageError, WatchdogError, WatchdogUnavailable
from aya.failover_plan import Order, Plan, described, is_done, leader, planned
from aya.home import Home
from aya.settings import node_settings
from aya.watchdog_client import WatchdogClient, socket_of
from aya.writable_probe import WritableProbe

_LOOK_SECONDS = 0.1
_FIRST_WRITE_SECONDS = 1.0
yes_option = click.option("--yes", is_flag=True, help="Do not ask.")
reason_option = click.option("--reason", metavar="TEXT", help="Why; it is kept in the history.")
timeout_option = click.option(
    "--timeout", "seconds", type=click.FloatRange(min=0), default=60.0, show_default=True, help="How long to watch."
)
Statuses = dict[str, dict[str, Any]]


class Watchdogs:
    """The watchdogs of this machine that answer."""

    def __init__(self, clients: dict[str, WatchdogClient]) -> None:
        self.clients = clients

    async def look(self) -> Statuses:
        """Return what they say; those that do not answer just now are left out."""
        answers = await asyncio.gather(*(self._status(client) for client in self.clients.values()))
        return {node: status for node, status in zip(self.clients, answers, strict=True) if status is not None}

    async def _status(self, client: WatchdogClient) -> dict[str, Any] | None:
        try:
            return await client.status()
        except WatchdogUnavailable:
            return None


@asynccontextmanager
async def entered(home: Home, node: str | None = None) -> AsyncGenerator[Watchdogs]:
    """Lend the watchdogs of this machine, or that of one node. Raises WatchdogUnavailable when there is none."""
    names = [home.node(node).name] if node else [name for name, one in home.nodes().items() if one.role != "copy"]
    async with AsyncExitStack() as stack:
        found = {name: await stack.enter_async_context(WatchdogClient(home, name)) for name in names}
        clients = {name: client for name, client in found.items() if node or socket_of(home, name).exists()}
        if not clients or not await Watchdogs(clients).look():
            whose = f"of {node}" if node else f"of {' or '.join(names)}" if names else "at all"
            raise WatchdogUnavailable(f"no watchdog {whose} runs on this machine", hint="aya up, then aya status")
        yield Watchdogs(clients)


def carry_out(
    home: Home,
    order: Order,
    *,
    node: str | None,
    again: str,
    yes: bool,
    reason: str | None,
    seconds: float,
    as_json: bool = False,
) -> int:
    """Say what an order will do, ask, give it, show what happens, and tell what came of it; return the exit code.

    again: the command with which it can be given without being asked. Raises WatchdogError for a refusal, and when it
    did not come about in time; Ctrl-C leaves the order standing.
    """

    async def work() -> int:
        async with entered(home) as watchdogs:
            plan = planned(order, await watchdogs.look(), node)
            for line in plan.words:
                output.progress(line)
            _ask(plan, yes=yes, again=again)
            return await _followed(home, watchdogs, plan, reason, seconds, as_json=as_json)

    return asyncio.run(work())


def _ask(plan: Plan, *, yes: bool, again: str) -> None:
    if yes:
        return
    if not sys.stdin.isatty():
        raise UsageError("nobody can be asked here, and nothing was done", hint=f"{again} --yes")
    question = "Rows may be lost. Go on?" if plan.loses else "Go on?"
    click.confirm(question, abort=True, err=True)


async def _followed(
    home: Home, watchdogs: Watchdogs, plan: Plan, reason: str | None, seconds: float, *, as_json: bool
) -> int:
    forced = {"force": True} if plan.order == "force" else {"partner_is_off": True} if plan.order == "degrade" else {}
    path = "failover" if plan.order == "force" else plan.order
    async with WritableProbe(_servers(home, list(watchdogs.clients))) as probe:
        await _first_write(probe)
        probe.measure()
        began = time.monotonic()
        answer = await watchdogs.clients[plan.node].order(path, getpass.getuser(), reason, **forced)
        output.progress(f"ordered: {answer['will']}, as soon as {answer['when']}")
        seen = await _until_done(watchdogs, plan, began, seconds)
        gap = probe.longest_gap
        took = time.monotonic() - began
    _tell(plan, seen, took, gap, as_json=as_json)
    return 0


async def _first_write(probe: WritableProbe) -> None:
    """Give the probe a moment, so that the gap is measured from a write on; where nobody writes it begins later."""
    until = time.monotonic() + _FIRST_WRITE_SECONDS
    while not probe.has_written and time.monotonic() < until:  # noqa: ASYNC110 it wakes nobody
        await asyncio.sleep(_LOOK_SECONDS / 5)


def _servers(home: Home, nodes: list[str]) -> list[DatabaseSettings]:
    found: list[DatabaseSettings] = []
    for node in nodes:
        try:
            found.append(node_settings(home, node, environ={}).local)
        except AyaError:  # this node's passwords are elsewhere: nothing is measured on it
            continue
    return found


async def _until_done(watchdogs: Watchdogs, plan: Plan, began: float, seconds: float) -> Statuses:
    last: dict[str, str] = {}
    conditions: dict[str, set[str]] = {}
    while True:
        seen = await watchdogs.look()
        for node, status in seen.items():
            conditions.setdefault(node, set()).add(status["condition"])
            line = described(node, status)
            if last.get(node) != line:
                last[node] = line
                output.progress(f"{time.monotonic() - began:6.1f} s  {line}")
        if is_done(plan, seen, conditions):
            return seen
        if time.monotonic() - began >= seconds:
            told = "; ".join(last.values()) or "no watchdog answers"
            raise WatchdogError(f"not done after {seconds:g} s: {told}", hint="aya status, then aya history")
        await asyncio.sleep(_LOOK_SECONDS)


def _tell(plan: Plan, seen: Statuses, took: float, gap: float | None, *, as_json: bool) -> None:
    found = leader(seen)
    if as_json:
        output.document(
            {
                "order": plan.order,
                "leader": found and asdict(found),
                "seconds": round(took, 3),
                "unwritable_seconds": None if gap is None else round(gap, 3),
                "nodes": seen,
            }
        )
        return
    first = f"{found.node} leads epoch {found.epoch}" if found else "nobody leads"
    output.line(f"{first}, {took:.1f} s after the order")
    for node, status in seen.items():
        if found is None or node != found.node:
            output.line(described(node, status))
    if gap is None:
        output.line("how long nobody could write was not measured: no write of ours was acknowledged")
    else:
        output.line(f"nobody could write for {gap:.2f} s at most (the longest time between two of our own writes)")
