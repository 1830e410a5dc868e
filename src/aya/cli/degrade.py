"""`aya degrade`: the primary goes on alone, because a person answers for the other server being off."""

from __future__ import annotations

import click

from aya.cli import session, watchdog
from aya.errors import UsageError
from aya.home import Home


@click.command(name="degrade")
@click.option("--partner-is-off", is_flag=True, help="You have seen that the other server is off, and stays off.")
@click.option("--beta-is-off", is_flag=True, hidden=True)
@click.option("--alpha-is-off", is_flag=True, hidden=True)
@click.option("--node", metavar="NODE", help="The primary (default: this machine's).")
@watchdog.yes_option
@watchdog.reason_option
@watchdog.timeout_option
@session.json_option
@click.pass_obj
def command(
    home: Home,
    /,
    *,
    partner_is_off: bool,
    beta_is_off: bool,
    alpha_is_off: bool,
    node: str | None,
    yes: bool,
    reason: str | None,
    seconds: float,
    as_json: bool,
) -> int:
    """Let this machine's primary acknowledge writes alone. The other server is armed again when it is back."""
    named = [name for name, is_off in (("alpha", alpha_is_off), ("beta", beta_is_off)) if is_off]
    if len(named) > 1 or not (partner_is_off or named):
        raise UsageError(
            "going on alone is safe only while the other server is off, and somebody has to answer for that",
            hint="make sure that it is off, then: aya degrade --partner-is-off",
        )
    if named:
        standing = "beta" if named == ["alpha"] else "alpha"
        if node not in {None, standing}:
            raise UsageError(f"{named[0]} is said to be off, and is the one that is to go on", hint="aya status")
        node = standing
    return watchdog.carry_out(
        home,
        "degrade",
        node=node,
        again=f"aya degrade --partner-is-off{f' --node {node}' if node else ''}",
        yes=yes,
        reason=reason,
        seconds=seconds,
        as_json=as_json,
    )
