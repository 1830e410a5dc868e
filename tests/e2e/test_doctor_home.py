"""`aya doctor` on a home as `aya up` makes it, while it runs and when it is at rest."""

from __future__ import annotations

import json
from typing import Any

import pytest
from tests import runbook

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(200)]


def findings(person: runbook.Follower) -> list[dict[str, Any]]:
    """Return what a person is told."""
    found: list[dict[str, Any]] = json.loads(person.type("aya doctor --json", expect=None))["findings"]
    return found


def ids(found: list[dict[str, Any]], severity: str) -> set[str]:
    """Return the ids of one severity; what another home or the disk of whoever tests does is not this home's."""
    return {one["id"] for one in found if one["severity"] == severity and one["topic"] not in {"disk", "installations"}}


def test_a_home_of_aya_up_passes() -> None:
    """Two servers that follow each other: every check of theirs is done, and nothing is to be mended."""
    with runbook.machine("alpha,beta") as person:
        found = findings(person)
        assert ids(found, "failure") == set()
        # Where no OpenBLAS is installed, MLX's own functions would be slow.
        assert ids(found, "warning") <= {"model.slow-blas", "clock.unsynchronised"}
        assert not any(one["fixable"] for one in found)
        well = {(one["id"], one["node"]) for one in found if one["severity"] == "ok"}
        for check in ("durability", "permissions.access", "versions", "stale.server"):
            assert {(check, "alpha"), (check, "beta")} <= well
        assert ("versions.nodes", None) in well
        person.type("aya down")
        rest = findings(person)
        assert ids(rest, "failure") == set()
        assert {one["id"] for one in rest if one["severity"] == "skipped"} >= {"model", "durability", "versions"}
        assert "services.stopped" in {one["id"] for one in rest}
