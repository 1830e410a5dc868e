"""What is known of AIR's copy; pure."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Rejection:
    """An operation that the primary did not take. document_id: what it is about, None when that is gone."""

    id: int
    operation: str
    table_name: str
    document_id: int | None
    error: str | None


@dataclass(frozen=True, slots=True)
class Copy:
    """How far the copy is.

    behind_seconds: since it last had everything that the primary had then; None: never. reachable: the primary answers;
    error: why it does not go on, for trouble_seconds. waiting: operations still to be sent, the first of them
    oldest_seconds old; rejected: how many the primary did not take.
    """

    timeline: int | None
    behind_seconds: float | None
    paused: bool
    reachable: bool
    error: str | None
    trouble_seconds: float | None
    waiting: int
    rejected: int
    oldest_seconds: float | None
    rejections: tuple[Rejection, ...] = ()
