"""`aya init`: this machine becomes ALPHA, BETA or AIR; and the file by which another one joins."""

from __future__ import annotations

import os
import shlex
import stat
import sys
from collections.abc import Sequence
from dataclasses import asdict, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from aya.cli import output, session
from aya.errors import EXIT_DEGRADED, EXIT_FAILED, AyaError, UsageError
from aya.home import ROLE_OF_NODE, Home

if TYPE_CHECKING:
    from aya.settings import Config
    from aya.setup.join_file import JoinFile
    from aya.setup.plan import Step, Wanted
    from aya.setup.steps import Setup

_MARKS = {"done": "✓", "to do": "→", "blocked": "✗", "look": "!"}
_NEXT = {
    "alpha": (
        ("aya init invite beta > beta.aya-join", "what BETA needs; bring it there with scp, then there:"),
        ("aya init --role beta --join beta.aya-join", "BETA joins (the same with air)"),
    ),
    "beta": (("aya history", "who leads"),),
    "air": (("aya sync status", "how far the copy is"),),
}
_ANEW = (("aya down, then aya up --detach", "its services, which run, read aya.toml at their start"),)
_ALWAYS = (
    ("aya launchd install", "have everything run from now on, also after a restart"),
    ("aya doctor", "look whether anything is wrong"),
    ("aya verify", "measure what is promised"),
)


@click.group(name="init", invoke_without_command=True)
@click.option("--role", type=click.Choice(list(ROLE_OF_NODE)), help="What this machine is to be.")
@click.option("--alpha-address", metavar="LIST", help="ALPHA's addresses, with commas: LAN's and tailnet's.")
@click.option("--beta-address", metavar="LIST", help="BETA's.")
@click.option("--air-address", metavar="LIST", help="AIR's, from which it is let in.")
@click.option("--client", "clients", metavar="ADDRESS", multiple=True, help="Another machine or network to let in.")
@click.option("--join", metavar="FILE", help="What `aya init invite` made on the server that leads.")
@click.option("--data", metavar="DIR", help="Where everything of the node is kept (default: in the home).")
@click.option("--pg-config", metavar="PATH", help="Use the installed PostgreSQL of this pg_config.")
@click.option("--dsn", metavar="DSN", help="Use a database of your own; it is migrated, and not started or stopped.")
@click.option("--adopt", metavar="SOURCE", help="Bring in a base made by hand: its DSN, or its data directory.")
@click.option("--port", type=click.IntRange(1, 65535), help="PostgreSQL's port (default: 5432).")
@click.option("--embedder-port", type=click.IntRange(1, 65535), help="The embedder's (default: 8765).")
@click.option("--yes", is_flag=True, help="Do not ask before it begins.")
@click.option("--dry-run", is_flag=True, help="Print what would be done, and change nothing.")
@session.json_option
@click.pass_context
def command(ctx: click.Context, /, *, role: str | None, dry_run: bool, yes: bool, as_json: bool, **given: Any) -> int:  # noqa: ANN401 - the flags
    """Make this machine a node: aya.toml, PostgreSQL, passwords, certificate; BETA and AIR join by a file from ALPHA.

    It says what it does, asks for what no flag says, and can be run again: what is done is left alone. Nothing is ever
    deleted but the join file. Exit code 1 when a person must do something first; then nothing was done.
    """
    if ctx.invoked_subcommand is not None:
        return 0
    # Here, not above: `aya init --help` needs none of it.
    from aya.setup.plan import blocked, is_done, plan  # noqa: PLC0415

    setup, found = _setup(ctx.obj, role, given)
    steps = plan(setup.wanted, found)
    if as_json and dry_run:
        output.document(_document(setup.wanted, steps, dry_run=True))
        return EXIT_FAILED if blocked(steps) else 0
    if dry_run or blocked(steps) or is_done(steps):
        if as_json:
            output.document(_document(setup.wanted, steps, dry_run=False))
            return EXIT_FAILED if blocked(steps) else 0
        return _only_say(setup.wanted, steps, dry_run=dry_run)
    return _carry_out(setup, steps, yes=yes, as_json=as_json)


def _setup(home: Home, role: str | None, given: dict[str, Any]) -> tuple[Setup, Any]:
    from aya.cli import init_ask  # noqa: PLC0415 as above
    from aya.postgres import installed  # noqa: PLC0415 as above
    from aya.settings import load_config  # noqa: PLC0415 as above
    from aya.setup import configuration, invite, observe  # noqa: PLC0415 as above
    from aya.setup.steps import Setup  # noqa: PLC0415 as above

    if role is None:
        if not init_ask.asks():
            raise UsageError("nobody says what this machine is to be", hint="aya init --role alpha|beta|air")
        role = click.prompt("This machine is to be", type=click.Choice(list(ROLE_OF_NODE)), default="alpha")
    now = datetime.now(UTC)
    config = load_config(home)
    file = _existing(given["join"])
    join: JoinFile | None = invite.read(file, node=role, now=now) if file else None
    words = init_ask.Given(
        role,
        {name: given[f"{name}_address"] for name in ROLE_OF_NODE},
        **{key: given[key] for key in ("clients", "port", "embedder_port", "data", "pg_config", "dsn", "adopt")},
    )
    wanted = init_ask.wanted(home, words, config, join)
    values = configuration.values(
        members=wanted.members,
        clients=wanted.clients,
        pg_config=os.path.abspath(wanted.pg_config) if wanted.pg_config else None,  # noqa: PTH100 - no symlink is followed
        dsn=given["dsn"],
        major=join.major if join and not wanted.pg_config else None,
        model=join.model if join else None,
        tls=_tls(join, wanted, config),
    )
    setup = Setup(home, wanted, values, now, join, file, _source(given["adopt"]))
    return setup, observe.found(setup, installed.look())


def _tls(join: JoinFile | None, wanted: Wanted, config: Config) -> bool | None:
    """Return what aya.toml is to say of the servers: what the join file says, else what this machine's can."""
    from aya.postgres.tls import has_tls  # noqa: PLC0415 as above

    if join is not None:
        return join.tls
    pg_config = wanted.pg_config or config.pg_config
    return has_tls(pg_config) if config.tls is None and pg_config else None


def _source(source: str | None) -> str | None:
    is_directory = source is not None and not source.startswith(("postgresql://", "postgres://"))
    return str(_existing(source)) if is_directory else source


def _existing(name: str | None) -> Path | None:
    return Path(name).expanduser().absolute() if name else None


def _only_say(wanted: Wanted, steps: Sequence[Step], *, dry_run: bool) -> int:
    from aya.setup.plan import blocked, is_done  # noqa: PLC0415 as above

    for step in steps:
        _say(step)
    waiting = blocked(steps)
    if waiting:
        output.line()
        raise AyaError(
            f"{wanted.role}: {len(waiting)} thing(s) to do first; nothing was changed", hint=waiting[0].command
        )
    output.line()
    if is_done(steps):
        output.line(f"{wanted.role}: everything is done already; nothing was changed")
    elif dry_run:
        output.line(f"{wanted.role}: nothing was changed (--dry-run)")
    return 0


def _say(step: Step) -> None:
    why = f" ({step.why})" if step.why else ""
    output.line(f"{_MARKS[step.state]} {step.text}{why}")
    if step.command:
        output.line(f"    {step.command}")


class _Progress:
    """What `up` tells, indented below the step. warned: something works, but not all of it."""

    def __init__(self) -> None:
        self.warned = False

    def step(self, node: str, text: str) -> None:
        del node
        output.progress(f"    {text}")

    def warn(self, node: str, error: AyaError) -> None:
        del node
        self.warned = True
        output.error(error.message, error.hint)


def _carry_out(setup: Setup, steps: Sequence[Step], *, yes: bool, as_json: bool) -> int:
    from aya.setup.steps import carry_out  # noqa: PLC0415 as above

    if sys.stdin.isatty() and not yes and not as_json:
        for step in steps:
            _say(step)
        click.confirm("Go on?", default=True, abort=True)
    progress = _Progress()
    finished: list[Step] = []

    def done(step: Step) -> None:
        finished.append(step)
        if not as_json:
            # Why it was to do is over.
            _say(replace(step, state="done", why="") if step.state == "to do" else step)

    carry_out(setup, steps, progress, done)
    if as_json:
        output.document(_document(setup.wanted, finished, dry_run=False))
    else:
        running = any(step.action == "start" and step.state == "done" for step in steps)
        changed = any(step.action == "configure" and step.state == "to do" for step in steps)
        _say_next(setup.wanted, reads_anew=running and changed)
    return EXIT_DEGRADED if progress.warned else 0


def _say_next(wanted: Wanted, *, reads_anew: bool) -> None:
    output.line()
    output.line(f"{wanted.role} is ready, and runs until aya down.")
    output.line()
    following = () if wanted.dsn else _NEXT[wanted.role]
    for typed, meaning in (*(_ANEW if reads_anew else ()), *following, *_ALWAYS):
        output.line(f"  {typed:<44} {meaning}")


def _document(wanted: Wanted, steps: Sequence[Step], *, dry_run: bool) -> dict[str, Any]:
    from aya.setup.plan import is_done  # noqa: PLC0415 as above

    return {
        "role": wanted.role,
        "dry_run": dry_run,
        "nothing_to_do": is_done(steps),
        "steps": [asdict(step) for step in steps],
    }


@command.command(name="invite")
@click.argument("node", type=click.Choice(list(ROLE_OF_NODE)))
@click.option("--hours", type=click.IntRange(1, 168), default=24, show_default=True, help="How long the file is good.")
@click.option("--output", "file", metavar="FILE", help="Where to write it, mode 600 (default: standard output).")
@click.pass_obj
def invite_command(home: Home, /, *, node: str, hours: int, file: str | None) -> None:
    """Print what another machine needs to join as NODE. It holds passwords: bring it there, and keep no copy."""
    from aya.settings import load_config  # noqa: PLC0415 as above
    from aya.setup import invite  # noqa: PLC0415 as above
    from aya.setup.join_file import dumped  # noqa: PLC0415 as above

    join = invite.invite(home, load_config(home), node, now=datetime.now(UTC), hours=hours)
    if file is None and sys.stdout.isatty():
        raise UsageError("the join file holds passwords, and is not printed on a terminal",
                         hint=f"aya init invite {node} > {node}.aya-join")  # fmt: skip
    _write(dumped(join), file)
    output.progress(
        f"This file lets whoever has it in as {node}. It expires in {hours} h. Bring it there, and only there:"
    )
    output.progress(f"  scp {shlex.quote(file or f'{node}.aya-join')} {node.upper()}:")
    output.progress(f"  there: aya init --role {node} --join {node}.aya-join    (it removes the file there)")
    output.progress(f"  here:  rm {shlex.quote(file or f'{node}.aya-join')}")
    output.progress(f"Its fingerprint is {join.fingerprint}.")


def _write(text: str, file: str | None) -> None:
    """Write to a file of mode 600; standard output that is a file of ours is made one, too."""
    if file is None:
        descriptor = sys.stdout.fileno()
        status = os.fstat(descriptor)
        if status.st_uid == os.geteuid() and stat.S_ISREG(status.st_mode):
            os.fchmod(descriptor, 0o600)
        click.echo(text, nl=False)
        return
    try:
        handle = os.open(Path(file).expanduser(), os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    except OSError as error:
        raise UsageError(f"{file} cannot be written: {error.strerror}", hint="--output another file") from error
    with os.fdopen(handle, "w", encoding="ascii") as stream:
        stream.write(text)
