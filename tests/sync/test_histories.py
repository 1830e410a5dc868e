"""Every history of up to three changes on AIR against every change at the primary, a document for each, all at once."""

from __future__ import annotations

import itertools
from collections.abc import Awaitable, Callable, Iterable
from dataclasses import dataclass
from typing import Any

import asyncpg
import numpy as np
import pytest
from tests.sync import oracle
from tests.sync.conftest import Pair
from tests.sync.oracle import Journal, Write
from tests.sync.test_sync_faults import send, stepping

from aya.db import prepare_connection

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(180)]
VECTOR = np.arange(768, dtype=np.float32) / 768
MOST = 3
# What a change is told: of which documents, the beginning of its versions, how far its clock is ahead, and a vector.
# What is there of these: documents, and the chunks of theirs that were typed.
GIVEN = """
    WITH given AS (SELECT $1::text[] AS names, $2::text AS word, $3::text::interval AS ahead, $4::vector AS vector),
    o AS (
        SELECT d.uid, d.metadata ->> 'v' AS was, g.* FROM documents AS d CROSS JOIN given AS g
        WHERE d.source = any(g.names) FOR UPDATE OF d
    ),
    t AS (
        SELECT c.uid, c.metadata ->> 'v' AS was, g.* FROM chunks AS c
        INNER JOIN documents AS d ON c.document_id = d.id CROSS JOIN given AS g
        WHERE d.source = any(g.names) AND c.content_sha256 IS NULL FOR UPDATE OF c
    )
"""
# Each returns the versions that it puts an end to: the uid, what it was, and what it is; NULL: it is gone.
CHANGES = {
    "mark": """
        UPDATE documents AS d
        SET metadata = jsonb_build_object('v', o.word || d.source), updated_at = now() + o.ahead
        FROM o WHERE d.uid = o.uid RETURNING d.uid, o.was, d.metadata ->> 'v' AS becomes
    """,
    "text": """
        UPDATE documents AS d
        SET
            metadata = jsonb_build_object('v', o.word || d.source), content = o.word || d.source,
            updated_at = now() + o.ahead
        FROM o WHERE d.uid = o.uid RETURNING d.uid, o.was, d.metadata ->> 'v' AS becomes
    """,
    "delete": """
        , gone AS (DELETE FROM documents AS d USING o WHERE d.uid = o.uid)
        SELECT o.uid, o.was, NULL AS becomes FROM o UNION ALL SELECT t.uid, t.was, NULL FROM t
    """,
    "type": """
        INSERT INTO chunks (document_id, chunk_text, embedding, metadata)
        SELECT d.id, 'typed', o.vector, jsonb_build_object('v', o.word || 'chunk ' || d.source)
        FROM documents AS d INNER JOIN o ON d.uid = o.uid
        RETURNING uid, NULL AS was, metadata ->> 'v' AS becomes
    """,
    "edit": """
        UPDATE chunks AS c SET metadata = jsonb_build_object('v', t.word || c.uid), embedding = t.vector
        FROM t WHERE c.uid = t.uid RETURNING c.uid, t.was, c.metadata ->> 'v' AS becomes
    """,
    "drop": "DELETE FROM chunks AS c USING t WHERE c.uid = t.uid RETURNING c.uid, t.was, NULL AS becomes",
}
RECUT = (
    """
        DELETE FROM chunks WHERE content_sha256 IS NOT NULL AND document_id IN (SELECT document_id FROM index_queue)
    """,
    """
        INSERT INTO chunks (document_id, chunk_text, embedding, content_sha256)
        SELECT d.id, d.content, $1, d.content_sha256
        FROM documents AS d INNER JOIN index_queue AS q ON d.id = q.document_id
    """,
    "DELETE FROM index_queue",
)


@dataclass(frozen=True)
class History:
    """What befalls one document. air: in this order; primary: one change or none; newer: AIR's clock is ahead."""

    air: tuple[str, ...]
    primary: str
    newer: bool

    @property
    def name(self) -> str:
        """Return what its document is called."""
        return f"{'+'.join(self.air)} against {self.primary or 'nothing'}, {'ahead' if self.newer else 'behind'}"


HISTORIES = [
    History(air, primary, newer)
    for length in range(MOST + 1)
    for air in itertools.product(CHANGES, repeat=length)
    for primary in ("", *CHANGES)
    for newer in (False, True)
]


@dataclass(frozen=True)
class Turn:
    """One change on one side; step: which of the side's."""

    side: str
    how: str
    step: int = 0

    async def take(self, connection: asyncpg.Connection[Any], histories: Iterable[History], journal: Journal) -> None:
        """Do it to the documents of many histories, and note it."""
        word = f"{self.side} {self.step} {self.how}: "
        for newer in (False, True):
            names = [history.name for history in histories if history.newer == newer]
            ahead = {"primary": "0"}.get(self.side, "1 hour" if newer else "-1 hour")
            for row in await connection.fetch(GIVEN + CHANGES[self.how], names, word, ahead, VECTOR):
                replaced = {row["uid"]: row["was"]} if row["was"] else {}
                journal.writes.append(Write(self.side, row["uid"], row["becomes"], replaced, "kept"))


async def recut(connection: asyncpg.Connection[Any]) -> None:
    """Do as the indexer does."""
    remove, cut, done = RECUT
    await connection.execute(remove)
    await connection.execute(cut, VECTOR)
    await connection.execute(done)


@pytest.mark.parametrize("between", [False, True], ids=["all at once", "sent after the first"])
async def test_no_history_loses_a_version(pair: Pair, *, between: bool) -> None:
    """Both have the same in the end, and every version is the head, in conflicts, or was replaced by who saw it."""
    journal = Journal()
    primary, air = await asyncpg.connect(pair.primary.dsn()), await asyncpg.connect(pair.air.dsn())
    try:
        for end in (primary, air):
            await prepare_connection(end)
        await primary.execute(
            "INSERT INTO documents (content, source) SELECT n, n FROM unnest($1::text[]) AS n",
            [history.name for history in HISTORIES],
        )
        await recut(primary)
        await primary.execute(
            "INSERT INTO chunks (document_id, chunk_text, embedding, metadata)"
            " SELECT id, 'typed', $1, jsonb_build_object('v', 'first ' || source) FROM documents", VECTOR,
        )  # fmt: skip
        await _synced(pair)
        await _befall(pair, primary, air, journal, between=between)
        await _synced(pair)
        await oracle.check(air, primary, journal)
        await _nothing_kept_where_one_side_changed(primary)
    finally:
        await primary.close()
        await air.close()


async def _synced(pair: Pair) -> None:
    async with pair.syncing(compare_seconds=300):
        await pair.at_rest(seconds=60)


async def _befall(
    pair: Pair, primary: asyncpg.Connection[Any], air: asyncpg.Connection[Any], journal: Journal, *, between: bool
) -> None:
    for how in CHANGES:
        theirs = [one for one in HISTORIES if one.primary == how]
        await Turn("primary", how).take(primary, theirs, journal)
    await recut(primary)
    for step in range(MOST):
        for how in CHANGES:
            now = [one for one in HISTORIES if len(one.air) > step and one.air[step] == how]
            await Turn("air", how, step).take(air, now, journal)
        await recut(air)
        if between and step == 0:
            async with stepping(pair) as ends:
                await _all_sent(lambda: send(*ends))


async def _all_sent(send_some: Callable[[], Awaitable[Any]]) -> None:
    while (await send_some()).done:
        pass


async def _nothing_kept_where_one_side_changed(primary: asyncpg.Connection[Any]) -> None:
    """A conflict takes two."""
    odd = await primary.fetch(
        "SELECT c.reason, coalesce(c.document ->> 'source', d.source) AS source FROM conflicts AS c"
        " LEFT JOIN documents AS d ON c.uid = d.uid"
        " WHERE coalesce(c.document ->> 'source', d.source) LIKE ANY (ARRAY['% against nothing, %', ' against %'])"
    )
    assert not odd, [tuple(row) for row in odd[:3]]
