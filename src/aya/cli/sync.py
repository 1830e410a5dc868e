"""`aya sync`: AIR's exchange with the primary, looked at and ordered."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import asdict
from typing import TYPE_CHECKING, TypeVar

import click

from aya.cli import output, session
from aya.cli.text import duration
from aya.errors import EXIT_DEGRADED, SyncError
from aya.home import ROLE_OF_NODE, Home
from aya.settings import node_settings

if TYPE_CHECKING:
    from aya.db import Database
    from aya.sync.types import Copy

Result = TypeVar("Result")
_SECONDS = 60.0


@click.group(name="sync")
def command() -> None:
    """AIR's copy: how far it is, what waits to be sent, and orders to the daemon between."""


@command.command(name="status")
@session.json_option
@click.pass_obj
def status(home: Home, /, *, as_json: bool) -> int:
    """Show how far AIR is behind, what waits, and what the primary did not take. Exit code 3: it needs a person."""
    from aya.sync import copy  # noqa: PLC0415 as in aya.cli.status

    async def work(database: Database) -> Copy | None:
        async with database.connection() as connection:
            return await copy.look(connection)

    found = _run(home, work)
    if found is None:
        raise SyncError("AIR has no copy yet", hint="aya up")
    if as_json:
        output.document(asdict(found))
    else:
        for text in described(found):
            output.line(text)
    return EXIT_DEGRADED if found.rejected or (found.error and found.reachable) else 0


@command.command(name="now")
@click.option("--seconds", type=click.FloatRange(min=0.1), default=_SECONDS, help="How long to wait (default: 60).")
@click.pass_obj
def now(home: Home, /, *, seconds: float) -> None:
    """Exchange everything now, and return when both sides have it."""
    from aya.sync import copy  # noqa: PLC0415 as in aya.cli.status

    def told(waiting: int) -> None:
        output.progress(f"{waiting} changes wait to be sent" if waiting else "fetching what changed")

    _run(home, lambda database: copy.now(database, seconds, told))
    output.line("AIR and the primary have the same")


@command.command(name="pause")
@click.pass_obj
def pause(home: Home, /) -> None:
    """Exchange nothing until `aya sync resume`; what is written on AIR waits."""
    _pause(home, paused=True)
    output.line("nothing is exchanged until aya sync resume; what is written on AIR waits")


@command.command(name="resume")
@click.pass_obj
def resume(home: Home, /) -> None:
    """Go on after `aya sync pause`."""
    _pause(home, paused=False)
    output.line("what waits is sent, and what changed is fetched")


@command.command(name="retry")
@click.argument("operation", required=False, type=click.IntRange(min=1))
@click.pass_obj
def retry(home: Home, /, *, operation: int | None) -> None:
    """Send what the primary did not take once more: one OPERATION, or all. Change what was wrong with it first."""
    from aya.sync import copy  # noqa: PLC0415 as in aya.cli.status

    again = _run(home, lambda database: copy.retry(database, operation))
    if not again:
        raise SyncError("nothing was rejected" if operation is None else f"operation {operation} was not rejected",
                        hint="aya sync status")  # fmt: skip
    output.line(f"{len(again)} changes are sent again. Next: aya sync now")


def _pause(home: Home, *, paused: bool) -> None:
    from aya.sync import copy  # noqa: PLC0415 as in aya.cli.status

    _run(home, lambda database: copy.pause(database, paused=paused))


def _run(home: Home, work: Callable[[Database], Awaitable[Result]]) -> Result:
    """Run `work` on the database of this home's copy."""
    from aya import migrations  # noqa: PLC0415 as in aya.cli.status
    from aya.db import Database  # noqa: PLC0415 as in aya.cli.status

    node = next((name for name in home.nodes() if ROLE_OF_NODE[name] == "copy"), None)
    if node is None:
        raise SyncError("this machine has no AIR: only a copy is synchronised", hint="aya up --nodes alpha,beta,air")
    settings = node_settings(home, node, environ={}).local

    async def inside() -> Result:
        async with Database(settings, application_name="aya-cli", check=migrations.check) as database:
            return await work(database)

    return asyncio.run(inside())


def described(found: Copy) -> list[str]:
    """Return what there is to say of a copy, line by line; pure."""
    if found.behind_seconds is None:
        first = "nothing was copied yet"
    else:
        first = f"everything that the primary had {duration(found.behind_seconds)} ago is here"
        first += f" (timeline {found.timeline})"
    lines = [first]
    if found.paused:
        lines.append("paused: aya sync resume")
    elif found.error:
        said = "does not go on" if found.reachable else "offline"
        lines.append(f"{said} for {duration(found.trouble_seconds)}: {found.error}")
    if found.waiting:
        lines.append(f"{found.waiting} changes wait to be sent, the first for {duration(found.oldest_seconds)}")
    for one in found.rejections:
        about = f" of document {one.document_id}" if one.document_id is not None else ""
        lines.append(f"rejected: operation {one.id}, {one.operation} in {one.table_name}{about}: {one.error}")
    if found.rejected:
        lines.append(f"  next: change what is wrong, then aya sync retry ({found.rejected} in all)")
    return lines
