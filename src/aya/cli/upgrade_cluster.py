"""`aya upgrade-cluster`: a node's PostgreSQL moves to another major version."""

from __future__ import annotations

import shlex
from contextlib import nullcontext
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aya.cli import output, session
from aya.errors import EXIT_FAILED, PostgresError, UsageError
from aya.home import Home

if TYPE_CHECKING:
    from aya.setup.upgrade import Method
    from aya.setup.upgrade_choice import Choice

_OLDEST, _NEWEST = 16, 18


@click.command(name="upgrade-cluster")
@click.option("--to", type=click.IntRange(_OLDEST, _NEWEST), default=_NEWEST, show_default=True, help="Major version.")
@click.option(
    "--method",
    type=click.Choice(["pg_upgrade", "dump"]),
    default="pg_upgrade",
    show_default=True,
    help="pg_upgrade: files are copied (cloned on a Mac); dump: everything is written anew, and takes longer.",
)
@click.option("--pg-config", metavar="PATH", help="The installed PostgreSQL to move to (default: the embedded one).")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
@session.node_option
@session.json_option
@click.pass_obj
def command(
    home: Home,
    /,
    *,
    to: int,
    method: Method,
    pg_config: str | None,
    dry_run: bool,
    node: str | None,
    as_json: bool,
) -> int:
    """Move a stopped node's PostgreSQL to another major version; the old cluster is kept beside the new one.

    The new one is made, filled and compared row by row first; only then it takes the old one's place. Cut off at any
    moment, the old one is still in use, and the same command begins anew. A standby is not upgraded: it gives way, and
    copies its upgraded primary at the next start.
    """
    # Here, not above: `aya upgrade-cluster --help` needs none of it.
    from aya.local.lock import exclusive  # noqa: PLC0415
    from aya.settings import load_config  # noqa: PLC0415
    from aya.setup import upgrade, upgrade_choice  # noqa: PLC0415
    from aya.setup.upgrade_choice import stopped  # noqa: PLC0415

    name = session.chosen_node(home, node)
    config = load_config(home)
    if config.pg_config and not pg_config:
        raise UsageError(
            "aya.toml names an installed PostgreSQL, and the new one has to be named, too",
            hint="aya upgrade-cluster --pg-config /opt/homebrew/opt/postgresql@18/bin/pg_config",
        )
    with exclusive(home, "aya upgrade-cluster"), nullcontext() if dry_run else stopped(home, name):
        if not dry_run and (done := upgrade.finish_swap(home, name)):
            _remember(home, done, pg_config)
            output.progress(
                f"an upgrade that was cut off at its very end is finished: node {name} has PostgreSQL {done}"
            )
        choice = upgrade_choice.choose(home, config, name, to=to, method=method, pg_config=pg_config)
        if choice.kind == "nothing":
            if not dry_run:
                _remember(home, to, pg_config)  # a call that was cut off may not have come so far
            return _say(choice, "nothing", as_json=as_json, tables=[])
        upgrade_choice.require_stopped(home, name)
        blocked = (
            upgrade.why_not(choice.upgrade)
            if choice.kind == "upgrade" and upgrade_choice.is_stopped(home, name)
            else None
        )
        if dry_run:
            return _plan(choice, blocked, as_json=as_json)
        if blocked:
            raise PostgresError(f"node {name} cannot be upgraded now: {blocked[0]}", hint=blocked[1])
        tables: list[dict[str, Any]] = []
        if choice.kind == "upgrade":
            tables = [asdict(table) for table in upgrade.run(choice.upgrade, output.progress)]
            _remember(home, to, pg_config)
        else:
            # In this order: of one that has given way nobody could say any more what it was.
            _remember(home, to, pg_config)
            upgrade.give_way(home, name, choice.upgrade.old)
    return _say(choice, "done", as_json=as_json, tables=tables)


def _remember(home: Home, major: int, pg_config: str | None) -> None:
    """Have aya.toml say which version it is from now on."""
    from aya.replacing import replace_file  # noqa: PLC0415 as above
    from aya.setup.configuration import changed  # noqa: PLC0415 as above

    said: dict[str, Any] = {"major": major}
    if pg_config:
        said["pg_config"] = str(Path(pg_config).absolute())
    before = home.config_file.read_text(encoding="utf-8") if home.config_file.exists() else ""
    after = changed(before, {"postgres": said})
    if after != before:
        replace_file(home.config_file, after)


def _plan(choice: Choice, blocked: tuple[str, str] | None, *, as_json: bool) -> int:
    steps, one = _steps(choice), choice.upgrade
    if as_json:
        output.document({"node": one.node, "kind": choice.kind, "steps": steps, "blocked": blocked, "dry_run": True})
    else:
        for step in steps:
            output.line(f"→ {step}")
        output.line()
        output.line(f"{one.node}: nothing was changed (--dry-run)")
        if blocked:
            output.error(f"node {one.node} cannot be upgraded now: {blocked[0]}", blocked[1])
    return EXIT_FAILED if blocked else 0


def _steps(choice: Choice) -> list[str]:
    one = choice.upgrade
    old, new = one.old.binaries, one.new.binaries
    kept = f"keep {', '.join(one.kept(name).name for name in ('data', 'archive', 'backups'))} in {one.directory}"
    if choice.kind == "copy anew":
        return [kept, f"at the next start: copy the primary, which must have PostgreSQL {new.major} by then"]
    return [
        f"make a cluster of PostgreSQL {new.version} in {one.work}",
        f"fill it from PostgreSQL {old.version} by {one.method}",
        "make roles, slot and statistics anew; compare every row, look at every index, search",
        kept,
        "put the new cluster in the old one's place",
    ]


def _say(choice: Choice, state: str, *, as_json: bool, tables: list[dict[str, Any]]) -> int:
    one = choice.upgrade
    if as_json:
        output.document({"node": one.node, "kind": choice.kind, "state": state, "tables": tables, "dry_run": False,
                         "kept": str(one.kept("data")) if state == "done" else None})  # fmt: skip
        return 0
    if state == "nothing":
        output.line(f"{one.node} has PostgreSQL {one.new.binaries.major} already; nothing was changed")
        return 0
    output.line(f"{one.node} has PostgreSQL {one.new.binaries.version}" if choice.kind == "upgrade"
                else f"{one.node} will copy its primary at the next start")  # fmt: skip
    output.line()
    output.line("The backups and the archive of before are of no use to it: it is another system. Next:")
    for typed, meaning in (
        ("aya up --detach", "start it"),
        (f"aya backup create --node {one.node}", "a base backup, from which a past moment can be brought back again"),
        (f"rm -r {shlex.quote(str(one.directory))}/*-{one.old.binaries.major}", "once you have seen that all is well"),
    ):
        output.line(f"  {typed:<40} {meaning}")
    return 0
