"""Which lines are measured at which nodes, with their names filled in; pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace

from aya.verify.types import Check, Limit, Where

ROLES: tuple[Where, ...] = ("primary", "standby", "copy")


@dataclass(frozen=True, slots=True)
class Task:
    """One line at one node."""

    check: Check
    node: str
    role: Where


def planned(
    checks: Sequence[Check],
    roles: Mapping[Where, str],
    *,
    nodes: Collection[str] = (),
    phases: Collection[int] = (),
) -> list[Task]:
    """Return what is measured, in order. roles: which node has each role. nodes, phases: only these; none: all.

    What they use is measured with them, on whichever node. Within a phase, the lines for every node come last, node by
    node.
    """
    tasks: list[Task] = []
    for phase in dict.fromkeys(check.phase for check in checks):
        mine = [check for check in checks if check.phase == phase]
        tasks += [Task(check, roles[check.where], check.where) for check in mine if check.where != "each"]
        tasks += [Task(check, roles[role], role) for role in ROLES for check in mine if check.where == "each"]
    chosen = [
        task for task in tasks if (not nodes or task.node in nodes) and (not phases or task.check.phase in phases)
    ]
    used = {(one, task.node) for task in chosen for one in task.check.uses}
    return [task for task in tasks if task in chosen or _is_used(task, used)]


def _is_used(task: Task, used: Collection[tuple[str, str]]) -> bool:
    if task.check.where == "each":
        return (task.check.id, task.node) in used
    return task.check.id in {check_id for check_id, _ in used}


def named(check: Check, names: Mapping[str, str]) -> Check:
    """Return the check with its names filled in: title, hint, and a limit that is one."""
    value = check.limit.value
    limit = Limit(check.limit.how, value.format(**names)) if isinstance(value, str) else check.limit
    return replace(check, title=check.title.format(**names), hint=check.hint.format(**names), limit=limit)
