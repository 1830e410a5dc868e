"""What must hold when both sides are at rest: the same rows, and every version that anybody was told was kept."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any
from uuid import UUID

import asyncpg

SAME = {
    "documents": (
        "SELECT id, uid, rev, content, metadata, category, source, created_at, updated_at, title, places,"
        " content_sha256, content_changed_at FROM documents ORDER BY id"
    ),
    "chunks": (
        "SELECT id, document_id, uid, rev, chunk_text, embedding::text, chunk_index, metadata, created_at, char_start,"
        " char_end, heading, content_sha256 FROM chunks ORDER BY id"
    ),
}
_WAITING = "SELECT id, operation, unit, status, error FROM write_queue WHERE status <> 'done' ORDER BY id LIMIT 3"
_HEADS = "SELECT uid, metadata ->> 'v' AS token FROM documents UNION ALL SELECT uid, metadata ->> 'v' FROM chunks"
_KEPT = (
    "SELECT document -> 'metadata' ->> 'v' AS token FROM conflicts"
    " UNION ALL SELECT metadata ->> 'v' FROM conflict_chunks"
)
# Cut from another text than its document has, although no indexer is told to do it again.
_STALE = (
    "SELECT c.uid FROM chunks AS c INNER JOIN documents AS d ON c.document_id = d.id"
    " WHERE c.content_sha256 <> d.content_sha256 AND NOT EXISTS"
    " (SELECT FROM index_queue AS q WHERE q.document_id = d.id)"
)
_WITHOUT_VECTOR = (
    "SELECT c.uid FROM chunks AS c WHERE c.embedding IS NULL AND NOT EXISTS"
    " (SELECT FROM index_queue AS q WHERE q.document_id = c.document_id)"
)


@dataclass
class Write:
    """What a client did in a transaction.

    token: of the version it wrote; None: it deleted. replaced: the versions that it saw and put an end to, by uid.
    state: open, kept, not kept, or unknown.
    """

    side: str
    uid: UUID | None
    token: str | None
    replaced: dict[UUID, str] = field(default_factory=dict[UUID, str])
    state: str = "open"
    client: object = None


@dataclass
class Journal:
    """What all clients did. One journal for as long as the two bases live."""

    writes: list[Write] = field(default_factory=list[Write])

    def count(self, state: str) -> int:
        """Return how many writes are in a state."""
        return sum(write.state == state for write in self.writes)


async def differences(here: asyncpg.Connection[Any], there: asyncpg.Connection[Any]) -> str:
    """Return how AIR (here) and the primary (there) differ, in words; empty: the same rows, and nothing waits."""
    if not await here.fetchval("SELECT snapshot IS NOT NULL FROM sync_state"):
        return "nothing was copied yet"
    for table, query in SAME.items():
        ours, theirs = await here.fetch(query), await there.fetch(query)
        if ours != theirs:
            return f"{table}: only air {_odd(ours, theirs)}, only primary {_odd(theirs, ours)}"
    waiting = await here.fetch(_WAITING)
    return f"waiting: {[tuple(row) for row in waiting]}" if waiting else ""


def _odd(rows: list[asyncpg.Record], others: list[asyncpg.Record]) -> list[tuple[str, ...]]:
    known = {tuple(map(str, row)) for row in others}
    return [tuple(str(value)[:40] for value in row) for row in rows if tuple(map(str, row)) not in known][:2]


async def check(here: asyncpg.Connection[Any], there: asyncpg.Connection[Any], journal: Journal) -> None:
    """Compare both, at rest, with what clients were told. Raises AssertionError."""
    heads = [(row["uid"], row["token"]) for row in await there.fetch(_HEADS) if row["token"]]
    kept = {row["token"] for row in await there.fetch(_KEPT) if row["token"]}
    lost = _lost(journal, {token for _, token in heads}, kept)
    assert not lost, f"{len(lost)} versions are lost: {lost[:3]}"
    doubled = len(heads) - len({token for _, token in heads})
    assert not doubled, f"{doubled} versions are there twice"
    undone = {write.token for write in journal.writes if write.state == "not kept" and write.token}
    invented = undone & (kept | {token for _, token in heads})
    assert not invented, f"what was rolled back is there: {sorted(invented)[:3]}"
    await _check_deletions(there, journal, dict(heads))
    await _check_receipts(here, there)
    for query, words in ((_STALE, "are cut from another text"), (_WITHOUT_VECTOR, "wait for a vector in vain")):
        odd = await there.fetch(query)
        assert not odd, f"{len(odd)} chunks {words}: {[str(row['uid']) for row in odd[:3]]}"


def _lost(journal: Journal, heads: set[str], kept: set[str]) -> list[str]:
    """Return the kept versions that are in no head, in no conflict, and that nobody who saw them replaced."""
    replaced = {
        token for write in journal.writes if write.state in {"kept", "unknown"} for token in write.replaced.values()
    }
    return [
        f"{write.token} at {write.side}, {write.uid}" for write in journal.writes
        if write.state == "kept" and write.token and write.token not in heads | kept | replaced
    ]  # fmt: skip


async def _check_deletions(there: asyncpg.Connection[Any], journal: Journal, heads: dict[UUID, str]) -> None:
    """A version that was deleted is gone, or the deletion is in conflicts."""
    told = {row["uid"] for row in await there.fetch("SELECT uid FROM conflicts WHERE document IS NULL")}
    for write in journal.writes:
        if write.state == "kept" and write.token is None and not told & {write.uid, *write.replaced}:
            back = [str(uid) for uid, token in write.replaced.items() if heads.get(uid) == token]
            assert not back, f"deleted at {write.side}, and there all the same: {back[:3]}"


async def _check_receipts(here: asyncpg.Connection[Any], there: asyncpg.Connection[Any]) -> None:
    done = [row["op_uid"] for row in await here.fetch("SELECT op_uid FROM write_queue WHERE status <> 'waiting'")]
    receipts = [row["op_uid"] for row in await there.fetch("SELECT op_uid FROM receipts WHERE outcome IS NOT NULL")]
    assert sorted(done) == sorted(receipts), f"{len(done)} operations were answered, {len(receipts)} have a receipt"
