"""What was written on AIR, sent in order: once each, whatever is cut off on the way."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import asyncpg

from aya import outcome, queries
from aya.errors import DatabaseConflict
from aya_syncd.wire import passed_on

if TYPE_CHECKING:
    from aya.reach import Reached

_PRIMARY = queries.load("aya_syncd", "primary.sql")
_LOCAL = queries.load("aya_syncd", "local.sql")
FIRST_BATCH = 200
# So long a document waits for its chunks to be made here, before the primary is left to make them.
PATIENCE_SECONDS = 60.0


@dataclass(frozen=True, slots=True)
class Pushed:
    """One batch. conflicts: how many were changed on both sides; rejected: what the primary cannot take."""

    sent: int = 0
    done: int = 0
    rejected: int = 0
    conflicts: int = 0


async def push(primary: Reached, local: Reached, *, node: str, most: int = FIRST_BATCH) -> Pushed:
    """Send the next operations, `most` at a time, with vectors of the model that both have; note what became of them.

    Raises OutcomeUnknown and the driver's errors; then the same operations are sent again, and have their receipts.
    """
    if not await local.fetchval(_LOCAL["resting"]):
        await local.execute(_LOCAL["take"], most, PATIENCE_SECONDS)
        if not await local.fetchval(_LOCAL["resting"]):
            # Not even a transaction: on a primary whose standby is away it would not end.
            return Pushed()
    async with outcome.transaction(primary):
        await primary.execute(_PRIMARY["receive"])
        async with outcome.transaction(local, isolation="repeatable_read", readonly=True):
            await local.execute(_PRIMARY["stay"])
            sending = await local.fetchval(_LOCAL["resting"])
            if not sending:
                return Pushed()
            await passed_on(local, _LOCAL["outgoing"], most, target=primary, table="incoming")
            ours = await local.fetchval(_PRIMARY["model"])
            await passed_on(local, _LOCAL["outgoing_chunks"], most, target=primary, table="incoming_chunks")
        verdicts = await primary.fetch(_PRIMARY["accept"], node)
        if await primary.fetchval(_PRIMARY["model"]) != ours:
            raise DatabaseConflict("the primary was moved to another model meanwhile", hint="aya sync status")
    try:
        return await _settle(local, verdicts)
    except asyncpg.LockNotAvailableError:
        # Somebody here is changing one of the rows: the same again, later; the receipts answer.
        return Pushed()


async def _settle(local: Reached, verdicts: list[asyncpg.Record]) -> Pushed:
    """Note what became of what was sent."""
    async with outcome.transaction(local):
        await local.execute(_LOCAL["alone"])
        await local.execute(_LOCAL["hurry"])
        await local.execute(_LOCAL["applying"])
        columns = [[row[name] for row in verdicts] for name in ("op_uid", "outcome", "head_id", "head_rev", "error")]
        await local.execute(_LOCAL["fold"], [row["op_uid"] for row in verdicts if row["outcome"] == "held"])
        settled = await local.fetchrow(_LOCAL["settle"], *columns)
        op_uids, _, head_ids, head_revs, _ = columns
        await local.execute(_LOCAL["hold_sent"], op_uids)
        for statement in ("renumber_documents", "renumber_chunks"):
            await local.execute(_LOCAL[statement], op_uids, head_ids, head_revs)
        for statement in ("unknown_documents", "unknown_chunks"):
            await local.execute(_LOCAL[statement], op_uids)
        await local.execute(_LOCAL["rebase"], op_uids, head_revs)
        await local.execute(_LOCAL["pushed"])
        await local.execute(_LOCAL["tidy"])
    return Pushed(len(verdicts), **dict(settled or {}))
