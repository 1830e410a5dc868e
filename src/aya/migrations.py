"""Forward-only migrations: sql/migrations/NNNN_pre|post_verb_noun.sql, each applied once, each atomic.

Invariant: what was applied is a prefix of what this version of AYA ships for that node, with the same bytes.
A file that was edited, renamed or lost, and a database that a newer AYA migrated, are refused before anything runs.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from importlib.resources import files
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, LiteralString, cast

import asyncpg

from aya import __version__, db, outcome, queries
from aya.dsn import DatabaseSettings
from aya.errors import ConfigError, SchemaMismatch

if TYPE_CHECKING:
    from importlib.resources.abc import Traversable

    from aya.db import Connection

_SQL = queries.load("aya", "migrations.sql")
_FILENAME = re.compile(r"^(?P<version>\d{4})_(pre|post)_[a-z0-9_]+\.sql$")
_NODES = re.compile(r"^-- nodes: (?P<nodes>[a-z, ]+)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Migration:
    """One file. nodes: the names of the nodes it is for, empty for all of them."""

    version: int
    name: str
    sql: LiteralString
    sha256: str
    nodes: frozenset[str]


@dataclass(frozen=True, slots=True)
class MigrationReport:
    """What `migrate` did: the names it applied now, and the version the schema has."""

    applied: tuple[str, ...]
    version: int


@dataclass(frozen=True, slots=True)
class Applied:
    """One row of schema_migrations."""

    version: int
    name: str
    sha256: str


def shipped(node: str, directory: Traversable | Path | None = None) -> tuple[Migration, ...]:
    """Return the migrations for `node` (alpha, beta or air), in order.

    Raises ConfigError for a file whose name is not of the form, or two of one version.
    """
    folder = directory or files("aya").joinpath("sql", "migrations")
    found = sorted((_read(file) for file in folder.iterdir() if file.name.endswith(".sql")), key=lambda m: m.version)
    for earlier, later in pairwise(found):
        if earlier.version == later.version:
            raise ConfigError(f"two migrations have version {earlier.version}: {earlier.name} and {later.name}")
    return tuple(migration for migration in found if not migration.nodes or node in migration.nodes)


def _read(file: Traversable | Path) -> Migration:
    match = _FILENAME.match(file.name)
    if match is None:
        raise ConfigError(f"{file.name} is not named NNNN_pre|post_verb_noun.sql", hint="rename it")
    content = file.read_bytes()
    text = content.decode("utf-8")
    nodes = _NODES.search(text)
    return Migration(
        version=int(match["version"]),
        name=file.name.removesuffix(".sql"),
        # Shipped with the package: as literal as a string in the source.
        sql=cast("LiteralString", text),
        sha256=hashlib.sha256(content).hexdigest(),
        nodes=frozenset(nodes["nodes"].replace(" ", "").split(",")) if nodes else frozenset(),
    )


def pending(known: Sequence[Migration], applied: Iterable[Applied]) -> tuple[Migration, ...]:
    """Return what is still to be applied; pure.

    Raises SchemaMismatch when the applied ones are not a prefix of the known ones, byte for byte.
    """
    remaining = list(known)
    for row in applied:
        if not remaining:
            raise SchemaMismatch(
                f"the database has migration {row.name}, which AYA {__version__} does not know:"
                " a newer AYA migrated it",
                hint="upgrade AYA on this machine",
            )
        expected = remaining.pop(0)
        if row.version != expected.version or row.name != expected.name:
            raise SchemaMismatch(
                f"the database has migration {row.name} where AYA {__version__} has {expected.name}: a file is missing",
                hint="reinstall AYA from a clean checkout, then aya migrate",
            )
        if row.sha256 != expected.sha256:
            raise SchemaMismatch(
                f"{expected.name}.sql was edited after it was applied",
                hint="undo the edit; a change belongs in a new migration",
            )
    return tuple(remaining)


async def migrate(
    settings: DatabaseSettings, *, node: str, directory: Traversable | Path | None = None
) -> MigrationReport:
    """Bring the schema to what this version ships; safe to repeat and to run twice at once.

    Each migration and its record commit together. Raises SchemaMismatch (see `pending`) or DatabaseError.
    """
    known = shipped(node, directory)
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-migrate", command_timeout=None)
        try:
            names = await _apply_all(connection, known)
            await _apply_grants(connection)
        finally:
            await db.close(connection)
    return MigrationReport(tuple(names), known[-1].version if known else 0)


async def _apply_all(connection: Connection, known: Sequence[Migration]) -> list[str]:
    names: list[str] = []
    while True:
        async with outcome.transaction(connection):
            await connection.execute(_SQL["lock"])
            await connection.execute(_SQL["create_table"])
            todo = pending(known, await _applied(connection))
            if not todo:
                return names
            await _apply(connection, todo[0])
        names.append(todo[0].name)


async def _applied(connection: Connection) -> list[Applied]:
    return [Applied(row["version"], row["name"], row["sha256"]) for row in await connection.fetch(_SQL["applied"])]


async def _apply(connection: Connection, migration: Migration) -> None:
    try:
        await connection.execute(migration.sql)
    except asyncpg.PostgresSyntaxError as error:
        raise SchemaMismatch(f"{migration.name}.sql does not parse: {error}", hint="reinstall AYA") from error
    await connection.execute(_SQL["record"], migration.version, migration.name, migration.sha256, __version__)


async def _apply_grants(connection: Connection) -> None:
    grants = files("aya").joinpath("sql", "grants.sql").read_text(encoding="utf-8")
    async with outcome.transaction(connection):
        await connection.execute(_SQL["lock"])
        await connection.execute(cast("LiteralString", grants))


async def check(connection: Connection, *, node: str | None = None) -> int:
    """Return the schema's version if it is exactly what this AYA ships for `node`; else SchemaMismatch.

    node: None for any node's, where a client knows the database only by its address.
    """
    if not await connection.fetchval(_SQL["has_table"]):
        raise SchemaMismatch("the database has no AYA schema yet", hint="aya migrate")
    applied = await _applied(connection)
    if node is None:
        # AIR has a table more than the others: the database is whichever of them it says it is.
        only_on_air = {each.name for each in shipped("air")} - {each.name for each in shipped("alpha")}
        node = "air" if any(row.name in only_on_air for row in applied) else "alpha"
    known = shipped(node)
    todo = pending(known, applied)
    if todo:
        raise SchemaMismatch(f"the database lacks migration {todo[0].name}", hint="aya migrate")
    return known[-1].version
