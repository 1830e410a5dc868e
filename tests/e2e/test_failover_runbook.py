"""docs/operations/failover.md, the whole way, followed word by word on a local cluster."""

from __future__ import annotations

import contextlib
import json
import re
import shutil
import tempfile
import time
from collections.abc import Generator
from pathlib import Path

import pytest
from tests.e2e.test_backup_runbook import Follower

from aya.cli import VERBS
from aya.home import Home
from aya.processes import leftovers

TEXT = (Path(__file__).parents[2] / "docs" / "operations" / "failover.md").read_text(encoding="utf-8")


def steps() -> list[str]:
    """Return the commands of the whole way, in order."""
    section = next(part for part in re.split(r"^## ", TEXT, flags=re.MULTILINE) if part.startswith("The whole way"))
    return re.findall(r"```sh\n(.*?)```", section, re.DOTALL)


def test_every_verb_that_is_to_be_typed_exists() -> None:
    """No dead ends."""
    assert set(re.findall(r"`aya ([a-z]+)", TEXT)) <= {*VERBS}


@contextlib.contextmanager
def machine() -> Generator[Follower]:
    """Lend a machine on which both servers run."""
    directory = Path(tempfile.mkdtemp(prefix="aya-way-"))
    directory.chmod(0o755)
    home = Home(directory.resolve() / "home")
    try:
        Follower(home).type("aya up --nodes alpha,beta --detach")
        yield Follower(home)
    finally:
        with contextlib.suppress(AssertionError):
            Follower(home).type("aya down")
        leftovers.end(home)
        shutil.rmtree(directory, ignore_errors=True)


def conditions(person: Follower) -> set[str]:
    """Return what `aya status` says of both."""
    nodes = json.loads(person.type("aya status --json || true"))["nodes"]
    return {node["failover"]["condition"] for node in nodes if node["failover"]}


def leaders(person: Follower) -> list[str]:
    """Return who has led, the latest first."""
    return [epoch["node"] for epoch in json.loads(person.type("aya history --json"))["epochs"]]


def until_well(person: Follower) -> None:
    """Look as the page says: until one says SYNC and the other ARMED."""
    deadline = time.monotonic() + 60
    while conditions(person) != {"SYNC", "ARMED"}:
        assert time.monotonic() < deadline, conditions(person)
        time.sleep(0.5)


@pytest.mark.slow
@pytest.mark.database
@pytest.mark.timeout(300)
def test_alpha_fails_and_comes_back_as_the_page_says() -> None:
    """BETA leads by itself, what was written meanwhile is on both, and ALPHA leads again in the end."""
    before, kill, meanwhile, heal, look, back = steps()
    with machine() as person:
        until_well(person)
        person.type(before)
        person.type(kill)
        deadline = time.monotonic() + 10
        while leaders(person)[0] != "beta":
            assert time.monotonic() < deadline, "no new epoch after ten seconds"
            time.sleep(0.2)
        person.type(meanwhile)
        person.type(heal)
        until_well(person)
        person.type(look)
        person.type(back)
        until_well(person)
        assert leaders(person) == ["alpha", "beta", "alpha"]
        for node in ("alpha", "beta"):
            assert "Written while ALPHA was off" in person.type(f"aya search --node {node} -k 1 'written while off'")
