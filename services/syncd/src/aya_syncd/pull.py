"""What changed on the primary, fetched and merged: the cursor moves in the same transaction as its rows."""

from __future__ import annotations

import time
from collections import Counter
from typing import TYPE_CHECKING, Any

import asyncpg

from aya import log, outcome, queries
from aya_syncd.reconcile import reconcile
from aya_syncd.state import Cursor, Upstream, next_step, switch_point
from aya_syncd.wire import passed_on

if TYPE_CHECKING:
    from datetime import datetime

    from aya.reach import Reached

_PRIMARY = queries.load("aya_syncd", "primary.sql")
_LOCAL = queries.load("aya_syncd", "local.sql")
# A copy of which so much is new is indexed at its end.
_FRESH_SHARE = 0.3
_FEW_ROWS = 5_000
# Whoever asks is told how far so many are.
_MANY_ROWS = 1_000
_TABLES = ("documents", "chunks")


async def prepare(local: Reached) -> None:
    """Make the places where fetched rows wait; once for a connection."""
    await local.execute(_LOCAL["prepare"])


async def cursor(local: Reached) -> Cursor:
    """Return what AIR remembers."""
    row = await local.fetchrow(_LOCAL["state"])
    fields = dict(row or {})
    fields.pop("paused", None)
    return Cursor(**fields)


async def is_paused(local: Reached) -> bool:
    """Return whether a person has paused the sync."""
    row = await local.fetchrow(_LOCAL["state"])
    return bool(row and row["paused"])


async def upstream(primary: Reached, known: Cursor) -> Upstream:
    """Return what the server is that answered."""
    identity = await primary.fetchrow(_PRIMARY["identity"])
    model = await primary.fetchrow(_PRIMARY["model"])
    has_all = known.snapshot is not None and bool(await primary.fetchval(_PRIMARY["floor"], known.snapshot))
    return Upstream(**dict(identity or {}), has_all=has_all, fingerprint=model["fingerprint"] if model else None)


async def both(primary: Reached, local: Reached) -> tuple[Cursor, Upstream]:
    """Return what AIR remembers, and what the server is that answered."""
    known = await cursor(local)
    return known, await upstream(primary, known)


class Refused(Exception):
    """This server cannot be followed."""


async def pull(primary: Reached, local: Reached, *, compare_seconds: float = 300.0) -> int:
    """Fetch what changed and merge it; return how many rows that were. Raises Refused; other errors are the driver's.

    compare_seconds: so often all rows are compared, too.
    """
    known, found = await both(primary, local)
    step, why = next_step(known, found)
    if step == "refuse":
        raise Refused(why)
    if step == "rewind" and not await _rewind(primary, local, known, found):
        step, why = "copy", f"{why}, and no cursor is left from before"
    if step == "copy":
        return await _copy(primary, local, why)
    if step == "rewind":
        return await pull(primary, local, compare_seconds=0)
    before = await local.fetchval(_LOCAL["clock"])
    async with outcome.transaction(primary, isolation="repeatable_read", readonly=True):
        await primary.execute(_PRIMARY["stay"])
        moment = await primary.fetchrow(_PRIMARY["moment"])
        if not await primary.fetchval(_PRIMARY["floor"], known.snapshot):
            raise Refused("the change log was shortened just now")
        changed = await primary.fetch(_PRIMARY["changed"], known.snapshot)
        if len(changed) >= _MANY_ROWS:
            named = Counter(row["table_name"] for row in changed)
            await local.execute(_LOCAL["fetching"], *(named[table] for table in _TABLES))
        async with outcome.transaction(local):
            await local.execute(_LOCAL["alone"])
            await local.execute(_LOCAL["clear"])
            await local.execute(
                _LOCAL["stage_keys"],
                [row["table_name"] for row in changed],
                [row["uid"] for row in changed],
                step == "peek",
            )
            parked = await local.fetchval(_LOCAL["parked_documents"])
            if parked:
                theirs = await primary.fetchval(_PRIMARY["chunks_of"], parked)
                await local.execute(_LOCAL["stage_chunks"], parked, theirs or [])
            for row in await local.fetch(_LOCAL["keys"]):
                await _fetch(primary, local, row["table_name"], row["uids"])
            rows = await _merge(local, before)
            if step == "pull":
                await _advance(local, found, moment)
                if await local.fetchval(_LOCAL["compare"], compare_seconds):
                    await reconcile(primary, local)
            else:
                await local.execute(_LOCAL["looked"])
    return rows


async def _rewind(primary: Reached, local: Reached, known: Cursor, found: Upstream) -> bool:
    """Go back to what a new primary surely had when it was promoted; return whether that is known.

    Without that a transaction number that the old primary gave, too, would be passed over.
    """
    try:
        history = await primary.fetchval(_PRIMARY["history"], found.timeline)
    except asyncpg.UndefinedFunctionError:
        return False
    place = switch_point(history or "", known.timeline or 0)
    if place is None:
        return False
    gone_back = bool(await local.fetchval(_LOCAL["rewind"], place, found.timeline))
    log.get_logger().warning(
        "cursor.rewound" if gone_back else "cursor.lost", timeline=found.timeline, was=known.timeline, place=place
    )
    return gone_back


async def _fetch(primary: Reached, local: Reached, table: str, uids: list[Any] | None) -> int:
    return await passed_on(primary, _PRIMARY[table], uids, target=local, table=f"staged_{table}")


async def _merge(local: Reached, before: datetime) -> int:
    """Bring what is staged into the tables; return how many rows changed here. before: the primary was read."""
    await local.execute(_LOCAL["applying"])
    for statement in ("hold_documents", "hold_chunks"):
        await local.execute(_LOCAL[statement])
    await local.execute(_LOCAL["park"], before)
    rows = 0
    for table in reversed(_TABLES):
        rows += await _changed(local, f"delete_{table}")
    for table in _TABLES:
        moved = [row["uid"] for row in await local.fetch(_LOCAL[f"make_room_{table}"])]
        if moved:
            log.get_logger().warning("rows.only_here", table=table, rows=len(moved))
            await local.fetch(_LOCAL[f"send_{table}"], moved)
        rows += await _changed(local, f"merge_{table}")
    await local.execute(_LOCAL["leave_to_primary"])
    await local.execute(_LOCAL["unpark"])
    return rows


async def _changed(local: Reached, statement: str) -> int:
    return int((await local.execute(_LOCAL[statement])).rpartition(" ")[2])


async def mend(local: Reached) -> None:
    """Finish what a daemon left that was killed at the end of a copy: the index of its vectors."""
    if (await cursor(local)).snapshot is not None:
        await local.execute(_LOCAL["build_vector_index"], timeout=None)


async def _advance(local: Reached, found: Upstream, moment: Any) -> None:  # noqa: ANN401 a row
    place = (found.timeline, moment["snapshot"], moment["lsn"])
    await local.execute(_LOCAL["advance"], found.system_identifier, *place, found.fingerprint)
    await local.execute(_LOCAL["remember"], *place)
    await local.execute(_LOCAL["forget"])


async def _copy(primary: Reached, local: Reached, why: str) -> int:
    """Fetch everything, of one moment; what waits to be sent stays as it is here."""
    logger, began = log.get_logger(), time.monotonic()
    before = await local.fetchval(_LOCAL["clock"])
    async with outcome.transaction(primary, isolation="repeatable_read", readonly=True):
        await primary.execute(_PRIMARY["stay"])
        found = await upstream(primary, Cursor())
        moment = await primary.fetchrow(_PRIMARY["moment"])
        model = await primary.fetchrow(_PRIMARY["model"])
        counts = dict(await primary.fetchrow(_PRIMARY["counts"]) or {})
        logger.warning("copy.begun", why=why, **counts)
        await local.execute(_LOCAL["clear"])
        await local.execute(_LOCAL["fetching"], *(counts[table] for table in _TABLES))
        for table in _TABLES:
            size = await _fetch(primary, local, table, None)
            seconds = time.monotonic() - began
            logger.info("copy.fetched", table=table, bytes=size, seconds=round(seconds, 1))
    share = await local.fetchrow(_LOCAL["share_left"])
    staged, fresh = (share["staged"], share["fresh"]) if share else (0, 0)
    anew = fresh > max(_FEW_ROWS, _FRESH_SHARE * staged)
    if anew:
        await local.execute(_LOCAL["drop_vector_index"])
    async with outcome.transaction(local):
        await local.execute(_LOCAL["alone"])
        if model is not None:
            await local.execute(_LOCAL["take_model"], model["as_json"])
        await local.execute(_LOCAL["stage_all"])
        rows = await _merge(local, before)
        await _advance(local, found, moment)
    # Always: a daemon that was killed between the two would leave it out for good.
    await local.execute(_LOCAL["build_vector_index"], timeout=None)
    await local.execute(_LOCAL["clear"])
    logger.info("copy.done", rows=rows, seconds=round(time.monotonic() - began, 1))
    return rows
