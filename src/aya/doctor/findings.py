"""A finding of `aya doctor`, and what several of them come to; pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

from aya.doctor.mends import Mend
from aya.errors import EXIT_DEGRADED, EXIT_FAILED

Severity = Literal["failure", "warning", "note", "ok", "skipped"]
SEVERITIES: tuple[Severity, ...] = ("failure", "warning", "note", "ok", "skipped")
"""The gravest first. skipped: it could not be looked at here, which is no pass."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing that was looked at.

    id: "topic.name", as docs/operations/doctor.md has it; of what is well, and of what was skipped, the check's name.
    what: what was found. why: why it matters. hint: the command that mends it. node: None for the machine itself.
    mend: what --fix does about it; None: a person has to.
    """

    id: str
    severity: Severity
    what: str
    why: str = ""
    hint: str | None = None
    node: str | None = None
    mend: Mend | None = None

    @property
    def topic(self) -> str:
        """Return the first word of its id."""
        return self.id.partition(".")[0]

    @property
    def fixable(self) -> bool:
        """Return whether --fix mends it."""
        return self.mend is not None

    def to_json(self) -> dict[str, Any]:
        """Return it as `aya doctor --json` has it."""
        return {
            "id": self.id,
            "topic": self.topic,
            "severity": self.severity,
            "node": self.node,
            "what": self.what,
            "why": self.why,
            "hint": self.hint,
            "fixable": self.fixable,
        }


def not_looked_at(check: str, why: str, node: str | None = None) -> Finding:
    """Return that a check could not be done here, which is no pass."""
    return Finding(check, "skipped", why, node=node)


def counts(found: Sequence[Finding]) -> dict[Severity, int]:
    """Return how many there are of each severity, zeros included."""
    there = Counter(one.severity for one in found)
    return {severity: there[severity] for severity in SEVERITIES}


def exit_code(found: Sequence[Finding]) -> int:
    """Return 1 when there is a failure, 3 when there are only warnings, else 0."""
    there = counts(found)
    if there["failure"]:
        return EXIT_FAILED
    return EXIT_DEGRADED if there["warning"] else 0


def in_order(found: Sequence[Finding], topics: Sequence[str]) -> list[Finding]:
    """Return them by topic, then the gravest first; what one node and another have in common stands together."""
    places = {topic: place for place, topic in enumerate(topics)}
    return sorted(found, key=lambda one: (places[one.topic], SEVERITIES.index(one.severity), one.id, one.node or ""))
