"""A Peer as the JSON document that two agents exchange; pure.

Fields that are not known are passed over, and those that are missing have their defaults, so that two versions
understand each other. A field of the wrong type makes the whole document none: half a word is no word.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict
from math import isfinite
from typing import Any, cast, get_args

from aya_watchdog.protocol import Armed, Role
from aya_watchdog.views import Peer, Server

_Check = Callable[[object], bool]
# What PostgreSQL's bigint holds; more than that is no number of ours.
_LARGEST = 2**63 - 1


def to_document(peer: Peer) -> dict[str, Any]:
    """Return a Peer as JSON."""
    return asdict(peer)


def from_document(document: object) -> Peer:
    """Return the Peer that an answer holds. Raises ValueError when it holds none."""
    said = _object(document, "the answer")
    known = {name: said[name] for name in (*CHECKS, "armed") if name in said}
    for name, value in known.items():
        if name != "armed" and not CHECKS[name](value):
            raise ValueError(f"{name} is {value!r}")
    if "role" not in known or "epoch" not in known:
        raise ValueError("it says no role, or no epoch")
    if "armed" in known:
        known["armed"] = _armed(known["armed"])
    return Peer(**known)


def _armed(value: object) -> Armed:
    said = _object(value, "armed")
    numbers = {name: said[name] for name in ("epoch", "arming") if name in said}
    if not all(_is_number(number) for number in numbers.values()):
        raise ValueError(f"armed is {value!r}")
    return Armed(**numbers)


def _object(value: object, what: str) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise ValueError(f"{what} is no object")  # noqa: TRY004 a document of the wrong shape, not a fault of the caller
    return cast("Mapping[str, Any]", value)


def _is_number(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= _LARGEST


def _is_number_or_nothing(value: object) -> bool:
    return value is None or _is_number(value)


def _is_seconds(value: object) -> bool:
    return isinstance(value, (int, float)) and not isinstance(value, bool) and isfinite(value) and value >= 0


def _is_truth(value: object) -> bool:
    return isinstance(value, bool)


CHECKS: dict[str, _Check] = {
    "role": lambda value: value in get_args(Role),
    "epoch": _is_number,
    "arming": _is_number,
    "consent": _is_number,
    "given_up": _is_number,
    "intent": _is_number_or_nothing,
    "server": lambda value: value in get_args(Server),
    "server_since": _is_seconds,
    "resigned": _is_number_or_nothing,
    "word": lambda value: isinstance(value, str),
    "open": _is_truth,
    "timeline": _is_number,
    "leaving": _is_truth,
}
