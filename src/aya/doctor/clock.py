"""Clocks of the nodes, and what sets them; pure."""

from __future__ import annotations

from dataclasses import dataclass

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding, not_looked_at

MOST_OFFSET_SECONDS = 1.0
FAR_OFF_SECONDS = 60.0
_JUMP_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Reading:
    """A server's clock beside ours. offset_seconds: its clock less ours in the middle of the round trip.

    uncertain_seconds: half of the round trip.
    """

    node: str
    offset_seconds: float
    uncertain_seconds: float


@dataclass(frozen=True, slots=True)
class Seen:
    """What is known of this machine's clock.

    synchronised: None where nothing tells. offset_seconds: to a time server, None where nobody was asked.
    jumped_seconds: by how much the clock was set since a server's start; None where that cannot be told.
    """

    platform: str
    readings: tuple[Reading, ...] = ()
    synchronised: bool | None = None
    offset_seconds: float | None = None
    jumped_seconds: float | None = None


def offset(before: float, server: float, after: float) -> tuple[float, float]:
    """Return how far a server's clock is ahead of ours, and how uncertain that is (RFC 5905, 8: half the round trip).

    before, after: our clock when it was asked and when it answered, in seconds.
    """
    return server - (before + after) / 2, max(0.0, after - before) / 2


def judge(seen: Seen) -> list[Finding]:
    """Return what is wrong with the clocks."""
    if seen.synchronised is None and seen.offset_seconds is None and not seen.readings:
        return [not_looked_at("clock", "nothing tells what sets this clock, and no server answers")]
    mending = (
        "sudo systemsetup -setusingnetworktime on" if seen.platform == "darwin" else "sudo timedatectl set-ntp true"
    )
    found: list[Finding] = []
    for reading in seen.readings:
        surely = abs(reading.offset_seconds) - reading.uncertain_seconds
        if surely > MOST_OFFSET_SECONDS:
            kind = "clock.far-off" if surely > FAR_OFF_SECONDS else "clock.offset"
            what = f"the clock of {reading.node} is {_told(reading.offset_seconds)} of this one"
            found.append(finding(kind, what, f"{mending} (on both)", node=reading.node))
    if seen.synchronised is False:
        found.append(finding("clock.unsynchronised", "nothing sets this machine's clock", mending))
    if seen.offset_seconds is not None and abs(seen.offset_seconds) > MOST_OFFSET_SECONDS:
        what = f"the time server's clock is {_told(seen.offset_seconds)} of this one"
        found.append(finding("clock.offset", what, mending))
    if seen.jumped_seconds is not None and abs(seen.jumped_seconds) > _JUMP_SECONDS:
        what = f"the clock was set by {seen.jumped_seconds:+.0f} s since the server's start"
        found.append(finding("clock.jumped", what, mending))
    return found


def _told(seconds: float) -> str:
    return f"{abs(seconds):.1f} s {'ahead' if seconds > 0 else 'behind'}"
