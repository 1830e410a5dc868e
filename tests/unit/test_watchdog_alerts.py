"""Hooks that are told of events: real processes, some of which hang, fail, or are not there."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager
from pathlib import Path

import psutil
import pytest

from aya_watchdog.alerts import MOST_QUEUED, Alerts, Result


@pytest.fixture
def ended() -> list[Result]:
    """How hooks ended."""
    return []


def hook(directory: Path, name: str, script: str) -> str:
    """Write a shell script and return how it is called."""
    file = directory / name
    file.write_text(f"#!/bin/sh\n{script}\n")
    file.chmod(0o755)
    return str(file)


@asynccontextmanager
async def running(alerts: Alerts) -> AsyncGenerator[None]:
    """Run the alerts as the service does."""
    async with asyncio.TaskGroup() as tasks:
        work = tasks.create_task(alerts.run(), name="alerts")
        yield
        work.cancel()


async def until(ended: list[Result], count: int) -> None:
    """Wait until so many hooks have ended."""
    async with asyncio.timeout(20):
        while len(ended) < count:  # noqa: ASYNC110 it wakes nobody
            await asyncio.sleep(0.01)


async def test_every_hook_is_told_of_every_event_in_turn(tmp_path: Path, ended: list[Result]) -> None:
    """The document on standard input, the name as the argument, words of its own before it."""
    command = hook(tmp_path, "hook", f'cat >> "{tmp_path}/$1-$2"; echo "$2" >> "{tmp_path}/order"')
    alerts = Alerts("beta", [f"{command} first", f"{command} 'the second'"], count=ended.append)
    async with running(alerts):
        alerts.tell("condition.changed", condition="FENCING", epoch=2, why="ä\n")
        alerts.tell("epoch.began", epoch=3)
        await until(ended, 4)
    assert ended == ["ok"] * 4
    assert (tmp_path / "order").read_text().split() == ["condition.changed"] * 2 + ["epoch.began"] * 2
    said = json.loads((tmp_path / "the second-condition.changed").read_text())
    assert said.pop("at").endswith("Z")
    assert said == {
        "event": "condition.changed",
        "node": "beta",
        "condition": "FENCING",
        "epoch": 2,
        "why": "ä\n",
    }


async def test_a_hook_that_hangs_holds_nobody_up_and_is_killed(tmp_path: Path, ended: list[Result]) -> None:
    """With the processes that it started; the one beside it and the next event are not concerned."""
    hangs = hook(tmp_path, "hangs", f'trap "" TERM; sleep 600 & echo $! > "{tmp_path}/child"; wait')
    good = hook(tmp_path, "good", f'echo "$1" >> "{tmp_path}/good.txt"')
    alerts = Alerts("beta", [hangs, good], seconds=0.5, count=ended.append)
    async with running(alerts):
        began = time.monotonic()
        alerts.tell("one")
        assert time.monotonic() - began < 0.2
        await until(ended, 2)
        alerts.tell("two")
        await until(ended, 4)
    assert sorted(ended) == ["late", "late", "ok", "ok"]
    assert (tmp_path / "good.txt").read_text().split() == ["one", "two"]
    child = int((tmp_path / "child").read_text())
    async with asyncio.timeout(10):
        while psutil.pid_exists(child) and psutil.Process(child).status() != psutil.STATUS_ZOMBIE:  # noqa: ASYNC110
            await asyncio.sleep(0.01)


async def test_hooks_that_fail_are_counted(tmp_path: Path, ended: list[Result]) -> None:
    """One that is not there, one that complains without end, one that does not read."""
    commands = [
        str(tmp_path / "missing"),
        hook(tmp_path, "fails", "yes no | head -c 1000000 >&2; exit 3"),
        hook(tmp_path, "deaf", "exec 0<&-; exit 0"),
    ]
    alerts = Alerts("beta", commands, count=ended.append)
    async with running(alerts):
        alerts.tell("one", padding="x" * 1_000_000)
        await until(ended, 3)
    assert sorted(ended) == ["failed", "failed", "ok"]


async def test_what_is_too_much_is_dropped_from_the_old_end(tmp_path: Path, ended: list[Result]) -> None:
    """And counted; nobody waits."""
    command = hook(tmp_path, "hook", f'echo "$1" >> "{tmp_path}/told"')
    alerts = Alerts("beta", [command], count=ended.append)
    for number in range(MOST_QUEUED + 5):
        alerts.tell(f"event-{number}")
    assert ended == ["dropped"] * 5
    async with running(alerts):
        await until(ended, MOST_QUEUED + 5)
    assert (tmp_path / "told").read_text().split() == [f"event-{number}" for number in range(5, MOST_QUEUED + 5)]


async def test_the_service_leaves_although_a_hook_hangs(tmp_path: Path, ended: list[Result]) -> None:
    """Its processes end with it."""
    hangs = hook(tmp_path, "hangs", f'echo $$ > "{tmp_path}/pid"; exec sleep 600')
    alerts = Alerts("beta", [hangs], count=ended.append)
    async with asyncio.timeout(10):
        async with running(alerts):
            alerts.tell("one")
            while not (tmp_path / "pid").exists() or not (tmp_path / "pid").read_text():  # noqa: ASYNC110
                await asyncio.sleep(0.01)
    assert not psutil.pid_exists(int((tmp_path / "pid").read_text()))


def test_without_hooks_nothing_is_kept() -> None:
    """Not even counted."""
    alerts = Alerts("beta", ["", "  "], count=lambda _: pytest.fail("counted"))
    for _ in range(1000):
        alerts.tell("one")
