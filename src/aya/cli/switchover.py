"""`aya switchover`: primary and standby change places."""

from __future__ import annotations

import click

from aya.cli import session, watchdog
from aya.home import Home


@click.command(name="switchover")
@click.option("--node", metavar="NODE", help="The primary that is to stop (default: this machine's).")
@watchdog.yes_option
@watchdog.reason_option
@watchdog.timeout_option
@session.json_option
@click.pass_obj
def command(home: Home, /, *, node: str | None, yes: bool, reason: str | None, seconds: float, as_json: bool) -> int:
    """Stop the primary of this machine and have its standby take over; no row is lost, and nothing is rewound."""
    return watchdog.carry_out(
        home,
        "switchover",
        node=node,
        again=f"aya switchover{f' --node {node}' if node else ''}",
        yes=yes,
        reason=reason,
        seconds=seconds,
        as_json=as_json,
    )
