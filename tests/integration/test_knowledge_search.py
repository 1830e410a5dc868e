"""Search on real PostgreSQL with real vectors."""

from __future__ import annotations

import asyncio
import itertools
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import pytest
from tests.integration.conftest import Knowledge

from aya.embedder_client import EmbedderClient
from aya.errors import DocumentError, EmbedderUnavailable, ModelMismatch, UsageError
from aya.knowledge.documents import Documents
from aya.knowledge.search import Searcher, candidates, page_of
from aya.knowledge.types import Filters, Mode, NewDocument

pytestmark = pytest.mark.database

NOTES = {
    "bread": "Feed the sourdough starter twice a day and bake at 230 degrees.",
    "bicycle": "Clean the chain with a degreaser, then oil every link; check brake pads monthly.",
    "replication": "With synchronous_commit on, the primary waits until the standby has flushed the WAL.",
    "tomatoes": "Sow tomatoes indoors eight weeks before the last frost and harden them off.",
}


@pytest.fixture
async def filled(knowledge: Knowledge) -> Knowledge:
    """Four notes in two categories."""
    for title, text in NOTES.items():
        category = "garden" if title == "tomatoes" else "house"
        await knowledge.documents.add(
            NewDocument(text, category=category, source=title, title=title, metadata={"about": title})
        )
    return knowledge


@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
@pytest.mark.parametrize(
    ("query", "title"),
    [
        ("how hot should the oven be for sourdough", "bread"),
        ("when does the primary wait for the standby", "replication"),
        ("oil for the bicycle chain", "bicycle"),
    ],
)
async def test_the_right_note_comes_first_in_every_mode(filled: Knowledge, mode: Mode, query: str, title: str) -> None:
    """Meaning, words and both find the passage."""
    hits = await filled.searcher.search(query, mode=mode, limit=3)
    assert hits[0].title == title
    assert hits[0].document_content == NOTES[title]
    assert (hits[0].distance is None) == (mode == "text")


async def test_meaning_finds_what_words_do_not(filled: Knowledge) -> None:
    """A question without a common word is answered by the vectors."""
    hits = await filled.searcher.search("growing vegetables from seed", mode="hybrid", limit=1)
    assert hits[0].title == "tomatoes"


@pytest.mark.parametrize(
    "filters",
    [
        Filters(category="garden"),
        Filters(source="tomatoes"),
        Filters(metadata={"about": "tomatoes"}),
        Filters(category="garden", since=datetime.now(UTC).replace(tzinfo=None) - timedelta(hours=1)),
    ],
)
@pytest.mark.parametrize("mode", ["vector", "text", "hybrid"])
async def test_filters_restrict_every_mode(filled: Knowledge, filters: Filters, mode: Mode) -> None:
    """Only what passes the filter is found, however near the rest is."""
    hits = await filled.searcher.search("tomatoes, sourdough, chain and standby", filters=filters, mode=mode)
    assert [hit.title for hit in hits] == ["tomatoes"]


async def test_a_date_in_the_future_finds_nothing(filled: Knowledge) -> None:
    """No hit is an empty list, not an error."""
    tomorrow = datetime.now(UTC).replace(tzinfo=None) + timedelta(days=1)
    assert await filled.searcher.search("bread", filters=Filters(since=tomorrow)) == []


async def test_a_hit_says_where_it_stands(knowledge: Knowledge) -> None:
    """Heading, character range and snippet point into the document."""
    text = (
        "# Kitchen\n\n"
        + "Wash the pans by hand. " * 25
        + "\n\n## Descaling\n\n"
        + "Use citric acid for the espresso machine. " * 12
    )
    await knowledge.documents.add(NewDocument(text, title="Kitchen"))
    hit = (await knowledge.searcher.search("descale the espresso machine", limit=1))[0]
    assert text[hit.char_start : hit.char_end] == hit.chunk_text
    assert hit.heading == "Kitchen > Descaling"
    assert any(hit.snippet[start:end].lower() == "espresso" for start, end in hit.highlights)


@pytest.mark.parametrize(
    "query", ["'; DROP TABLE chunks; --", "a & | ! <-> :* ( '", "\\ 'it''s' \"", "naïve café 日本語 🦊"]
)
async def test_signs_in_a_query_are_words_not_syntax(filled: Knowledge, query: str) -> None:
    """No query is an error for its signs, and none is run as SQL."""
    await filled.searcher.search(query, mode="hybrid")
    assert await filled.documents.newest(Filters(), limit=10)


@pytest.mark.parametrize(
    ("query", "limit"), [("", 5), (" \n", 5), ("a\x00", 5), ("bread", 0), ("bread", -1), ("bread", 10**9)]
)
async def test_a_bad_question_is_refused_in_words(filled: Knowledge, query: str, limit: int) -> None:
    """Empty queries and impossible limits are usage errors."""
    with pytest.raises(UsageError):
        await filled.searcher.search(query, limit=limit)


async def test_words_are_found_without_an_embedder(filled: Knowledge) -> None:
    """The text mode needs no embedder; the others say that it is down."""
    async with EmbedderClient("http://127.0.0.1:9") as nobody:
        searcher = Searcher(filled.database, nobody, Documents(filled.database, nobody))
        assert (await searcher.search("sourdough", mode="text"))[0].title == "bread"
        with pytest.raises(EmbedderUnavailable):
            await searcher.search("sourdough", mode="hybrid")


async def test_a_chunk_typed_by_hand_is_found(knowledge: Knowledge) -> None:
    """The contract's INSERT into chunks, with a vector, is searchable like any other."""
    identity = await knowledge.embedder.identity()
    vector = (await knowledge.embedder.embed(["penguins march"], prompt="document", expect=identity.fingerprint))[0]
    async with knowledge.database.connection() as connection:
        document_id = await connection.fetchval("INSERT INTO documents (content) VALUES ('penguins') RETURNING id")
        await connection.execute(
            "INSERT INTO chunks (document_id, chunk_text, embedding) VALUES ($1, 'penguins march', $2)",
            document_id,
            vector,
        )
    hit = (await knowledge.searcher.search("penguins marching", limit=1))[0]
    assert (hit.document_id, hit.char_start, hit.chunk_index) == (document_id, None, 0)


async def test_a_chunk_without_a_document_is_found_like_any_other(knowledge: Knowledge) -> None:
    """document_id may be NULL, by the contract; such a chunk has no document to show, and no filter matches it."""
    identity = await knowledge.embedder.identity()
    vector = (await knowledge.embedder.embed(["penguins march"], prompt="document", expect=identity.fingerprint))[0]
    async with knowledge.database.connection() as connection:
        await connection.execute("INSERT INTO chunks (chunk_text, embedding) VALUES ('penguins march', $1)", vector)
    for mode in ("vector", "text", "hybrid"):
        hits = await knowledge.searcher.search("penguins", mode=mode)
        assert [(hit.document_id, hit.document_content) for hit in hits] == [(None, "penguins march")]
    assert await knowledge.searcher.search("penguins", filters=Filters(category="general")) == []


async def test_a_search_outlives_a_change_of_the_model(filled: Knowledge) -> None:
    """A process that knew another model asks again instead of comparing vectors of two models."""
    other = replace(await filled.documents.identity(), fingerprint="another")
    async with filled.database.connection() as connection:
        await connection.execute("UPDATE embedding_model SET fingerprint = 'another'")
    with pytest.raises(ModelMismatch, match="mixing them"):
        await filled.searcher.search("sourdough")
    assert (await filled.searcher.search("sourdough", mode="text"))[0].title == "bread"
    async with filled.database.connection() as connection:
        await connection.execute(
            "UPDATE embedding_model SET fingerprint = $1", (await filled.embedder.identity()).fingerprint
        )
    assert other.fingerprint != (await filled.documents.identity()).fingerprint
    assert (await filled.searcher.search("sourdough"))[0].title == "bread"


async def test_a_search_sees_one_moment(filled: Knowledge) -> None:
    """Documents that go while a search is under way are either found whole or not at all."""

    async def churn() -> None:
        for number in range(15):
            added = await filled.documents.add(NewDocument(f"sourdough number {number}"))
            await filled.documents.remove([added.document_id])

    async def look() -> None:
        for _ in range(30):
            assert all(hit.chunk_text for hit in await filled.searcher.search("sourdough", mode="text", limit=20))

    await asyncio.gather(churn(), look(), look())


def test_the_fusion_gets_more_candidates_than_hits() -> None:
    """Fifty at least, three times the hits otherwise."""
    assert [candidates(limit) for limit in (1, 20, 200)] == [50, 60, 600]


LONG = "# Kitchen\n\n" + "\n\n".join(
    f"Step {number}: rinse the espresso machine with citric acid and water. " * 8 for number in range(9)
)


async def test_chunks_that_follow_each_other_are_one_passage(knowledge: Knowledge) -> None:
    """Neighbours come as one text, exactly as it stands in the document, and leave room for others."""
    await knowledge.documents.add(NewDocument(LONG, title="Kitchen"))
    await knowledge.documents.add(NewDocument("Citric acid is found in lemons.", title="Lemons"))
    hits = await knowledge.searcher.search("espresso machine citric acid", limit=5)
    joined = [hit for hit in hits if len(hit.chunk_ids) > 1]
    assert joined
    for hit in joined:
        assert LONG[hit.char_start : hit.char_end] == hit.chunk_text
        assert hit.chunk_id in hit.chunk_ids
    assert "Lemons" in {hit.title for hit in hits}
    shown = sorted((hit.char_start or 0, hit.char_end or 0) for hit in hits if hit.title == "Kitchen")
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(shown))


async def test_a_hit_names_its_page(knowledge: Knowledge) -> None:
    """Where a reader noted where pages begin, a hit says on which it stands, and the note itself is not shown."""
    text = "Bread is baked.\n\nPenguins march over the ice."
    await knowledge.documents.add(NewDocument(text, metadata={"pages": [0, 17], "by": "me"}, markdown=False))
    for query, page in (("penguins marching", 2), ("baking bread", 1)):
        hit = (await knowledge.searcher.search(query, limit=1))[0]
        assert (hit.page, hit.metadata, hit.chunk_text) == (page, {"by": "me"}, text)


@pytest.mark.parametrize(("char_start", "page"), [(0, 1), (9, 1), (10, 2), (500, 3), (None, None)])
def test_the_page_of_a_character(char_start: int | None, page: int | None) -> None:
    """A page begins at its offset."""
    assert page_of([0, 10, 20], char_start) == page
    assert page_of([], char_start) is None


@pytest.mark.parametrize(
    "theirs",
    [
        {"pages": 320},
        {"pages": [12, 13]},
        {"pages": [0, "x"]},
        {"pages": [0, 9, 3]},
        {"pages": []},
        {"pages": [True]},
        None,
        "pages",
        3,
        [1, "pages"],
    ],
)
async def test_what_somebody_else_keeps_under_that_name_is_no_page(knowledge: Knowledge, theirs: object) -> None:
    """Metadata may be any JSON, typed by hand: it comes back as it is, and no search fails for it."""
    added = await knowledge.documents.add(NewDocument("Penguins march over the ice."))
    async with knowledge.database.connection() as connection:
        await connection.execute("UPDATE documents SET metadata = $2 WHERE id = $1", added.document_id, theirs)
    hit = (await knowledge.searcher.search("penguins marching", limit=1))[0]
    assert (hit.page, hit.metadata) == (None, theirs if theirs is not None else {})


async def test_a_vector_of_zeros_has_no_distance(knowledge: Knowledge) -> None:
    """It is found by its words, and what has no direction is not told as a number that is none."""
    async with knowledge.database.connection() as connection:
        await connection.execute(
            "INSERT INTO chunks (chunk_text, embedding) VALUES ('penguins march', array_fill(0, ARRAY[384])::vector)"
        )
    hit = (await knowledge.searcher.search("penguins", limit=1))[0]
    assert hit.distance is None
    assert hit.score > 0


async def test_more_like_a_document(filled: Knowledge) -> None:
    """The nearest of the others comes first, and never the document itself."""
    added = await filled.documents.add(
        NewDocument("Baking bread with a sourdough starter in a hot oven.", title="oven")
    )
    hits = await filled.searcher.like(added.document_id, limit=2)
    assert hits[0].title == "bread"
    assert added.document_id not in {hit.document_id for hit in hits}
    only = await filled.searcher.like(added.document_id, filters=Filters(category="garden"))
    assert [hit.title for hit in only] == ["tomatoes"]


async def test_like_a_document_that_is_not_there_is_an_error(filled: Knowledge) -> None:
    """A wrong id, and a document without vectors, are told in words."""
    with pytest.raises(DocumentError, match="no document"):
        await filled.searcher.like(99_999)
    async with filled.database.connection() as connection:
        blank = await connection.fetchval("INSERT INTO documents (content) VALUES ('not yet') RETURNING id")
    with pytest.raises(DocumentError, match="no vector yet"):
        await filled.searcher.like(blank)
