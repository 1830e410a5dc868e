"""`aya mcp`: the knowledge base for IDEs and agents, over the Model Context Protocol."""

from __future__ import annotations

import os
import sys

import click

from aya.cli import mcp_install
from aya.home import Home


@click.group()
def command() -> None:
    """Serve the knowledge base to IDEs and agents (MCP)."""


@command.command()
@click.option("--node", metavar="NODE", help="Which node to serve (default: AYA_NODE, else the first).")
@click.pass_obj
def serve(home: Home, node: str | None) -> None:
    """Serve one client over standard input and output, until it goes.

    The process becomes the server: what the client sees of it, signals included, is the server's own.
    """
    environment = {**os.environ, "AYA_HOME": str(home.path), **({"AYA_NODE": node} if node else {})}
    # -P: the folder in which a client starts us may be anybody's repository, and is no place to import from.
    # The service is named, not imported: the common package knows none of them.
    os.execve(sys.executable, [sys.executable, "-P", "-m", "aya_mcp"], environment)  # noqa: S606


command.add_command(mcp_install.command, "install")
