"""docs/operations/backup.md, followed word by word: its commands are run as they stand there."""

from __future__ import annotations

import json
import re
import time

import pytest
from tests.runbook import Page, machine

from aya.cli import VERBS

PAGE = Page("backup.md")


def test_every_verb_that_is_to_be_typed_exists() -> None:
    """No dead ends."""
    assert set(re.findall(r"`?aya ([a-z]+)", PAGE.text)) <= {*VERBS}


@pytest.mark.slow
@pytest.mark.database
@pytest.mark.timeout(400)
def test_a_mistake_is_undone_as_the_runbook_says() -> None:
    """Rows are taken out of a past moment; then that moment takes over, and is backed up anew."""
    with machine("alpha") as person:
        person.type("aya add --text 'How to descale the espresso machine'")
        person.type("aya backup create")
        person.type("aya add --text 'A note on bread'")
        time.sleep(1.1)
        moment = person.type("date '+%Y-%m-%d %H:%M:%S'").strip()
        time.sleep(1.1)
        person.type("aya rm 1 2")
        for command in PAGE.blocks("Look"):
            person.type(command)
        restore, take, drop = PAGE.blocks("A mistake was made")
        person.type(restore, TIME=moment)
        name = json.loads(person.type("aya restore --list --json"))[0]["name"]
        person.type(take, NAME=name)
        assert "espresso" in person.type("aya list")
        assert "bread" not in person.type("aya list")
        (over,) = PAGE.blocks("Everything is wrong")
        person.type(over, NAME=name)
        assert "bread" in person.type("aya list")
        backups = json.loads(person.type("aya backup list --json"))["backups"]
        assert [one["timeline"] for one in backups] == [1, 2]
        person.type(drop, NAME=name)
        person.type("aya backup verify")
        (drill,) = PAGE.blocks("Prove that it works")
        assert "read 2 documents" in person.type(drill)
