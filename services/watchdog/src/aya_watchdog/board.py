"""What the watchdog shows to whoever asks, and takes from a person: the seam between its loop and its servers."""

from __future__ import annotations

from typing import Any, Protocol

from aya_watchdog.views import Order, Peer


class Board(Protocol):
    """One node's watchdog, as its servers know it. All but `order` and `history` answer from memory, at once.

    A status is a JSON object:

        {"node": "alpha", "role": "primary"|"standby", "condition": "SYNC", "why": "…", "action": "arm"|null,
         "epoch": 3, "paused": false, "order": "switchover"|null,
         "server": "stopped"|"starting"|"running"|"hung", "server_version": 180004|null, "in_recovery": bool|null,
         "writable": bool, "synchronous": bool, "timeline": 3|null,
         "position": bytes|null,          of its WAL: written (primary) or replayed (standby)
         "received": bytes|null,          a standby's
         "lag_bytes": bytes|null,         of the standby, whichever node says so
         "replay_paused": bool, "armed": arming|null, "beat_age_seconds": 0.1,
         "state": {"arming": 5, "consent": 4, "given_up": 0, "intent": null},
         "partner": {"node": "beta", "age_seconds": 0.2|null, "address": "…"|null, "error": "…"|null,
                     "said": a Peer (aya_watchdog.wire)|null}|null}

    Whoever reads it does without the fields that are missing.
    """

    def peer(self) -> Peer:
        """Return what the partner is told."""
        ...

    def nudged(self) -> None:
        """Hear that the partner has news: ask it soon."""
        ...

    def status(self) -> dict[str, Any]:
        """Return everything that a person or a program may want to know."""
        ...

    async def order(self, order: Order, by: str) -> dict[str, Any]:
        """Take a person's order and return the status; repeated, it is one order. by: who, and why.

        Raises AyaError when it cannot be carried out: why, and the next command.
        """
        ...

    def set_paused(self, paused: bool, by: str) -> None:  # noqa: FBT001 said by name in no language of a person
        """Leave everything as it is from now on, or look after it again."""
        ...

    async def history(self) -> list[dict[str, Any]]:
        """Return the epochs, the latest first: {epoch, node, timeline, reason, began_at}. Raises AyaError."""
        ...

    def metrics(self) -> bytes:
        """Return what is measured and counted, in Prometheus' text format."""
        ...
