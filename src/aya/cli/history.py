"""`aya history`: who has led, since when and why."""

from __future__ import annotations

import asyncio
from typing import Any

import click

from aya.cli import output, session, watchdog
from aya.errors import WatchdogError
from aya.home import Home

_HEADERS = ("EPOCH", "LEADER", "SINCE", "TIMELINE", "WHY")


@click.command(name="history")
@click.option("--node", metavar="NODE", help="Ask this node (default: the primary, if it is on this machine).")
@session.json_option
@click.pass_obj
def command(home: Home, /, *, node: str | None, as_json: bool) -> None:
    """Show the epochs, the latest first."""
    asked, epochs = asyncio.run(_history(home, node))
    if as_json:
        output.document({"node": asked, "epochs": epochs})
        return
    output.table(_HEADERS, [row(epoch) for epoch in epochs])


async def _history(home: Home, node: str | None) -> tuple[str, list[dict[str, Any]]]:
    async with watchdog.entered(home, node) as watchdogs:
        seen = await watchdogs.look()
        names = sorted(seen, key=lambda name: seen[name]["role"] != "primary")
        last: WatchdogError | None = None
        for name in names:
            try:
                return name, await watchdogs.clients[name].history()
            except WatchdogError as error:  # its server may be stopped; the other's may not
                last = error
        raise last or WatchdogError("no watchdog answers", hint="aya status")


def row(epoch: dict[str, Any]) -> tuple[str, ...]:
    """Return an epoch's line of the table; pure."""
    since = str(epoch["began_at"])[:19].replace("T", " ")
    return (str(epoch["epoch"]), str(epoch["node"]), since, str(epoch["timeline"]), str(epoch["reason"]))
