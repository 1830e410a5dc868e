"""`aya reembed`: make all vectors anew with the model that the embedder runs now."""

from __future__ import annotations

import asyncio

import click

from aya.cli import output, session
from aya.embedder_client import EmbedderClient
from aya.home import Home
from aya.identity import ModelIdentity
from aya.knowledge.binding import describe
from aya.knowledge.reembedding import start
from aya.settings import NodeSettings, node_settings


@click.command(name="reembed")
@click.option("--yes", is_flag=True, help="Do not ask.")
@session.node_option
@click.pass_obj
def command(home: Home, /, *, yes: bool, node: str | None) -> None:
    """Drop the vectors and have the indexer make them anew with the embedder's present model.

    Documents stay as they are. Until the indexer is through, a document that still waits is found by its words
    only; `aya status` shows how many are left.
    """
    settings = node_settings(home, session.chosen_node(home, node))
    if not yes:
        click.confirm("All vectors are dropped and made anew. Go on?", abort=True, err=True)
    identity, waiting = asyncio.run(_start(settings))
    output.line(f"{waiting} documents wait for their vectors by {describe(identity)}")
    output.progress("Next: aya status shows how many are left")


async def _start(settings: NodeSettings) -> tuple[ModelIdentity, int]:
    async with EmbedderClient(settings.embedder_url) as embedder:
        identity = await embedder.identity()
    return identity, await start(settings.database, identity)
