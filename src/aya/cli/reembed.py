"""`aya reembed`: move the base to another model while everybody goes on searching and adding."""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aya import config_editor
from aya.cli import output, session
from aya.cli.move_display import described, followed, told
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError, DatabaseFull, UsageError
from aya.home import ROLE_OF_NODE, Home
from aya.knowledge import reembedding
from aya.knowledge.binding import bound_model, describe, load
from aya.settings import load_config, node_settings

if TYPE_CHECKING:
    from aya.db import Connection
    from aya.identity import ModelIdentity
    from aya.settings import NodeSettings

# A model that has to be fetched first may take its time.
_LOAD_SECONDS = 1800.0
# What Ctrl-C leaves: before the move, while its index is made, and after that.
_NOTHING_LEFT = "no move has begun, and nothing is left"
_UNFINISHED = "the move may rest without its index; aya reembed finishes it, aya reembed --cancel gives it up"
_GOES_ON = "the move goes on in the indexer; aya reembed shows it again, aya reembed --cancel gives it up"
_INDEX_FIRST = "the index of the new vectors is made first; it waits for everybody who has a transaction open"
_GIGABYTE, _MEGABYTE = 10**9, 10**6
_NO_MOVE = "no move to another model is under way"


@click.command(name="reembed")
@click.option(
    "--model",
    metavar="NAME",
    help="A known name, owner/name@commit or a directory (default: of the move under way, or what aya.toml says).",
)
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--status", is_flag=True, help="Say how far the move is.")
@click.option("--pause", is_flag=True, help="Let the move rest.")
@click.option("--resume", is_flag=True, help="Let the move go on.")
@click.option("--cancel", is_flag=True, help="Give the move up; the vectors stay as they were.")
@session.json_option
@session.node_option
@click.pass_context
def command(
    context: click.Context, /, *, model: str | None, yes: bool, node: str | None, as_json: bool, **asked: bool
) -> int:
    """Move all vectors to another model, online.

    New vectors and their index are made beside the old ones, by the indexer; searches and additions go on with the old
    model until the last is made, and with the new one from then on. Once it has begun, Ctrl-C leaves the move running,
    and so does whatever else ends this command.
    """
    home: Home = context.obj
    actions = [name for name, chosen in asked.items() if chosen]
    if len(actions) > 1 or (actions and model):
        raise UsageError("one thing at a time", hint="aya reembed --help")
    name = session.chosen_node(home, node)
    if ROLE_OF_NODE.get(name) == "copy":
        raise UsageError(f"{name} follows its primary, to another model, too", hint="aya reembed, on alpha or beta")
    settings = node_settings(home, name)
    if actions:
        return _acted(settings, actions[0], sure=yes, as_json=as_json)
    start = _Start(home, name, settings, _source(model) if model else None, sure=yes, as_json=as_json)
    try:
        return asyncio.run(start.run())
    except KeyboardInterrupt:
        raise KeyboardInterrupt(start.left) from None


def _source(model: str) -> str:
    """Return what the embedder is told: a directory by its full path, for it may have been started elsewhere."""
    directory = Path(model).expanduser()
    return str(directory.resolve()) if directory.is_dir() else model


def _acted(settings: NodeSettings, action: str, *, sure: bool, as_json: bool) -> int:
    try:
        return asyncio.run(_act(settings, action, sure=sure, as_json=as_json))
    except KeyboardInterrupt:
        if action != "resume":
            raise
        raise KeyboardInterrupt(_UNFINISHED) from None


async def _act(settings: NodeSettings, action: str, *, sure: bool, as_json: bool) -> int:
    async with reembedding.entered(settings.database) as connection:
        if action == "status":
            return await _status(connection, as_json=as_json)
        move = await reembedding.move_of(connection)
        if action == "resume" and move is not None and move.phase == "preparing":
            output.progress(_INDEX_FIRST)
        if action == "cancel" and move is not None and not sure:
            _confirm("Give the move up? The vectors that were made for it are lost.")
        act = {"pause": reembedding.pause, "resume": reembedding.resume, "cancel": reembedding.cancel}[action]
        found = await act(connection)
    done = {"pause": "paused", "resume": "resumed", "cancel": "cancelled"}[action]
    if as_json:
        output.document({"moving": found and action != "cancel", "done": done if found else None})
    elif found:
        output.line(f"the move is {done}")
    else:
        output.line(_NO_MOVE)
    return 0


async def _status(connection: Connection, *, as_json: bool) -> int:
    progress = await reembedding.progress(connection)
    present = await bound_model(connection)
    if as_json:
        output.document(told(progress, present))
        return 0
    for line in described(progress) if progress else (_NO_MOVE,):
        output.line(line)
    if present:
        output.line(f"vectors by {describe(present)}")
    return 0


class _Start:
    """One `aya reembed` that begins a move, or joins the one under way, and shows it until it ends.

    source: the model asked for; None: the one of the move under way, or, without a move, aya.toml's.
    left: what there is if it ends now, in words.
    """

    def __init__(
        self, home: Home, node: str, settings: NodeSettings, source: str | None, *, sure: bool, as_json: bool
    ) -> None:
        self._home = home
        self._node = node
        self._settings = settings
        self._source = source
        self._sure = sure
        self._as_json = as_json
        self.left = _NOTHING_LEFT

    async def run(self) -> int:
        async with reembedding.entered(self._settings.database) as connection:
            target, source = await self._target(connection)
            move = await reembedding.move_of(connection)
            present = await bound_model(connection)
            if move is None and present is not None and present.fingerprint == target.fingerprint:
                self._say(f"the vectors are by {describe(target)} already")
                return self._end(present)
            if move is None:
                await self._ask(connection, target)
            self._say(f"moving to {describe(target)}")
            self.left = _UNFINISHED
            await reembedding.begin(connection, target, source)
            self.left = _GOES_ON
            await followed(connection)
            return self._ended(target, source, await bound_model(connection))

    async def _target(self, connection: Connection) -> tuple[ModelIdentity, str]:
        move = await reembedding.move_of(connection)
        if move is not None and self._source in {None, move.source}:
            return move.identity, move.source
        source = self._source or _source(load_config(self._home).model)
        async with EmbedderClient(self._settings.embedder_url, token=self._settings.embedder_token) as embedder:
            output.progress(f"the embedder loads {source}")
            return await load(embedder, source, seconds=_LOAD_SECONDS), source

    async def _ask(self, connection: Connection, target: ModelIdentity) -> None:
        needed = await reembedding.bytes_needed(connection, target)
        free = _free_bytes(self._home, self._node)
        if free is not None and free < needed:
            raise DatabaseFull(
                f"the move needs about {_size(needed)} of disk, and {_size(free)} are free",
                hint="free disk space, then aya reembed again",
            )
        if not self._sure:
            question = f"Move to {describe(target)}? It takes about {_size(needed)} of disk meanwhile."
            _confirm(question)

    def _ended(self, target: ModelIdentity, source: str, present: ModelIdentity | None) -> int:
        if present is None or present.fingerprint != target.fingerprint:
            raise AyaError("the move was cancelled; the vectors stay as they were", hint="aya reembed --status")
        self._say(f"vectors by {describe(target)}")
        if config_editor.set_key(self._home.config_file, "embedder", "model", source):
            self._say(f'{self._home.config_file} now says  model = "{source}"')
        if load_config(self._home).model != source:
            output.progress("AYA_MODEL says otherwise, and wins over aya.toml: unset it")
        return self._end(present)

    def _say(self, line: str) -> None:
        if self._as_json:
            output.progress(line)
        else:
            output.line(line)

    def _end(self, present: ModelIdentity) -> int:
        if self._as_json:
            output.document(told(None, present))
        return 0


def _confirm(question: str) -> None:
    """Ask a person; UsageError where there is none to ask, click.Abort when the answer is no."""
    if not sys.stdin.isatty():
        raise UsageError("nobody is there to be asked", hint="add --yes to do it without being asked")
    click.confirm(question, abort=True, err=True)


def _free_bytes(home: Home, node: str) -> int | None:
    """Return what is free where the database lies; None when it is not this machine's."""
    directory = home.data_directory(node)
    if os.environ.get("DB_HOST") or load_config(home).dsn or not directory.is_dir():
        return None
    return shutil.disk_usage(directory).free


def _size(size: int) -> str:
    return f"{size / _GIGABYTE:.1f} GB" if size >= _GIGABYTE else f"{size / _MEGABYTE:.0f} MB"
