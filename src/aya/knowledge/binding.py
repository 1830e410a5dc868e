"""A database remembers which model made its vectors, and refuses those of another."""

from __future__ import annotations

from typing import TYPE_CHECKING

from aya import db, queries
from aya.errors import ModelMismatch, SchemaMismatch
from aya.identity import ModelIdentity
from aya.settings import DatabaseSettings

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.knowledge")


async def bound_model(connection: Connection) -> ModelIdentity | None:
    """Return the model the database is bound to; None before the first."""
    row = await connection.fetchrow(_SQL["bound_model"])
    return ModelIdentity.from_mapping(dict(row)) if row else None


async def bind(settings: DatabaseSettings, identity: ModelIdentity) -> None:
    """Bind the database to `identity`; nothing happens when it already is. Only the owner may.

    Raises ModelMismatch when vectors of another model are stored.
    """
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-bind")
        try:
            bound = await bound_model(connection)
            if bound is not None and await connection.fetchval(_SQL["has_vectors"]):
                check_same(bound, identity)
            await connection.execute(_SQL["bind_model"], *binding_arguments(identity))
        finally:
            await connection.close()


def binding_arguments(identity: ModelIdentity) -> tuple[object, ...]:
    """Return the arguments of the query bind_model, in order."""
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


def check_same(bound: ModelIdentity | None, offered: ModelIdentity) -> None:
    """Raise unless the embedder's model is the database's; pure.

    SchemaMismatch: no model is bound yet. ModelMismatch: it is another one.
    """
    if bound is None:
        raise SchemaMismatch("the database is not bound to an embedding model yet", hint="aya migrate")
    if bound.fingerprint != offered.fingerprint:
        raise ModelMismatch(
            f"the database's vectors were made by {describe(bound)}, but the embedder runs {describe(offered)};"
            " mixing them would make every search wrong",
            hint="start the embedder with the database's model, or `aya reembed` to make all vectors anew",
        )


def describe(identity: ModelIdentity) -> str:
    """Return a model in words: name, revision, dimension and pooling."""
    return f"{identity.model} ({identity.revision[:12]}, {identity.dimension} dimensions, {identity.pooling} pooling)"
