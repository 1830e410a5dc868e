"""What the sync daemon is told, by its environment and its command line; read once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from aya import home as homes
from aya.backoff import Backoff
from aya.errors import ConfigError
from aya.home import Home
from aya.members import members
from aya.postgres.config import SERVERS
from aya.postgres.provision import SYNC_ROLE
from aya.settings import (
    DEFAULT_DATABASE,
    DEFAULT_POSTGRES_PORT,
    TARGET,
    DatabaseSettings,
    load_config,
    node_settings,
    parse_port,
)


@dataclass(frozen=True, slots=True)
class Config:
    """local: AIR's own server; primary: every server that may lead, None while there is none to follow.

    poll_seconds: how often it looks without having been notified. beat_seconds, beat_limit: how often a connection that
    only listens is used, and how long the answer may take. compare_seconds: how often all rows are compared.
    """

    node: str
    local: DatabaseSettings
    primary: DatabaseSettings | None
    poll_seconds: float = 5.0
    beat_seconds: float = 10.0
    beat_limit: float = 3.0
    compare_seconds: float = 300.0
    outage: Backoff = field(default=Backoff(first_seconds=0.2, cap_seconds=5.0))


def read(arguments: Sequence[str], environ: Mapping[str, str] = os.environ) -> Config:
    """Read the command line, AYA_HOME and AYA_NODE. Raises ConfigError; a wrong command line ends the process."""
    parser = argparse.ArgumentParser(prog="aya-syncd", description="AIR's copy follows the primary, and writes back.")
    parser.add_argument("--alpha-host", metavar="HOST[:PORT],…", help="where the servers are that may lead")
    parser.add_argument("--local-host", metavar="HOST[:PORT]", help="where AIR's own server is")
    given = parser.parse_args(arguments)
    home, node = homes.locate(environ.get("AYA_HOME")), environ.get("AYA_NODE") or "air"
    local = node_settings(home, node, role=SYNC_ROLE, environ=environ).local
    if given.local_host:
        local = replace(local, hosts=(_host(given.local_host),))
    hosts = tuple(_host(one) for one in (given.alpha_host or "").split(",") if one) or _servers(home, node, environ)
    if not hosts:
        return Config(node, local, None)
    primary = DatabaseSettings(hosts, DEFAULT_DATABASE, SYNC_ROLE, _password(home), options=((TARGET, "read-write"),))
    return Config(node, local, primary)


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, parse_port(port or str(DEFAULT_POSTGRES_PORT))


def _servers(home: Home, node: str, environ: Mapping[str, str]) -> tuple[tuple[str, int], ...]:
    """Return where the servers are: on machines of their own, or on this one behind the link that can be cut."""
    config, nodes = load_config(home, environ), home.nodes()
    if config.members:
        return tuple(host for member in members(home, config).values() for host in member.hosts)
    own = nodes.get(node)
    links = {"alpha": own.link_alpha_port, "beta": own.link_beta_port} if own else {}
    return tuple(("127.0.0.1", links[name]) for name in SERVERS if name in nodes and links.get(name))


def _password(home: Home) -> str:
    """Return the role's password at the servers: what this home has of alpha's, else AIR's own copy of it."""
    for node, role in (("alpha", SYNC_ROLE), ("air", f"{SYNC_ROLE}@primary")):
        password = home.secrets(node).get(role)
        if password:
            return password
    raise ConfigError(
        f"nothing here says how {SYNC_ROLE} enters the primary",
        hint=f"copy the word of {SYNC_ROLE} in ALPHA's secrets.json into AIR's, as \"{SYNC_ROLE}@primary\"",
    )
