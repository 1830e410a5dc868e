"""`aya pause` and `aya resume`: keep the watchdogs from changing anything, and let them work again."""

from __future__ import annotations

import asyncio
import getpass
from typing import Literal

import click

from aya.cli import output, session, watchdog
from aya.errors import EXIT_DEGRADED
from aya.failover_plan import described
from aya.home import Home

_node_option = click.option("--node", metavar="NODE", help="Only this node (default: all of this machine).")


@click.command(name="pause")
@_node_option
@watchdog.reason_option
@session.json_option
@click.pass_obj
def pause(home: Home, /, *, node: str | None, reason: str | None, as_json: bool) -> int:
    """Keep the watchdogs of this machine from starting, promoting or rewinding anything, until `aya resume`.

    They go on looking. What keeps two servers from taking writes is done nevertheless, and so are your own orders. A
    standby that is paused is not promoted when the primary fails: pause for as long as needed and no longer.
    """
    return _set(home, "pause", node, reason, as_json=as_json)


@click.command(name="resume")
@_node_option
@watchdog.reason_option
@session.json_option
@click.pass_obj
def resume(home: Home, /, *, node: str | None, reason: str | None, as_json: bool) -> int:
    """Let the watchdogs of this machine look after the servers again."""
    return _set(home, "resume", node, reason, as_json=as_json)


def _set(home: Home, verb: Literal["pause", "resume"], node: str | None, reason: str | None, *, as_json: bool) -> int:
    async def work() -> dict[str, dict[str, object]]:
        async with watchdog.entered(home, node) as watchdogs:
            for name in await watchdogs.look():
                await watchdogs.clients[name].order(verb, getpass.getuser(), reason)
            return {**await watchdogs.look()}

    seen = asyncio.run(work())
    if as_json:
        output.document({"nodes": seen})
    else:
        for name, status in seen.items():
            output.line(described(name, status))
    as_wanted = bool(seen) and all(status["paused"] == (verb == "pause") for status in seen.values())
    if not as_json and as_wanted:
        output.line("no failover happens until aya resume" if verb == "pause" else "the watchdogs act again")
    return 0 if as_wanted else EXIT_DEGRADED
