"""`aya down`: stop this machine's nodes."""

from __future__ import annotations

import click

from aya.cli import output
from aya.home import Home
from aya.local.down import down


@click.command(name="down")
@click.pass_obj
def command(home: Home, /) -> None:
    """Stop everything of this home, and look whether anything is left running. Data is kept."""
    try:
        stopped = down(home)
    except KeyboardInterrupt:
        raise KeyboardInterrupt("something may still run: aya down stops it") from None
    if not stopped.names:
        output.line(f"nothing of {home.path} was running")
        return
    for name in stopped.names:
        output.line(f"stopped {name}")
    output.line("nothing is left running; aya up starts it again, data intact")
