"""`aya mcp install`: have an IDE or an agent start the server by itself."""

from __future__ import annotations

import difflib
import os
import shlex
from dataclasses import asdict
from typing import Any

import click

from aya.cli import output
from aya.errors import ConfigError, UsageError
from aya.home import Home
from aya.mcp_clients import configuration
from aya.mcp_clients.clients import CLIENTS, Client, Server, add_command, remove_command
from aya.mcp_clients.install import Change, by_command, handshake, here, our_server, planned, write

_SAID = {"added": "added to", "changed": "changed in", "removed": "removed from", "unchanged": "nothing to change in"}


@click.command()
@click.option(
    "--client", "names", multiple=True, type=click.Choice([*CLIENTS]), help="Which program; several may be named."
)
@click.option("--node", metavar="NODE", help="Which node it serves (default: the first of this machine).")
@click.option("--remove", is_flag=True, help="Take the entry out again.")
@click.option("--print", "printed", is_flag=True, help="Print the entry, to be pasted; write nothing.")
@click.option("--dry-run", is_flag=True, help="Show what would change; write nothing.")
@click.option("--json", "as_json", is_flag=True, help="Print one JSON document.")
@click.pass_obj
def command(
    home: Home, names: tuple[str, ...], node: str | None, *, remove: bool, printed: bool, dry_run: bool, as_json: bool
) -> None:
    """Have an IDE or an agent start the server by itself.

    The entry names this AYA's interpreter by its whole path and holds no secret. Other servers and comments in the file
    stay as they are, and the file as it was is kept beside it (.before-aya). Without --client: which programs are here.
    """
    if not names:
        _listed(as_json=as_json)
        return
    server = our_server(home.path, _checked(home, node))
    if printed:
        for name in names:
            _print(CLIENTS[name], server)
        return
    done = [_one(CLIENTS[name], server, remove=remove, dry_run=dry_run, quiet=as_json) for name in names]
    said: dict[str, Any] = {"clients": done}
    if not remove and not dry_run:
        shaken = handshake(server)
        said["handshake"] = {**asdict(shaken), "seconds": round(shaken.seconds, 3)}
        if not as_json:
            output.line(f"started as they start it: {shaken.tools} tools after {shaken.seconds:.1f} s")
            if shaken.trouble:
                output.line(f"  but a tool says: {shaken.trouble}")
    if as_json:
        output.document(said)


def _checked(home: Home, node: str | None) -> str | None:
    if node is not None and node not in home.nodes():
        known = ", ".join(home.nodes()) or "none"
        raise UsageError(f"there is no node {node!r} on this machine ({known})", hint="aya status")
    return node


def _print(client: Client, server: Server) -> None:
    if client.format == "command":
        output.line(shlex.join(["claude", *add_command(server)]))
    else:
        output.line(configuration.snippet(client, server).rstrip("\n"))


def _one(client: Client, server: Server, *, remove: bool, dry_run: bool, quiet: bool) -> dict[str, Any]:
    """Change one client's configuration, and say so."""
    system, user = here()
    file = client.file(system, user, os.environ)
    said: dict[str, Any] = {"client": client.name, "file": str(file), "outcome": "unchanged", "backup": None}
    if client.format == "command":
        if dry_run:
            return _would_call(said, server, remove=remove, quiet=quiet)
        said["outcome"] = by_command(server, remove=remove)
    else:
        change = planned(client, file, server, remove=remove)
        said["outcome"] = change.outcome
        if dry_run:
            if not quiet:
                _show(change)
            return said
        write(change)
        if change.backup and change.outcome != "unchanged":
            said["backup"] = str(change.backup)
    if not quiet:
        output.line(f"{client.title}: {_SAID[said['outcome']]} {file}")
        if said["outcome"] != "unchanged" and not remove:
            output.line(f"  then {client.then}")
    return said


def _would_call(said: dict[str, Any], server: Server, *, remove: bool, quiet: bool) -> dict[str, Any]:
    words = shlex.join(["claude", *(remove_command() if remove else add_command(server))])
    if not quiet:
        output.line(f"would call {words}")
    return {**said, "outcome": "would be called", "command": words}


def _show(change: Change) -> None:
    if change.outcome == "unchanged":
        output.line(f"{change.file}: nothing to change")
        return
    lines = difflib.unified_diff(
        change.before.splitlines(), change.after.splitlines(), str(change.file), str(change.file), lineterm=""
    )
    for line in lines:
        output.line(line)


def _listed(*, as_json: bool) -> None:
    """Say which programs are here, and which of them know the server."""
    system, user = here()
    found: list[dict[str, Any]] = []
    for client in CLIENTS.values():
        file = client.file(system, user, os.environ)
        there = file.exists() or (client.format != "command" and file.parent != user and file.parent.exists())
        found.append({"client": client.name, "title": client.title, "file": str(file), "found": there,
                      "installed": _state(client, there=there)})  # fmt: skip
    if as_json:
        output.document({"clients": found})
        return
    words = {True: "yes", False: "no", None: "unreadable"}
    rows = [(one["client"], "yes" if one["found"] else "no", words[one["installed"]], one["file"]) for one in found]
    output.table(("client", "here", "knows aya-rag", "file"), rows)
    output.progress("  next: aya mcp install --client NAME")


def _state(client: Client, *, there: bool) -> bool | None:
    """Return whether a client's file has the entry; None when it cannot be read."""
    if not there:
        return False
    system, user = here()
    file = client.file(system, user, os.environ)
    try:
        return file.exists() and configuration.has_entry(file.read_text(encoding="utf-8"), client)
    except (OSError, ValueError, ConfigError):
        return None
