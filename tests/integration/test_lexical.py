"""Words are ranked by BM25, computed in PostgreSQL."""

from __future__ import annotations

import math

import numpy as np
import pytest
from tests.integration.conftest import Knowledge

from aya.knowledge.lexical import Words
from aya.knowledge.types import Filters, NewDocument

pytestmark = pytest.mark.database

# Words that no dictionary changes, so that the tests count what the database counts.
LEXEMES = "zork blim quud vrap nexo"
CHUNKS = ["zork blim blim quud", "zork", "blim quud quud quud vrap", "vrap nexo " * 40, "nothing of it"]


@pytest.fixture
async def typed(knowledge: Knowledge) -> Knowledge:
    """Five chunks, typed by hand."""
    async with knowledge.database.connection() as connection:
        await connection.executemany("INSERT INTO chunks (chunk_text) VALUES ($1)", [(text,) for text in CHUNKS])
    return knowledge


def bm25(query: str) -> dict[str, float]:
    """Return the scores of CHUNKS by the book, as shares of the best possible; plain Python over plain words."""
    words = [[word for word in text.split() if word not in {"of", "it"}] for text in CHUNKS]
    scores = dict.fromkeys(CHUNKS, 0.0)
    possible = 0.0
    for wanted in set(query.split()):
        held = sum(wanted in each for each in words)
        rarity = math.log(1 + (len(CHUNKS) - held + 0.5) / (held + 0.5))
        possible += 2.2 * rarity
        for text, each in zip(CHUNKS, words, strict=True):
            times = each.count(wanted)
            scores[text] += rarity * 2.2 * times / (times + 1.2 * (0.25 + 0.75 * len(each) / 80))
    return {text: score / possible for text, score in scores.items() if score}


@pytest.mark.parametrize("query", ["zork", "blim quud", "quud vrap nexo zork", "nexo nexo vrap", "vrap"])
async def test_the_scores_are_the_books(typed: Knowledge, query: str) -> None:
    """What PostgreSQL computes is BM25, for all chunks that hold a word, in the right order."""
    async with typed.database.transaction(readonly=True) as connection:
        words = await Words.read(connection, query)
        found = await words.matching(50, Filters())
        texts = {row["id"]: row["chunk_text"] for row in await connection.fetch("SELECT id, chunk_text FROM chunks")}
        again = await words.shares(list(texts))
    expected = bm25(query)
    assert {texts[each]: share for each, share in found.items()} == pytest.approx(expected, rel=2e-3)
    assert list(found.values()) == sorted(found.values(), reverse=True)
    assert {each: again[each] for each in found} == pytest.approx(found)
    assert all(share == 0 for each, share in again.items() if each not in found)


async def test_frequent_words_are_told_by_the_statistics_and_rare_ones_counted(knowledge: Knowledge) -> None:
    """After ANALYZE the frequency of a frequent word is estimated, and that of a rare one exact."""
    async with knowledge.database.connection() as connection:
        await connection.execute(
            "INSERT INTO chunks (chunk_text) SELECT CASE WHEN i % 500 = 0 THEN 'zork ' ELSE '' END || 'blim w' || i "
            "FROM generate_series(1, 3000) AS i"
        )
        asked = "SELECT total, frequencies FROM aya_document_frequencies(ARRAY['blim', 'zork', 'quud'])"
        before = await connection.fetchrow(asked)
        await connection.execute("ANALYZE chunks")
        after = await connection.fetchrow(asked)
    assert before is not None
    assert after is not None
    assert before["frequencies"] == [3000, 6, 0]
    assert (after["total"], after["frequencies"][1:]) == (3000, [6, 0])
    assert after["frequencies"][0] == pytest.approx(3000, rel=0.01)


async def test_a_rare_word_outweighs_many_common_ones(knowledge: Knowledge) -> None:
    """ts_rank would put the passage first that repeats what every passage has."""
    async with knowledge.database.connection() as connection:
        await connection.execute(
            "INSERT INTO chunks (chunk_text) SELECT 'clean the machine ' || i FROM generate_series(1, 40) AS i"
        )
        await connection.execute(
            "INSERT INTO chunks (chunk_text) VALUES ('the clean machine, clean the machine'), ('blim')"
        )
    hits = await knowledge.searcher.search("how do I clean the machine that says blim", mode="text", limit=1)
    assert hits[0].chunk_text == "blim"


async def test_headings_and_titles_are_words_of_a_passage(knowledge: Knowledge) -> None:
    """What stands above a passage is found with it, from a record's title to a heading some chunks before."""
    await knowledge.documents.add(NewDocument("Turn it twice a week.", title="Compost heap", markdown=False))
    await knowledge.documents.add(NewDocument("# Kitchen\n\n## Espresso\n\n" + "Use citric acid here. " * 60))
    titled = (await knowledge.searcher.search("compost", mode="text", limit=1))[0]
    assert (titled.chunk_text, titled.heading) == ("Turn it twice a week.", "Compost heap")
    under = await knowledge.searcher.search("espresso", mode="text", limit=9)
    assert under
    assert {hit.heading for hit in under} == {"Kitchen > Espresso"}


async def test_a_text_of_more_words_than_a_vector_holds_is_kept(knowledge: Knowledge) -> None:
    """A sparse vector ends at 16,000 entries; a row typed by hand must not fail for it."""
    text = " ".join(f"w{number}" for number in range(30_000)) + " zork zork"
    async with knowledge.database.connection() as connection:
        await connection.execute("INSERT INTO chunks (chunk_text) VALUES ($1), ('')", text)
        found = await connection.fetchval("SELECT max(l2_norm(chunk_terms)) FROM chunks")
    assert np.isfinite(found)
    assert (await knowledge.searcher.search("zork", mode="text", limit=1))[0].chunk_text == text
