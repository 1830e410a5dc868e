"""What the watchdog is told by its environment and its home, read once."""

from __future__ import annotations

import os
import ssl
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

from aya import home as homes
from aya.alerts.config import NOBODY, AlertSettings
from aya.errors import ConfigError
from aya.home import Home
from aya.members import Member, members
from aya.postgres.cluster import SUPERUSER, Cluster
from aya.postgres.config import SERVERS, WATCHDOG_ROLE, replication_role
from aya.postgres.run import cluster_of
from aya.proof import proof_context
from aya.settings import Config as HomeConfig
from aya.settings import load_config
from aya.watchdog_client import socket_of

POLL_SECONDS = 0.25


@dataclass(frozen=True, slots=True)
class Config:
    """One watchdog. partner: None when there is no second server yet. secrets: passwords by role."""

    node: str
    home: Home
    cluster: Cluster
    own: Member
    partner: Member | None
    secrets: Mapping[str, str] = field(repr=False)
    witnesses: tuple[tuple[str, int], ...] = ()
    alerts: AlertSettings = NOBODY
    proof: ssl.SSLContext | None = field(default=None, repr=False)
    poll_seconds: float = POLL_SECONDS

    @property
    def directory(self) -> Path:
        """Return where this node's files are."""
        return self.home.node_directory(self.node)

    @property
    def socket(self) -> Path:
        """Return where a person's commands come in."""
        return socket_of(self.home, self.node)

    @property
    def listen(self) -> str:
        """Return where the agent listens: this machine only, when both nodes are on it."""
        local = all(address == "127.0.0.1" for address in self.own.addresses)
        return "127.0.0.1" if local else ""

    @property
    def superuser_password(self) -> str:
        """Return the password of the local administration."""
        return self.secrets[SUPERUSER]

    @property
    def probe_password(self) -> str:
        """Return the password of the role that looks whether the partner's server answers."""
        return self.secrets[WATCHDOG_ROLE]

    @property
    def stream_password(self) -> str:
        """Return the password under which this node replicates."""
        return self.secrets[replication_role(self.node)]


def read(environ: Mapping[str, str] = os.environ) -> Config:
    """Read AYA_HOME and AYA_NODE, state.json, aya.toml and the node's passwords. Raises ConfigError."""
    node = environ.get("AYA_NODE") or ""
    if node not in SERVERS:
        raise ConfigError(f"a watchdog runs on {' or '.join(SERVERS)}, not on {node!r}", hint="aya up")
    home = homes.locate(environ.get("AYA_HOME"))
    configured: HomeConfig = load_config(home, environ)
    known = members(home, configured)
    secrets = home.secrets(node)
    for role in (SUPERUSER, WATCHDOG_ROLE, replication_role(node)):
        if role not in secrets:
            raise ConfigError(f"node {node} has no password for role {role}", hint="aya up")
    other = next(name for name in SERVERS if name != node)
    return Config(
        node=node,
        home=home,
        cluster=cluster_of(home, configured, node),
        own=known[node],
        partner=_reached(home, configured, node, known.get(other)),
        secrets=secrets,
        witnesses=configured.witnesses,
        alerts=configured.alerts,
        proof=_proof(home, configured, node),
    )


def _proof(home: Home, config: HomeConfig, node: str) -> ssl.SSLContext | None:
    try:
        return proof_context(home, config, node)
    except OSError as error:
        raise ConfigError(
            f"the authority's certificate cannot be read: {error}", hint="docs/operations/failover.md#certificates"
        ) from error


def _reached(home: Home, config: HomeConfig, node: str, partner: Member | None) -> Member | None:
    """Return the partner as this node reaches it: on one machine through the link that stands for a cable."""
    if partner is None or config.members:
        return partner
    own = home.node(node)
    return replace(partner, postgres_port=own.link_postgres_port, agent_port=own.link_agent_port)
