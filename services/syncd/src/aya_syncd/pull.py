"""What changed on the primary, fetched and merged: the cursor moves in the same transaction as its rows."""

from __future__ import annotations

import time
from collections import Counter
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, TypeVar

import asyncpg

from aya import log, outcome, queries
from aya_syncd.reconcile import reconcile
from aya_syncd.state import Cursor, Step, Upstream, next_step, switch_point
from aya_syncd.wire import passed_on

if TYPE_CHECKING:
    from datetime import datetime
    from uuid import UUID

    from aya.reach import Reached

_PRIMARY = queries.load("aya_syncd", "primary.sql")
_LOCAL = queries.load("aya_syncd", "local.sql")
# A copy of which so much is new is indexed at its end.
_FRESH_SHARE = 0.3
_MANY_ROWS = 5_000
# So much comes with the look itself.
_FEW_ROWS = 500
_FEW_BYTES = 4_000_000
_TABLES = ("documents", "chunks")

Known = TypeVar("Known", Cursor, Upstream)


async def prepare(local: Reached) -> None:
    """Make the places where fetched rows wait; once for a connection."""
    await pass_vectors(local)
    await local.execute(_LOCAL["prepare"])


async def pass_vectors(end: Reached) -> None:
    """Have vectors read and written as the bytes that they are: nobody looks into them on the way."""
    await end.set_type_codec("vector", schema="public", encoder=_as_it_is, decoder=_as_it_is, format="binary")


def _as_it_is(value: bytes) -> bytes:
    return value


async def cursor(local: Reached) -> Cursor:
    """Return what AIR remembers."""
    return Cursor(**dict(await local.fetchrow(_LOCAL["state"]) or {}))


async def upstream(primary: Reached, known: Cursor) -> Upstream:
    """Return what the server is that answered."""
    return Upstream(**dict(await primary.fetchrow(_PRIMARY["identity"], known.snapshot) or {}))


async def both(primary: Reached, local: Reached) -> tuple[Cursor, Upstream]:
    """Return what AIR remembers, and what the server is that answered."""
    known = await cursor(local)
    return known, await upstream(primary, known)


class Refused(Exception):
    """This server cannot be followed."""


@dataclass(frozen=True, slots=True)
class Pulled:
    """What a look has done. rows: so many changed here."""

    step: Step
    rows: int = 0


async def pull(primary: Reached, local: Reached, *, compare_seconds: float = 300.0) -> Pulled:
    """Fetch what changed and merge it, unless a person has paused it. Raises Refused; other errors are the driver's.

    compare_seconds: so often all rows are compared, too.
    """
    here = dict(await local.fetchrow(_LOCAL["standing"], compare_seconds, _FEW_ROWS) or {})
    if here["paused"]:
        return Pulled("pull")
    known = _picked(Cursor, here)
    wanted: tuple[list[str], list[UUID]] = ([], []) if here["many"] else (here["table_names"], here["uids"])
    there = dict(await primary.fetchrow(_PRIMARY["look"], known.snapshot, *wanted, _FEW_ROWS, _FEW_BYTES) or {})
    found = _picked(Upstream, there)
    step, why = next_step(known, found)
    if step == "refuse":
        raise Refused(why)
    if step == "rewind":
        if await _rewind(primary, local, known, found):
            return Pulled(step, (await pull(primary, local, compare_seconds=0)).rows)
        why = f"{why}, and no cursor is left from before"
        return Pulled("copy", await _copy(primary, local, why, after_loss=True))
    if step == "copy":
        return Pulled(step, await _copy(primary, local, why))
    if step == "pull" and there["few"] and not (here["many"] or here["due"]):
        return Pulled(step, await _take_few(local, here, there))
    try:
        return Pulled(step, await _take_many(primary, local, known, found, compare=here["due"]))
    finally:
        # Plans for many are none for few.
        if not local.is_closed():
            await local.execute(_LOCAL["replan"])


def _picked(kind: type[Known], row: dict[str, Any]) -> Known:
    return kind(**{name: row[name] for name in kind.__dataclass_fields__})


async def _take_few(local: Reached, here: dict[str, Any], there: dict[str, Any]) -> int:
    """Merge what came with the look. here: what AIR knew before it."""
    if not there["changes"]:
        await local.execute(_LOCAL["looked"])
        return 0
    fetched = [there[name] for name in ("table_names", "uids", "documents", "chunks", "vectors")]
    place = [there[name] for name in ("system_identifier", "timeline", "snapshot", "lsn", "fingerprint")]
    async with outcome.told(local):
        row = await local.fetchrow(_LOCAL["take_few"], *fetched, here["before"], here["uids"], *place)
    return _told(row)


def _told(row: Any) -> int:  # noqa: ANN401 a row
    if row["only_here"]:
        log.get_logger().warning("rows.only_here", rows=row["only_here"])
    return int(row["merged"])


async def _take_many(primary: Reached, local: Reached, known: Cursor, found: Upstream, *, compare: bool) -> int:
    """Fetch what changed by COPY, of one moment, and merge it; of a standby without moving the cursor."""
    leads = not found.is_standby
    before = await local.fetchval(_LOCAL["clock"])
    async with outcome.transaction(primary, isolation="repeatable_read", readonly=True):
        await primary.execute(_PRIMARY["stay"])
        moment = await primary.fetchrow(_PRIMARY["moment"])
        if not await primary.fetchval(_PRIMARY["floor"], known.snapshot):
            raise Refused("the change log was shortened just now")
        changed = await primary.fetch(_PRIMARY["changed"], known.snapshot)
        if len(changed) > _FEW_ROWS:
            named = Counter(row["table_name"] for row in changed)
            await local.execute(_LOCAL["fetching"], *(named[table] for table in _TABLES))
        async with outcome.transaction(local):
            await local.execute(_LOCAL["alone"])
            await local.execute(_LOCAL["clear"])
            await local.execute(
                _LOCAL["stage_keys"],
                [row["table_name"] for row in changed],
                [row["uid"] for row in changed],
                not leads,
            )
            parked = await local.fetchval(_LOCAL["parked_documents"])
            if parked:
                theirs = await primary.fetchval(_PRIMARY["chunks_of"], parked)
                await local.execute(_LOCAL["stage_chunks"], parked, theirs or [])
            for row in await local.fetch(_LOCAL["keys"]):
                await _fetch(primary, local, row["table_name"], row["uids"])
            rows = await _merge(local, before)
            if leads:
                await _advance(local, found, moment, before)
                if compare:
                    await reconcile(primary, local)
            else:
                await local.execute(_LOCAL["looked"])
            await local.execute(_LOCAL["clear"])
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
    await local.execute(_LOCAL["replan"])
    return _told(await local.fetchrow(_LOCAL["merge"], before))


async def mend(local: Reached) -> None:
    """Finish what a daemon left that was killed at the end of a copy: the index of its vectors."""
    if (await cursor(local)).snapshot is not None:
        await local.execute(_LOCAL["build_vector_index"], timeout=None)


async def _advance(local: Reached, found: Upstream, moment: Any, before: datetime) -> None:  # noqa: ANN401 a row
    place = (found.timeline, moment["snapshot"], moment["lsn"])
    await local.execute(_LOCAL["advance"], found.system_identifier, *place, found.fingerprint, before)


async def _copy(primary: Reached, local: Reached, why: str, *, after_loss: bool = False) -> int:
    """Fetch everything, of one moment; what waits to be sent stays as it is here.

    after_loss: the primary may have lost what only AIR has; it stays, and the next comparison sends it.
    """
    try:
        return await _copied(primary, local, why, after_loss=after_loss)
    finally:
        # What was staged for a copy that failed is nothing for a look, nor are its plans.
        if not local.is_closed():
            await local.execute(_LOCAL["clear"])
            await local.execute(_LOCAL["replan"])


async def _copied(primary: Reached, local: Reached, why: str, *, after_loss: bool) -> int:
    logger, began = log.get_logger(), time.monotonic()
    before = await local.fetchval(_LOCAL["clock"])
    async with outcome.transaction(primary, isolation="repeatable_read", readonly=True):
        await primary.execute(_PRIMARY["stay"])
        moment = await _moment(primary)
        logger.warning("copy.begun", why=why, **moment.counts)
        await local.execute(_LOCAL["clear"])
        await local.execute(_LOCAL["fetching"], *(moment.counts[table] for table in _TABLES))
        for table in _TABLES:
            await _fetch(primary, local, table, None)
    logger.info("copy.fetched", seconds=round(time.monotonic() - began, 1))
    rows = await _merge_all(local, moment, before, after_loss=after_loss)
    # Always: a daemon that was killed between the two would leave it out for good.
    await local.execute(_LOCAL["build_vector_index"], timeout=None)
    logger.info("copy.done", rows=rows, seconds=round(time.monotonic() - began, 1))
    return rows


@dataclass(frozen=True, slots=True)
class _Moment:
    """What a copy is of. place: snapshot and place in the log. model: the base's, as JSON; None: it has none."""

    found: Upstream
    place: Any
    model: str | None
    counts: dict[str, int]


async def _moment(primary: Reached) -> _Moment:
    found = await upstream(primary, Cursor())
    place = await primary.fetchrow(_PRIMARY["moment"])
    model = await primary.fetchrow(_PRIMARY["model"])
    counts = await primary.fetchrow(_PRIMARY["counts"])
    return _Moment(found, place, model["as_json"] if model else None, dict(counts or {}))


async def _merge_all(local: Reached, moment: _Moment, before: datetime, *, after_loss: bool) -> int:
    """Merge a copy that is staged, with what is here and waits; return how many rows changed here."""
    share = await local.fetchrow(_LOCAL["share_left"])
    staged, fresh = (share["staged"], share["fresh"]) if share else (0, 0)
    if fresh > max(_MANY_ROWS, _FRESH_SHARE * staged):
        await local.execute(_LOCAL["drop_vector_index"])
    async with outcome.transaction(local):
        await local.execute(_LOCAL["alone"])
        if moment.model is not None:
            await local.execute(_LOCAL["take_model"], moment.model)
        await local.execute(_LOCAL["stage_all"], after_loss)
        rows = await _merge(local, before)
        await local.execute(_LOCAL["forget_ring"])
        await _advance(local, moment.found, moment.place, before)
    return rows
