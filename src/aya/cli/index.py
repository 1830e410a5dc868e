"""`aya index`: the index on the vectors, how well it finds, and building it anew."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import click

from aya import db, migrations
from aya.cli import index_display as display
from aya.cli import output, session
from aya.dsn import DatabaseSettings
from aya.errors import EXIT_DEGRADED
from aya.home import Home
from aya.knowledge import index_health, vector_index
from aya.settings import NodeSettings, node_settings

if TYPE_CHECKING:
    from aya.knowledge.index_health import Build, IndexStatus
    from aya.reach import Reached

_UNFINISHED = "searches go on with the index that was there; aya index build begins again"


@click.group(name="index")
def command() -> None:
    """Show and build the index on the vectors. It keeps itself up to date; a rebuild is for what it says is wrong."""


@command.command(name="status")
@click.option(
    "--queries", type=click.IntRange(0, 1000), default=50, show_default=True, help="Ask so many chunks' vectors."
)
@click.option(
    "--seconds", type=click.FloatRange(min=0), default=10.0, show_default=True, help="Begin no further one after that."
)
@session.node_option
@session.json_option
@click.pass_obj
def status(home: Home, /, *, queries: int, seconds: float, node: str | None, as_json: bool) -> int:
    """Show its size and state, and its recall: which of the ten nearest chunks it finds, beside all compared.

    Reads only: a standby will do. Exit code 3: something is wrong, with the command that mends it.
    """

    async def work() -> IndexStatus:
        async with _entered(_database(home, node)) as connection:
            await migrations.check(connection)
            return await vector_index.status(connection, queries_wanted=queries, seconds=seconds)

    seen = asyncio.run(work())
    found = index_health.problems(seen)
    if as_json:
        output.document(seen.to_json())
    else:
        for line in display.lines(seen):
            output.line(line)
        for problem in found:
            output.line()
            output.error(problem.what, hint=problem.mend)
    return EXIT_DEGRADED if found else 0


@command.command(name="build")
@click.option("--rebuild", is_flag=True, help="Also when the index is there and whole.")
@session.node_option
@session.json_option
@click.pass_obj
def build(home: Home, /, *, rebuild: bool, node: str | None, as_json: bool) -> None:
    """Build the index where it is missing, broken or of another kind; everybody goes on searching and writing."""
    last = ""

    def tell(seen: Build) -> None:
        nonlocal last
        text = display.progress(seen)
        if text != last:
            output.progress(text)
        last = text

    async def work() -> bool:
        settings = _database(home, node)
        async with _entered(settings) as connection, _entered(settings) as watcher:
            await migrations.check(connection)
            return await vector_index.build(connection, watcher, tell, rebuild=rebuild)

    try:
        built = asyncio.run(work())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(_UNFINISHED) from None
    if as_json:
        output.document({"built": built})
    else:
        output.line("the index is built" if built else "the index is there and whole; --rebuild builds it anew")


def _database(home: Home, node: str | None) -> DatabaseSettings:
    settings: NodeSettings = node_settings(home, session.chosen_node(home, node))
    # A node that a person names is that one alone: a standby's index, too, is asked.
    return settings.local if node else settings.database


@asynccontextmanager
async def _entered(settings: DatabaseSettings) -> AsyncGenerator[Reached]:
    """Open a connection as the owner; the driver's errors come out as AyaErrors."""
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-index", command_timeout=None)
        try:
            await db.prepare_connection(connection)
            yield connection
        finally:
            await db.close(connection)
