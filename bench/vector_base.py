"""A throw-away server with the base that bench/vector_index.py searches; kept where that is asked for."""

from __future__ import annotations

import contextlib
import hashlib
import json
import pickle
import shutil
import sys
import tempfile
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import asyncpg
import numpy as np
import psutil
import vector_corpus

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.conftest import free_port

from aya import migrations
from aya.db import prepare_connection
from aya.dsn import DatabaseSettings
from aya.home import Home
from aya.postgres import binaries, privileges
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import ClusterConfig
from aya.postgres.provision import new_secrets, owner_settings, provision_primary
from aya.settings import Config

if TYPE_CHECKING:
    from collections.abc import AsyncGenerator, Iterator

    from vector_corpus import Made

# All of it in memory, as on the Macs; nothing here must outlive a crash.
_SETTINGS = "shared_buffers='4GB'\nmaintenance_work_mem='1500MB'\nmax_wal_size='8GB'\nfsync=off\nfull_page_writes=off\n"
_LONG_SECONDS = 3600.0
FIRST_DAY, BETWEEN = datetime(2025, 1, 1), timedelta(minutes=10)  # noqa: DTZ001 - as the column has it
"""When the first document was made, and how long after it the next."""


@dataclass(frozen=True)
class Base:
    """A server with a base in it, and what that base is made of."""

    settings: DatabaseSettings
    made: Made
    postmaster: psutil.Process

    def processor_ms(self) -> float:
        """Return the processor time that the server has taken, of all its processes, also those that have ended."""
        ended = self.postmaster.cpu_times()
        living = [child.cpu_times() for child in self.postmaster.children()]
        taken = ended.children_user + ended.children_system + sum(each.user + each.system for each in living)
        return 1000 * float(taken)

    async def connected(self) -> asyncpg.Connection[Any]:
        """Return a connection as a search has it: each query is planned for its values."""
        connection = await asyncpg.connect(self.settings.dsn(), command_timeout=_LONG_SECONDS)
        await prepare_connection(connection)
        await connection.execute("SET plan_cache_mode = force_custom_plan")
        return connection

    async def run(self, *statements: str) -> Any:  # noqa: ANN401 a value
        """Run statements; return the last one's first value."""
        connection = await self.connected()
        try:
            for statement in statements[:-1]:
                await connection.execute(statement)
            return await connection.fetchval(statements[-1])
        finally:
            await connection.close()


@asynccontextmanager
async def opened(keep: Path | None, chunks: int, dimension: int, noise: float) -> AsyncGenerator[Base]:
    """Make the server and load the base, or find both in `keep`; without `keep` they go afterwards."""
    directory = keep or Path(tempfile.mkdtemp(prefix="aya-vectors-"))
    directory.mkdir(parents=True, exist_ok=True)
    directory.chmod(0o755)
    cluster, secrets, is_new = _cluster(directory)
    try:
        made = _made(directory, chunks, dimension, noise)
        base = Base(owner_settings(cluster, secrets), made, psutil.Process(cluster.postmaster_pid()))
        if is_new:
            await provision_primary(cluster, secrets)
            await migrations.migrate(base.settings, node="alpha")
        if not await base.run("SELECT EXISTS (SELECT FROM chunks)"):
            await load(base, dimension)
        yield base
    finally:
        with contextlib.suppress(Exception):
            cluster.stop("fast")
        if keep is None:
            shutil.rmtree(directory, ignore_errors=True)


def _cluster(directory: Path) -> tuple[Cluster, dict[str, str], bool]:
    data, kept = directory / "alpha" / "data", directory / "secrets.json"
    user = privileges.run_as(data)
    config = ClusterConfig(port=free_port(), socket_directory=directory / "run")
    cluster = Cluster(binaries.resolve(Config(), Home(directory), user), data, config, user)
    is_new = not kept.exists()
    secrets = new_secrets({}) if is_new else json.loads(kept.read_text())
    if is_new:
        cluster.create(secrets[SUPERUSER])
        with (data / "postgresql.conf").open("a") as settings:
            settings.write(_SETTINGS)
        kept.write_text(json.dumps(secrets))
    else:
        cluster.configure()
    cluster.start(directory / "log")
    return cluster, secrets, is_new


def _made(directory: Path, chunks: int, dimension: int, noise: float) -> Made:
    kept = directory / f"made-{chunks}-{dimension}.pickle"
    if not kept.exists():
        made = vector_corpus.make(*vector_corpus.real(directory), chunks, dimension, noise=noise)
        kept.write_bytes(pickle.dumps(made))
    found: Made = pickle.loads(kept.read_bytes())  # noqa: S301 ours
    return found


async def load(base: Base, dimension: int) -> None:
    """Load documents and chunks, without their triggers and before any index on vectors or words."""
    made, connection = base.made, await base.connected()
    hashes = [hashlib.sha256(str(number).encode()).digest() for number in range(len(made.topics))]
    await connection.execute(
        "DROP INDEX IF EXISTS idx_chunks_embedding, idx_chunks_tsv;"
        "ALTER TABLE documents DISABLE TRIGGER USER; ALTER TABLE chunks DISABLE TRIGGER USER;"
        f"ALTER TABLE chunks ALTER COLUMN embedding TYPE vector({int(dimension)});"
        "ALTER TABLE chunks ALTER COLUMN embedding SET STORAGE MAIN"
    )
    await connection.copy_records_to_table(
        "documents",
        records=zip(range(1, len(hashes) + 1), made.texts, made.classes, made.topics, hashes, strict=True),
        columns=["id", "content", "category", "source", "content_sha256"],
    )
    await connection.execute(
        "UPDATE documents SET metadata = jsonb_build_object('tier', category, 'n', id),"
        " created_at = '2025-01-01'::timestamp + id * interval '10 minutes'"
    )
    await connection.copy_records_to_table(
        "chunks", records=_chunks(made, hashes), columns=["id", "document_id", "chunk_text", "embedding", "chunk_index",
                                                          "content_sha256"]
    )  # fmt: skip
    await connection.execute("VACUUM ANALYZE documents")
    await connection.execute("VACUUM ANALYZE chunks")
    await connection.close()


def _chunks(made: Made, hashes: list[bytes]) -> Iterator[tuple[object, ...]]:
    size = vector_corpus.CHUNKS_OF_DOCUMENT
    for number, vector in enumerate(made.vectors):
        document, index = divmod(number, size)
        yield number + 1, document + 1, f"{index} {made.texts[document]}", vector, index, hashes[document]


def nearest_of(
    made: Made, queries: np.ndarray[Any, Any], passing: np.ndarray[Any, Any] | None, count: int
) -> list[set[int]]:
    """Return the ids of the nearest chunks of those that pass, by comparing all; passing: a mask of documents."""
    mask = None if passing is None else np.repeat(passing, vector_corpus.CHUNKS_OF_DOCUMENT)
    rows = np.arange(len(made.vectors)) if mask is None else np.flatnonzero(mask)
    nearness = queries @ made.vectors[rows].T
    best = np.argpartition(-nearness, min(count, len(rows) - 1), axis=1)[:, :count]
    return [set((rows[each] + 1).tolist()) for each in best]
