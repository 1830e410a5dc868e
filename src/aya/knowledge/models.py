"""The model a base has, and the one it moves to: frozen values, shared by those who decide and those who act."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import Any, Literal

from aya.identity import ModelIdentity

Phase = Literal["preparing", "running", "paused"]


@dataclass(frozen=True, slots=True)
class Bound:
    """The database's model. source: what AYA_MODEL would say of it; None when it was bound before that was kept."""

    identity: ModelIdentity
    source: str | None


@dataclass(frozen=True, slots=True)
class Move:
    """The move under way. source: as in Bound; error: why it does not advance right now."""

    identity: ModelIdentity
    source: str
    phase: Phase
    requested_by: str
    started_at: datetime
    rows_per_second: float | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Progress:
    """How far the move is, in chunks. cut: longer than the new window; refused: the new model takes them not at all."""

    move: Move
    total: int
    done: int
    cut: int
    refused: int

    @property
    def seconds_left(self) -> float | None:
        """Return how long it takes at this speed; None when that cannot be said."""
        speed = self.move.rows_per_second
        return (self.total - self.done) / speed if speed else None

    def to_json(self) -> dict[str, Any]:
        """Return what programs are told of it."""
        return {
            "model": self.move.identity.model,
            "fingerprint": self.move.identity.fingerprint,
            "source": self.move.source,
            "phase": self.move.phase,
            "started_at": self.move.started_at.isoformat(),
            "requested_by": self.move.requested_by,
            "total": self.total,
            "done": self.done,
            "cut": self.cut,
            "refused": self.refused,
            "rows_per_second": self.move.rows_per_second,
            "seconds_left": self.seconds_left,
            "error": self.move.error,
        }
