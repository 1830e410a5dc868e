"""What the sync daemon is told, by its environment and its command line; read once."""

from __future__ import annotations

import argparse
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

from aya import home as homes
from aya.backoff import Backoff
from aya.dsn import DEFAULT_DATABASE, DEFAULT_POSTGRES_PORT, TARGET, DatabaseSettings, parse_port
from aya.errors import ConfigError
from aya.members import leaders
from aya.postgres.config import SYNC_ROLE
from aya.proof import proof_options
from aya.settings import Config as HomeConfig
from aya.settings import load_config, node_settings, primary_password

# A host, and its port where one was said.
Host = tuple[str, int | None]


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
    """Read the command line, AYA_HOME and AYA_NODE. Raises ConfigError; a wrong command line ends the process.

    What the command line says of hosts wins over the home. A port that it does not say is AIR's own, and of the
    servers the one that aya.toml says of alpha, else 5432.
    """
    given = _parser().parse_args(arguments)
    home, node = homes.locate(environ.get("AYA_HOME")), environ.get("AYA_NODE") or "air"
    config = load_config(home, environ)
    local = node_settings(home, node, role=SYNC_ROLE, environ=environ).local
    if given.local_host:
        local = replace(local, hosts=_with_port((given.local_host,), local.hosts[0][1]))
    hosts = _with_port(given.alpha_host or (), _servers_port(config)) or leaders(home, config, node)
    if not hosts:
        return Config(node, local, None)
    password = primary_password(home, config, node, SYNC_ROLE)
    primary = DatabaseSettings(
        hosts,
        DEFAULT_DATABASE,
        SYNC_ROLE,
        password,
        options=(*proof_options(home, config, node), (TARGET, "read-write")),
    )
    return Config(node, local, primary)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="aya-syncd", description="AIR's copy follows the primary, and writes back.")
    parser.add_argument(
        "--alpha-host",
        metavar="HOST[:PORT][,…]",
        type=_hosts,
        help="where the servers are that may lead, every address",
    )
    parser.add_argument("--local-host", metavar="HOST[:PORT]", type=_host, help="where AIR's own server is")
    return parser


def _hosts(text: str) -> tuple[Host, ...]:
    return tuple(_host(one) for one in text.split(","))


def _host(text: str) -> Host:
    """Return the host and the port that `text` says; an IPv6 address with a port is [ADDRESS]:PORT."""
    word = text.strip()
    if word.startswith("["):
        host, closed, rest = word[1:].partition("]")
        known = closed and rest[:1] in {"", ":"}
    else:
        host, colon, port = word.partition(":")
        bare = ":" in port
        host, rest, known = (word, "", True) if bare else (host, colon + port, True)
    if not host or not known:
        raise argparse.ArgumentTypeError(f"{text!r} is not of the form HOST[:PORT]")
    try:
        return host, parse_port(rest[1:]) if rest else None
    except ConfigError as error:
        raise argparse.ArgumentTypeError(error.message) from error


def _with_port(hosts: Sequence[Host], port: int) -> tuple[tuple[str, int], ...]:
    return tuple((host, said or port) for host, said in hosts)


def _servers_port(config: HomeConfig) -> int:
    return config.members["alpha"].postgres_port if config.members else DEFAULT_POSTGRES_PORT
