"""Asks databases, embedders and the supervisor, all at once; whoever does not answer within 2 seconds is down."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

import psutil

from aya import db, migrations, queries
from aya.backup import archive
from aya.backup.catalogue import Catalogue, newest_good
from aya.backup.failed import failure
from aya.backup.schedule import overdue
from aya.dsn import DatabaseSettings
from aya.embedder_client import EmbedderClient
from aya.errors import AyaError, SchemaMismatch
from aya.home import Home, Node
from aya.knowledge.reembedding import progress
from aya.knowledge.types import POISON_ATTEMPTS
from aya.launchctl import beside
from aya.local.plan import services
from aya.local.wait import read_tail
from aya.postgres import kept
from aya.postgres.cluster import SUPERUSER, postmaster_pid
from aya.postgres.config import SERVERS, SYNC_ROLE
from aya.postgres.privileges import run_as
from aya.postgres.provision import CLIENT_ROLES
from aya.processes import leftovers
from aya.processes.rpc import Running
from aya.processes.states import State
from aya.processes.supervisor import Supervisor
from aya.settings import Config, as_role, load_config, node_settings, primary_settings
from aya.status.judge import OVERDUE_SECONDS, judge
from aya.status.last import last_event
from aya.status.types import (
    Archiving,
    Backups,
    Counts,
    DatabaseFacts,
    EmbedderFacts,
    Failover,
    Model,
    NodeStatus,
    Observation,
    Partner,
    Poison,
    Replication,
    Service,
)
from aya.sync import store
from aya.sync.types import SyncStatus
from aya.watchdog_client import WatchdogClient

# A segment is archived in a second; a disk that is busy with something else takes longer.
_ARCHIVE_LIMIT = timedelta(minutes=2)
DEADLINE_SECONDS = 2.0
# The copy is told of even when its primary is silent.
_PRIMARY_SECONDS = 1.5
_SQL = queries.load("aya.status")
Answer = TypeVar("Answer")
_Processes = tuple[Mapping[str, Running], str]


async def collect(home: Home, config: Config, nodes: Sequence[Node]) -> list[NodeStatus]:
    """Return the status of `nodes`, which are nodes of `home`; takes little more than 2 seconds at worst."""
    running = asyncio.ensure_future(asyncio.to_thread(_running, home))
    seen = await asyncio.gather(*(_observe(home, config, node, running) for node in nodes))
    return [judge(one) for one in seen]


async def _observe(home: Home, config: Config, node: Node, running: Awaitable[_Processes]) -> Observation:
    # Without the shell's own DB_HOST: it is about this home's nodes.
    settings = node_settings(home, node.name, environ={"AYA_DSN": config.dsn or ""})
    own = config.dsn is None
    serves = own and node.name in SERVERS
    is_copy = own and node.role == "copy"
    database, embedder, follows, watched, sync, known = await asyncio.gather(
        _within(_database(settings.local, node.name), lambda why: DatabaseFacts(error=why)),
        _within(_embedder(settings.embedder_url), lambda why: EmbedderFacts(error=why)),
        _replication(home, node) if serves else _nothing(),
        _within(_failover(home, node.name), lambda _: None) if serves else _nothing(),
        _within(_sync(home, node, settings.local), lambda _: None) if is_copy else _nothing(),
        running,
    )
    mine, (processes, starts) = services(node, config), known
    data = home.data_directory(node.name)
    return Observation(
        name=node.name,
        role=node.role,
        dsn=settings.local.display(),
        embedder_url=settings.embedder_url,
        data_dir=str(data) if own else None,
        postmaster_pid=postmaster_pid(data) if own else None,
        database=database,
        embedder=embedder,
        services=tuple(_service(home, name, processes.get(f"com.aya.{node.name}.{name}"), node.name) for name in mine),
        replication=follows if database.is_standby else None,
        failover=watched,
        backups=await asyncio.to_thread(_backups, home, node) if own and node.name in SERVERS else None,
        sync=sync,
        starts=starts,
    )


def _backups(home: Home, node: Node) -> Backups:
    """Return what the node's directory tells of its base backups."""
    failed = failure(home, node.name)
    error = str(failed.get("error")) if failed else None
    kept = home.archive_directory(node.name)
    try:
        found = Catalogue.of(home, node.name, run_as(home.data_directory(node.name))).all()
        newest = newest_good(found)
        gaps = archive.gaps(kept, [newest], archive.names(kept)) if newest else ()
    except AyaError as unreadable:
        return Backups(0, error=unreadable.message)
    waiting, since = archive.waiting(home.data_directory(node.name))
    return Backups(
        count=sum(one.good for one in found),
        newest=newest.ended_at if newest else None,
        overdue=overdue(datetime.now(UTC), found),
        error=error,
        damaged=tuple(one.name for one in found if one.problem),
        gap=gaps[0][0] if gaps else None,
        waiting=waiting,
        waiting_since=since.isoformat(timespec="seconds") if since else None,
        stuck=since is not None and datetime.now(UTC) - since > _ARCHIVE_LIMIT,
    )


async def _nothing() -> None:
    return None


async def _within(probe: Awaitable[Answer], failed: Callable[[str], Answer]) -> Answer:
    """Return the probe's answer, or `failed(why)` when there is none in time. A probe cleans up without waiting."""
    try:
        async with asyncio.timeout(DEADLINE_SECONDS):
            return await probe
    except TimeoutError:
        return failed(f"no answer within {DEADLINE_SECONDS:.0f} s")
    except AyaError as error:
        return failed(error.message)


async def _database(settings: DatabaseSettings, node: str) -> DatabaseFacts:
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-status")
        try:
            return await _facts(connection, node, settings.database)
        finally:
            # Not close(), which waits for the server: a frozen one would keep us.
            connection.terminate()


async def _facts(connection: db.Connection, node: str, database: str) -> DatabaseFacts:
    server = await connection.fetchrow(_SQL["server"])
    facts: dict[str, Any] = dict(server or {})
    archiving = await connection.fetchrow(_SQL["archiving"])
    facts["archiving"] = Archiving(**archiving) if archiving else None
    try:
        schema = await migrations.check(connection, node=node)
        counts = await connection.fetchrow(_SQL["counts"], POISON_ATTEMPTS, OVERDUE_SECONDS)
        bound = await connection.fetchrow(_SQL["bound_model"])
        moving = await progress(connection)
        weak = await kept.weak(connection, CLIENT_ROLES, database)
    except SchemaMismatch as error:
        return DatabaseFacts(**facts, schema_error=f"{error.message}: {error.hint}")
    poison = await connection.fetch(_SQL["poison"], POISON_ATTEMPTS)
    return DatabaseFacts(
        **facts,
        schema=schema,
        counts=Counts(**counts) if counts else None,
        poison=tuple(Poison(**row) for row in poison),
        bound=Model(**bound) if bound else None,
        moving=moving,
        weak=tuple(one.problem for one in weak),
    )


async def _embedder(url: str) -> EmbedderFacts:
    async with EmbedderClient(url) as client:
        said = await client.health()
    model = Model(str(said["model"]), str(said["fingerprint"])) if said.get("fingerprint") else None
    return EmbedderFacts(status=str(said.get("status", "unhealthy")), model=model)


async def _replication(home: Home, node: Node) -> Replication:
    """Ask its partner, as the superuser there: pg_stat_replication shows others nothing."""
    partner = next(name for name in SERVERS if name != node.name)
    elsewhere = load_config(home, {}).members.get(partner)
    # A standby on a machine of its own has its primary's passwords.
    password = home.secrets(node.name if elsewhere else partner).get(SUPERUSER)
    if (elsewhere is None and partner not in home.nodes()) or password is None:
        return Replication("unknown")
    settings = as_role(node_settings(home, node.name if elsewhere else partner, environ={}).local, SUPERUSER, password)
    if elsewhere is not None:
        settings = replace(settings, hosts=elsewhere.hosts)
    return await _within(
        _follower(settings, node.name), lambda _: Replication(f"unknown, as {partner} does not answer")
    )


async def _sync(home: Home, node: Node, settings: DatabaseSettings) -> SyncStatus | None:
    primary = primary_settings(home, node.name, role=SYNC_ROLE, environ={})
    async with store.entered(settings) as connection:
        return await store.status(connection, primary, seconds=_PRIMARY_SECONDS)


async def _failover(home: Home, node: str) -> Failover | None:
    async with WatchdogClient(home, node) as client:
        said = await client.status()
    return Failover(
        condition=str(said["condition"]),
        why=str(said["why"]),
        role=str(said["role"]),
        epoch=int(said["epoch"]),
        paused=bool(said["paused"]),
        has_partner=said["partner"] is not None,
        partner=_partner(said["partner"], said["lag_bytes"]) if said["partner"] else None,
    )


def _partner(heard: Mapping[str, Any], lag_bytes: int | None) -> Partner:
    said: Mapping[str, Any] = heard["said"] or {}
    return Partner(
        name=str(heard["node"]),
        role=said.get("role"),
        epoch=said.get("epoch"),
        server=said.get("server"),
        age_seconds=heard["age_seconds"],
        lag_bytes=lag_bytes,
        error=heard["error"],
    )


async def _follower(settings: DatabaseSettings, name: str) -> Replication:
    with db.translated(settings):
        connection = await db.connect(settings, application_name="aya-status")
        try:
            row = await connection.fetchrow(_SQL["follower"], name)
            return Replication(**row) if row else Replication("disconnected")
        finally:
            connection.terminate()


def _running(home: Home) -> _Processes:
    """Return this home's processes by label, also those without their supervisor, and the command that starts them."""
    if known := Supervisor(home).processes(DEADLINE_SECONDS):
        return known, "aya up"
    if managed := _managed(home):
        return managed, "aya launchd start"
    orphans = [one for one in leftovers.find(home) if one.kind == "service"]
    return {one.name: Running(one.name, "orphaned", one.pid, None, "") for one in orphans}, "aya up"


def _managed(home: Home) -> dict[str, Running]:
    """Return those that launchd or systemd runs."""
    found = beside.managed(home).values()
    return {one.label: Running(one.label, cast("State", one.state), one.pid, _started(one.pid), "") for one in found}


def _started(pid: int | None) -> float | None:
    try:
        return psutil.Process(pid).create_time() if pid else None
    except psutil.Error:
        return None


def _service(home: Home, name: str, known: Running | None, node: str) -> Service:
    text = read_tail(home.log_directory(node) / f"{name}.log")
    return Service(
        name=name,
        pid=known.pid if known else None,
        state=known.state if known else "stopped",
        uptime_seconds=round(time.time() - known.started_at, 1) if known and known.started_at else None,
        last=last_event(text),
    )
