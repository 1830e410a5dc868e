"""A write whose outcome is unknown is made again by its key: whatever became of it the first time, it is there once."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from pathlib import Path
from typing import Any

import asyncpg
import pytest
from tests.integration.conftest import Knowledge, Victim
from tests.integration.test_outcome import Force, cancel, kill, terminate, waiting_pid

from aya import migrations
from aya.db import Database
from aya.dsn import DEFAULT_DATABASE
from aya.embedder_client import EmbedderClient
from aya.errors import DatabaseUnavailable, OutcomeUnknown
from aya.ingest import Labels, add_files
from aya.knowledge import again
from aya.knowledge.binding import bind
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher
from aya.knowledge.types import Changes, NewDocument

pytestmark = [pytest.mark.database, pytest.mark.slow]
NOTE = NewDocument("The lighthouse keeper comes on Fridays.", source="test")
FORCES = pytest.mark.parametrize("force", [cancel, terminate, kill])


@pytest.fixture
async def kept(victim: Victim, embedder_url: str) -> AsyncIterator[Knowledge]:
    """A knowledge base on a server that can be harmed, empty."""
    settings = victim.settings(DEFAULT_DATABASE)
    await migrations.migrate(settings, node="alpha")
    async with Database(settings, application_name="aya-test") as pool, EmbedderClient(embedder_url) as embedder:
        await bind(settings, await embedder.identity())
        async with pool.transaction() as connection:
            await connection.execute("DELETE FROM documents")
        documents = Documents(pool, embedder)
        yield Knowledge(settings, pool, embedder, documents, Searcher(pool, embedder, documents))


async def counted(kept: Knowledge) -> tuple[int, int]:
    """Return how many documents and how many chunks there are."""
    connection = await asyncpg.connect(kept.settings.dsn())
    try:
        query = "SELECT (SELECT count(*) FROM documents), (SELECT count(*) FROM chunks)"
        documents, chunks = await connection.fetchrow(query) or (0, 0)
        return documents, chunks
    finally:
        await connection.close()


async def harmed(victim: Victim, force: Force, write: Coroutine[Any, Any, Any]) -> Any:  # noqa: ANN401 - what it returns
    """Have a write wait for a standby that is not there, end that by force, mend everything, and return its result."""
    await victim.set("synchronous_standby_names", "absent")
    writing = asyncio.create_task(write)
    await force(victim, await waiting_pid(victim))
    if not victim.processes():
        victim.start()
    await victim.set("synchronous_standby_names", "")
    return await writing


@FORCES
async def test_a_document_is_added_once(victim: Victim, kept: Knowledge, force: Force) -> None:
    """It is told as what it was: added, not found to be there already."""
    await kept.documents.identity()
    added = await harmed(victim, force, kept.documents.add(NOTE))
    assert added.outcome == "indexed"
    assert await counted(kept) == (1, len(added.chunk_ids)) == (1, 1)
    assert (await kept.documents.get(added.document_id)).content == NOTE.content


@FORCES
async def test_a_file_is_added_and_replaced_once(victim: Victim, kept: Knowledge, force: Force, tmp_path: Path) -> None:
    """By its place: the second time it says something new, and the document is still the same one."""
    await kept.documents.identity()
    file = tmp_path / "note.md"
    for text, status in (("# One\n\nfirst", "indexed"), ("# Two\n\nsecond", "updated")):
        file.write_text(text, encoding="utf-8")
        ingested = await harmed(victim, force, add_files(kept.documents, [file], Labels(), Silent()))
        assert ingested.stopped_by is None
        assert [result.status for result in ingested.results] == [status]
        assert await counted(kept) == (1, 1)


class Silent:
    """Progress that nobody wants to hear of."""

    def total(self, files: int) -> None:
        """Say nothing."""

    def done(self, result: object) -> None:
        """Say nothing."""


@FORCES
async def test_a_document_is_changed_once(victim: Victim, kept: Knowledge, force: Force) -> None:
    """Its revision grows by one, also where the caller named the one that was to be changed."""
    before = await kept.documents.get((await kept.documents.add(NOTE)).document_id)
    changes = Changes(content="He comes on Mondays now.", title="News")
    after = await harmed(victim, force, kept.documents.edit(before.id, changes, expected_rev=before.rev))
    assert (after.title, after.rev, after.chunk_count) == ("News", before.rev + 1, 1)
    assert await counted(kept) == (1, 1)


@FORCES
async def test_a_document_is_removed_once(victim: Victim, kept: Knowledge, force: Force) -> None:
    """And told to have been there."""
    added = await kept.documents.add(NOTE)
    assert await harmed(victim, force, kept.documents.remove([added.document_id, 10**9])) == [added.document_id]
    assert await counted(kept) == (0, 0)


async def test_what_is_only_on_one_server_is_not_called_kept(
    victim: Victim, kept: Knowledge, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The row is seen, but no standby has it: adding it again waits for one, too, and says unknown in the end."""
    monkeypatch.setattr(again, "PATIENCE_SECONDS", 0.0)
    short = Documents(kept.database, kept.embedder)
    await short.identity()
    await victim.set("synchronous_standby_names", "absent")
    for _ in range(2):
        writing = asyncio.create_task(short.add(NOTE))
        await cancel(victim, await waiting_pid(victim))
        with pytest.raises(OutcomeUnknown):
            await writing
    await victim.set("synchronous_standby_names", "")
    assert (await short.add(NOTE)).outcome == "duplicate"
    assert await counted(kept) == (1, 1)


async def test_an_outcome_that_stays_unknown_is_not_called_a_failure() -> None:
    """Attempts that fail tell nothing about the one before."""
    told = iter([OutcomeUnknown("perhaps"), *[DatabaseUnavailable("down")] * 50])

    async def attempt() -> None:
        raise next(told)

    with pytest.raises(OutcomeUnknown, match="perhaps") as caught:
        await again.until_known(attempt, has_choice=False, patience_seconds=0.5)
    assert isinstance(caught.value.__cause__, DatabaseUnavailable)
    with pytest.raises(DatabaseUnavailable):
        await again.until_known(attempt, has_choice=False, patience_seconds=0.5)
