"""The partner's replication slot on this node's server, and who streams under its name without being it."""

from __future__ import annotations

from aya import log
from aya.members import Member
from aya.postgres.config import replication_role, slot_name
from aya_watchdog.server import SQL, Connection, Server


async def tend(server: Server, partner: Member) -> None:
    """Keep the partner's WAL: on a primary where it streams from, on a standby where it would."""
    async with server.connected() as session:
        in_recovery = await session.fetchval(SQL["in_recovery"])
        await _tend_slot(session, slot_name(partner.name), in_recovery=in_recovery)
        if not in_recovery:
            ended = await session.fetchval(SQL["impostors"], partner.name, replication_role(partner.name))
            if ended:
                log.get_logger().error("impostor.ended", name=partner.name, sessions=ended)


async def _tend_slot(session: Connection, name: str, *, in_recovery: bool) -> None:
    slot = await session.fetchrow(SQL["slot"], name)
    if slot is not None and slot["wal_status"] in {None, "lost"} and not slot["active"]:
        if slot["wal_status"]:  # one that is new has never kept anything
            log.get_logger().warning("slot.lost", slot=name)
        await session.execute(SQL["drop_slot"], name)
        slot = None
    if slot is None:
        await session.execute(SQL["create_slot"], name)
    elif in_recovery:
        await session.execute(SQL["advance_slot"], name)
