"""`aya conflicts`: what lost when two nodes changed the same row, shown and decided at the primary."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import TypeVar, cast

import click

from aya.cli import conflicts_display as display
from aya.cli import output, session, watchdog
from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseReadOnly, DatabaseUnavailable, UsageError
from aya.home import Home
from aya.knowledge.conflicts import Conflict, Conflicts, Settled, Side, check_keeps
from aya.knowledge.documents import Documents
from aya.settings import node_settings, primary_reader, primary_settings

Result = TypeVar("Result")
_OFFLINE = (
    "conflicts are kept and decided at the primary: connect this machine to it (aya sync status), then the same again"
)
_conflict_id = click.argument("conflict_id", metavar="ID", type=click.IntRange(min=1, max=2**63 - 1))
_all = click.option("--all", "resolved", is_flag=True, help="Those that are resolved, too.")


@click.group(name="conflicts", invoke_without_command=True)
@_all
@session.node_option
@session.json_option
@click.pass_context
def command(context: click.Context, /, *, resolved: bool, node: str | None, as_json: bool) -> None:
    """List the conflicts: what lost when a document was changed on AIR and at the primary before they had met.

    The newer change won by itself, and a change against a deletion; nothing was lost: the other version is kept here,
    whole. `take` puts it in the place of the one that won, `both` makes it a document of its own.
    """
    if context.invoked_subcommand is not None:
        if resolved or node or as_json:
            raise UsageError(
                "options come after the command", hint=f"aya conflicts {context.invoked_subcommand} --help"
            )
        return
    found = run(context.obj, node, lambda conflicts: conflicts.all(resolved=resolved), reads=True)
    if as_json:
        output.document({"count": len(found), "conflicts": [conflict.to_json() for conflict in found]})
    elif found:
        output.table(display.HEADERS, [display.row(conflict) for conflict in found])
        output.progress(f"Next: aya conflicts show {found[0].id}")
    else:
        output.progress(
            "No conflicts." if resolved else "No open conflicts; aya conflicts --all lists what was resolved."
        )


@command.command(name="show")
@_conflict_id
@session.node_option
@session.json_option
@click.pass_obj
def show(home: Home, /, *, conflict_id: int, node: str | None, as_json: bool) -> None:
    """Show both versions of a conflict, and how their texts differ (- here, + the sender's)."""
    conflict = run(home, node, lambda conflicts: conflicts.get(conflict_id), reads=True)
    if as_json:
        output.document(conflict.to_json())
        return
    for line in display.facts(conflict):
        output.line(line)
    output.line()
    output.table(("", *(display.whose(conflict, side) for side in display.SIDES)), display.labels(conflict))
    output.line()
    _print_difference(display.difference(conflict))
    if conflict.resolved_at is None:
        output.progress(f"Next: aya conflicts take {conflict.id} here, or sender; or aya conflicts both {conflict.id}")


def _print_difference(lines: list[str]) -> None:
    colours = {"-": "red", "+": "green", "@": "cyan"} if output.colours() else {}
    for line in lines or ["the texts are the same"]:
        output.line(click.style(line, fg=colours.get(line[:1])) if colours else line)


@command.command(name="take")
@_conflict_id
@click.argument("side", type=click.Choice(display.SIDES))
@watchdog.yes_option
@session.node_option
@session.json_option
@click.pass_obj
def take(home: Home, /, *, conflict_id: int, side: str, yes: bool, node: str | None, as_json: bool) -> None:
    """Make one version the document: text, labels and title, or its deletion. The other one is not kept beside it.

    `here` is the version of the server, `sender` the one that AIR sent. AIR follows by itself.
    """
    chosen = cast("Side", side)

    async def work(conflicts: Conflicts) -> Settled:
        conflict = await conflicts.get(conflict_id)
        _ask(conflict, chosen, yes=yes)
        return await conflicts.take(conflict, chosen)

    _tell(run(home, node, work), as_json=as_json)


@command.command(name="both")
@_conflict_id
@session.node_option
@session.json_option
@click.pass_obj
def both(home: Home, /, *, conflict_id: int, node: str | None, as_json: bool) -> None:
    """Keep both: the version that lost becomes a document of its own, titled "… (conflict ID)"."""

    async def work(conflicts: Conflicts) -> Settled:
        return await conflicts.both(await conflicts.get(conflict_id))

    _tell(run(home, node, work), as_json=as_json)


def _ask(conflict: Conflict, side: Side, *, yes: bool) -> None:
    """Say what is there before, and ask a person before it goes; where nothing goes, nobody is asked."""
    if conflict.resolved_at is not None or side != conflict.loser or conflict.head is None:
        return
    revision = f"{conflict.what}, revision {conflict.rev}, {conflict.head.name!r}"
    if conflict.lost is None:
        output.progress(f"{revision} will be deleted")
    else:
        output.progress(f"{revision} will be as {display.whose(conflict, side)} has it: {conflict.lost.name!r}")
    if yes:
        return
    if not sys.stdin.isatty():
        again = f"aya conflicts take {conflict.id} {side} --yes"
        raise UsageError("nobody can be asked here, and nothing was done", hint=again)
    click.confirm("Go on?", abort=True, err=True)


def _tell(settled: Settled, *, as_json: bool) -> None:
    conflict = settled.conflict
    if as_json:
        output.document({"done": settled.done, "before": settled.before, "conflict": conflict.to_json()})
        return
    output.line(settled.done)
    if not settled.before:
        output.line(f"conflict {conflict.id} is resolved: {conflict.resolution}")


def run(home: Home, node: str | None, work: Callable[[Conflicts], Awaitable[Result]], *, reads: bool = False) -> Result:
    """Run `work` on the conflicts of the primary, as the node reaches it. reads: it changes nothing."""

    async def inside() -> Result:
        name = session.chosen_node(home, node)
        async with _opened(
            home, name, primary_reader(home, name) if reads else primary_settings(home, name)
        ) as conflicts:
            return await work(conflicts)

    try:
        return asyncio.run(inside())
    except DatabaseReadOnly as error:
        raise DatabaseReadOnly(f"nobody leads at the moment: {error.message}", hint=error.hint) from error
    except DatabaseUnavailable as error:
        raise DatabaseUnavailable(error.message, hint=_OFFLINE) from error


@asynccontextmanager
async def _opened(home: Home, node: str, primary: DatabaseSettings) -> AsyncGenerator[Conflicts]:
    settings = node_settings(home, node)
    async with (
        Database(primary, application_name="aya-cli", check=check_keeps) as database,
        EmbedderClient(settings.embedder_url, token=settings.embedder_token) as embedder,
    ):
        yield Conflicts(database, Documents(database, embedder))
