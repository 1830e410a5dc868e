"""The runbook of launchd has every cause that a failure can have, and no verb that does not exist."""

from __future__ import annotations

import re
from pathlib import Path

from aya.cli import VERBS
from aya.cli.launchd import command
from aya.launchctl.failures import CAUSES

PAGE = (Path(__file__).parents[2] / "docs" / "operations" / "launchd.md").read_text(encoding="utf-8")
SECTIONS = dict(re.findall(r"^### ([a-z-]+)\n(.*?)(?=^##)", PAGE, re.MULTILINE | re.DOTALL))


def test_every_cause_has_its_section() -> None:
    """By its name, as the message has it; and there is no section that no failure leads to."""
    assert set(SECTIONS) == {*(cause.name for cause in CAUSES), "unknown"}


def test_every_number_stands_in_the_section_of_its_cause() -> None:
    """So that a search for launchctl's number finds it."""
    for cause in CAUSES:
        numbers = {int(number) for number in re.findall(r"\b(\d{1,3})\b", SECTIONS[cause.name])}
        assert cause.codes - {16} <= numbers, cause.name


def test_every_verb_that_is_to_be_typed_exists() -> None:
    """Of aya, and of aya launchd."""
    assert set(re.findall(r"\baya ([a-z]+)\b(?= *[a-z-]*[`,;]| +launchd| --)", PAGE)) <= set(VERBS)
    named = set(re.findall(r"aya launchd ([a-z]+)", PAGE))
    assert set(command.commands) <= named | {"uninstall"}
    assert named <= set(command.commands)
