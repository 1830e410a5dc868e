"""Settings that a role or a database has kept for good and that give up what is promised (aya.pins)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from aya import pins, queries

if TYPE_CHECKING:
    from aya.db import Connection

_SQL = queries.load("aya.postgres", "roles.sql")


@dataclass(frozen=True, slots=True)
class Kept:
    """A setting. whose: "ROLE aya_mcp IN DATABASE aya_rag". taken_back: the statement that does that."""

    whose: str
    name: str
    value: str
    taken_back: str

    @property
    def problem(self) -> str:
        """Return it as a sentence that ends in the next statement to type."""
        return f"{self.whose} has {self.name} = {self.value}, so {pins.why_not(self.name)}: psql: {self.taken_back}"


async def weak(connection: Connection, roles: Sequence[str], database: str) -> tuple[Kept, ...]:
    """Return what makes sessions of `roles` in `database` keep less than was promised. Errors are the driver's."""
    rows = await connection.fetch(_SQL["kept_settings"], list(roles), database, [pins.COMMIT, pins.CLOSED])
    return tuple(kept for kept in (Kept(**row) for row in rows) if not pins.is_strong(kept.name, kept.value))


async def mend(connection: Connection, roles: Sequence[str], database: str) -> None:
    """Take them back; as a superuser. Sessions that are open already keep what they have."""
    for kept in await weak(connection, roles, database):
        await connection.execute(kept.taken_back)
