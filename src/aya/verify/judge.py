"""From a figure and its limit to a result; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace

from aya.errors import EXIT_FAILED
from aya.verify.types import RESULTS, Check, Figure, Limit, Line, Measured, Result

_DIGITS = 3
# How the reason of a line begins that was not measured because of another one.
BLOCKED = "not measured"


def judge(figure: Figure | None, limit: Limit) -> tuple[Result, str]:
    """Return the result, and why it is not "passed" in words; empty when it is."""
    if figure is None:
        return "failed", "nothing was found"
    if _holds(figure, limit):
        return "passed", ""
    return "failed", f"it is {shown(figure)}, and should be {limit.text()}"


def _holds(figure: Figure, limit: Limit) -> bool:
    if limit.how == "there":
        return True
    if limit.how == "one of":
        return isinstance(limit.value, tuple) and figure in limit.value
    if limit.how == "contains":
        return str(limit.value) in str(figure)
    if limit.how == "=":
        return figure == limit.value
    if isinstance(figure, str) or not isinstance(limit.value, int | float):
        return False
    # What is no number (a distance of a zero vector) is below nothing.
    return {"<": figure < limit.value, "≤": figure <= limit.value, ">": figure > limit.value}[limit.how]


def shown(figure: Figure | None, unit: str = "") -> str:
    """Return a figure with its unit as a person reads it; a dash for none."""
    if figure is None:
        return "-"
    text = f"{figure:.{_DIGITS}f}" if isinstance(figure, float) else f"{figure}"
    return f"{text} {unit}".rstrip()


def measured(check: Check, place: tuple[str, str], found: Measured, seconds: float) -> Line:
    """Return the line of what was found. place: the node and its role. check: with its names filled in."""
    limit = found.limit or check.limit
    result, why = judge(found.figure, limit)
    said = "; ".join(part for part in (why, found.detail) if part)
    hint = (found.hint or check.hint) if result == "failed" else None
    return Line(
        phase=check.phase,
        node=place[0],
        role=place[1],
        id=check.id,
        title=check.title,
        figure=round(found.figure, _DIGITS) if isinstance(found.figure, float) else found.figure,
        unit=check.unit,
        limit=f"{limit.text()} {check.unit}".rstrip(),
        result=result,
        why=said,
        hint=hint,
        seconds=round(seconds, _DIGITS),
    )


def unmeasured(check: Check, place: tuple[str, str], result: Result, why: str, hint: str | None) -> Line:
    """Return the line of a check that gave no figure."""
    return replace(measured(check, place, Measured(None), 0.0), result=result, why=why, hint=hint)


def blocked(check: Check, node: str, done: Mapping[tuple[str, str], Line]) -> Line | None:
    """Return the line without which `check` says nothing at `node`, and which did not pass; None: go ahead.

    done: by id and node. What was not asked for holds nobody up, nor does what another node lacks.
    """
    needed = [done.get((need, node)) for need in check.needs]
    used = [done.get((use, node)) or _anywhere(use, done) for use in check.uses]
    return next((line for line in (*needed, *used) if line is not None and line.result != "passed"), None)


def _anywhere(check_id: str, done: Mapping[tuple[str, str], Line]) -> Line | None:
    return next((line for (name, _), line in done.items() if name == check_id), None)


def counted(lines: Iterable[Line]) -> dict[Result, int]:
    """Return how many lines have each result."""
    found = [line.result for line in lines]
    return {result: found.count(result) for result in RESULTS}


def exit_code(lines: Sequence[Line]) -> int:
    """Return 0 when something was measured and all of it passed, else 1. What does not apply counts for neither."""
    counts = counted(lines)
    return 0 if counts["passed"] and not counts["failed"] and not counts["not_reached"] else EXIT_FAILED
