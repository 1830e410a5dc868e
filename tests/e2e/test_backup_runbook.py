"""docs/operations/backup.md, followed word by word: its commands are run as they stand there."""

from __future__ import annotations

import contextlib
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest

from aya.cli import VERBS
from aya.home import Home
from aya.postgres.run import cluster_of
from aya.processes import leftovers
from aya.settings import load_config

TEXT = (Path(__file__).parents[2] / "docs" / "operations" / "backup.md").read_text(encoding="utf-8")
AYA = Path(sys.executable).with_name("aya")


def blocks(heading: str) -> list[str]:
    """Return the commands under a heading."""
    section = re.split(r"^## ", TEXT, flags=re.MULTILINE)
    found = next(part for part in section if part.startswith(heading))
    return re.findall(r"```sh\n(.*?)```", found, re.DOTALL)


def test_every_verb_that_is_to_be_typed_exists() -> None:
    """No dead ends."""
    assert set(re.findall(r"`?aya ([a-z]+)", TEXT)) <= {*VERBS}


class Follower:
    """A person at a terminal of a machine with node alpha."""

    def __init__(self, home: Home, psql: str = "") -> None:
        self.home = home
        self._environ = {
            **{name: value for name, value in os.environ.items() if not name.startswith(("DB_", "AYA_"))},
            "AYA_HOME": str(home.path),
            "PATH": f"{AYA.parent}:{psql}:{os.environ['PATH']}",
        }

    def type(self, commands: str, **names: str) -> str:
        """Type commands, with names filled in; return what was printed."""
        for name, value in names.items():
            commands = commands.replace(name, value)
        command = ["/bin/sh", "-ec", commands]
        with tempfile.TemporaryDirectory() as folder:
            done = subprocess.run(
                command, capture_output=True, text=True, env=self._environ, cwd=folder, timeout=200, check=False
            )
        assert done.returncode == 0, done.stdout + done.stderr
        return done.stdout


@contextlib.contextmanager
def machine() -> Generator[Follower]:
    """Lend a machine whose node alpha runs."""
    directory = Path(tempfile.mkdtemp(prefix="aya-book-"))
    directory.chmod(0o755)
    home = Home(directory.resolve() / "home")
    try:
        Follower(home).type("aya up --nodes alpha --detach")
        psql = cluster_of(home, load_config(home), "alpha").binaries.program("psql")
        yield Follower(home, str(Path(psql).parent))
    finally:
        with contextlib.suppress(AssertionError):
            Follower(home).type("aya down")
        leftovers.end(home)
        shutil.rmtree(directory, ignore_errors=True)


@pytest.mark.slow
@pytest.mark.database
@pytest.mark.timeout(400)
def test_a_mistake_is_undone_as_the_runbook_says() -> None:
    """Rows are taken out of a past moment; then that moment takes over, and is backed up anew."""
    with machine() as person:
        person.type("aya add --text 'How to descale the espresso machine'")
        person.type("aya backup create")
        person.type("aya add --text 'A note on bread'")
        time.sleep(1.1)
        moment = person.type("date '+%Y-%m-%d %H:%M:%S'").strip()
        time.sleep(1.1)
        person.type("aya rm 1 2")
        for command in blocks("Look"):
            person.type(command)
        restore, take, drop = blocks("A mistake was made")
        person.type(restore, TIME=moment)
        name = json.loads(person.type("aya restore --list --json"))[0]["name"]
        person.type(take, NAME=name)
        assert "espresso" in person.type("aya list")
        assert "bread" not in person.type("aya list")
        (over,) = blocks("Everything is wrong")
        person.type(over, NAME=name)
        assert "bread" in person.type("aya list")
        backups = json.loads(person.type("aya backup list --json"))["backups"]
        assert [one["timeline"] for one in backups] == [1, 2]
        person.type(drop, NAME=name)
        person.type("aya backup verify")
        (drill,) = blocks("Prove that it works")
        assert "read 2 documents" in person.type(drill)
