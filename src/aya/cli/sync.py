"""`aya sync`: how far AIR's copy is, and what a person may do about it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, TypeVar

import click

from aya.cli import output, session
from aya.cli import sync_display as display
from aya.errors import EXIT_DEGRADED, EXIT_FAILED, SyncError
from aya.home import ROLE_OF_NODE, Home
from aya.postgres.config import SYNC_ROLE
from aya.settings import node_settings, primary_settings
from aya.sync import judge, store
from aya.sync.waiting import Goal

if TYPE_CHECKING:
    from aya.db import Connection
    from aya.sync.types import Copy

Result = TypeVar("Result")
_LOOK_SECONDS = 0.1
_node = click.option("--node", metavar="NODE", help="Whose copy (default: AYA_NODE if that is a copy, else air).")


@click.group(name="sync")
def command() -> None:
    """Show, hasten, pause and mend AIR's sync with the primary. It goes on by itself; offline it waits."""


@command.command(name="status")
@_node
@session.json_option
@click.pass_obj
def status(home: Home, /, *, node: str | None, as_json: bool) -> int:
    """Show how far AIR is behind, what waits to be sent, and what was rejected and why.

    Exit code 0: it follows, or is offline, which is no fault. 3: something needs you.
    """
    name = _copy_node(node)
    # The daemon's own role, which an AIR on a machine of its own has the password of.
    primary = primary_settings(home, name, role=SYNC_ROLE)
    seen = _run(home, name, lambda connection: store.status(connection, primary))
    problems = judge.problems(seen)
    if as_json:
        output.document(display.document(name, seen))
    else:
        for line in display.lines(name, seen):
            output.line(line)
        if seen.rejected:
            output.line()
            output.table(display.HEADERS, [display.rejected_row(one) for one in seen.rejected])
        for problem in problems:
            output.line()
            output.line(problem)
    return EXIT_DEGRADED if problems else 0


@command.command(name="now")
@_node
@click.option(
    "--timeout", "seconds", type=click.FloatRange(min=0), default=120.0, show_default=True, help="How long to wait."
)
@session.json_option
@click.pass_obj
def now(home: Home, /, *, node: str | None, seconds: float, as_json: bool) -> int:
    """Sync now, and wait until all that was written on AIR is sent and all that the primary had is fetched.

    A document whose vectors are still being made on AIR is waited for. What was rejected, and what waits for that, is
    not: then the exit code is 3.
    """

    async def work(connection: Connection) -> Copy:
        return await _followed(connection, seconds)

    name = _copy_node(node)
    began = time.monotonic()
    copy = _run(home, name, work)
    took = time.monotonic() - began
    if as_json:
        output.document({"node": name, "seconds": round(took, 3), "copy": copy.to_json()})
    else:
        output.line(f"{name} is in sync after {took:.1f} s; {display.queue(copy)}")
        if copy.rejected:
            output.progress("Next: aya sync status, then aya sync retry")
    return EXIT_DEGRADED if copy.rejected else 0


@command.command(name="pause")
@_node
@session.json_option
@click.pass_obj
def pause(home: Home, /, *, node: str | None, as_json: bool) -> None:
    """Let the sync rest until `aya sync resume`. What is written on AIR meanwhile waits there."""
    _set_paused(home, node, paused=True, as_json=as_json)


@command.command(name="resume")
@_node
@session.json_option
@click.pass_obj
def resume(home: Home, /, *, node: str | None, as_json: bool) -> None:
    """Let the sync go on."""
    _set_paused(home, node, paused=False, as_json=as_json)


@command.command(name="retry")
@click.argument("ids", metavar="[ID]…", nargs=-1, type=click.IntRange(min=1, max=2**31 - 1))
@_node
@session.json_option
@click.pass_obj
def retry(home: Home, /, *, ids: tuple[int, ...], node: str | None, as_json: bool) -> int:
    """Send again what was rejected: all of it, or the operations named (`aya sync status` lists them).

    What was changed since goes with it: edit the document first if its text is why it was rejected.
    """
    name = _copy_node(node)
    again = _run(home, name, lambda connection: store.retry(connection, ids or None))
    unknown = [one for one in ids if one not in again]
    if as_json:
        output.document({"node": name, "waiting": again, "not_rejected": unknown})
        return EXIT_FAILED if unknown else 0
    for one in again:
        output.line(f"waits again  operation {one}")
    for one in unknown:
        output.error(f"operation {one} is not a rejected one", hint="aya sync status")
    if not ids and not again:
        output.progress("nothing was rejected")
    return EXIT_FAILED if unknown else 0


def _set_paused(home: Home, node: str | None, *, paused: bool, as_json: bool) -> None:
    name = _copy_node(node)
    before = _run(home, name, lambda connection: store.pause(connection, paused=paused))
    if as_json:
        output.document({"node": name, "before": before, "paused": paused})
        return
    said = {True: "paused", False: "going on"}
    output.line(f"the sync of {name} is {said[paused]}; before, it was {said[before]}")


async def _followed(connection: Connection, seconds: float) -> Copy:
    """Wake the daemon and wait until it is done, with a line for each thing that changes.

    Raises SyncError when it is paused, and when the time is up.
    """
    goal = Goal()
    deadline = time.monotonic() + seconds
    told = ""
    await store.wake(connection)
    while True:
        copy = await store.copy(connection)
        if copy.paused:
            raise SyncError("the sync is paused, and nothing was sent or fetched", hint="aya sync resume")
        step = goal.look(copy)
        if step == "reached":
            return copy
        if step == "wake":
            await store.wake(connection)
        line = display.progress(copy)
        if line != told:
            told = line
            output.progress(line)
        if time.monotonic() >= deadline:
            raise SyncError(f"not in sync after {seconds:g} s: {line}", hint="aya sync status")
        await asyncio.sleep(_LOOK_SECONDS)


def _copy_node(node: str | None) -> str:
    """Return --node, else AYA_NODE when that names a copy, else air."""
    preset = os.environ.get("AYA_NODE", "")
    return node or (preset if ROLE_OF_NODE.get(preset) == "copy" else "air")


def _run(home: Home, node: str, work: Callable[[Connection], Awaitable[Result]]) -> Result:
    async def inside() -> Result:
        async with store.entered(node_settings(home, node).local) as connection:
            return await work(connection)

    return asyncio.run(inside())
