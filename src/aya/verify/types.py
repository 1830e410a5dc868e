"""What `aya verify` tells, as frozen values.

The document of `aya verify --json` (fields may be added; none is renamed or removed):

    {"home": "/…", "passed": true, "leader": "alpha"|null, "seconds": 21.5, "left_over": {"alpha": 3},
     "not_removed": "…"|null,
     "counts": {"passed": 61, "failed": 0, "not_reached": 0, "not_applicable": 0},
     "checks": [{
        "phase": 1, "node": "alpha", "role": "primary"|"standby"|"copy", "id": "1.processes", "title": "…",
        "figure": 9|0.012|"streaming"|null, "unit": "s"|"", "limit": "> 5",
        "result": "passed"|"failed"|"not_reached"|"not_applicable", "why": "…", "hint": "the next command"|null,
        "seconds": 0.02}, …]}

left_over: documents that an earlier run had left behind because it was killed; they are removed. not_removed: why rows
of this run may be there still.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

Figure = str | int | float
Result = Literal["passed", "failed", "not_reached", "not_applicable"]
Where = Literal["primary", "standby", "copy", "each"]
How = Literal["=", "<", "≤", ">", "one of", "contains", "there"]
RESULTS: tuple[Result, ...] = ("passed", "failed", "not_reached", "not_applicable")


@dataclass(frozen=True, slots=True)
class Limit:
    """What a figure has to be. "one of": value is a tuple; "there": any figure will do, and value says nothing."""

    how: How
    value: Figure | tuple[str, ...] = ""

    def text(self) -> str:
        """Return it as it is shown."""
        if self.how == "there":
            return "there"
        value = " or ".join(self.value) if isinstance(self.value, tuple) else f"{self.value}"
        return value if self.how in {"=", "one of"} else f"{self.how} {value}"


@dataclass(frozen=True, slots=True)
class Check:
    """One line of the contract.

    where: at which node it is measured, by its present role; each: at every one. of: whom it is about, None: the same.
    needs: lines without which this one says nothing, if they were asked for; uses: those whose rows it looks at, which
    are measured with it. title, hint: with names in braces, filled in by aya.verify.plan.
    local: only on the node's own machine. own: only where PostgreSQL is AYA's. patience_seconds: longer is a failure.
    """

    id: str
    where: Where
    title: str
    limit: Limit
    unit: str = ""
    hint: str = "aya status"
    needs: tuple[str, ...] = ()
    uses: tuple[str, ...] = ()
    of: Where | None = None
    local: bool = False
    own: bool = False
    patience_seconds: float = 30.0

    @property
    def phase(self) -> int:
        """Return the contract's phase, the first part of the id."""
        return int(self.id.partition(".")[0])


@dataclass(frozen=True, slots=True)
class Measured:
    """What was found. figure: None: nothing. limit, hint: instead of the line's own, where they depend on it."""

    figure: Figure | None
    detail: str = ""
    limit: Limit | None = None
    hint: str | None = None


@dataclass(frozen=True, slots=True)
class Line:
    """One line, judged. why: in words; also what else is known when it passed. hint: the next command, None: none."""

    phase: int
    node: str
    role: str
    id: str
    title: str
    figure: Figure | None
    unit: str
    limit: str
    result: Result
    why: str
    hint: str | None
    seconds: float

    def to_json(self) -> dict[str, Any]:
        """Return it as the document above has it."""
        return asdict(self)
