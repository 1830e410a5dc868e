"""`aya dev kill | freeze | cut | heal | offline | online`: faults on purpose, on the real processes of these nodes."""

from __future__ import annotations

import click

from aya.cli import output
from aya.home import Home
from aya.local.faults import LINK, Faults
from aya.postgres.config import SERVERS

AIR = "air"
_node = click.argument("node", type=click.Choice(SERVERS))


@click.group(name="dev", short_help="Faults on purpose: kill, freeze and cut this machine's nodes.")
def command() -> None:
    """Do harm to the nodes of this machine, to see what AYA makes of it. Data is kept; `aya dev heal` undoes it."""


@command.command(name="kill")
@_node
@click.pass_obj
def kill(home: Home, /, node: str) -> None:
    """Pull a node's plug: all its processes end in one moment, and stay so until `aya dev heal`."""
    Faults(home).kill(node)
    output.line(f"{node} is off")
    _say_next(node)


@command.command(name="freeze")
@_node
@click.pass_obj
def freeze(home: Home, /, node: str) -> None:
    """Have a node hang: all its processes stand still until `aya dev heal`."""
    Faults(home).freeze(node)
    output.line(f"{node} stands still")
    _say_next(node)


@command.command(name="cut")
@click.argument("what", type=click.Choice([LINK]))
@click.pass_obj
def cut(home: Home, /, what: str) -> None:
    """Cut the link between alpha and beta; clients still reach both."""
    Faults(home).cut()
    output.line("the link between alpha and beta is cut")
    _say_next(what)


@command.command(name="heal")
@click.argument("what", type=click.Choice([*SERVERS, LINK]))
@click.pass_obj
def heal(home: Home, /, what: str) -> None:
    """Undo what was done to a node or to the link."""
    Faults(home).heal(what)
    output.line("the link is whole again" if what == LINK else f"{what} runs again")
    output.line("  aya history, aya status    see what came of it")


@command.command(name="offline")
@click.argument("node", type=click.Choice([AIR]))
@click.pass_obj
def offline(home: Home, /, node: str) -> None:
    """Take air's network away: it reaches neither server, and goes on with what it has."""
    Faults(home).offline(node)
    output.line(f"{node} is offline: search, add and edit there as before")
    output.line(f"  aya search --node {node} …, aya add --node {node} …\n  aya dev online {node:<12}undo it")


@command.command(name="online")
@click.argument("node", type=click.Choice([AIR]))
@click.pass_obj
def online(home: Home, /, node: str) -> None:
    """Give air its network back: what was written there is sent, what changed is fetched."""
    Faults(home).online(node)
    output.line(f"{node} is online again")
    output.line("  aya status                 see what came of it")


def _say_next(what: str) -> None:
    output.line(f"  aya history, aya status    see what came of it\n  aya dev heal {what:<14}undo it")
