"""`aya failover`: the standby becomes the primary, because the primary is gone, or is to be."""

from __future__ import annotations

import click

from aya.cli import session, watchdog
from aya.home import Home


@click.command(name="failover")
@click.option("--to", "--node", "node", metavar="NODE", help="Who is to lead (default: this machine's standby).")
@click.option("--force", is_flag=True, help="Although rows may be lost: you answer for the primary being off.")
@watchdog.yes_option
@watchdog.reason_option
@watchdog.timeout_option
@session.json_option
@click.pass_obj
def command(
    home: Home, /, *, node: str | None, force: bool, yes: bool, reason: str | None, seconds: float, as_json: bool
) -> int:
    """Promote the standby of this machine.

    Without --force it is done only while the standby has every acknowledged row. The old primary follows by itself when
    it is back. While both servers are well, `aya switchover` is gentler.
    """
    again = f"aya failover{f' --to {node}' if node else ''}{' --force' if force else ''}"
    return watchdog.carry_out(
        home,
        "force" if force else "failover",
        node=node,
        again=again,
        yes=yes,
        reason=reason,
        seconds=seconds,
        as_json=as_json,
    )
