"""The runbooks speak of every condition that a node can be in, and of no verb that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from tests.watchdog_board import status

from aya.cli import VERBS
from aya_watchdog.decide import PRIMARY, STANDBY
from aya_watchdog.metrics import CONDITIONS, figures

TEXT = (Path(__file__).parents[2] / "docs" / "operations" / "failover.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("condition", CONDITIONS)
def test_every_condition_has_a_section(condition: str) -> None:
    """By its name, as it is shown."""
    assert re.search(rf"^##+ .*\b{condition}\b", TEXT, re.MULTILINE)


def test_every_verb_that_is_to_be_typed_exists() -> None:
    """Also with its option."""
    named = set(re.findall(r"`?aya ([a-z]+)", TEXT))
    assert named <= {*VERBS, "resume"}
    assert {"failover", "switchover", "degrade", "pause", "resume", "rejoin", "history"} <= named


def test_what_is_quoted_is_said_by_the_watchdog() -> None:
    """Word for word, where a condition's reason is quoted."""
    reasons = " ".join([row.why for row in PRIMARY] + [row.why for row in STANDBY])
    for quoted in re.findall(r'"(writes wait[^"]*|the server recovers|the partner has[^"]*|its watchdog[^"]*)"', TEXT):
        assert quoted in reasons


def test_every_metric_and_link_exists() -> None:
    """No dead ends."""
    names = {f"aya_watchdog_{name}" for name in figures(status())}
    assert set(re.findall(r"aya_watchdog_\w+", TEXT.replace("src/aya_watchdog/", ""))) <= names
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([a-z-]+)\)", TEXT)) <= anchors
