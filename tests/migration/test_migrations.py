"""Migrations on real PostgreSQL: repeatable, atomic, alone, and strict about what was applied."""

from __future__ import annotations

import asyncio
import shutil
from importlib.resources import files
from pathlib import Path

import asyncpg
import pytest

from aya import migrations
from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import ConfigError, SchemaMismatch
from aya.knowledge.documents import Documents
from aya.knowledge.types import Filters

pytestmark = pytest.mark.database


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A copy of the shipped migrations that a test may spoil."""
    target = tmp_path / "migrations"
    shutil.copytree(str(files("aya").joinpath("sql", "migrations")), target)
    return target


async def test_a_second_run_changes_nothing(empty_database: DatabaseSettings) -> None:
    """The first run applies everything, the second nothing."""
    first = await migrations.migrate(empty_database, node="alpha")
    second = await migrations.migrate(empty_database, node="alpha")
    assert first.applied == tuple(each.name for each in migrations.shipped("alpha"))
    assert (second.applied, second.version) == ((), first.version)


async def test_two_at_once_apply_each_step_once(empty_database: DatabaseSettings) -> None:
    """Four runs at once share the work, and every migration is recorded once."""
    reports = await asyncio.gather(*(migrations.migrate(empty_database, node="air") for _ in range(4)))
    applied = [name for report in reports for name in report.applied]
    assert sorted(applied) == [each.name for each in migrations.shipped("air")]


async def test_the_write_queue_is_on_air_only(empty_database: DatabaseSettings, database: DatabaseSettings) -> None:
    """AIR has it, ALPHA has not; the contract's INSERT by hand works."""
    await migrations.migrate(empty_database, node="air")
    air = await asyncpg.connect(empty_database.dsn())
    alpha = await asyncpg.connect(database.dsn())
    try:
        await air.execute(
            """INSERT INTO write_queue (operation, table_name, data)
               VALUES ('INSERT', 'documents', '{"content": "x", "category": "y", "source": "z"}')"""
        )
        assert await air.fetchval("SELECT count(*) FROM write_queue WHERE NOT synced") == 1
        assert await alpha.fetchval("SELECT to_regclass('write_queue')") is None
    finally:
        await air.close()
        await alpha.close()


async def test_an_edited_file_is_refused(empty_database: DatabaseSettings, folder: Path) -> None:
    """What was applied must still be what is shipped, byte for byte."""
    await migrations.migrate(empty_database, node="air", directory=folder)
    with (folder / "0002_pre_create_write_queue.sql").open("a") as file:
        file.write("-- a comment\n")
    with pytest.raises(SchemaMismatch, match="edited"):
        await migrations.migrate(empty_database, node="air", directory=folder)


async def test_a_missing_file_is_refused(empty_database: DatabaseSettings, folder: Path) -> None:
    """A hole in what is shipped is found before anything runs."""
    (folder / "0098_pre_add_nothing.sql").write_text("SELECT 1;\n")
    await migrations.migrate(empty_database, node="air", directory=folder)
    (folder / "0002_pre_create_write_queue.sql").unlink()
    with pytest.raises(SchemaMismatch, match="missing"):
        await migrations.migrate(empty_database, node="air", directory=folder)


@pytest.mark.parametrize("node", ["alpha", "air"])
async def test_a_client_that_knows_no_node_is_told_what_lacks(empty_database: DatabaseSettings, node: str) -> None:
    """The database itself says whether it is AIR's, also before it is up to date."""
    newest = migrations.shipped(node)[-1].name
    await migrations.migrate(empty_database, node=node)
    connection = await asyncpg.connect(empty_database.dsn())
    try:
        await connection.execute("DELETE FROM schema_migrations WHERE name = $1", newest)
        with pytest.raises(SchemaMismatch, match=f"lacks migration {newest}"):
            await migrations.check(connection)
    finally:
        await connection.close()


async def test_a_newer_database_is_refused(empty_database: DatabaseSettings, folder: Path) -> None:
    """A database that a newer AYA migrated says so, to `migrate` and to `check`."""
    (folder / "0099_post_drop_the_past.sql").write_text("SELECT 1;\n")
    await migrations.migrate(empty_database, node="alpha", directory=folder)
    with pytest.raises(SchemaMismatch, match="newer AYA"):
        await migrations.migrate(empty_database, node="alpha")
    connection = await asyncpg.connect(empty_database.dsn())
    try:
        with pytest.raises(SchemaMismatch, match="newer AYA"):
            await migrations.check(connection, node="alpha")
    finally:
        await connection.close()


async def test_a_newer_database_is_refused_before_anything_is_read_or_written(
    database: DatabaseSettings, embedder_url: str
) -> None:
    """Every client checks the schema on its first connection, and again until it fits."""
    connection = await asyncpg.connect(database.dsn())
    try:
        await connection.execute("INSERT INTO schema_migrations VALUES (99, '0099_post_future', 'x', '9.9')")
        async with (
            Database(database, application_name="aya-test", check=migrations.check) as opened,
            EmbedderClient(embedder_url) as embedder,
        ):
            documents = Documents(opened, embedder)
            for _ in range(2):
                with pytest.raises(SchemaMismatch, match="newer AYA"):
                    await documents.newest(Filters(), limit=1)
            await connection.execute("DELETE FROM schema_migrations WHERE version = 99")
            assert await documents.newest(Filters(), limit=1) == []
    finally:
        await connection.close()


async def test_a_step_that_fails_leaves_nothing_of_itself(empty_database: DatabaseSettings, folder: Path) -> None:
    """A migration that fails half-way is rolled back whole; the ones before it stay."""
    (folder / "0098_pre_break.sql").write_text("CREATE TABLE half (id int);\nSELECT 1 / 0;\n")
    with pytest.raises(Exception, match="division by zero"):
        await migrations.migrate(empty_database, node="air", directory=folder)
    connection = await asyncpg.connect(empty_database.dsn())
    try:
        assert await connection.fetchval("SELECT to_regclass('half')") is None
        assert await connection.fetchval("SELECT max(version) FROM schema_migrations") == 10
    finally:
        await connection.close()


@pytest.mark.parametrize("name", ["0003_add_x.sql", "3_pre_x.sql", "0003_pre_X.sql"])
def test_a_misnamed_file_is_refused(folder: Path, name: str) -> None:
    """The form of the name is checked."""
    (folder / name).write_text("SELECT 1;")
    with pytest.raises(ConfigError, match="not named"):
        migrations.shipped("alpha", folder)


def test_two_files_of_one_version_are_refused(folder: Path) -> None:
    """A version is used once."""
    (folder / "0002_pre_other.sql").write_text("SELECT 1;")
    with pytest.raises(ConfigError, match="two migrations"):
        migrations.shipped("alpha", folder)


async def test_an_unmigrated_database_says_so(empty_database: DatabaseSettings) -> None:
    """A service on an empty database is told what to do."""
    connection = await asyncpg.connect(empty_database.dsn())
    try:
        with pytest.raises(SchemaMismatch, match="no AYA schema"):
            await migrations.check(connection, node="alpha")
    finally:
        await connection.close()
