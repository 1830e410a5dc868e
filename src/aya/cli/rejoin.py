"""`aya rejoin`: a standby is rewound or copied anew."""

from __future__ import annotations

import click

from aya.cli import session, watchdog
from aya.home import Home


@click.command(name="rejoin")
@click.argument("node")
@watchdog.yes_option
@watchdog.reason_option
@watchdog.timeout_option
@session.json_option
@click.pass_obj
def command(home: Home, /, *, node: str, yes: bool, reason: str | None, seconds: float, as_json: bool) -> int:
    """Stop the standby NODE, rewind it or copy it anew from the primary, and have it follow again.

    It comes back by itself after a failure; this is for when you do not trust its data, or its alert says so. A large
    base takes its time: --timeout says how long this command watches, not how long it may take.
    """
    return watchdog.carry_out(
        home,
        "rejoin",
        node=node,
        again=f"aya rejoin {node}",
        yes=yes,
        reason=reason,
        seconds=seconds,
        as_json=as_json,
    )
