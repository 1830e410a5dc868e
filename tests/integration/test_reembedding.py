"""A base moves to another model while it is searched, added to, edited and thinned out; whoever is killed meanwhile."""

from __future__ import annotations

import asyncio
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import asyncpg
import httpx2
import numpy as np
import pytest
from tests.conftest import Server, await_healthy, free_port
from tests.integration.conftest import Knowledge
from tests.integration.test_embedder_model import RANDOM_CONFIG, random_weights, set_pooling, write, write_safetensors

from aya import migrations
from aya.backoff import Backoff
from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.embedder_http import Timing
from aya.errors import DatabaseConflict, DatabaseReadOnly
from aya.identity import ModelIdentity
from aya.knowledge import reembedding
from aya.knowledge.binding import bind, bound_model, load
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher
from aya.knowledge.types import Changes, NewDocument
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import replication_role
from aya.postgres.provision import INDEXER_ROLE, new_secrets, owner_settings, provision_primary, superuser_settings
from aya.settings import as_role
from aya_embedder import sources
from aya_indexer.config import Config
from aya_indexer.loop import Indexer
from aya_indexer.move_store import Embedded, MoveStore
from aya_indexer.mover import Mover
from aya_indexer.store import opened

pytestmark = pytest.mark.database

QUICK = Backoff(first_seconds=0.05, cap_seconds=0.1)
WORDS = ["kettle", "penguin", "lease", "rye", "garden", "winter", "copper", "harbour", "letter", "violin"]
LEFT_BEHIND = """
    SELECT attname FROM pg_attribute
    WHERE attrelid = 'chunks'::regclass AND attname LIKE '%next%'
    UNION ALL SELECT relname FROM pg_class WHERE relname LIKE '%next%'
    UNION ALL SELECT tgname FROM pg_trigger WHERE tgname LIKE '%next%'
    UNION ALL SELECT fingerprint FROM reembedding
    UNION ALL SELECT error FROM reembedding_exception
"""


@dataclass(frozen=True)
class Service:
    """An embedder of our own, whose models come and go; it is started again at the same address."""

    url: str
    environment: dict[str, str]
    log_file: Path

    def start(self) -> subprocess.Popen[bytes]:
        """Start it, with MiniLM as its default model."""
        with self.log_file.open("ab") as log:
            process = subprocess.Popen(
                [sys.executable, "-m", "aya_embedder"], env=self.environment, stdout=log, stderr=log
            )
        await_healthy(f"{self.url}/health", process, self.log_file)
        return process


def random_model(directory: Path, seed: int) -> Path:
    """Make a small BERT with seeded random weights, 32 dimensions and a window of 64 tokens."""
    (directory / "1_Pooling").mkdir(parents=True)
    write(directory / "config.json", RANDOM_CONFIG)
    write(
        directory / "modules.json", [{"path": "", "type": "x.Transformer"}, {"path": "1_Pooling", "type": "x.Pooling"}]
    )
    set_pooling(directory, "mean")
    shutil.copy(sources.find("minilm", None).directory / "tokenizer.json", directory)
    weights = random_weights()
    weights["embeddings.word_embeddings.weight"] *= seed
    write_safetensors(directory / "model.safetensors", weights)
    return directory


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A small model's directory."""
    return str(random_model(tmp_path_factory.mktemp("models") / "small", 1))


@pytest.fixture(scope="module")
def other(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A second small model, of the same dimension: only the fingerprint tells its vectors."""
    return str(random_model(tmp_path_factory.mktemp("models") / "other", 2))


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """The embedder's process, running."""
    port = free_port()
    environment = {**os.environ, "AYA_EMBEDDER_PORT": str(port), "AYA_MODEL": "minilm"}
    described = Service(f"http://127.0.0.1:{port}", environment, tmp_path_factory.mktemp("embedder") / "log")
    process = described.start()
    yield described
    process.send_signal(signal.SIGTERM)
    process.wait(timeout=20)


@pytest.fixture
async def base(database: DatabaseSettings, service: Service) -> AsyncIterator[Knowledge]:
    """A base on MiniLM, with an embedder whose default that is."""
    async with Database(database, application_name="aya-test") as pool, EmbedderClient(service.url) as embedder:
        await embedder.load_model("minilm", default=True)
        await bind(database, await embedder.await_model("minilm", 30), "minilm")
        documents = Documents(pool, embedder)
        yield Knowledge(database, pool, embedder, documents, Searcher(pool, embedder, documents))


@pytest.fixture
def config(base: Knowledge, server: Server) -> Config:
    """An indexer of this test's database, entering with its own role and retrying quickly."""
    settings = server.settings(base.settings.database, INDEXER_ROLE)
    return Config("alpha", settings, base.embedder.url, poll_seconds=0.2, retry=QUICK, outage=QUICK)


@asynccontextmanager
async def indexing(config: Config) -> AsyncGenerator[None]:
    """Run an indexer until the block ends."""
    stop = asyncio.Event()
    async with asyncio.TaskGroup() as group:
        group.create_task(Indexer(config).run(stop))
        try:
            yield
        finally:
            stop.set()


async def ask(base: Knowledge, query: str, *arguments: object) -> object:
    """Return the first value that a query answers."""
    async with base.database.connection() as connection:
        return await connection.fetchval(query, *arguments)


async def until(condition: Callable[..., Awaitable[object]], *arguments: object) -> None:
    """Wait until a condition holds of the arguments; the suite's timeout ends a vain wait."""
    while not await condition(*arguments):  # noqa: ASYNC110 - what is waited for happens in PostgreSQL
        await asyncio.sleep(0.05)


async def fill(base: Knowledge, count: int) -> None:
    """Put documents of a few words each into the base, with their vectors."""
    for number in range(count):
        await base.documents.add(NewDocument(f"{text(number)}\n\nNumber {number}."))


def text(number: int) -> str:
    """Return a sentence of known words, another one for every number."""
    return " ".join(WORDS[(number * step + step) % len(WORDS)] for step in (1, 3, 7)) + f" {number}"


async def begin(base: Knowledge, source: str) -> ModelIdentity:
    """Begin a move as `aya reembed` does; return where it goes."""
    target = await load(base.embedder, source, seconds=30)
    async with reembedding.entered(base.settings) as connection:
        await reembedding.begin(connection, target, source)
    return target


@asynccontextmanager
async def unswitchable(base: Knowledge) -> AsyncGenerator[None]:
    """Keep a move from ending: a view needs the column that would go. The move says so, and tries again."""
    await ask(base, "CREATE VIEW mine AS SELECT embedding FROM chunks")
    yield
    await ask(base, "DROP VIEW mine")


WAITS_AT_THE_SWITCH = """
SELECT EXISTS (
    SELECT FROM pg_locks WHERE relation = 'chunks'::regclass AND mode = 'AccessExclusiveLock' AND NOT granted
)
"""


async def is_over(base: Knowledge) -> bool:
    """Return whether nothing of a move is left to do, and no document waits."""
    query = "SELECT NOT EXISTS (SELECT FROM reembedding) AND NOT EXISTS (SELECT FROM reembedding_exception)"
    return bool(await ask(base, query)) and not await ask(base, "SELECT count(*) FROM index_queue")


async def check_vectors(base: Knowledge, target: ModelIdentity) -> None:
    """Every chunk has exactly the new model's vector of its text, and the search finds it by it."""
    async with base.database.connection() as connection:
        assert await bound_model(connection) == target
        rows = await connection.fetch("SELECT id, chunk_text, embedding FROM chunks ORDER BY id")
        index = await connection.fetchval("SELECT indexdef FROM pg_indexes WHERE indexname = 'idx_chunks_embedding'")
    expected = await base.embedder.embed(
        [row["chunk_text"] for row in rows], prompt="document", expect=target.fingerprint
    )
    assert [row["id"] for row in rows if row["embedding"] is None] == []
    np.testing.assert_allclose(np.stack([row["embedding"].to_numpy() for row in rows]), expected, atol=1e-5)
    assert f"hnsw (((embedding)::halfvec({target.dimension})) halfvec_cosine_ops)" in index
    assert await ask(base, LEFT_BEHIND) is None


class Traffic:
    """People who use the base while it moves; none of them is ever told of an error."""

    def __init__(self, base: Knowledge) -> None:
        self._base = base
        self._stop = asyncio.Event()
        self.models: list[str] = []
        self.done = {"added": 0, "edited": 0, "typed": 0, "removed": 0}

    @asynccontextmanager
    async def flowing(self) -> AsyncGenerator[None]:
        """Let them work until the block ends."""
        async with asyncio.TaskGroup() as group:
            for each in (self._search, self._add, self._edit, self._type):
                group.create_task(each())
            try:
                yield
            finally:
                self._stop.set()

    @asynccontextmanager
    async def searching(self) -> AsyncGenerator[None]:
        """Let only those work who search."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._search())
            try:
                yield
            finally:
                self._stop.set()

    async def _search(self) -> None:
        """Search without a pause; each hit's distance is the one that its model gives."""
        client = Searcher(self._base.database, self._base.embedder, self._base.documents)
        for number in itertools.count():
            if self._stop.is_set():
                return
            query = text(number)
            hits = await client.search(query, limit=3, mode="vector")
            self.models.append(await self._model_of(query, {hit.chunk_text: hit.distance for hit in hits}))

    async def _model_of(self, query: str, distances: dict[str, float | None]) -> str:
        """Return which of the loaded models all these distances are of."""
        assert distances
        for status in await self._base.embedder.models():
            if status.identity is None:
                continue
            name = status.identity.fingerprint
            asked = await self._base.embedder.embed([query], prompt="query", expect=name)
            vectors = await self._base.embedder.embed(list(distances), prompt="document", expect=name)
            found = [distance if distance is not None else np.nan for distance in distances.values()]
            if np.allclose(1 - vectors @ asked[0], found, atol=1e-4):
                return name
        pytest.fail(f"the distances of {distances} are of no model")

    async def _add(self) -> None:
        for number in itertools.count(10_000):
            if self._stop.is_set():
                return
            added = await self._base.documents.add(NewDocument(f"{text(number)} added"))
            self.done["added"] += added.outcome == "indexed"
            if number % 3 == 0:
                self.done["removed"] += len(await self._base.documents.remove([added.document_id]))
            await asyncio.sleep(0.02)

    async def _edit(self) -> None:
        for number in itertools.count(1):
            if self._stop.is_set():
                return
            await self._base.documents.edit(number % 30 + 1, Changes(content=f"{text(number)} edited {number}"))
            self.done["edited"] += 1
            await asyncio.sleep(0.1)

    async def _type(self) -> None:
        """Type statements as in psql: a document, a chunk's text, a chunk without a document."""
        for number in itertools.count(1):
            if self._stop.is_set():
                return
            async with self._base.database.connection() as connection:
                await connection.execute("INSERT INTO documents (content) VALUES ($1)", f"typed {text(number)}")
                await connection.execute(
                    "UPDATE chunks SET chunk_text = $2 WHERE document_id = $1", 31 + number % 10, f"by hand {number}"
                )
            self.done["typed"] += 1
            await asyncio.sleep(0.3)


@pytest.mark.timeout(300)
async def test_everybody_goes_on_while_the_base_moves(base: Knowledge, config: Config, small: str, other: str) -> None:
    """To another dimension and from there to a model of the same one; no error, no wrong distance, no stale vector."""
    await fill(base, 60)
    traffic = Traffic(base)
    target = await base.documents.identity()
    targets = [target.fingerprint]
    async with indexing(config):
        async with traffic.flowing():
            for source in (small, other):
                target = await begin(base, source)
                targets.append(target.fingerprint)
                await until(is_moved, base)
                await until(is_used, traffic, target.fingerprint)
                await until(has_default, base.embedder, target)
        await until(is_over, base)
    assert list(dict.fromkeys(traffic.models)) == targets
    assert all(traffic.done.values()), traffic.done
    await check_vectors(base, target)


@pytest.fixture
async def pair(server: Server, public_directory: Path) -> AsyncIterator[tuple[Cluster, Cluster, dict[str, str]]]:
    """A primary, the standby that follows it, and their passwords; both running."""
    directory = public_directory / "moving-pair"

    def cluster(name: str) -> Cluster:
        config = replace(server.cluster.config, port=free_port())
        return replace(server.cluster, data_directory=directory / name / "data", config=config)

    primary, standby, secrets = cluster("alpha"), cluster("beta"), new_secrets({})
    await asyncio.to_thread(primary.create, secrets[SUPERUSER])
    await asyncio.to_thread(primary.start, directory / "postgres.log")
    try:
        await provision_primary(primary, secrets)
        await migrations.migrate(owner_settings(primary, secrets), node="alpha")
        await asyncio.to_thread(standby.create_standby, primary.config, secrets[replication_role("beta")], "beta")
        await asyncio.to_thread(standby.start, directory / "postgres.log")
        yield primary, standby, secrets
    finally:
        standby.stop("immediate")
        primary.stop("immediate")


@pytest.mark.slow
async def test_a_standby_moves_with_its_primary(
    pair: tuple[Cluster, Cluster, dict[str, str]], service: Service, small: str
) -> None:
    """It is searched without a pause and without an error, shows the progress, and refuses to be moved by itself."""
    primary, standby, secrets = pair
    here, there = (owner_settings(cluster, secrets) for cluster in (primary, standby))
    async with (
        EmbedderClient(service.url) as embedder,
        Database(here, application_name="aya-test") as written,
        Database(there, application_name="aya-test") as read,
    ):
        await embedder.load_model("minilm", default=True)
        await bind(here, await embedder.await_model("minilm", 30), "minilm")
        documents, followers = Documents(written, embedder), Documents(read, embedder)
        base = Knowledge(here, written, embedder, documents, Searcher(written, embedder, documents))
        copy = Knowledge(there, read, embedder, followers, Searcher(read, embedder, followers))
        await fill(base, 30)
        await until(ask, copy, "SELECT count(*) = 30 FROM documents")
        configs = [
            Config("alpha", as_role(settings, INDEXER_ROLE, secrets[INDEXER_ROLE]), service.url, poll_seconds=0.2)
            for settings in (here, there)
        ]
        traffic = Traffic(copy)
        async with indexing(configs[0]), indexing(configs[1]), traffic.searching():
            target = await begin(base, small)
            with pytest.raises(DatabaseReadOnly, match="standby"):
                await begin(copy, small)
            await until(is_used, traffic, target.fingerprint)
        assert await is_moved(copy)
        assert list(dict.fromkeys(traffic.models))[-1] == target.fingerprint


async def is_moved(base: Knowledge) -> bool:
    """Return whether no move is under way."""
    return not await ask(base, "SELECT count(*) FROM reembedding")


async def is_used(traffic: Traffic, fingerprint: str) -> bool:
    """Return whether somebody has searched with that model."""
    return fingerprint in traffic.models


async def filled(base: Knowledge, least: int) -> bool:
    """Return whether so many chunks have their next vector, or the move is over."""
    async with reembedding.entered(base.settings) as connection:
        progress = await reembedding.progress(connection)
    return progress is None or progress.done >= least


def indexer_process(environment: dict[str, str]) -> subprocess.Popen[bytes]:
    """Start an indexer as the supervisor does."""
    return subprocess.Popen([sys.executable, "-m", "aya_indexer"], env=environment, stderr=subprocess.DEVNULL)


async def test_whoever_is_killed_the_move_goes_on(
    base: Knowledge, config: Config, service: Service, small: str
) -> None:
    """The indexer is killed while it fills, again and again, and at the switch."""
    await fill(base, 60)
    target = await begin(base, small)
    environment = {
        **service.environment,
        "DB_HOST": config.database.hosts[0][0],
        "DB_PORT": str(config.database.hosts[0][1]),
        "DB_NAME": config.database.database,
        "DB_USER": config.database.user,
        "DB_PASSWORD": config.database.password or "",
        "EMBEDDING_URL": service.url,
    }
    async with base.database.connection() as holder:
        # Somebody reads in a transaction of his own: the switch cannot come, and is tried without holding others up.
        reading = holder.transaction()
        await reading.start()
        await holder.fetchval("SELECT count(*) FROM chunks")
        for least in (1, 30, 60, 60):
            process = indexer_process(environment)
            try:
                await until(filled, base, least)
                assert await base.searcher.search("kettle", limit=1)
                if least == 60:
                    await until(ask, base, WAITS_AT_THE_SWITCH)
            finally:
                process.kill()
                process.wait()
        assert not await is_moved(base)
        await reading.rollback()
    async with indexing(config):
        await until(is_over, base)
    await check_vectors(base, target)


async def test_a_move_rests_goes_on_and_is_given_up(base: Knowledge, config: Config, small: str) -> None:
    """What was made is kept over a pause; after a cancel nothing of it is left, and the vectors are as before."""
    await fill(base, 40)
    before = await ask(base, "SELECT md5(string_agg(embedding::text, '' ORDER BY id)) FROM chunks")
    async with reembedding.entered(base.settings) as owner:
        assert not await reembedding.pause(owner)
        assert not await reembedding.resume(owner)
        assert not await reembedding.cancel(owner)
        await begin(base, small)
        assert await reembedding.pause(owner)
        async with indexing(config):
            # Typed, so that the indexer itself brings it in: by then it has had its turns at the move, too.
            await ask(base, "INSERT INTO documents (content) VALUES ('indexed while the move rests')")
            await until(ask, base, "SELECT count(*) = 41 AND bool_and(embedding IS NOT NULL) FROM chunks")
            await until(ask, base, "SELECT count(*) = 0 FROM index_queue")
            progress = await reembedding.progress(owner)
            assert progress is not None
            assert (progress.move.phase, progress.done, progress.total) == ("paused", 0, 41)
            async with unswitchable(base):
                assert await reembedding.resume(owner)
                await until(filled, base, 41)
                assert await reembedding.cancel(owner)
        assert await reembedding.progress(owner) is None
    assert await ask(base, LEFT_BEHIND) is None
    assert before == await ask(
        base, "SELECT md5(string_agg(embedding::text, '' ORDER BY id)) FROM chunks WHERE id <= 40"
    )
    assert len(await base.searcher.search("kettle", mode="vector")) == 5


async def test_what_the_new_model_cannot_take_holds_nobody_up(base: Knowledge, config: Config, small: str) -> None:
    """A chunk over the new window is cut anew after the move, one that is refused waits with its reason."""
    await fill(base, 3)
    await base.documents.add(NewDocument(" ".join(f"{word} {number}" for number in range(12) for word in WORDS)))
    long = await ask(base, "SELECT document_id FROM chunks ORDER BY length(chunk_text) DESC LIMIT 1")
    await ask(base, "INSERT INTO chunks (document_id, chunk_text) VALUES (1, '')")
    async with indexing(config):
        await begin(base, small)
        await until(is_moved, base)
        await until(ask, base, "SELECT count(*) = 1 AND bool_and(error IS NOT NULL) FROM index_queue")
    assert await ask(base, "SELECT count(*) > 3 FROM chunks WHERE document_id = $1", long)
    assert await ask(base, "SELECT array_agg(chunk_text) FROM chunks WHERE embedding IS NULL") == [""]
    assert await ask(base, "SELECT count(*) FROM reembedding_exception") == 0


@pytest.mark.timeout(300)
async def test_an_embedder_that_dies_costs_a_move_nothing_but_time(
    base: Knowledge, config: Config, service: Service, small: str
) -> None:
    """Killed in the midst of it, it comes back with the old model only: the move says why it waits, and goes on.

    Killed once more after the switch: a client has the base's model loaded, the indexer makes it the default again.
    """
    await fill(base, 60)
    port = free_port()
    environment = {**service.environment, "AYA_EMBEDDER_PORT": str(port)}
    own = Service(f"http://127.0.0.1:{port}", environment, service.log_file.with_name("own"))
    process = own.start()
    try:
        async with EmbedderClient(own.url) as embedder, indexing(replace(config, embedder_url=own.url)):
            async with unswitchable(base):
                target = await begin(base, small)
                await until(filled, base, 1)
                await kill(process)
                await base.documents.add(NewDocument("added meanwhile"))
                await until(ask, base, "SELECT error LIKE '%embedder%' FROM reembedding")
                process = own.start()
            await until(is_over, base)
            await check_vectors(base, target)
            await kill(process)
            process = own.start()
            documents = Documents(base.database, embedder)
            assert await Searcher(base.database, embedder, documents).search(text(1), mode="vector", limit=1)
            await until(has_default, embedder, target)
    finally:
        await kill(process)


async def kill(process: subprocess.Popen[bytes]) -> None:
    """End a process as the kernel does when memory is short."""
    process.kill()
    await asyncio.to_thread(process.wait)


async def has_default(embedder: EmbedderClient, target: ModelIdentity) -> bool:
    """Return whether a plain call gets that model's vectors."""
    return await embedder.identity() == target


async def test_a_preparation_that_was_cut_short_is_done_again(base: Knowledge, server: Server, small: str) -> None:
    """Whoever begins the same move again makes the indexes that are missing or broken; another move is refused."""
    target = await load(base.embedder, small, seconds=30)
    async with reembedding.entered(base.settings) as owner:
        await reembedding.begin(owner, target, small)
        for spoil in (
            "DROP INDEX idx_chunks_embedding_next",
            "UPDATE pg_index SET indisvalid = false WHERE indexrelid = 'idx_chunks_without_next'::regclass",
        ):
            settings = superuser_settings(server.cluster, server.secrets[SUPERUSER], base.settings.database)
            async with Database(settings, application_name="aya-test") as pool, pool.connection() as superuser:
                await superuser.execute(spoil)
            progress = await reembedding.progress(owner)
            assert progress is not None
            assert progress.move.phase == "preparing"
            assert not await owner.fetchval("SELECT aya_switch_model(0)")
            await reembedding.begin(owner, target, small)
            progress = await reembedding.progress(owner)
            assert progress is not None
            assert progress.move.phase == "running"
        with pytest.raises(DatabaseConflict, match="a move to small"):
            await reembedding.begin(owner, replace(target, fingerprint="another"), "x")


class Faulty(httpx2.AsyncHTTPTransport):
    """The way to an embedder that fails at some texts.

    fails: returns its refusal of these texts, or raises what the connection meets; None: it embeds them.
    """

    def __init__(self, fails: Callable[[list[str]], httpx2.Response | None]) -> None:
        super().__init__()
        self._fails = fails

    async def handle_async_request(self, request: httpx2.Request) -> httpx2.Response:
        """Refuse, or let the embedder answer."""
        if request.url.path == "/embed" and (refusal := self._fails(json.loads(request.content)["texts"])) is not None:
            return refusal
        return await super().handle_async_request(request)


async def at_once(_: float) -> None:
    """Wait for nothing between two attempts at a call."""


async def step_until(
    config: Config, fails: Callable[[list[str]], httpx2.Response | None], condition: Callable[[], Awaitable[object]]
) -> None:
    """Move the base, with an embedder that fails as told, until a condition holds."""
    transport = Faulty(fails)
    async with (
        opened(config.database) as store,
        EmbedderClient(config.embedder_url, transport=transport, timing=Timing(sleep=at_once)) as embedder,
    ):
        mover = Mover(config)
        while not await condition():  # noqa: ASYNC110 the mover says for how long
            await asyncio.sleep(await mover.step(store.moves, embedder))


def well(_: list[str]) -> None:
    """Embed everything."""


def refusing(status: int, word: str) -> Callable[[list[str]], httpx2.Response | None]:
    """Return an embedder's refusal of every request in which a word stands."""

    def fails(texts: list[str]) -> httpx2.Response | None:
        if not any(word in each for each in texts):
            return None
        return httpx2.Response(status, json={"error": {"type": "failed", "message": "told to"}})

    return fails


@pytest.mark.parametrize("status", [401, 403, 408, 500, 504])
async def test_a_model_that_embeds_nothing_blames_no_text(
    base: Knowledge, config: Config, small: str, status: int
) -> None:
    """The move says why it waits, and not one chunk is given up; when the model is well it goes on."""
    await fill(base, 3)
    target = await begin(base, small)
    told = partial(ask, base, "SELECT error LIKE '%told to%' FROM reembedding")
    await step_until(config, refusing(status, ""), told)
    assert await ask(base, "SELECT count(*) FROM reembedding_exception") == 0
    await step_until(config, well, partial(is_moved, base))
    await check_vectors(base, target)


async def test_a_text_at_which_the_model_fails_is_given_up_alone(base: Knowledge, config: Config, small: str) -> None:
    """The model embeds another text just after: it is well, and the others of the batch get their vectors."""
    await fill(base, 5)
    await begin(base, small)
    await step_until(config, refusing(500, text(3)), partial(is_moved, base))
    assert await ask(base, "SELECT array_agg(id) FROM chunks WHERE embedding IS NULL") == [4]


def dying_of(word: str) -> Callable[[list[str]], httpx2.Response | None]:
    """Return an embedder that a word kills: the connection ends, and it is there again the next time."""

    def fails(texts: list[str]) -> None:
        if any(word in each for each in texts):
            raise httpx2.ReadError("it died")

    return fails


@pytest.mark.parametrize("fails", [dying_of(text(17)), refusing(504, text(17))], ids=["dies", "never ends"])
async def test_a_text_that_the_embedder_does_not_survive_ends_no_move(
    base: Knowledge, config: Config, small: str, fails: Callable[[list[str]], httpx2.Response | None]
) -> None:
    """It is found by taking fewer and fewer at once, given up after three times alone, and the others go on."""
    await fill(base, 20)
    await begin(base, small)
    noted = partial(ask, base, "SELECT error LIKE '%does not survive it%' FROM reembedding_exception")
    await step_until(config, fails, noted)
    await step_until(config, fails, partial(is_moved, base))
    assert await ask(base, "SELECT array_agg(id) FROM chunks WHERE embedding IS NULL") == [18]


async def test_a_base_does_not_lose_many_vectors_by_a_move(base: Knowledge, config: Config, small: str) -> None:
    """The next model refused eleven chunks of twelve: the switch refuses, and says so; of ten it takes place."""
    await fill(base, 12)
    await begin(base, small)
    await ask(base, "INSERT INTO reembedding_exception SELECT id, 'refused' FROM chunks WHERE id <= 11")
    await step_until(config, well, partial(ask, base, "SELECT error LIKE '%refused 11 chunks%' FROM reembedding"))
    assert await ask(base, "SELECT count(*) FROM chunks WHERE embedding IS NULL") == 0
    await ask(base, "DELETE FROM reembedding_exception WHERE chunk_id = 11")
    await step_until(config, well, partial(is_moved, base))
    assert await ask(base, "SELECT count(*) FROM chunks WHERE embedding IS NULL") == 10


async def test_a_chunk_without_a_document_keeps_its_vector(base: Knowledge, config: Config, small: str) -> None:
    """Nobody would come back to it: however often the switch was tried, it waits for that chunk, and for no other."""
    await fill(base, 2)
    await begin(base, small)
    async with opened(config.database) as store:
        await ask(base, "UPDATE chunks SET document_id = NULL WHERE id = 1")
        assert not await store.moves.switch(100)
        await ask(base, "UPDATE chunks SET document_id = 1 WHERE id = 1")
        assert await store.moves.switch(100)


async def test_a_full_disk_interrupts_a_move_and_nothing_else(
    base: Knowledge, config: Config, small: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The move says why it rests, and goes on when there is room; that it does is said, too."""
    await fill(base, 3)
    target = await begin(base, small)
    room = MoveStore.store

    async def full(*_: object) -> int:
        raise asyncpg.DiskFullError("could not extend file")

    monkeypatch.setattr(MoveStore, "store", full)
    await step_until(config, well, partial(ask, base, "SELECT error LIKE '%is full%' FROM reembedding"))
    async with opened(config.database) as store, EmbedderClient(config.embedder_url) as embedder:
        mover = Mover(config)
        assert await mover.step(store.moves, embedder) > 0
        monkeypatch.setattr(MoveStore, "store", room)
        while not await is_moved(base):  # noqa: ASYNC110 - the steps are what is waited for
            await asyncio.sleep(await mover.step(store.moves, embedder))
    assert "move.recovered" in capsys.readouterr().out
    await check_vectors(base, target)


async def test_nothing_is_noted_of_a_text_that_is_being_replaced(base: Knowledge, config: Config, small: str) -> None:
    """The new text, which the model can take, would be passed over for the old one's sake."""
    await fill(base, 2)
    await begin(base, small)
    async with opened(config.database) as store, base.database.connection() as editor:
        move = await store.moves.move()
        assert move is not None
        edited, left = await store.moves.batch(move, 0, 2)
        async with editor.transaction():
            await editor.execute("UPDATE chunks SET chunk_text = 'edited' WHERE id = $1", edited[0])
            done = Embedded(exceptions={edited: "refused", left: "refused"})
            assert await store.moves.store(move, done, 1.0) == 1
    assert await ask(base, "SELECT array_agg(chunk_id) FROM reembedding_exception") == [left[0]]
