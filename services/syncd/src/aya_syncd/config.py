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
from aya.members import leaders, word_of
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
    named = tuple(_host(one) for one in (given.alpha_host or "").split(",") if one)
    hosts = named or leaders(home, load_config(home, environ), node)
    if not hosts:
        return Config(node, local, None)
    primary = DatabaseSettings(
        hosts, DEFAULT_DATABASE, SYNC_ROLE, _password(home, node), options=((TARGET, "read-write"),)
    )
    return Config(node, local, primary)


def _host(text: str) -> tuple[str, int]:
    host, _, port = text.partition(":")
    return host, parse_port(port or str(DEFAULT_POSTGRES_PORT))


def _password(home: Home, node: str) -> str:
    password = word_of(home, node, SYNC_ROLE)
    if password is None:
        raise ConfigError(
            f"nothing here says how {SYNC_ROLE} enters the primary",
            hint=f"copy the word of {SYNC_ROLE} in ALPHA's secrets.json into AIR's, as \"{SYNC_ROLE}@primary\"",
        )
    return password
