"""A database says which model made its vectors; whoever makes or compares some asks an embedder for exactly that one.

An embedder serves several models, each by its fingerprint. One that it has not loaded is loaded by its source, so that
clients follow the database from model to model (aya.knowledge.reembedding) without being told.
"""

from __future__ import annotations

import asyncio
import time
from http import HTTPStatus
from typing import TYPE_CHECKING

from aya import db, outcome, queries
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import EmbedderError, EmbedderUnavailable, ModelMismatch, ModelNotLoaded, SchemaMismatch
from aya.identity import ModelIdentity
from aya.knowledge.models import Bound

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.knowledge")
# Somebody waits for an answer; a model that takes longer to load is said to be warming up.
LOAD_SECONDS = 8.0
# Between two looks whether a model that computed can make room now.
_FULL_SECONDS = 0.3


async def bound(connection: Connection) -> Bound | None:
    """Return the model the database is bound to; None before the first."""
    row = await connection.fetchrow(_SQL["bound_model"])
    return Bound(ModelIdentity.from_mapping(dict(row)), row["source"]) if row else None


async def bound_model(connection: Connection) -> ModelIdentity | None:
    """Return the identity of the model the database is bound to; None before the first."""
    found = await bound(connection)
    return found.identity if found else None


async def binding_of(settings: DatabaseSettings) -> Bound | None:
    """Return the model a database is bound to, over a connection of its own; None before the first."""
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-bind")
        try:
            return await bound(connection)
        finally:
            await db.close(connection)


async def bind(settings: DatabaseSettings, identity: ModelIdentity, source: str | None = None) -> None:
    """Bind the database to `identity`; only its source is kept when it already is. Only the owner may.

    source: what AYA_MODEL would say of it. Raises ModelMismatch when vectors of another model are stored.
    """
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-bind")
        try:
            present = await bound_model(connection)
            if present is not None and await connection.fetchval(_SQL["has_vectors"]):
                check_same(present, identity)
            async with outcome.told(connection):
                await connection.execute(_SQL["bind_model"], *binding_arguments(identity), source)
        finally:
            await db.close(connection)


def binding_arguments(identity: ModelIdentity) -> tuple[object, ...]:
    """Return the arguments of the query bind_model, in order, but for the last, the source."""
    return (
        identity.fingerprint,
        identity.model,
        identity.revision,
        identity.dimension,
        identity.pooling,
        identity.normalized,
        identity.query_prefix,
        identity.document_prefix,
        identity.max_tokens,
    )


async def have_ready(embedder: EmbedderClient, wanted: Bound | None, *, seconds: float = LOAD_SECONDS) -> ModelIdentity:
    """Have the embedder load the database's model where it has not, and return it.

    seconds: how long to wait for that; EmbedderUnavailable, which may be tried again, when they are over.
    Raises SchemaMismatch while the database has no model, ModelMismatch when the embedder cannot have it.
    """
    if wanted is None:
        raise SchemaMismatch("the database is not bound to an embedding model yet", hint="aya migrate")
    try:
        return await embedder.identity(wanted.identity.fingerprint)
    except ModelNotLoaded:
        if wanted.source is None:
            check_same(wanted.identity, await embedder.identity())
            raise
    offered = await load(embedder, wanted.source, seconds=seconds)
    check_same(wanted.identity, offered)
    return offered


async def default_model(embedder: EmbedderClient) -> Bound:
    """Return the embedder's default model, and what AYA_MODEL would say of it."""
    identity = await embedder.identity()
    sources = {model.identity.fingerprint: model.source for model in await embedder.models() if model.identity}
    return Bound(identity, sources.get(identity.fingerprint))


async def load(embedder: EmbedderClient, source: str, *, seconds: float, default: bool = False) -> ModelIdentity:
    """Have the embedder load a model beside the others and return what it is; safe to repeat.

    default: make it the default once it is ready.
    While all the models there compute, none can make room for another: that passes, and is waited out.
    Raises EmbedderUnavailable when it is not ready within `seconds`, EmbedderError when it cannot be loaded.
    """
    until = time.monotonic() + seconds
    while True:
        try:
            await embedder.load_model(source, default=default)
            break
        except EmbedderError as error:
            if error.status != HTTPStatus.CONFLICT or time.monotonic() > until:
                raise
        await asyncio.sleep(_FULL_SECONDS)
    try:
        return await embedder.await_model(source, seconds)
    except EmbedderUnavailable as error:
        raise EmbedderUnavailable(
            f"the embedder is warming up: {error.message}", hint="try again in a few seconds"
        ) from error


def check_same(present: ModelIdentity | None, offered: ModelIdentity) -> None:
    """Raise unless the embedder's model is the database's; pure.

    SchemaMismatch: no model is bound yet. ModelMismatch: it is another one.
    """
    if present is None:
        raise SchemaMismatch("the database is not bound to an embedding model yet", hint="aya migrate")
    if present.fingerprint != offered.fingerprint:
        raise ModelMismatch(
            f"the database's vectors were made by {describe(present)}, but the embedder runs {describe(offered)};"
            " mixing them would make every search wrong",
            hint="start the embedder with the database's model, or `aya reembed` to move to the embedder's",
        )


def describe(identity: ModelIdentity) -> str:
    """Return a model in words: name, revision, dimension and pooling."""
    return f"{identity.model} ({identity.revision[:12]}, {identity.dimension} dimensions, {identity.pooling} pooling)"
