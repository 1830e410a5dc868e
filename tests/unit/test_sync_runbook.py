"""The runbook of AIR's sync speaks of every condition, and of no verb, option or place that does not exist."""

from __future__ import annotations

import re
from pathlib import Path
from typing import get_args

import click
import pytest

from aya.cli import VERBS, conflicts, sync
from aya.sync.judge import Condition

DOCS = Path(__file__).parents[2] / "docs" / "operations"
TEXT = (DOCS / "sync.md").read_text(encoding="utf-8")


@pytest.mark.parametrize("condition", get_args(Condition))
def test_every_condition_has_a_section(condition: str) -> None:
    """By its name, as `aya sync status` shows it."""
    assert re.search(rf"^###? {condition}$", TEXT, re.MULTILINE)


def test_every_verb_that_is_to_be_typed_exists() -> None:
    """And all of the two groups are spoken of."""
    assert set(re.findall(r"`?\baya ([a-z]+)", TEXT)) <= {*VERBS}
    for name, group in (("sync", sync.command), ("conflicts", conflicts.command)):
        assert isinstance(group, click.Group)
        assert set(re.findall(rf"aya {name} ([a-z]+)", TEXT)) <= {*group.commands}
        assert all(f"aya {name} {verb}" in TEXT for verb in group.commands)


def test_every_link_leads_somewhere() -> None:
    """To a page, or a heading of this one."""
    anchors = {heading.lower().replace(" ", "-") for heading in re.findall(r"^##+ (.+)$", TEXT, re.MULTILINE)}
    assert set(re.findall(r"\]\(#([a-z-]+)\)", TEXT)) <= anchors
    for page in re.findall(r"\]\(([^#)]+)\)", TEXT):
        assert (DOCS / page).exists(), page
