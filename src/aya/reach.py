"""How the knowledge base is reached, whoever leads it: one DSN with both servers, this node's own first."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import replace

from aya.home import Home
from aya.members import members
from aya.postgres.config import SERVERS
from aya.settings import OWNER, NodeSettings, load_config, node_settings


def base_settings(home: Home, node: str, *, role: str = OWNER, environ: Mapping[str, str] = os.environ) -> NodeSettings:
    """Return what a process of `node` needs to read and write the base, whoever leads.

    Of a copy (air), of a home with one server, and where DB_HOST or a DSN says it, that is the node's own database.
    Raises ConfigError.
    """
    settings = node_settings(home, node, role=role, environ=environ)
    config = load_config(home, environ)
    if node not in SERVERS or environ.get("DB_HOST") or config.dsn:
        return settings
    known = members(home, config)
    ordered = sorted(known.values(), key=lambda one: one.name != node)
    if len(ordered) == 1:
        return settings
    hosts = tuple((address, one.postgres_port) for one in ordered for address in one.addresses)
    target = (("target_session_attrs", "read-write"),)
    return replace(settings, database=replace(settings.database, hosts=hosts, options=target))
