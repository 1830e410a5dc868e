"""All rows compared, of one moment: what differs without a reason is fetched again, and nothing is deleted for it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from aya import log, queries

if TYPE_CHECKING:
    from aya.reach import Reached

_PRIMARY = queries.load("aya_syncd", "primary.sql")
_LOCAL = queries.load("aya_syncd", "local.sql")


async def reconcile(primary: Reached, local: Reached) -> None:
    """Compare both inside the transactions of a pull that has merged everything: they show the same moment.

    What differs and neither waits nor was passed over is fetched with the next look. A row that only AIR has was never
    said to be deleted: it is sent, like one that was made here.
    """
    for table in ("documents", "chunks"):
        there = await primary.fetch(_PRIMARY[f"hashes_of_{table}"])
        here = await local.fetch(_PRIMARY[f"hashes_of_{table}"])
        buckets = differing(there, here)
        if buckets:
            await _mend(primary, local, table, buckets)
    await local.execute(_LOCAL["reconciled"])


def differing(there: list[Any], here: list[Any]) -> list[int]:
    """Return the buckets that are not the same. there, here: rows of bucket, size and hash; pure."""
    ours = {row["bucket"]: (row["size"], row["hash"]) for row in here}
    theirs = {row["bucket"]: (row["size"], row["hash"]) for row in there}
    return sorted(bucket for bucket in ours.keys() | theirs.keys() if ours.get(bucket) != theirs.get(bucket))


async def _mend(primary: Reached, local: Reached, table: str, buckets: list[int]) -> None:
    there = await primary.fetch(_PRIMARY[f"rows_of_{table}"], buckets)
    here = await local.fetch(_PRIMARY[f"rows_of_{table}"], buckets)
    theirs, ours = ({row["uid"]: row["hash"] for row in rows} for rows in (there, here))
    # One that has another number here than there is in another bucket: it is theirs all the same.
    odd = [row for row in (*there, *here) if ours.get(row["uid"]) != theirs.get(row["uid"])]
    columns = [[row[name] for row in odd] for name in ("uid", "document_uid")]
    untouched = {row["uid"] for row in await local.fetch(_LOCAL["untouched"], table, *columns)}
    only_here = [uid for uid in untouched if uid not in theirs]
    again = [uid for uid in untouched if uid in theirs]
    if again:
        log.get_logger().warning("rows.differ", table=table, rows=len(again))
        await local.execute(_LOCAL["fetch_again"], table, again)
    if only_here:
        log.get_logger().warning("rows.only_here", table=table, rows=len(only_here))
        await _send(local, table, only_here)


async def _send(local: Reached, table: str, uids: list[Any]) -> None:
    if table == "chunks":
        await local.execute(_LOCAL["drop_orphans"], uids)
        uids = [row["uid"] for row in await local.fetch(_LOCAL["keep_chunks"], uids)]
    else:
        await local.execute(_LOCAL["keep_documents"], uids)
    if uids:
        await local.fetch(_LOCAL[f"send_{table}"], uids)
