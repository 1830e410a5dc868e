"""Whether a server's Mac stays awake and comes back by itself; pure. Never run on a Mac."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aya.doctor.catalogue import finding
from aya.doctor.findings import Finding, not_looked_at
from aya.postgres.config import SERVERS


@dataclass(frozen=True, slots=True)
class Seen:
    """power: as `pmset -g` lists it. filevault: None where nothing tells."""

    nodes: tuple[str, ...]
    power: Mapping[str, int]
    filevault: bool | None


def judge(seen: Seen) -> list[Finding]:
    """Return what keeps a server from being there. A laptop may sleep: AIR alone is exempt."""
    if not any(node in SERVERS for node in seen.nodes):
        return [not_looked_at("sleep", "this Mac has neither alpha nor beta, and may sleep")]
    lacking = [name for name in ("sleep", "autorestart") if name not in seen.power]
    found = [not_looked_at("sleep", f"pmset does not tell {' and '.join(lacking)}")] if lacking else []
    if seen.power.get("sleep"):
        what = f"this Mac sleeps after {seen.power['sleep']} minutes"
        found.append(finding("sleep.server-sleeps", what, "sudo pmset -a sleep 0"))
    if seen.power.get("autorestart") == 0:
        what = "this Mac does not start by itself after a power cut"
        found.append(finding("sleep.no-autorestart", what, "sudo pmset -a autorestart 1"))
    if seen.filevault:
        what = "FileVault is on"
        hint = "sudo fdesetup authrestart before a planned restart; after any other one unlock it at the screen"
        found.append(finding("sleep.filevault", what, hint))
    return found
