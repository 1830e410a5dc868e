"""`aya migrate`: the schema up to date, and the database bound to its embedder's model."""

from __future__ import annotations

import asyncio

import click

from aya import migrations
from aya.cli import output, session
from aya.embedder_client import EmbedderClient
from aya.errors import EmbedderUnavailable
from aya.home import Home
from aya.knowledge.binding import bind, default_model, describe
from aya.knowledge.models import Bound
from aya.reach import base_settings
from aya.settings import NodeSettings


@click.command(name="migrate")
@session.node_option
@click.pass_obj
def command(home: Home, /, *, node: str | None) -> None:
    """Apply the migrations that are missing; safe to repeat, and to run twice at once."""
    name = session.chosen_node(home, node)
    settings = base_settings(home, name)
    report = asyncio.run(migrations.migrate(settings.database, node=name))
    for applied in report.applied:
        output.line(f"applied  {applied}")
    output.line(f"schema version {report.version} on {settings.database.display()}")
    try:
        offered = asyncio.run(_offered(settings))
    except EmbedderUnavailable as error:
        output.error(f"the model was not checked: {error.message}", hint="aya up, then aya migrate")
        return
    asyncio.run(bind(settings.database, offered.identity, offered.source))
    output.line(f"vectors by {describe(offered.identity)}")


async def _offered(settings: NodeSettings) -> Bound:
    async with EmbedderClient(settings.embedder_url, token=settings.embedder_token) as embedder:
        return await default_model(embedder)
