"""A node's embedder and aya.toml are brought in line with the model that its database is bound to, by `aya up`.

They part when a move to another model ends while nobody watches it, for the file is written by whoever does.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from aya.config_editor import set_key
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import EmbedderError, ModelMismatch
from aya.home import Home, Node
from aya.knowledge.binding import bind, binding_of, check_same, default_model, load
from aya.knowledge.models import Bound
from aya.local import wait
from aya.local.report import Report


class Alignment:
    """The database's model, for the embedder of its node and for aya.toml.

    configured: the model that the embedder was started with. leads: what aya.toml says follows this node's database.
    """

    def __init__(self, home: Home, node: Node, report: Report, *, configured: str, leads: bool) -> None:
        self._home = home
        self._node = node
        self._report = report
        self._configured = configured
        self._leads = leads

    async def make(
        self, embedder: EmbedderClient, database: DatabaseSettings, environ: Mapping[str, str] = os.environ
    ) -> None:
        """Bind a database that is free to the embedder's model; otherwise have the embedder serve the database's.

        What cannot be brought in line is warned of, and not fatal: `aya reembed` needs a running node to mend it.
        """
        offered = await default_model(embedder)
        try:
            await bind(database, offered.identity, offered.source)
            if await self._names_another(embedder, offered) and not environ.get("AYA_MODEL"):
                self._write(offered.source)
        except ModelMismatch as error:
            try:
                await self._follow(embedder, await binding_of(database), error, environ.get("AYA_MODEL"))
            except EmbedderError as failed:
                self._report.warn(self._node.name, failed)

    async def _follow(
        self, embedder: EmbedderClient, wanted: Bound | None, error: ModelMismatch, asked: str | None
    ) -> None:
        """Have the embedder serve what the database is bound to, unless AYA_MODEL asks for something else."""
        if wanted is None or wanted.source is None:
            raise error
        if asked and asked != wanted.source:
            raise ModelMismatch(error.message, hint="unset AYA_MODEL, or aya reembed to move to what it says")
        self._report.step(self._node.name, f"the embedder loads {wanted.source}, which made the database's vectors")
        check_same(wanted.identity, await load(embedder, wanted.source, seconds=wait.EMBEDDER_SECONDS, default=True))
        self._write(wanted.source)

    async def _names_another(self, embedder: EmbedderClient, bound: Bound) -> bool:
        """Return whether the embedder knows that its configured model is not the database's."""
        known = {model.source: model.identity for model in await embedder.models()}
        identity = known.get(self._configured)
        return identity is not None and identity.fingerprint != bound.identity.fingerprint

    def _write(self, source: str | None) -> None:
        if self._leads and source and set_key(self._home.config_file, "embedder", "model", source):
            said = f'aya.toml now says  model = "{source}", as the database does'
            self._report.step(self._node.name, f"{said} (aya reembed --model {self._configured} moves it to that)")
