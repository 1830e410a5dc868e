"""`aya env`: how a client reaches a node, as shell assignments: eval "$(aya env alpha)"."""

from __future__ import annotations

import os
import shlex

import click

from aya.cli import output
from aya.errors import ConfigError
from aya.home import Home
from aya.settings import NodeSettings, node_settings

# These would win over the node's own; a second `eval "$(aya env beta)"` must not print alpha's.
_CONTRACT = ("DB_HOST", "DB_PORT", "DB_NAME", "DB_USER", "DB_PASSWORD", "EMBEDDING_URL")


@click.command(name="env")
@click.argument("node")
@click.pass_obj
def command(home: Home, /, node: str) -> None:
    """Print DB_HOST, DB_PORT, DB_NAME, DB_USER, DB_PASSWORD and EMBEDDING_URL of NODE as shell assignments."""
    home.node(node)
    environ = {name: value for name, value in os.environ.items() if name not in _CONTRACT}
    for name, value in assignments(node_settings(home, node, environ=environ)):
        output.line(f"{name}={shlex.quote(value)}")


def assignments(settings: NodeSettings) -> list[tuple[str, str]]:
    """Return the contract's names and their values; pure. ConfigError when they cannot say where the database is."""
    database = settings.local
    ports = {port for _, port in database.hosts}
    if len(ports) != 1:
        raise ConfigError("DB_PORT cannot name several ports", hint="give the DSN itself to this client")
    return [
        ("DB_HOST", ",".join(host for host, _ in database.hosts)),
        ("DB_PORT", str(ports.pop())),
        ("DB_NAME", database.database),
        ("DB_USER", database.user),
        ("DB_PASSWORD", database.password or ""),
        ("EMBEDDING_URL", settings.embedder_url),
    ]
