"""What a client is told when its connection is cut: never a failure that came true, never a success that did not."""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from pathlib import Path

import asyncpg
import pytest
from tests.integration.conftest import Knowledge
from tests.integration.cutting import MOMENTS, Cut, Moment, Proxy, proxied

from aya import db, outcome, reach
from aya.db import Database
from aya.dsn import DatabaseSettings
from aya.errors import DatabaseUnavailable, OutcomeUnknown
from aya.ingest import Labels, add_files
from aya.knowledge import again
from aya.knowledge.documents import Documents
from aya.knowledge.types import Changes, NewDocument
from aya.reach import Client

pytestmark = pytest.mark.database
# A silent server is left after so long; everything else is told at once.
_QUICK = Client("aya-test", 2.0)


@pytest.fixture
async def proxy(database: DatabaseSettings) -> AsyncIterator[Proxy]:
    """A proxy before this test's database, which has a table to write into."""
    connection = await asyncpg.connect(database.dsn())
    await connection.execute("CREATE TABLE kept (key text PRIMARY KEY)")
    await connection.close()
    async with proxied(database) as made:
        yield made


async def insert(settings: DatabaseSettings) -> None:
    """Insert a row in a transaction."""
    with db.translated(settings):
        connection = await reach.connect(settings, _QUICK)
        try:
            async with outcome.transaction(connection):
                await connection.execute("INSERT INTO kept VALUES ('x')")
        finally:
            connection.terminate()


async def counted(settings: DatabaseSettings, query: str) -> int:
    """Return a number, once every other session of the test has ended."""
    connection = await asyncpg.connect(settings.dsn())
    try:
        others = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND pid <> pg_backend_pid()"
        async with asyncio.timeout(20):
            while await connection.fetchval(others):
                pass
        return int(await connection.fetchval(query))
    finally:
        await connection.close()


@pytest.mark.parametrize(("moment", "kept"), [("before", 0), ("after", 1), ("answer", 1), ("silence", 1)])
async def test_a_commit_whose_answer_does_not_arrive_is_unknown(
    proxy: Proxy, database: DatabaseSettings, moment: Moment, kept: int
) -> None:
    """Whether or not it reached the server: the client cannot tell, and says so."""
    proxy.cut = Cut(moment, b"COMMIT;")
    with pytest.raises(OutcomeUnknown):
        await insert(proxy.before(database))
    assert proxy.cut.done
    assert await counted(database, "SELECT count(*) FROM kept") == kept


@pytest.mark.parametrize("moment", MOMENTS)
async def test_a_connection_that_is_cut_before_the_commit_is_a_failure(
    proxy: Proxy, database: DatabaseSettings, moment: Moment
) -> None:
    """The server takes an open transaction back."""
    proxy.cut = Cut(moment, b"INSERT INTO kept")
    with pytest.raises(DatabaseUnavailable):
        await insert(proxy.before(database))
    assert proxy.cut.done
    assert await counted(database, "SELECT count(*) FROM kept") == 0


# At every message of a write


class Base:
    """A knowledge base behind a proxy. direct: the same, past it. documents: while it is entered."""

    documents: Documents

    def __init__(self, direct: Knowledge, proxy: Proxy, file: Path) -> None:
        self.direct = direct
        self.proxy = proxy
        self.file = file

    @asynccontextmanager
    async def entered(self) -> AsyncGenerator[None]:
        """Reach the documents through the proxy, on a connection that is yet to be made."""
        settings = self.proxy.before(self.direct.settings)
        async with Database(settings, application_name="aya-test") as pool:
            self.documents = Documents(pool, self.direct.embedder)
            yield

    async def ask(self, query: str, *arguments: object) -> int:
        """Return a number, past the proxy."""
        async with self.direct.database.connection() as connection:
            return int(await connection.fetchval(query, *arguments))


@pytest.fixture
async def base(knowledge: Knowledge, tmp_path: Path) -> AsyncIterator[Base]:
    """A bound knowledge base behind a proxy, with one document."""
    await knowledge.documents.add(NewDocument("The one that is changed."))
    async with proxied(knowledge.settings) as proxy:
        yield Base(knowledge, proxy, tmp_path / "note.md")


class Write:
    """A write. number: makes each one differ."""

    number = 0

    async def prepare(self, base: Base) -> None:
        """Have ready what it needs."""

    async def make(self, base: Base) -> None:
        """Write."""
        raise NotImplementedError

    async def happened(self, base: Base) -> int:
        """Return how often it was done."""
        raise NotImplementedError


class Add(Write):
    """Add a note."""

    async def make(self, base: Base) -> None:
        """Add it."""
        added = await base.documents.add(NewDocument(f"Note {self.number}.", source="test"))
        assert added.outcome == "indexed"

    async def happened(self, base: Base) -> int:
        """Count its chunks: one, if it is there once."""
        return await base.ask(
            "SELECT count(*) FROM documents JOIN chunks ON document_id = documents.id WHERE content = $1",
            f"Note {self.number}.",
        )


class AddFile(Write):
    """Read a file again that says something new; its document is replaced."""

    async def make(self, base: Base) -> None:
        """Read it."""
        base.file.write_text(f"Version {self.number}.", encoding="utf-8")
        ingested = await add_files(base.documents, [base.file], Labels(), Silent())
        if ingested.stopped_by is not None:
            raise ingested.stopped_by
        assert [result.status for result in ingested.results] in (["indexed"], ["updated"])

    async def happened(self, base: Base) -> int:
        """Count its chunks, and those of former versions that should be gone."""
        assert await base.ask("SELECT count(*) FROM documents WHERE content LIKE 'Version%'") <= 1
        return await base.ask(
            "SELECT count(*) FROM documents JOIN chunks ON document_id = documents.id WHERE content = $1",
            f"Version {self.number}.",
        )


class Edit(Write):
    """Change the first document, naming the revision that is to be changed."""

    rev = 0

    async def prepare(self, base: Base) -> None:
        """Look which revision that is."""
        self.rev = await base.ask("SELECT rev FROM documents WHERE id = 1")

    async def make(self, base: Base) -> None:
        """Change it."""
        changed = await base.documents.edit(1, Changes(title=f"Title {self.number}"), expected_rev=self.rev)
        assert changed.title == f"Title {self.number}"

    async def happened(self, base: Base) -> int:
        """Return by how much its revision has grown."""
        return await base.ask("SELECT rev FROM documents WHERE id = 1") - self.rev


class Remove(Write):
    """Remove a document."""

    document = 0

    async def prepare(self, base: Base) -> None:
        """Add what is to be removed."""
        self.document = (await base.direct.documents.add(NewDocument(f"Passing {self.number}."))).document_id

    async def make(self, base: Base) -> None:
        """Remove it."""
        assert await base.documents.remove([self.document]) == [self.document]

    async def happened(self, base: Base) -> int:
        """Return whether it is gone."""
        return 1 - await base.ask("SELECT count(*) FROM documents WHERE id = $1", self.document)


class Silent:
    """Progress that nobody wants to hear of."""

    def total(self, files: int) -> None:
        """Say nothing."""

    def done(self, result: object) -> None:
        """Say nothing."""


async def told(write: Awaitable[None]) -> str:
    """Return what the caller was told."""
    try:
        await write
    except OutcomeUnknown:
        return "unknown"
    except DatabaseUnavailable:
        return "failed"
    return "done"


TRUE = {("done", 1), ("failed", 0), ("unknown", 0), ("unknown", 1)}


async def sweep(base: Base, write: Write, moment: Moment) -> Counter[tuple[str, int]]:
    """Make the write once for each of its messages, cut there; return what was told and what is true, how often."""
    found: Counter[tuple[str, int]] = Counter()
    for number in itertools.count():
        write.number = number
        await write.prepare(base)
        base.proxy.cut = cut = Cut(moment, skip=number)
        async with base.entered():
            said = await told(write.make(base))
        base.proxy.cut = None
        found[said, await write.happened(base)] += 1
        if not cut.done:
            return found
    raise AssertionError


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after", "answer"])
@pytest.mark.parametrize("write", [Add(), AddFile(), Edit(), Remove()], ids=lambda write: type(write).__name__)
async def test_wherever_a_write_is_cut_what_is_told_is_true(
    base: Base, write: Write, moment: Moment, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A success has its effect and a failure has none; only of a commit may it be unknown."""
    monkeypatch.setattr(again, "PATIENCE_SECONDS", 0.0)
    found = await sweep(base, write, moment)
    assert found.keys() <= TRUE, found
    assert found["done", 1] >= 1
    assert found["unknown", 0] + found["unknown", 1] >= 1, "the commit was cut, too"


@pytest.mark.slow
@pytest.mark.parametrize("moment", ["before", "after", "answer"])
@pytest.mark.parametrize("write", [Add(), AddFile(), Edit(), Remove()], ids=lambda write: type(write).__name__)
async def test_wherever_a_write_is_cut_it_is_made_once(base: Base, write: Write, moment: Moment) -> None:
    """Made again by its key when it is unknown; nobody hears of that."""
    found = await sweep(base, write, moment)
    assert found.keys() <= {("done", 1), ("failed", 0)}, found
