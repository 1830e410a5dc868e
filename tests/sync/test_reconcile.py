"""What differs for no reason is mended: a flipped bit, a row that AIR lost, a row that only AIR has."""

from __future__ import annotations

import numpy as np
import pytest
from tests.sync.conftest import Pair

pytestmark = pytest.mark.database
VECTOR = np.arange(768, dtype=np.float32) / 768


async def _fill(pair: Pair) -> None:
    await pair.at_primary("INSERT INTO documents (content) SELECT 'text ' || g FROM generate_series(1, 600) AS g")
    await pair.at_primary(
        "INSERT INTO chunks (document_id, chunk_text, embedding) SELECT id, content, $1 FROM documents", VECTOR
    )
    await pair.at_primary("DELETE FROM index_queue")
    async with pair.syncing():
        await pair.at_rest()


async def test_a_flipped_bit_on_air_is_mended(pair: Pair) -> None:
    """A vector that is not what it was, and nobody wrote it."""
    await _fill(pair)
    await pair.unseen_at_air("UPDATE chunks SET embedding = l2_normalize(embedding) WHERE id = 300")
    assert await pair.differences()
    async with pair.syncing():
        await pair.at_rest()


async def test_a_row_that_air_lost_comes_back(pair: Pair) -> None:
    """Nobody deleted it."""
    await _fill(pair)
    await pair.unseen_at_air("DELETE FROM documents WHERE id IN (17, 400)")
    async with pair.syncing():
        await pair.at_rest()
    assert len(await pair.at_air("SELECT FROM documents")) == 600


async def test_a_row_that_only_air_has_is_sent(pair: Pair) -> None:
    """It was never said to be deleted, so it is kept: on both sides, under a number of the primary's."""
    await _fill(pair)
    await pair.unseen_at_air("INSERT INTO documents (id, content, content_sha256) VALUES (5000, 'only here', 'x')")
    async with pair.syncing():
        await pair.at_rest()
    assert [row["id"] for row in await pair.at_primary("SELECT id FROM documents WHERE content = 'only here'")] == [601]
