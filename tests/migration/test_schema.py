"""sql/schema.sql is what the migrations make: both are built and dumped, and the dumps are compared."""

from __future__ import annotations

import os
import re
import subprocess
from importlib.resources import files

import asyncpg
import pytest
from tests.conftest import Server

from aya import migrations
from aya.dsn import DatabaseSettings

pytestmark = pytest.mark.database

# The key in \restrict is random (PostgreSQL 18), comments name the server's version.
_NOISE = re.compile(r"^(\\(un)?restrict .*|--.*|)\n", re.MULTILINE)
CONTRACT_INDEXES = {
    "idx_chunks_embedding",
    "idx_chunks_document_id",
    "idx_documents_category",
    "idx_documents_created_at",
    "idx_write_queue_synced",
}


def dump(server: Server, settings: DatabaseSettings) -> str:
    """Return the schema as pg_dump sees it, without what differs by chance."""
    done = subprocess.run(
        [
            server.cluster.binaries.program("pg_dump"),
            "--schema-only",
            "--no-privileges",
            "--exclude-table=schema_migrations",
            f"--dbname={settings.display()}",
        ],
        env={**os.environ, "PGPASSWORD": settings.password or ""},
        capture_output=True,
        text=True,
        check=True,
    )
    return _NOISE.sub("", done.stdout)


@pytest.mark.parametrize(("node", "beside"), [("air", "schema_air.sql"), ("alpha", "schema_primary.sql")])
async def test_the_schema_files_are_what_the_migrations_make(
    server: Server, empty_database: DatabaseSettings, database: DatabaseSettings, node: str, beside: str
) -> None:
    """Loading the schema and replaying the migrations end in the same dump."""
    await migrations.migrate(empty_database, node=node)
    replayed = dump(server, empty_database)
    loaded = database
    connection = await asyncpg.connect(loaded.dsn())
    try:
        await connection.execute("DROP OWNED BY aya_user")
        for name in ("schema.sql", beside):
            await connection.execute(files("aya").joinpath("sql", name).read_text(encoding="utf-8"))
    finally:
        await connection.close()
    assert dump(server, loaded) == replayed


async def test_the_contracts_tables_take_the_contracts_statements(database: DatabaseSettings) -> None:
    """What the owner types in psql goes on working: plain INSERTs, a 768-d vector, defaults as promised."""
    connection = await asyncpg.connect(database.dsn())
    try:
        await connection.execute("INSERT INTO documents (content, category) VALUES ('typed by hand', 'notes')")
        vector = "[" + ",".join(["0.5"] * 768) + "]"
        await connection.execute(
            "INSERT INTO chunks (document_id, chunk_text, embedding) "
            "SELECT id, content, $1::text::vector FROM documents",
            vector,
        )
        row = await connection.fetchrow("SELECT * FROM documents")
        assert row is not None
        assert (row["id"], row["metadata"], row["category"], row["source"], row["rev"]) == (1, "{}", "notes", None, 1)
        nearest = await connection.fetchval(
            "SELECT chunk_text FROM chunks ORDER BY embedding <=> $1::text::vector LIMIT 1", vector
        )
        assert nearest == "typed by hand"
    finally:
        await connection.close()


async def test_updated_at_moves_and_an_explicit_one_is_kept(database: DatabaseSettings) -> None:
    """A fault of the plan, mended: updated_at follows every change; whoever sets it by hand is obeyed."""
    connection = await asyncpg.connect(database.dsn())
    try:
        await connection.execute("INSERT INTO documents (content) VALUES ('x')")
        await connection.execute("UPDATE documents SET category = 'y'")
        assert await connection.fetchval("SELECT updated_at > created_at AND rev = 2 FROM documents")
        await connection.execute("UPDATE documents SET category = 'z', updated_at = '2020-01-01'")
        assert await connection.fetchval("SELECT updated_at = '2020-01-01' FROM documents")
        await connection.execute("UPDATE documents SET category = 'z'")
        assert await connection.fetchval("SELECT rev FROM documents") == 3
    finally:
        await connection.close()


async def test_the_contracts_indexes_exist(empty_database: DatabaseSettings) -> None:
    """Every promised index is there by its name on AIR."""
    await migrations.migrate(empty_database, node="air")
    connection = await asyncpg.connect(empty_database.dsn())
    try:
        names = {row["indexname"] for row in await connection.fetch("SELECT indexname FROM pg_indexes")}
    finally:
        await connection.close()
    assert names >= CONTRACT_INDEXES


async def test_each_role_can_do_only_its_own(server: Server, database: DatabaseSettings) -> None:
    """The MCP server cannot change the schema or bind a model, the indexer cannot write documents."""
    cases = {
        "aya_mcp": [
            "DROP TABLE documents",
            "DELETE FROM embedding_model",
            "CREATE TABLE mine (id int)",
            "TRUNCATE documents",
        ],
        "aya_indexer": ["INSERT INTO documents (content) VALUES ('x')", "DELETE FROM documents", "DROP TABLE chunks"],
    }
    for role, statements in cases.items():
        connection = await asyncpg.connect(server.settings(database.database, role).dsn())
        try:
            for statement in statements:
                with pytest.raises(asyncpg.InsufficientPrivilegeError):
                    await connection.execute(statement)
        finally:
            await connection.close()


async def test_who_is_not_named_does_not_enter(server: Server, empty_database: DatabaseSettings) -> None:
    """The replication role streams WAL and enters no database of ours."""
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        await asyncpg.connect(server.settings(empty_database.database, "aya_replica_beta").dsn())
