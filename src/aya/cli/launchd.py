"""`aya launchd`: the nodes' services under launchd; under systemd's user manager on Linux."""

from __future__ import annotations

import os
import shlex
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

import click

from aya.cli import output, session
from aya.errors import EXIT_DEGRADED, ConfigError, UsageError
from aya.home import Home
from aya.settings import Config, load_config

if TYPE_CHECKING:
    from aya.launchctl.jobs import Kind
    from aya.launchctl.manager import Manager, ServiceState, Verb

_HEADERS = ("SERVICE", "STATE", "PID", "RUNS", "LAST EXIT", "THROTTLE")
_POLL_SECONDS = 0.3
nodes_option = click.option("--nodes", metavar="LIST", help="Of alpha, beta, air (default: all of this home).")


@click.group(name="launchd", short_help="Run the nodes as services of this machine (launchd, systemd).")
def command() -> None:
    """Install, start, stop and watch this machine's nodes as services: they start with it and are kept alive.

    On a Mac launchd runs them, on Linux systemd's user manager. Both from the same plists as `aya up`, which is the way
    for trying things out. Data is never touched. docs/operations/launchd.md explains every failure.
    """


@command.command(name="install")
@nodes_option
@click.option("--agent", is_flag=True, help="As agents of the user who is logged in (for air, by tailnet addresses).")
@click.option("--daemon", is_flag=True, help="As daemons, which start without a login (the default; needs sudo).")
@click.option("--dry-run", is_flag=True, help="Only say what would be written and run.")
@click.option("--print", "print_files", is_flag=True, help="With --dry-run: also print the files.")
@click.option("--for", "manager_name", type=click.Choice(["launchd", "systemd"]), help="With --dry-run: for which.")
@session.json_option
@click.pass_obj
def install(
    home: Home,
    /,
    *,
    nodes: str | None,
    agent: bool,
    daemon: bool,
    dry_run: bool,
    print_files: bool,
    manager_name: str | None,
    as_json: bool,
) -> None:
    """Write the services' files, load them, and wait until they run. Again: only what changed.

    The nodes must have been made (aya up, then aya down) and must not run.
    """
    from aya.launchctl import manager as managers  # noqa: PLC0415 - `aya --help` needs none of it
    from aya.launchctl.setup import Setup  # noqa: PLC0415 as above

    kind = manager_name or managers.kind()
    _require_sense(
        agent=agent, daemon=daemon, dry_run=dry_run, only_dry=print_files or manager_name is not None, kind=kind
    )
    asked: Kind | None = "agent" if agent else "daemon" if daemon else None
    setup = Setup(home, load_config(home), _names(nodes), typed=_typed(home))
    manager = setup.for_install(kind, asked, dry_run=dry_run)
    if not dry_run:
        _carry_out(manager, "install", as_json=as_json)
        _note(setup.notes(kind), as_json=as_json)
        return
    steps, texts = manager.steps("install"), manager.texts()
    notes = setup.notes(kind)
    if as_json:
        files = {str(file): text for file, text in texts.items()}
        output.document({"manager": manager.name, "steps": steps, "files": files, "notes": notes})
        return
    for step in steps or ["nothing to do: all of it runs as it would be installed"]:
        output.line(step)
    for file, text in texts.items() if print_files else ():
        output.line(f"\n# {file}\n{text}".rstrip())
    _note(notes, as_json=False)


def _require_sense(*, agent: bool, daemon: bool, dry_run: bool, only_dry: bool, kind: str) -> None:
    if agent and daemon:
        raise UsageError("--agent and --daemon exclude each other", hint="aya launchd install --help")
    if only_dry and not dry_run:
        raise UsageError("--print and --for belong to --dry-run", hint="aya launchd install --dry-run --print")
    if kind == "systemd" and (agent or daemon):
        raise UsageError("--agent and --daemon are launchd's; systemd runs units of this user", hint="leave them out")


def _note(notes: Sequence[str], *, as_json: bool) -> None:
    for note in () if as_json else notes:
        output.progress(f"note: {note}")


@command.command(name="uninstall")
@nodes_option
@session.json_option
@click.pass_obj
def uninstall(home: Home, /, *, nodes: str | None, as_json: bool) -> None:
    """Stop the services, and remove their files. Databases, backups, logs and secrets stay."""
    _act(home, nodes, "uninstall", as_json=as_json)


@command.command(name="start")
@nodes_option
@session.json_option
@click.pass_obj
def start(home: Home, /, *, nodes: str | None, as_json: bool) -> None:
    """Start the services that are installed, and wait until they run."""
    _act(home, nodes, "start", as_json=as_json)


@command.command(name="stop")
@nodes_option
@session.json_option
@click.pass_obj
def stop(home: Home, /, *, nodes: str | None, as_json: bool) -> None:
    """Stop the services until `aya launchd start`, or until the machine starts again."""
    _act(home, nodes, "stop", as_json=as_json)


@command.command(name="restart")
@nodes_option
@session.json_option
@click.pass_obj
def restart(home: Home, /, *, nodes: str | None, as_json: bool) -> None:
    """Stop and start the services; PostgreSQL has its full time to stop."""
    _act(home, nodes, "restart", as_json=as_json)


@command.command(name="status")
@nodes_option
@session.json_option
@click.pass_obj
def status(home: Home, /, *, nodes: str | None, as_json: bool) -> int:
    """Show what launchd or systemd knows of each service. Exit code 3 when one of them does not run."""
    manager = _installed(home, nodes, changes=False)
    states = manager.states()
    strays = manager.strays()
    if as_json:
        services = [asdict(one) for one in states]
        output.document({"manager": manager.name, "services": services, "strays": strays})
    elif states:
        output.table(_HEADERS, [_row(one) for one in states])
    else:
        output.line("nothing is installed as a service")
        output.line("  next: aya launchd install")
    for target in strays:
        output.error(f"{target} is loaded, though its file is gone", f"launchctl bootout {target}")
    return 0 if states and all(one.state == "running" for one in states) and not strays else EXIT_DEGRADED


def _row(one: ServiceState) -> tuple[str, ...]:
    def known(value: object) -> str:
        return "-" if value is None else str(value)

    throttle = "-" if one.throttle_seconds is None else f"{one.throttle_seconds} s"
    name = f"{one.node} {one.service}"
    return name, one.state, known(one.pid), known(one.runs), known(one.last_exit), throttle


@command.command(name="logs")
@click.argument("service", required=False)
@nodes_option
@click.option("-f", "--follow", is_flag=True, help="Go on with what is added, until Ctrl-C.")
@click.option("-n", "--lines", type=click.IntRange(0), default=20, show_default=True, help="Last lines of each log.")
@click.pass_obj
def logs(home: Home, /, *, service: str | None, nodes: str | None, follow: bool, lines: int) -> None:
    """Print the end of the services' logs; SERVICE is postgres, watchdog, embedder, indexer, backup, syncd or link."""
    from aya.launchctl import assemble  # noqa: PLC0415 as above
    from aya.launchctl.logs import Followed, last_lines  # noqa: PLC0415 as above

    files = _log_files(home, load_config(home), [one.name for one in assemble.chosen(home, _names(nodes))], service)
    followed = {whose: Followed(file) for whose, file in files.items()}
    width = max(len(whose) for whose in files)
    for whose, text in last_lines(files, lines):
        output.line(f"{whose:<{width}}  {text}")
    while follow:
        for whose, one in followed.items():
            for text in one.added():
                output.line(f"{whose:<{width}}  {text}")
        sys.stdout.flush()
        time.sleep(_POLL_SECONDS)


def _log_files(home: Home, config: Config, nodes: Sequence[str], service: str | None) -> dict[str, Path]:
    from aya.local import plan  # noqa: PLC0415 as above

    found = {
        f"{node} {name}": home.log_directory(node) / f"{name}.log"
        for node in nodes
        for name in plan.services(home.node(node), config)
        if service in {None, name}
    }
    if not found:
        names = ", ".join(dict.fromkeys(name for node in nodes for name in plan.services(home.node(node), config)))
        raise UsageError(f"no node of this home has a service {service!r}", hint=f"one of {names}")
    return found


def _act(home: Home, nodes: str | None, verb: Verb, *, as_json: bool) -> None:
    manager = _installed(home, nodes, changes=True, starts=verb in {"start", "restart"})
    if not manager.texts():
        if verb == "uninstall":
            _say(manager, verb, [], as_json=as_json)
            return
        raise ConfigError("nothing of this home is installed as a service", hint="aya launchd install")
    _carry_out(manager, verb, as_json=as_json)


def _installed(home: Home, nodes: str | None, *, changes: bool, starts: bool = False) -> Manager:
    from aya.launchctl import manager as managers  # noqa: PLC0415 as above
    from aya.launchctl.setup import Setup  # noqa: PLC0415 as above

    setup = Setup(home, load_config(home), _names(nodes), typed=_typed(home))
    return setup.of_installed(managers.kind(), changes=changes, starts=starts)


def _carry_out(manager: Manager, verb: Verb, *, as_json: bool) -> None:
    report: Callable[[str], None] = (lambda _text: None) if as_json else output.progress
    done = manager.carry_out(verb, report)
    _say(manager, verb, done, as_json=as_json)


def _say(manager: Manager, verb: Verb, done: Sequence[str], *, as_json: bool) -> None:
    if as_json:
        output.document({"manager": manager.name, "verb": verb, "steps": list(done)})
    elif done:
        output.line(f"{verb}: done; aya launchd status shows it")
    else:
        output.line(f"{verb}: nothing to do, all of it is so already")


def _names(nodes: str | None) -> list[str] | None:
    return None if nodes is None else [name.strip() for name in nodes.split(",") if name.strip()]


def _typed(home: Home) -> str:
    """Return the command as sudo needs it: sudo has another PATH, and another home."""
    arguments = [part for part in sys.argv[1:] if part]
    if "--home" not in arguments:
        arguments = ["--home", str(home.path), *arguments]
    return shlex.join([os.path.abspath(sys.argv[0]), *arguments])  # noqa: PTH100 - resolve() would follow symlinks
