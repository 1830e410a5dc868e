"""Secrets where they do not belong; pure. No finding ever says one: only whose it is, and where."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding

Place = Literal["plist", "configuration", "log", "environment", "arguments"]
# Shorter words turn up by chance.
_SHORTEST = 12


@dataclass(frozen=True, slots=True)
class Leak:
    """A secret found. name: whose, such as "aya_user of alpha". where: a file, or a process. pid: of the latter."""

    place: Place
    where: str
    name: str
    pid: int | None = None


def names_in(content: bytes, secrets: Mapping[str, str]) -> list[str]:
    """Return whose secrets stand in a text, each once. secrets: by whose they are."""
    return sorted({name for name, word in secrets.items() if len(word) >= _SHORTEST and word.encode() in content})


def judge(leaks: Iterable[Leak]) -> list[Finding]:
    """Return a finding for each place, with all whose secrets stand there."""
    places: dict[tuple[Place, str, int | None], set[str]] = {}
    for leak in leaks:
        places.setdefault((leak.place, leak.where, leak.pid), set()).add(leak.name)
    return [
        finding(f"secrets.in-{place}", f"{where} holds the password of {_listed(names)}", _hint(place, where, pid))
        for (place, where, pid), names in places.items()
    ]


def _listed(names: set[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - 3} more" if len(shown) > 3 else ""  # noqa: PLR2004 - a line's worth
    return ", ".join(shown[:3]) + more


def _hint(place: Place, where: str, pid: int | None) -> str:
    quoted = shlex.quote(where)
    hints = {
        "plist": f"rm {quoted}, then aya up writes it anew",
        "configuration": f"take it out of {quoted}, into a file of mode 600",
        # Emptied, not removed: whoever writes it has it open.
        "log": f": > {quoted}",
        "environment": "take it out of the shell or the plist that starts it, then aya down and aya up",
        "arguments": f"kill {pid}; programs take passwords from ~/.pgpass or PGPASSFILE",
    }
    return hints[place] + "; and a new password: docs/operations/doctor.md#a-new-password"
