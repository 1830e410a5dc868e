"""`aya restore`: a past moment, in a new cluster beside the running one."""

from __future__ import annotations

import asyncio
import shlex
from dataclasses import asdict
from datetime import UTC, datetime
from typing import TYPE_CHECKING

import click

from aya.cli import output, session
from aya.errors import BackupError, UsageError
from aya.home import Home
from aya.settings import load_config

if TYPE_CHECKING:
    from aya.backup.restored import Restored

_HEADERS = ("RESTORED", "NODE", "PORT", "TARGET", "REACHED", "DOCUMENTS", "CHUNKS", "STATE")


@click.command(name="restore")
@click.option(
    "--to-time", metavar="TIME", help="The last moment that is in it, such as '2026-01-31 17:45' (local time)."
)
@click.option("--to-lsn", metavar="LSN", help="The last place of the WAL that is in it, such as 0/16B3748.")
@click.option("--latest", is_flag=True, help="Everything that is there.")
@click.option("--backup", metavar="NAME", help="Begin with this base backup (default: the newest good one that fits).")
@click.option("--list", "listed", is_flag=True, help="List what was restored.")
@click.option("--dsn", metavar="NAME", help="Print how a client reaches a restored cluster, password included.")
@click.option("--drop", metavar="NAME", help="Stop a restored cluster and remove it.")
@session.node_option
@session.json_option
@click.pass_obj
def command(
    home: Home,
    /,
    *,
    to_time: str | None,
    to_lsn: str | None,
    latest: bool,
    backup: str | None,
    listed: bool,
    dsn: str | None,
    drop: str | None,
    node: str | None,
    as_json: bool,
) -> None:
    """Bring back a past moment of a node, in a new cluster beside the running one, which is not touched.

    The new cluster runs on a port of its own, on this machine alone, and is read-only. Look into it, take out what you
    need, and drop it: docs/operations/backup.md. `aya down` stops it.
    """
    # Here, not above: `aya restore --help` needs none of it.
    from aya.backup import target as targets  # noqa: PLC0415
    from aya.backup.create import place  # noqa: PLC0415
    from aya.backup.restore import restore  # noqa: PLC0415

    asked = [to_time is not None, to_lsn is not None, latest]
    others = [listed, dsn is not None, drop is not None]
    if sum(others) > 1 or (any(others) and any(asked)):
        raise UsageError("one thing at a time: a moment, --list, --dsn or --drop", hint="aya restore --help")
    if any(others):
        _of_restored(home, listed=listed, dsn=dsn, drop=drop, as_json=as_json)
        return
    target = targets.parse(to_time, to_lsn, latest=latest, now=datetime.now(UTC).astimezone())
    where = place(home, load_config(home), session.chosen_node(home, node))
    one = asyncio.run(restore(where, target, output.progress, backup))
    if as_json:
        output.document(asdict(one))
        return
    _print(home, one, where.cluster.binaries.program("psql"))


def _of_restored(home: Home, *, listed: bool, dsn: str | None, drop: str | None, as_json: bool) -> None:
    from aya.backup import restored  # noqa: PLC0415 as above
    from aya.postgres.run import cluster_of  # noqa: PLC0415 as above

    config = load_config(home)
    if listed:
        found = [(one, _runs(home, one)) for one in restored.everything(home)]
        if as_json:
            output.document([{**asdict(one), "running": runs} for one, runs in found])
        elif found:
            output.table(_HEADERS, [row(one, runs=runs) for one, runs in found])
        else:
            output.line("nothing was restored")
    elif drop is not None:
        restored.directory(home, drop)
        restored.drop(home, drop, cluster_of(home, config, drop.partition("-")[0]))
        output.line(f"{drop} is gone")
    elif dsn is not None:
        one = restored.get(home, dsn)
        if not _runs(home, one):
            raise BackupError(f"{dsn} does not run", hint=f"aya restore --drop {dsn}, then restore again")
        server = restored.cluster(home, dsn, one.port, cluster_of(home, config, one.node))
        output.line(restored.owner(home, one, server).dsn())


def _runs(home: Home, one: Restored) -> bool:
    from aya.backup import restored  # noqa: PLC0415 as above
    from aya.postgres.cluster import postmaster_pid  # noqa: PLC0415 as above

    return postmaster_pid(restored.directory(home, one.name) / "data") is not None


def row(one: Restored, *, runs: bool) -> tuple[str, ...]:
    """Return a restored cluster's line of the table; pure."""
    return (
        one.name,
        one.node,
        str(one.port),
        one.target,
        one.reached,
        "-" if one.documents is None else str(one.documents),
        "-" if one.chunks is None else str(one.chunks),
        "running" if runs else "stopped",
    )


def _print(home: Home, one: Restored, psql: str) -> None:
    # The option again, when it was given: the next command is to be typed as it stands.
    aya = f"aya --home {shlex.quote(str(home.path))}"
    moment = datetime.fromisoformat(one.committed_at).astimezone().isoformat(sep=" ") if one.committed_at else None
    output.line(f"restored {one.node} from backup {one.backup} to {one.target}: {one.name}")
    output.line(f"  last transaction  {moment or 'none since the backup'}")
    output.line(f"  position          {one.reached}, timeline {one.timeline}")
    output.line(f"  documents         {'-' if one.documents is None else one.documents}")
    output.line(f"  chunks            {'-' if one.chunks is None else one.chunks}")
    output.line(f"  where             127.0.0.1:{one.port}, read-only; {home.restored_directory / one.name}")
    output.line()
    output.line(f'  next: {shlex.quote(psql)} "$({aya} restore --dsn {one.name})"')
    output.line(f"  then: {aya} restore --drop {one.name}, or take it over: docs/operations/backup.md")
