"""What the indexer is told by its environment, read once."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass, field

from aya import home
from aya.backoff import Backoff
from aya.dsn import DatabaseSettings
from aya.postgres.provision import INDEXER_ROLE
from aya.settings import node_settings

RETRY = Backoff(first_seconds=2.0, cap_seconds=3600.0)
OUTAGE = Backoff(first_seconds=0.5, cap_seconds=10.0)


@dataclass(frozen=True, slots=True)
class Config:
    """poll_seconds: how often it looks without having been notified; retry: how long a failing document waits."""

    node: str
    database: DatabaseSettings
    embedder_url: str
    embedder_token: str | None = field(default=None, repr=False)
    poll_seconds: float = 5.0
    retry: Backoff = RETRY
    outage: Backoff = OUTAGE


def read(environ: Mapping[str, str] = os.environ) -> Config:
    """Read AYA_HOME and AYA_NODE, or the contract's DB_HOST … names. Raises ConfigError."""
    node = environ.get("AYA_NODE") or "alpha"
    settings = node_settings(home.locate(environ.get("AYA_HOME")), node, role=INDEXER_ROLE, environ=environ)
    return Config(node, settings.database, settings.embedder_url, settings.embedder_token)
