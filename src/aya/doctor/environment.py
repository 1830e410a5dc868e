"""The Python that runs AYA: where it was installed from, and what keeps launchd from starting it; pure."""

from __future__ import annotations

import shlex
from dataclasses import dataclass, replace

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding

_OLDEST = (3, 11)
_SKIPS_HIDDEN = (3, 12)


@dataclass(frozen=True, slots=True)
class Seen:
    """prefix: the venv's directory. editable: AYA's packages that are not copied into it. python: its version.

    hidden: .pth files that are marked hidden. quarantined: programs with that attribute. translated: under Rosetta.
    launchd: AYA's plists are where launchd looks.
    """

    prefix: str
    python: tuple[int, int]
    editable: tuple[str, ...] = ()
    hidden: tuple[str, ...] = ()
    quarantined: tuple[str, ...] = ()
    translated: bool = False
    launchd: bool = False


def judge(seen: Seen) -> list[Finding]:
    """Return what is wrong with the environment that this very command runs in."""
    venv = shlex.quote(seen.prefix)
    found: list[Finding] = []
    if seen.python < _OLDEST:
        what = f"Python {seen.python[0]}.{seen.python[1]} runs AYA"
        found.append(finding("environment.old-python", what, "brew install python@3.13; make bootstrap"))
    if seen.editable:
        what = f"{', '.join(seen.editable)} run from a checkout (editable install)"
        hint = "for a machine in service: uv sync --no-editable, then aya down and aya up"
        one = finding("environment.editable", what, hint)
        found.append(replace(one, severity="failure") if seen.launchd else one)
    if seen.hidden and seen.python >= _SKIPS_HIDDEN:
        what = f"{seen.hidden[0]} is marked hidden"
        found.append(finding("environment.hidden-files", what, f"chflags -R nohidden {venv}"))
    if seen.quarantined:
        what = f"{seen.quarantined[0]} has the attribute com.apple.quarantine"
        found.append(finding("environment.quarantined", what, f"xattr -dr com.apple.quarantine {venv}"))
    if seen.translated:
        hint = "make bootstrap with Apple Silicon's Python (/opt/homebrew/bin/python3)"
        found.append(finding("environment.translated", "Python runs under Rosetta", hint))
    return found
