"""A Board made by hand: it says what it was told to say, and writes down what it was asked for."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aya import certificates
from aya.certificates import Identity
from aya.errors import AyaError
from aya_watchdog.metrics import Metrics
from aya_watchdog.protocol import Armed
from aya_watchdog.views import Order, Peer

EPOCHS = [
    {
        "epoch": 2,
        "node": "beta",
        "timeline": 2,
        "reason": "the primary is gone",
        "began_at": "2026-01-02T00:00:00Z",
    },
    {"epoch": 1, "node": "alpha", "timeline": 1, "reason": "founded", "began_at": "2026-01-01T00:00:00Z"},
]


def status(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 any field of it
    """Return the status of a healthy primary, with changes."""
    return {
        "node": "alpha",
        "role": "primary",
        "condition": "SYNC",
        "why": "every acknowledged row is on both nodes",
        "action": None,
        "order": None,
        "epoch": 2,
        "paused": False,
        "server": "running",
        "server_version": 180004,
        "in_recovery": False,
        "writable": True,
        "synchronous": True,
        "timeline": 2,
        "position": 67395656,
        "lag_bytes": 0,
        "armed": 5,
        "beat_age_seconds": 0.1,
        "state": {"arming": 5, "consent": 4, "given_up": 0, "intent": None},
        "partner": {
            "node": "beta",
            "age_seconds": 0.2,
            "address": "127.0.0.1",
            "error": None,
            "said": {"role": "standby", "epoch": 2, "server": "running", "timeline": 2},
        },
        **changes,
    }


def standby(**changes: Any) -> dict[str, Any]:  # noqa: ANN401 any field of it
    """Return the status of a healthy standby, with changes."""
    partner = {
        "node": "alpha",
        "age_seconds": 0.2,
        "address": "127.0.0.1",
        "error": None,
        "said": {"role": "primary", "epoch": 2, "server": "running", "timeline": 2},
    }
    return status(
        **{
            "node": "beta",
            "role": "standby",
            "condition": "ARMED",
            "why": "follows, and may be promoted",
            "in_recovery": True,
            "writable": False,
            "synchronous": False,
            "received": 67395656,
            "replay_paused": False,
            "partner": partner,
            **changes,
        }
    )


@dataclass
class HandMade:
    """Implements aya_watchdog.board.Board. react: called with each order, and may change what is said."""

    said: dict[str, Any] = field(default_factory=status)
    told: Peer = field(default_factory=lambda: Peer("primary", 2, arming=5, armed=Armed(2, 5), open=True, timeline=2))
    epochs: list[dict[str, Any]] = field(default_factory=lambda: list(EPOCHS))
    refusal: AyaError | None = None
    react: Callable[[Order], None] = lambda _: None
    orders: list[tuple[str, str]] = field(default_factory=list[tuple[str, str]])
    nudges: int = 0
    histories: int = 0
    counters: Metrics = field(default_factory=Metrics)

    def peer(self) -> Peer:
        """Say what it was told."""
        return self.told

    def nudged(self) -> None:
        """Count."""
        self.nudges += 1

    def status(self) -> dict[str, Any]:
        """Say what it was told."""
        return self.said

    async def order(self, order: Order, by: str) -> dict[str, Any]:
        """Write it down, or refuse."""
        if self.refusal:
            raise self.refusal
        self.orders.append((order, by))
        self.react(order)
        return self.said

    def set_paused(self, paused: bool, by: str) -> None:  # noqa: FBT001 as in the Board
        """Write it down."""
        self.orders.append(("pause" if paused else "resume", by))
        self.said = {**self.said, "paused": paused}

    async def history(self) -> list[dict[str, Any]]:
        """Say what it was told, or refuse."""
        self.histories += 1
        if self.refusal:
            raise self.refusal
        return self.epochs

    def metrics(self) -> bytes:
        """Return real ones."""
        return self.counters.render(self.said)


def identities(home: Path, *nodes: str) -> dict[str, Identity]:
    """Make a home's certificates."""
    directories = {node: home / "nodes" / node / "agent" for node in nodes}
    certificates.make(home / "authority", directories)
    return {node: certificates.identity(directory) for node, directory in directories.items()}
