"""`aya status`: every node, its health and its services; --watch looks again and again.

Exit codes: 0 everything is healthy, 3 degraded, 1 nothing runs or the database is down; of a watch, the last look's.
"""

from __future__ import annotations

import asyncio
import functools
import math
from typing import TYPE_CHECKING

import click

from aya.cli import output
from aya.home import Home
from aya.settings import load_config

if TYPE_CHECKING:
    from aya.status.types import NodeStatus

_SECONDS = 2.0
_SHORTEST_SECONDS = 0.5
_LONGEST_SECONDS = 3600.0


def _a_number(context: click.Context, parameter: click.Parameter, value: float | None) -> float | None:
    """Refuse nan, which no range of click's does: it is neither less nor more than anything."""
    del context, parameter
    if value is not None and math.isnan(value):
        raise click.BadParameter(f"nan is not in the range {_SHORTEST_SECONDS}<=x<={_LONGEST_SECONDS:.0f}.")
    return value


@click.command(name="status")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document (described in aya.status.types).")
@click.option("--node", metavar="NODE", help="Only this node.")
@click.option(
    "--watch",
    "every",
    metavar="[SECONDS]",
    is_flag=False,
    flag_value=_SECONDS,
    type=click.FloatRange(_SHORTEST_SECONDS, _LONGEST_SECONDS),
    callback=_a_number,
    help=f"Look again, every {_SECONDS:.0f} seconds unless said otherwise; q or Ctrl-C ends it.",
)
@click.pass_obj
def command(home: Home, /, *, as_json: bool, node: str | None, every: float | None) -> int:
    """Show every node of this machine. Exit code 0: all healthy; 3: degraded; 1: down, or there is none."""
    # Here, not above: `aya status --help` needs no database driver.
    from aya.cli import status_display, status_watch  # noqa: PLC0415
    from aya.status.judge import EXIT_OF, overall  # noqa: PLC0415
    from aya.status.types import document  # noqa: PLC0415

    if every is not None:
        last = asyncio.run(status_watch.watch(home, functools.partial(_look, home, node), every, as_json=as_json))
        return EXIT_OF[overall(last)]
    found = asyncio.run(_look(home, node))
    if as_json:
        output.document(document(home, overall(found), found))
    else:
        status_display.show(home, status_display.screen(found))
    return EXIT_OF[overall(found)]


async def _look(home: Home, node: str | None) -> list[NodeStatus]:
    from aya.status.probe import collect  # noqa: PLC0415 as above

    chosen = [home.node(node)] if node else list(home.nodes().values())
    return await collect(home, load_config(home), chosen)
