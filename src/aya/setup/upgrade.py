"""A cluster of another major version: made beside the old one, compared with it, and only then put in its place.

Until the swap everything happens in `data.upgrading`; the old cluster is read, and stays the one in use. The swap is a
few renames, between which upgrade.json says that they are to be finished, and keeps every server of the node from being
started. The old cluster is kept as data-16, with its archive and its base backups, which are of no use to the new one:
it is another system by its identifier.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shlex
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from aya import queries
from aya.dsn import DEFAULT_DATABASE
from aya.errors import ConfigError, PostgresError
from aya.home import Home, read_json, write_private_json
from aya.postgres import files
from aya.postgres.cluster import SUPERUSER, Cluster, run_program, swap_file
from aya.postgres.config import partner_of
from aya.postgres.provision import provision_primary
from aya.processes import ports
from aya.setup import private_server as private
from aya.setup.private_server import Private

Method = Literal["pg_upgrade", "dump"]
_SQL = queries.load("aya.setup", "upgrade.sql")
_SECONDS = 24 * 3600.0
_ROOM = 1.2
# What makes way, the data first: from then on nobody can start the old cluster.
_GIVE_WAY = ("data", "archive", "backups")
Tell = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class Upgrade:
    """One node's way to another major version. old, new: both clusters; new.data_directory is the final one, too."""

    home: Home
    node: str
    old: Cluster
    new: Cluster
    method: Method

    @property
    def directory(self) -> Path:
        """Return the node's."""
        return self.home.node_directory(self.node)

    @property
    def work(self) -> Path:
        """Return where the new cluster is made."""
        return self.directory / "data.upgrading"

    def kept(self, name: str) -> Path:
        """Return where the old `name` is kept: data-16."""
        return self.directory / f"{name}-{self.old.binaries.major}"


@dataclass(frozen=True, slots=True)
class Table:
    """What one table holds. digest: a sum over its rows, the same in any order."""

    name: str
    rows: int
    digest: str


def why_not(upgrade: Upgrade) -> tuple[str, str] | None:
    """Return why a primary's or a copy's cluster cannot be upgraded now, and what to type; None: it can."""
    if _token_is_away(upgrade):
        return (
            "its partner may still be promoted, and would lead the old base while this one is upgraded",
            "on the partner: aya down; here: aya up --detach, and when aya status says SOLO: aya down",
        )
    if reason := _cannot_give_way(upgrade.directory, upgrade.old.binaries.major):
        return reason
    said = upgrade.old.run_tool("pg_controldata", f"--pgdata={upgrade.old.data_directory}")
    known = {line.partition(":")[0].strip(): line.partition(":")[2].strip() for line in said.splitlines()}
    if known.get("Database cluster state") != "shut down":
        return (
            f"the server was not stopped cleanly ({known.get('Database cluster state')})",
            "aya up --detach, then aya down",
        )
    if known.get("Data page checksum version") == "0":
        return (
            "it has no checksums",
            f"{upgrade.old.binaries.program('pg_checksums')} --enable -D {upgrade.old.data_directory}",
        )
    needed = sum(file.lstat().st_size for file in upgrade.old.data_directory.rglob("*")) * _ROOM
    if shutil.disk_usage(upgrade.directory).free < needed:
        return f"the second copy needs {needed / 1e9:.1f} GB on the disk", f"df -h {upgrade.directory}"
    return None


def _cannot_give_way(directory: Path, major: int) -> tuple[str, str] | None:
    """Return why the old cluster cannot be renamed, and what to type; None: it can."""
    for name in _GIVE_WAY:
        if (directory / f"{name}-{major}").exists():
            away = f"cd {shlex.quote(str(directory))} && mkdir older && mv ./*-{major} older/"
            return f"{directory / f'{name}-{major}'} is there from an earlier upgrade", f"look at it, then: {away}"
        if os.path.ismount(directory / name):
            why = f"{directory / name} is a disk of its own, which cannot be renamed"
            return why, "docs/operations/moving.md, To another disk: mount it at nodes, or above"
    return None


def _state(upgrade: Upgrade, node: str) -> dict[str, Any]:
    file = upgrade.home.node_directory(node) / "watchdog.json"
    return read_json(file) if file.exists() else {}


def _token_is_away(upgrade: Upgrade) -> bool:
    """Return whether a primary's partner may be promoted: it was armed, and has not given that up in writing."""
    state = _state(upgrade, upgrade.node)
    if state.get("role") != "primary" or int(state["consent"]) >= int(state["arming"]):
        return False
    return not _gave_up(upgrade, int(state["arming"]))


def _gave_up(upgrade: Upgrade, arming: int) -> bool:
    """Return whether the partner is of this home, and its file says that it has given the arming up."""
    partner = _state(upgrade, partner_of(upgrade.node))
    return partner.get("role") == "standby" and partner.get("intent") is None and int(partner["given_up"]) >= arming


def _note_consent(upgrade: Upgrade) -> None:
    """Write down that the partner has given up, as the watchdog does when it hears it: the new server opens alone."""
    state = _state(upgrade, upgrade.node)
    if state.get("role") == "primary" and int(state["consent"]) < int(state["arming"]):
        write_private_json(upgrade.directory / "watchdog.json", {**state, "consent": state["arming"]})


def run(upgrade: Upgrade, tell: Tell) -> tuple[Table, ...]:
    """Upgrade, compare, swap; return the tables. Raises PostgresError; then the old cluster is the one in use."""
    sockets = upgrade.home.runtime_directory / "upgrade"
    upgrade.old.user.make_directory(sockets)
    where = Private(sockets, ports.choose((), str(upgrade.work)), upgrade.home.secrets(upgrade.node)[SUPERUSER])
    new = replace(
        upgrade.new,
        data_directory=upgrade.work,
        config=replace(upgrade.new.config, port=where.port, addresses=("127.0.0.1",), socket_directory=sockets,
                       neighbours=(), clients=(), archive_command=None),
    )  # fmt: skip
    private.end_leftover(upgrade.old, sockets)
    _clear(upgrade, new, sockets)
    # Beside the data directory: PostgreSQL's user may write there.
    log = upgrade.directory / "upgrade.log"
    with private.running(upgrade.old, where, log):
        before = asyncio.run(_tables(where))
        tell(f"the old base has {_said(before)}")
        if upgrade.method == "dump":
            new.create(where.password)
            _dump(upgrade, where, sockets)
    if upgrade.method == "dump":
        try:
            _restore(upgrade, new, where, log)
        finally:
            _forget_dump(upgrade)
    else:
        new.create(where.password)
        _pg_upgrade(upgrade, where, tell)
    tell(f"PostgreSQL {new.binaries.version} has everything")
    with private.running(new, replace(where), log):
        after = asyncio.run(_finish(upgrade, where, before, tell))
    _note_consent(upgrade)
    new.run_tool("initdb", "--sync-only", f"--pgdata={upgrade.work}")
    swap(upgrade)
    return after


def _clear(upgrade: Upgrade, new: Cluster, sockets: Path) -> None:
    """Remove what an earlier try has left: it is a copy, and the old cluster has all of it."""
    if upgrade.work.exists():
        private.end_leftover(new, sockets)
        shutil.rmtree(upgrade.work)
    _forget_dump(upgrade)


def _forget_dump(upgrade: Upgrade) -> None:
    for file in (_dump_file(upgrade), _roles_file(upgrade)):
        file.unlink(missing_ok=True)


def _said(tables: tuple[Table, ...]) -> str:
    rows = {table.name: table.rows for table in tables}
    return f"{rows.get('documents', 0)} documents and {rows.get('chunks', 0)} chunks"


async def _tables(where: Private) -> tuple[Table, ...]:
    async with private.entered(where, DEFAULT_DATABASE) as connection:
        # As text, the same on both sides.
        await connection.execute("SET extra_float_digits = 1; SET timezone = 'UTC'; SET datestyle = 'ISO'")
        found: list[Table] = []
        for row in await connection.fetch(_SQL["tables"]):
            (said,) = await connection.fetch(row["statement"])
            found.append(Table(row["name"], int(said[0]), str(said[1])))
        return tuple(found)


def _pg_upgrade(upgrade: Upgrade, where: Private, tell: Tell) -> None:
    # Never --link or --swap: the old cluster could not be started any more.
    transfer = "--clone" if sys.platform == "darwin" else "--copy"
    option = private.options(where.sockets, where.port)
    command = [
        "pg_upgrade",
        f"--old-bindir={upgrade.old.binaries.directory}", f"--new-bindir={upgrade.new.binaries.directory}",
        f"--old-datadir={upgrade.old.data_directory}", f"--new-datadir={upgrade.work}",
        f"--old-port={where.port}", f"--new-port={where.port}", f"--socketdir={where.sockets}",
        f"--username={SUPERUSER}", f"--old-options={option}", f"--new-options={option}", transfer,
    ]  # fmt: skip
    for words in ([*command, "--check"], command):
        run_program(
            upgrade.new.binaries, upgrade.new.user, words, seconds=_SECONDS, directory=where.sockets,
            environment=private.password_environment(where),
        )  # fmt: skip
        tell("pg_upgrade --check finds nothing against it" if "--check" in words else "pg_upgrade has copied it")


def _dump_file(upgrade: Upgrade) -> Path:
    return upgrade.home.runtime_directory / "upgrade" / "base.dump"


def _roles_file(upgrade: Upgrade) -> Path:
    return upgrade.home.runtime_directory / "upgrade" / "roles.sql"


def _client(upgrade: Upgrade, where: Private, *words: str) -> str:
    """Run one of the new version's client programs."""
    reached = (f"--host={where.sockets}", f"--port={where.port}", f"--username={SUPERUSER}", "--no-password")
    return run_program(
        upgrade.new.binaries, upgrade.new.user, (*words[:1], *reached, *words[1:]), seconds=_SECONDS,
        environment=private.password_environment(where),
    )  # fmt: skip


def _dump(upgrade: Upgrade, where: Private, sockets: Path) -> None:
    del sockets
    roles = _client(upgrade, where, "pg_dumpall", "--roles-only")
    kept = [line for line in roles.splitlines() if line != f"CREATE ROLE {SUPERUSER};"]
    files.write_text(_roles_file(upgrade), "\n".join((*kept, "")), upgrade.new.user)
    _client(upgrade, where, "pg_dump", "--format=custom", f"--file={_dump_file(upgrade)}", DEFAULT_DATABASE)


def _restore(upgrade: Upgrade, new: Cluster, where: Private, log: Path) -> None:
    with private.running(new, where, log):
        _client(upgrade, where, "psql", "--no-psqlrc", "--quiet", "--set=ON_ERROR_STOP=1",
                f"--file={_roles_file(upgrade)}", "postgres")  # fmt: skip
        _client(upgrade, where, "createdb", "--template=template0", "--owner=aya_user", DEFAULT_DATABASE)
        _client(
            upgrade, where, "pg_restore", "--exit-on-error", f"--dbname={DEFAULT_DATABASE}", str(_dump_file(upgrade))
        )


async def _finish(upgrade: Upgrade, where: Private, before: tuple[Table, ...], tell: Tell) -> tuple[Table, ...]:
    """Make roles, slot and statistics anew, and compare. Raises PostgresError for the least difference."""
    await provision_primary(upgrade.new, upgrade.home.secrets(upgrade.node), entered=where.settings)
    async with private.entered(where, DEFAULT_DATABASE) as connection:
        await connection.execute(_SQL["update_vector"])
        if await connection.fetchval(_SQL["collation_moved"]):
            await connection.execute(await connection.fetchval(_SQL["reindex"]))
            await connection.execute(await connection.fetchval(_SQL["refresh_collation"]))
            tell("texts sort otherwise by this system's library: every index was built anew")
        await connection.execute(_SQL["analyze"])
        invalid = [row[0] for row in await connection.fetch(_SQL["invalid_indexes"])]
        finds = await connection.fetchval(_SQL["nearest"]) is not False
        await connection.fetchval(_SQL["words"])
    after = await _tables(where)
    wrong = differences(before, after) + [f"index {name} is not whole" for name in invalid]
    wrong += [] if finds else ["a stored vector does not find itself"]
    if wrong:
        raise PostgresError(
            f"the new base is not the old one: {'; '.join(wrong)}", hint="the old one is still in use: aya up"
        )
    if upgrade.method == "dump":
        await _forget_transactions(where)
    tell(f"every table has the same rows ({_said(after)}), every index is whole, a search finds, statistics are made")
    return after


async def _forget_transactions(where: Private) -> None:
    """Empty the log of changes: transactions are counted from the beginning in a cluster that was filled by a dump."""
    async with private.entered(where, DEFAULT_DATABASE) as connection:
        if await connection.fetchval(_SQL["has_change_log"]):
            async with connection.transaction():
                await connection.execute(_SQL["empty_change_log"])
                await connection.execute(_SQL["set_change_log_floor"])


def differences(before: tuple[Table, ...], after: tuple[Table, ...]) -> list[str]:
    """Return what differs between two bases, each in words; pure."""
    new = {table.name: table for table in after}
    found = [
        f"table {table.name} had {table.rows} rows and has {new[table.name].rows if table.name in new else 'none'}"
        if table.name not in new or new[table.name].rows != table.rows
        else f"table {table.name} has other rows"
        for table in before
        if new.get(table.name) != table
    ]
    return found + [f"table {name} is new" for name in new if name not in {table.name for table in before}]


def swap(upgrade: Upgrade) -> None:
    """Put the new cluster in the old one's place; called again after a cut it goes on where it was."""
    said = {"from": upgrade.old.binaries.major, "to": upgrade.new.binaries.major,
            "control": _control(upgrade.old.data_directory)}  # fmt: skip
    write_private_json(swap_file(upgrade.directory), said)
    finish_swap(upgrade.home, upgrade.node)


def _control(data: Path) -> str:
    """Return a sum of what a cluster says of itself: it is another as soon as a server has run there."""
    return hashlib.sha256((data / "global" / "pg_control").read_bytes()).hexdigest()


def finish_swap(home: Home, node: str) -> int | None:
    """Finish a swap that was cut off; return the major version that the node has now, None: there was none.

    Raises PostgresError when the old cluster has been in use since: the new one lacks what was written then.
    """
    directory = home.node_directory(node)
    marker = swap_file(directory)
    if not marker.exists():
        return None
    said = read_json(marker)
    major, work = int(said["from"]), directory / "data.upgrading"
    kept = directory / f"data-{major}"
    old = kept if kept.exists() else directory / "data"
    if work.exists() and _control(old) != said["control"]:
        raise PostgresError(
            f"the server of {old} has run since it was upgraded: {work} lacks what was written then",
            hint=f"give that copy up, and upgrade again: rm -r {shlex.quote(str(work))} {shlex.quote(str(marker))}"
            + (f"; mv {shlex.quote(str(kept))} {shlex.quote(str(directory / 'data'))}" if old == kept else ""),
        )
    # Each rename is done, or still to do: what its new name is tells.
    for name in _GIVE_WAY:
        if (directory / name).exists() and not (directory / f"{name}-{major}").exists():
            (directory / name).rename(directory / f"{name}-{major}")
    if work.exists():
        if (directory / "data").exists():
            raise ConfigError(
                f"{directory / 'data'} and {work} are both there", hint="docs/operations/upgrade.md, Cut off"
            )
        work.rename(directory / "data")
    marker.unlink()
    return int(said["to"])


def give_way(home: Home, node: str, cluster: Cluster) -> Path:
    """Move a standby's old cluster aside: its next start copies the primary anew. Return where it is kept."""
    major = int(files.read_text(cluster.data_directory / "PG_VERSION").strip())
    directory = home.node_directory(node)
    if reason := _cannot_give_way(directory, major):
        raise PostgresError(reason[0], hint=reason[1])
    for name in _GIVE_WAY:
        if (directory / name).exists():
            (directory / name).rename(directory / f"{name}-{major}")
    return directory / f"data-{major}"
