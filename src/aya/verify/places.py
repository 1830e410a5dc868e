"""Which nodes there are, where each is entered, and who leads now."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, replace

from aya import db, queries
from aya.dsn import DEFAULT_DATABASE, OWNER, DatabaseSettings, writable
from aya.errors import AyaError
from aya.home import ROLE_OF_NODE, Home
from aya.members import word_of
from aya.postgres.config import SERVERS
from aya.settings import Config, node_settings
from aya.verify.types import Result, Where

_SQL = queries.load("aya.verify")
_SECONDS = 3.0
_COPY = "air"


@dataclass(frozen=True, slots=True)
class Missing:
    """Why nothing can be measured at a node. result: "not_applicable" when there is no such node."""

    result: Result
    why: str
    hint: str


@dataclass(frozen=True, slots=True)
class Place:
    """A node as it is reached from here. here: it is on this machine. port: of its PostgreSQL.

    embedder_url: on this machine only. missing: why there is no way to it.
    """

    node: str
    role: Where
    here: bool = False
    database: DatabaseSettings | None = None
    embedder_url: str | None = None
    embedder_token: str | None = None
    missing: Missing | None = None

    @property
    def entrance(self) -> DatabaseSettings:
        """Return how its database is entered. Raises AyaError when nobody can say."""
        if self.database is None:
            why = self.missing or Missing("not_reached", f"nothing here says how {self.node} is entered", "aya status")
            raise AyaError(why.why, hint=why.hint)
        return self.database

    @property
    def port(self) -> int:
        """Return where its PostgreSQL listens."""
        return self.entrance.hosts[0][1]


@dataclass(frozen=True, slots=True)
class Places:
    """All nodes, by their present roles. leader: who takes writes now; None: nobody, and roles are those of birth."""

    primary: Place
    standby: Place
    copy: Place
    leader: str | None

    def all(self) -> tuple[Place, ...]:
        """Return the nodes, by role."""
        return self.primary, self.standby, self.copy

    @property
    def writable(self) -> DatabaseSettings | None:
        """Return how the server that takes writes is entered, whoever that will be; None when there is no way."""
        known = [place.database for place in (self.primary, self.standby) if place.database]
        return writable(replace(known[0], hosts=tuple(host for one in known for host in one.hosts))) if known else None

    def of(self, role: Where) -> Place:
        """Return the node that has a role now."""
        return {"primary": self.primary, "standby": self.standby, "copy": self.copy}[role]

    def roles(self) -> dict[Where, str]:
        """Return which node has each role."""
        return {"primary": self.primary.node, "standby": self.standby.node, "copy": self.copy.node}

    def local(self) -> Place | None:
        """Return the first node of this machine, None when there is none."""
        return next((place for place in self.all() if place.here), None)


@dataclass(frozen=True, slots=True)
class Said:
    """What a server says of itself. is_open: clients may write, if it is not in recovery."""

    node: str
    in_recovery: bool
    is_open: bool
    timeline: int


async def find(home: Home, config: Config) -> Places:
    """Return the nodes; asks both servers who leads, for at most 3 seconds. Raises ConfigError."""
    found = {node: _place(home, config, node) for node in ROLE_OF_NODE}
    answers = await asyncio.gather(*(_asked(found[node]) for node in SERVERS))
    leader = leading(answers)
    primary = leader or next((node for node in SERVERS if found[node].missing is None), SERVERS[0])
    standby = next(node for node in SERVERS if node != primary)
    copy = found[_COPY]
    if copy.missing is not None and leader is not None and await _has_copy(found[leader]):
        copy = replace(copy, missing=_elsewhere(_COPY))
    return Places(replace(found[primary], role="primary"), replace(found[standby], role="standby"), copy, leader)


def leading(answers: Sequence[Said | None]) -> str | None:
    """Return who takes writes, of two the one of the latest timeline; None when nobody does; pure."""
    writable = [(one.timeline, one.node) for one in answers if one and one.is_open and not one.in_recovery]
    return max(writable)[1] if writable else None


def _place(home: Home, config: Config, node: str) -> Place:
    role: Where = ROLE_OF_NODE[node]
    if node in home.nodes():
        # Without the shell's own DB_HOST: it is about this home's nodes.
        settings = node_settings(home, node, environ={"AYA_DSN": config.dsn or ""})
        entrance = settings.database if config.dsn else settings.local
        return Place(node, role, True, entrance, settings.embedder_url, settings.embedder_token)  # noqa: FBT003
    member = config.members.get(node)
    if member is None:
        why = f"this installation has no {node}"
        return Place(node, role, missing=Missing("not_applicable", why, f"aya up --nodes {node}"))
    password = _password(home, config)
    if password is None:
        return Place(node, role, missing=_elsewhere(node))
    return Place(node, role, database=DatabaseSettings(member.hosts, DEFAULT_DATABASE, OWNER, password))


def _password(home: Home, config: Config) -> str | None:
    """Return the owner's password at the servers, which is the same on both."""
    own = (home.secrets(node).get(OWNER) for node in SERVERS)
    return next((word for word in own if word), None) or word_of(home, config, _COPY, OWNER)


def _elsewhere(node: str) -> Missing:
    why = f"{node} is on another machine, and nothing here says how it is entered"
    return Missing("not_reached", why, f"on its own machine: aya verify {node}")


async def _asked(place: Place) -> Said | None:
    if place.database is None:
        return None
    try:
        async with asyncio.timeout(_SECONDS):
            with db.translated(place.database):
                connection = await db.connect(place.database, application_name="aya-verify")
                try:
                    row = await connection.fetchrow(_SQL["leads"])
                finally:
                    connection.terminate()
    except (AyaError, TimeoutError):
        return None
    return Said(place.node, **dict(row or {}))


async def _has_copy(leader: Place) -> bool:
    try:
        with db.translated(leader.entrance):
            connection = await db.connect(leader.entrance, application_name="aya-verify")
            try:
                return bool(await connection.fetchval(_SQL["has_copy"]))
            finally:
                connection.terminate()
    except AyaError:
        return False
