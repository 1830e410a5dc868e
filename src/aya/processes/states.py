"""The states of a process, in our words; pure."""

from __future__ import annotations

from typing import Literal

# "orphaned": the process lives, but its supervisor does not (aya.processes.leftovers).
State = Literal["running", "starting", "restarting", "stopping", "stopped", "exited", "failed", "orphaned", "unknown"]

ALIVE: frozenset[State] = frozenset({"running", "starting"})
