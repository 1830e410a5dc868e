"""What the sync daemon is told, read once."""

from __future__ import annotations

from dataclasses import dataclass, field

from aya.backoff import Backoff
from aya.settings import DatabaseSettings


@dataclass(frozen=True, slots=True)
class Config:
    """local: AIR's own server; primary: every server that may lead.

    poll_seconds: how often it looks without having been notified. beat_seconds, beat_limit: how often a connection that
    only listens is used, and how long the answer may take. compare_seconds: how often all rows are compared.
    """

    node: str
    local: DatabaseSettings
    primary: DatabaseSettings
    poll_seconds: float = 5.0
    beat_seconds: float = 10.0
    beat_limit: float = 3.0
    compare_seconds: float = 300.0
    outage: Backoff = field(default=Backoff(first_seconds=0.2, cap_seconds=5.0))
