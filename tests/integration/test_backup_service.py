"""The service that makes base backups, in a process of its own, and what `aya status` is told of it."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import sys
from collections.abc import Generator, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from tests.backup_lab import Lab, new_lab

from aya.backup import failed
from aya.backup.create import Pruned, place, prune
from aya.backup.main import look, run

pytestmark = [pytest.mark.database, pytest.mark.slow, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def lab() -> Iterator[Lab]:
    """A server with the tables of AYA."""
    with new_lab(segment_mib=1) as made:
        made.provision()
        yield made


def names(lab: Lab) -> list[str]:
    """Return the base backups."""
    return [one.name for one in place(lab.home, lab.config, "alpha").catalogue.all()]


def status(lab: Lab) -> dict[str, Any]:
    """Return alpha's of `aya status --json`; neither embedder nor indexer runs here."""
    command = [str(Path(sys.executable).with_name("aya")), "--home", str(lab.home.path), "status", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    nodes: list[dict[str, Any]] = json.loads(done.stdout)["nodes"]
    return nodes[0]


async def test_the_service_makes_what_is_due_and_then_nothing(lab: Lab) -> None:
    """The first at once, no second; a gap in the archive makes another one due."""
    where = place(lab.home, lab.config, "alpha")
    assert await look(where, lab.config)
    assert not await look(where, lab.config)
    await asyncio.to_thread(lab.fill, 3)
    name = await asyncio.to_thread(lab.switch)
    await asyncio.to_thread(lab.fill, 1)
    await asyncio.to_thread(lab.switch)
    (lab.archive / name).unlink()
    assert await look(where, lab.config)
    assert not await look(where, lab.config)
    assert len(names(lab)) == 2


@contextmanager
def hidden(lab: Lab) -> Generator[None]:
    """Have no base backup for a while."""
    directory = place(lab.home, lab.config, "alpha").catalogue.directory
    before = names(lab)
    for name in before:
        (directory / name).rename(directory / f".{name}")
    try:
        yield
    finally:
        for name in before:
            (directory / f".{name}").rename(directory / name)


async def test_a_failure_is_remembered_and_shown(lab: Lab) -> None:
    """Aya status says it; the next good one clears it."""
    where, secrets = place(lab.home, lab.config, "alpha"), lab.home.secrets("alpha")
    lab.home.save_secrets("alpha", {**secrets, "postgres": "not the password"})
    try:
        with hidden(lab):
            assert not await look(where, lab.config)
    finally:
        lab.home.save_secrets("alpha", secrets)
    shown = await asyncio.to_thread(status, lab)
    assert any("the last base backup failed" in problem for problem in shown["problems"])
    assert shown["backups"]["count"] == 2
    assert shown["archive"]["mode"] == "always"
    failed.forget(lab.home, "alpha")
    shown = await asyncio.to_thread(status, lab)
    assert not [problem for problem in shown["problems"] if "base backup" in problem]


async def test_one_unreadable_record_holds_up_no_other_backup(lab: Lab) -> None:
    """It is told as that backup's problem; the schedule goes on by the others, and no WAL that it may need goes."""
    where = place(lab.home, lab.config, "alpha")
    broken = where.catalogue.data(names(lab)[0]).with_name("backup.json")
    record = broken.read_bytes()
    broken.write_bytes(b"{")
    try:
        assert [one.good for one in where.catalogue.all()] == [False, True]
        assert not await look(where, lab.config)
        shown = await asyncio.to_thread(status, lab)
        assert [problem for problem in shown["problems"] if f"base backup {names(lab)[0]} is damaged" in problem]
        assert prune(where, 5) == Pruned((), 0)
    finally:
        broken.write_bytes(record)


async def test_a_gap_is_shown(lab: Lab) -> None:
    """What lies behind it cannot be restored."""
    await asyncio.to_thread(lab.fill, 1)
    name = await asyncio.to_thread(lab.switch)
    await asyncio.to_thread(lab.fill, 1)
    await asyncio.to_thread(lab.switch)
    aside = lab.archive / f".{name}"
    (lab.archive / name).rename(aside)
    try:
        shown = await asyncio.to_thread(status, lab)
    finally:
        aside.rename(lab.archive / name)
    assert [problem for problem in shown["problems"] if f"the archive lacks {name}" in problem]


async def test_it_ends_in_the_middle_of_a_backup_and_leaves_nothing(lab: Lab) -> None:
    """Asked to stop while it copies."""
    where = place(lab.home, lab.config, "alpha")
    with hidden(lab):
        stop = asyncio.Event()
        service = asyncio.ensure_future(run(where, lab.config, stop, settling=0.01))
        while not list(where.catalogue.directory.glob(".*.partial/data/*")):  # noqa: ASYNC110 - another process
            await asyncio.sleep(0.001)
        stop.set()
        await service
        assert names(lab) == []
        assert not list(where.catalogue.directory.glob(".*.partial"))


def test_the_process_starts_and_ends_as_its_plist_says(lab: Lab) -> None:
    """SIGTERM, exit code 0, JSON lines."""
    environ = {**os.environ, "AYA_HOME": str(lab.home.path), "AYA_NODE": "alpha"}
    command = [sys.executable, "-m", "aya.backup"]
    with subprocess.Popen(command, env=environ, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        assert json.loads(process.stderr.readline())["event"] == "service.started"
        assert json.loads(process.stderr.readline())["event"] == "backup.scheduled"
        process.send_signal(signal.SIGTERM)
        assert process.wait(timeout=30) == 0


def test_a_node_without_backups_is_refused_in_words(lab: Lab) -> None:
    """AIR archives nothing."""
    environ = {**os.environ, "AYA_HOME": str(lab.home.path), "AYA_NODE": "air"}
    command = [sys.executable, "-m", "aya.backup"]
    done = subprocess.run(command, env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "there is no node" in done.stderr
