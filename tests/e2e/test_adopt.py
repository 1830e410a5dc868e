"""A base that was made by hand, with the plan's tables and on another major version, moves into a new alpha."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.conftest import free_port

from aya.home import Home
from aya.postgres.binaries import resolve
from aya.postgres.cluster import Cluster, run_program
from aya.postgres.config import ClusterConfig
from aya.postgres.privileges import run_as
from aya.processes import leftovers
from aya.settings import Config, node_settings
from aya.setup.adopt import unfit

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(100)]
AYA = str(Path(sys.executable).with_name("aya"))
ENVIRON = {name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_"))}
# As the owner's plan has them (work of before AYA): no uid, no triggers, IVFFlat.
PLAN = """
CREATE EXTENSION vector;
CREATE TABLE documents (id serial PRIMARY KEY, content text NOT NULL, metadata jsonb DEFAULT '{}',
    category varchar(50) DEFAULT 'general', source varchar(100), created_at timestamp DEFAULT now(),
    updated_at timestamp DEFAULT now());
CREATE TABLE chunks (id serial PRIMARY KEY, document_id integer REFERENCES documents(id) ON DELETE CASCADE,
    chunk_text text NOT NULL, embedding vector(768), chunk_index integer DEFAULT 0, metadata jsonb DEFAULT '{}',
    created_at timestamp DEFAULT now());
CREATE INDEX idx_chunks_embedding ON chunks USING ivfflat (embedding vector_cosine_ops) WITH (lists = 100);
INSERT INTO documents (content, category, source, metadata, created_at)
    SELECT 'about ' || n || E' \\\\ and\\ta tab', 'old', 'plan', jsonb_build_object('n', n), '2024-01-02 03:04:05'
    FROM generate_series(1, 40) AS n;
DELETE FROM documents WHERE id % 4 = 0;
INSERT INTO chunks (document_id, chunk_text, embedding)
    SELECT id, content, (SELECT array_agg(sin(id * i)) FROM generate_series(1, 768) AS i)::vector FROM documents;
"""


class Old:
    """A PostgreSQL 16 of a person's own, with a superuser of another name."""

    def __init__(self, directory: Path) -> None:
        self.user = run_as(directory)
        binaries = resolve(Config(postgres_major=16), Home(directory / "programs"), self.user)
        self.port = free_port()
        self.cluster = Cluster(binaries, directory / "old data", ClusterConfig(self.port, directory), self.user)
        self.user.make_directory(self.cluster.data_directory)
        words = ("initdb", f"--pgdata={self.cluster.data_directory}", "--username=me", "--auth=trust", "--no-sync")
        run_program(binaries, self.user, words)
        self.log = directory / "old.log"

    @property
    def dsn(self) -> str:
        """How its owner enters."""
        return f"postgresql://me@127.0.0.1:{self.port}/aya_rag"

    def start(self) -> None:
        """Start it as its owner would."""
        self.log.touch()
        self.user.own(self.log)
        options = f"-p {self.port} -c unix_socket_directories="
        self.cluster.run_tool("pg_ctl", "start", "-w", "-D", str(self.cluster.data_directory), "-l", str(self.log),
                              "-o", options)  # fmt: skip

    def fill(self) -> None:
        """Make the plan's tables, with rows."""

        async def inside() -> None:
            for database, statement in (("postgres", "CREATE DATABASE aya_rag"), ("aya_rag", PLAN)):
                connection = await asyncpg.connect(self.dsn.replace("aya_rag", database))
                await connection.execute(statement)
                await connection.close()

        asyncio.run(inside())

    def files(self) -> dict[str, int]:
        """Every file with when it was changed."""
        return {str(one): one.lstat().st_mtime_ns for one in self.cluster.data_directory.rglob("*")}


@pytest.fixture(scope="module")
def old() -> Iterator[Old]:
    """The base of before, running."""
    directory = Path(tempfile.mkdtemp(prefix="aya old "))
    directory.chmod(0o755)
    made = Old(directory)
    made.start()
    made.fill()
    try:
        yield made
    finally:
        made.cluster.stop()
        shutil.rmtree(directory)


@pytest.fixture
def home() -> Iterator[Home]:
    """A new alpha's home, with ports of its own."""
    directory = Path(tempfile.mkdtemp(prefix="aya adopt "))
    directory.chmod(0o755)
    home = Home(directory / "home")
    home.path.mkdir()
    lines = [
        line
        for role in ("alpha", "beta")
        for line in (
            f"[cluster.{role}]", 'addresses = ["127.0.0.1"]', f"postgres_port = {free_port()}",
            f"agent_port = {free_port()}", f"health_port = {free_port()}",
        )
    ]  # fmt: skip
    home.config_file.write_text("\n".join((*lines, "")), encoding="utf-8")
    try:
        yield home
    finally:
        leftovers.end(home)
        shutil.rmtree(directory, ignore_errors=True)


def init(home: Home, source: str, *more: str, expect: int = 0) -> dict[str, str]:
    """Run `aya init` and return the state of each step; the reason of what is blocked."""
    done = subprocess.run(
        [AYA, "--home", str(home.path), "init", "--role", "alpha", "--embedder-port", str(home_port(home)), "--json",
         "--adopt", source, *more],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRON, check=False,
    )  # fmt: skip
    assert done.returncode == expect, done.stdout + done.stderr
    steps = json.loads(done.stdout)["steps"]
    return {
        step["action"]: step["why"] if step["state"] == "blocked" else step["state"] for step in steps if step["action"]
    }


def home_port(home: Home) -> int:
    """Return the embedder's port: the one that it has, else a free one."""
    nodes = home.nodes()
    return nodes["alpha"].embedder_port if nodes else free_port()


async def ask(home: Home, statement: str) -> object:
    """Ask the new base."""
    connection = await asyncpg.connect(node_settings(home, "alpha", environ={}).local.dsn())
    try:
        return await connection.fetchval(statement)
    finally:
        await connection.close()


KEPT = """SELECT (SELECT count(*) FROM documents) = 30 AND (SELECT count(*) FROM chunks) = 30
    AND (SELECT bool_and(content = 'about ' || id || E' \\\\ and\\ta tab' AND metadata = jsonb_build_object('n', id)
         AND category = 'old' AND source = 'plan' AND created_at = '2024-01-02 03:04:05') FROM documents)
    AND (SELECT bool_and(chunk_text = content) FROM chunks JOIN documents ON documents.id = document_id)"""


def check(home: Home) -> None:
    """Every row is there, gets a vector of this base's model, and the next one a number of its own."""
    assert asyncio.run(ask(home, KEPT)) is True
    assert asyncio.run(ask(home, "INSERT INTO documents (content) VALUES ('next') RETURNING id")) == 40
    deadline = time.monotonic() + 40
    while asyncio.run(ask(home, "SELECT count(*) FROM chunks WHERE embedding IS NULL")):
        assert time.monotonic() < deadline
        time.sleep(0.3)


def test_a_running_base_moves_in_by_its_dsn(home: Home, old: Old) -> None:
    """It goes on, and a second call changes nothing."""
    assert init(home, old.dsn)["adopt"] == "to do"
    check(home)
    assert set(init(home, old.dsn).values()) == {"done"}


def test_a_stopped_data_directory_moves_in_and_stays_as_it_is(home: Home, old: Old) -> None:
    """While it runs it is left alone; then from a copy, which is gone afterwards."""
    source = str(old.cluster.data_directory)
    assert "a server runs on" in init(home, source, expect=1)["adopt"]
    old.cluster.stop()
    before = old.files()
    try:
        init(home, source)
        assert old.files() == before
    finally:
        old.start()
    check(home)
    assert not (home.node_directory("alpha") / "adopting").exists()


def test_a_source_that_leads_elsewhere_is_not_written_to(home: Home, old: Old) -> None:
    """The directory, its WAL and a tablespace behind links: the copy works in none of them."""
    directory = old.cluster.data_directory.parent
    space, wal = directory / "a space", directory / "a wal"
    old.user.make_directory(space)

    async def move() -> None:
        connection = await asyncpg.connect(old.dsn)
        await connection.execute(f"CREATE TABLESPACE elsewhere LOCATION '{space}'")
        await connection.execute("ALTER TABLE documents SET TABLESPACE elsewhere")
        await connection.close()

    asyncio.run(move())
    old.cluster.stop()
    (old.cluster.data_directory / "pg_wal").rename(wal)
    (old.cluster.data_directory / "pg_wal").symlink_to(wal)
    link = directory / "link"
    link.symlink_to(old.cluster.data_directory)

    def seen() -> dict[str, int]:
        return {str(one): one.lstat().st_mtime_ns for place in (space, wal) for one in place.rglob("*")} | old.files()

    before = seen()
    try:
        init(home, str(link))
        assert seen() == before
    finally:
        old.start()
    check(home)


def test_a_call_that_was_cut_off_after_the_rows_had_come_is_done_at_the_next(home: Home, old: Old) -> None:
    """They are compared, not brought again; documents of somebody else are still refused."""
    init(home, old.dsn)
    (home.node_directory("alpha") / "adopted.json").unlink()
    init(home, old.dsn)
    check(home)
    (home.node_directory("alpha") / "adopted.json").unlink()
    done = subprocess.run(
        [AYA, "--home", str(home.path), "init", "--role", "alpha", "--json", "--adopt", old.dsn],
        stdin=subprocess.DEVNULL, capture_output=True, text=True, env=ENVIRON, check=False,
    )  # fmt: skip
    assert "has documents already" in done.stderr


def test_what_is_not_understood_is_refused_before_anything_is_made(home: Home, old: Old) -> None:
    """Another database, and no directory at all."""
    assert "no table documents" in init(home, old.dsn.replace("aya_rag", "postgres"), expect=1)["adopt"]
    assert "is no data directory" in init(home, "/nowhere", expect=1)["adopt"]
    assert home.nodes() == {}


@pytest.mark.parametrize(
    ("shape", "why"),
    [
        ({"documents": {"id", "content"}, "chunks": {"id", "document_id", "chunk_text"}}, None),
        ({"documents": {"id", "text"}, "chunks": {"id", "document_id", "chunk_text"}}, "documents has no content"),
        ({"documents": {"id", "content"}}, "no table chunks"),
        ({"schema_migrations": {"version"}}, "AYA's own schema"),
    ],
)
def test_the_plans_shape_is_told(shape: dict[str, set[str]], why: str | None) -> None:
    """By the columns that are needed."""
    found = unfit(shape)
    assert (found is None) if why is None else (why in (found or ""))
