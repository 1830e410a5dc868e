"""The command `aya`: one file per verb, imported only when that verb is used.

Every verb is `aya.cli.<module>:command`, a click command that takes the home with `@click.pass_obj` (an
aya.home.Home) and returns None, or an exit code. Exit codes: 0 good, 1 failed, 2 the call itself was wrong,
3 degraded (works, but not all of it), 130 interrupted, 141 whoever read the output is gone (as a shell reports
SIGPIPE): the work ends there and nothing is said.

Errors go to standard error: an AyaError as what and why, then the next command; anything unexpected in one line
(AYA_DEBUG=1 shows its traceback).
"""

from __future__ import annotations

import errno
import os
import sys
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING, ClassVar, cast

import click

from aya import __version__
from aya.errors import EXIT_FAILED, AyaError

if TYPE_CHECKING:
    from collections.abc import Mapping

EXIT_INTERRUPTED = 130
EXIT_UNREAD = 141
_RESUME = "what was finished is kept, and the same command goes on from there"

# name → (where it is, what it does); the order is the order of `aya --help`
VERBS: dict[str, tuple[str, str]] = {
    "init": ("aya.cli.init:command", "Make this machine ALPHA, BETA or AIR, on machines of their own."),
    "up": ("aya.cli.up:command", "Start this machine's nodes, and make them on first use."),
    "down": ("aya.cli.down:command", "Stop this machine's nodes; nothing is left running."),
    "status": ("aya.cli.status:command", "Show every node, its health and its services."),
    "verify": ("aya.cli.verify:command", "Measure what AYA promises, on the nodes as they run."),
    "launchd": ("aya.cli.launchd:command", "Run the nodes as services of this machine (launchd, systemd)."),
    "doctor": ("aya.cli.doctor:command", "Find what is wrong with this machine, and how to mend it."),
    "web": ("aya.cli.web:command", "Print where this home's page is; --open shows it."),
    "env": ("aya.cli.env:command", "Print how a client reaches a node, as shell assignments."),
    "dsn": ("aya.cli.dsn:command", "Print how other programs reach the base, whoever leads."),
    "add": ("aya.cli.add:command", "Add files, folders or text."),
    "search": ("aya.cli.search:command", "Search by meaning and by words."),
    "list": ("aya.cli.list:command", "List documents."),
    "show": ("aya.cli.show:command", "Show one document."),
    "edit": ("aya.cli.edit:command", "Change a document."),
    "rm": ("aya.cli.rm:command", "Remove documents."),
    "import": ("aya.cli.import_:command", "Import from SQLite, JSON Lines, ChatGPT, Claude, MCP memory."),
    "models": ("aya.cli.models:command", "List, fetch, choose and check embedding models."),
    "migrate": ("aya.cli.migrate:command", "Bring the database's schema up to date."),
    "upgrade-cluster": ("aya.cli.upgrade_cluster:command", "Move a node's PostgreSQL to another major version."),
    "failover": ("aya.cli.failover:command", "Make the standby the primary, because the primary is gone."),
    "switchover": ("aya.cli.switchover:command", "Have primary and standby change places; no row is lost."),
    "degrade": ("aya.cli.degrade:command", "Let the primary go on alone: the other server is off."),
    "pause": ("aya.cli.pause:pause", "Keep the watchdogs from changing anything."),
    "resume": ("aya.cli.pause:resume", "Let the watchdogs look after the servers again."),
    "rejoin": ("aya.cli.rejoin:command", "Copy or rewind a standby anew."),
    "history": ("aya.cli.history:command", "Show who has led, since when and why."),
    "sync": ("aya.cli.sync:command", "Show, hasten, pause and mend AIR's sync with the primary."),
    "conflicts": ("aya.cli.conflicts:command", "Show and decide what was changed on AIR and at the primary."),
    "dev": ("aya.cli.dev:command", "Faults on purpose: kill, freeze and cut this machine's nodes."),
    "backup": ("aya.cli.backup:command", "Make, list and check base backups and the WAL archive."),
    "restore": ("aya.cli.restore:command", "Bring back a past moment, in a new cluster beside this one."),
    "index": ("aya.cli.index:command", "Show and build the index on the vectors."),
    "reembed": ("aya.cli.reembed:command", "Move all vectors to another model, online."),
    "bugreport": ("aya.cli.bugreport:command", "Collect what somebody needs to help, in one file."),
    "completions": ("aya.cli.completions:command", "Print a shell's completion script."),
    "mcp": ("aya.cli.mcp:command", "Serve the knowledge base to IDEs and agents (MCP)."),
}


class LazyGroup(click.Group):
    """A group that knows its verbs by name and imports only the one that is called."""

    verbs: ClassVar[Mapping[str, tuple[str, str]]] = VERBS

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Return the verbs in the table's order."""
        del ctx
        return list(self.verbs)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        """Import one verb; None when there is none of that name."""
        del ctx
        if cmd_name not in self.verbs:
            return None
        module, _, attribute = self.verbs[cmd_name][0].partition(":")
        command: click.Command = getattr(import_module(module), attribute)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the verbs' help from the table: nothing is imported for it."""
        del ctx
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in self.verbs.items()])

    def invoke(self, ctx: click.Context) -> object:
        """Run the verb; every error leaves with words on standard error and its exit code."""
        try:
            result: object = super().invoke(ctx)
        except (click.ClickException, click.Abort, click.exceptions.Exit):
            raise
        except BaseException as error:  # noqa: BLE001 - the one place where everything is turned into words
            ctx.exit(_report_to_whoever_reads(error))
        if isinstance(result, int):
            ctx.exit(result)
        return result


def _report_to_whoever_reads(error: BaseException) -> int:
    try:
        if not _is_unread(error):
            return report(error)
    except OSError as unheard:
        if not _is_unread(unheard):
            raise
    # Python flushes both at its end, and would complain.
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())
    return EXIT_UNREAD


def _is_unread(error: BaseException) -> bool:
    """Return whether nobody reads standard output or error any more; in a task group too, whatever else went wrong."""
    return any(isinstance(leaf, OSError) and leaf.errno == errno.EPIPE for leaf in _leaves(error))


def _leaves(error: BaseException) -> list[BaseException]:
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    group = cast("BaseExceptionGroup[BaseException]", error)
    return [leaf for part in group.exceptions for leaf in _leaves(part)]


def report(error: BaseException) -> int:
    """Say on standard error what happened, and return the exit code; what is not ours to explain is raised again."""
    if isinstance(error, SystemExit):
        raise error
    if os.environ.get("AYA_DEBUG") and not isinstance(error, KeyboardInterrupt):
        raise error
    if isinstance(error, KeyboardInterrupt):
        click.echo(f"aya: interrupted; {str(error) or _RESUME}", err=True)
        return EXIT_INTERRUPTED
    known = explained(error)
    if known is None:
        unexpected = next(leaf for leaf in _leaves(error) if not isinstance(leaf, AyaError))
        click.echo(f"aya: unexpected {type(unexpected).__name__}: {_one_line(unexpected)}", err=True)
        click.echo("  next: AYA_DEBUG=1 aya … shows where it came from", err=True)
        return EXIT_FAILED
    # Only here: an error may quote what was stored, which must not command a terminal.
    from aya.cli import output  # noqa: PLC0415

    output.error(known.message, known.hint)
    return known.exit_code


def explained(error: BaseException) -> AyaError | None:
    """Return the AyaError in `error` (itself, or the first in a group of only such); None when it is something else."""
    ours = [leaf for leaf in _leaves(error) if isinstance(leaf, AyaError)]
    return ours[0] if len(ours) == len(_leaves(error)) else None


def _one_line(error: BaseException) -> str:
    return " ".join(str(error).split()) or "no message"


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"]})
@click.option("--home", metavar="DIR", help="Where this machine's nodes are kept (default: AYA_HOME, else ~/.aya).")
@click.version_option(__version__, prog_name="aya", message="%(prog)s %(version)s")
@click.pass_context
def main(ctx: click.Context, home: str | None) -> None:
    """AYA: one private knowledge base that lives on three Macs at once."""
    # Here, not above: `aya --help` needs none of it.
    from aya.home import Home, locate  # noqa: PLC0415

    # One name for one directory, whichever symlink it was reached by: sockets and processes are found by it.
    ctx.obj = Home(locate(home).path.resolve())
