"""The verbs of failover against real control servers, on boards made by hand."""

from __future__ import annotations

import asyncio
import json
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from dataclasses import fields
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from structlog.testing import capture_logs
from tests.conftest import free_port
from tests.watchdog_board import HandMade, identities, standby, status

from aya.cli import main
from aya.errors import AyaError
from aya.home import Home, Node
from aya.watchdog_client import socket_of
from aya_watchdog.hosting import Where, hosted
from aya_watchdog.views import Order

ROLES = {"alpha": "primary", "beta": "standby", "air": "copy"}


@pytest.fixture
def home() -> Iterator[Home]:
    """A home with three nodes, and a path short enough for a socket."""
    directory = Path(tempfile.mkdtemp(prefix="aya-w-")).resolve()
    made = Home(directory)
    names = [field.name for field in fields(Node) if field.name not in {"name", "role"}]
    nodes = {name: Node(name=name, role=role, **{port: free_port() for port in names}) for name, role in ROLES.items()}  # type: ignore[arg-type]
    made.save_nodes(nodes)
    made.runtime_directory.mkdir(mode=0o711)
    yield made
    shutil.rmtree(directory)


@pytest.fixture
async def boards(home: Home, tmp_path: Path) -> AsyncIterator[dict[str, HandMade]]:
    """Alpha leads, beta is armed; their servers run."""
    made = {"alpha": HandMade(status()), "beta": HandMade(standby())}
    files = identities(tmp_path, "alpha", "beta")
    async with AsyncExitStack() as stack:
        # What the servers log would come between what the verbs print: here they share a process.
        stack.enter_context(capture_logs())
        for node, board in made.items():
            where = Where("127.0.0.1", free_port(), free_port(), socket_of(home, node))
            await stack.enter_async_context(hosted(board, files[node], None, where))
        yield made


async def run(home: Home, *arguments: str) -> Result:
    """Run a verb in a thread of its own: the servers are in this one."""
    runner = CliRunner(env={"AYA_DEBUG": None, "DB_HOST": None, "AYA_NODE": None})
    return await asyncio.to_thread(runner.invoke, main, ["--home", str(home.path), *arguments])


def promote_beta(boards: dict[str, HandMade]) -> None:
    """Have the boards say that beta leads epoch 3."""
    heard: dict[str, Any] = {"node": "beta", "age_seconds": 0.1, "address": "127.0.0.1", "error": None}
    heard["said"] = {"role": "primary", "epoch": 3, "open": True, "server": "running"}
    boards["beta"].said = standby(
        role="primary", condition="SOLO", why="acknowledges alone", epoch=3, writable=True, in_recovery=False
    )
    boards["alpha"].said = status(
        role="standby", condition="FOLLOW", why="follows; not armed yet", epoch=3, writable=False, partner=heard
    )


def once_ordered(boards: dict[str, HandMade], node: str) -> None:
    """Have beta lead a moment after `node` was told so, by way of FENCING."""

    def react(order: Order) -> None:
        del order
        boards["beta"].said = standby(condition="FENCING", why="the stream is closed and the right is held: promote")
        asyncio.get_running_loop().call_later(0.4, promote_beta, boards)

    boards[node].react = react


@pytest.mark.parametrize(
    ("call", "node", "order"),
    [
        (("switchover",), "alpha", "switchover"),
        (("failover",), "beta", "failover"),
        (("failover", "--to", "beta"), "beta", "failover"),
        (("failover", "--force"), "beta", "force"),
    ],
)
async def test_it_says_what_it_will_do_what_happens_and_what_came_of_it(
    home: Home, boards: dict[str, HandMade], call: tuple[str, ...], node: str, order: str
) -> None:
    """Before, meanwhile, after; the result alone is on standard output."""
    once_ordered(boards, node)
    done = await run(home, *call, "--yes", "--reason", "a new disk")
    assert (done.exit_code, boards[node].orders[0][0]) == (0, order), done.output
    assert boards[node].orders[0][1].endswith(": a new disk")
    said = done.stderr
    assert "now: alpha leads epoch 2" in said
    assert said.index("leads epoch 3") < said.index("ordered: ")
    assert ("ROWS MAY BE LOST" in said) == (order == "force")
    assert " s  beta is FENCING: the stream is closed" in said
    assert " s  beta is SOLO" in said
    assert done.stdout.startswith("beta leads epoch 3, ")
    assert "alpha is FOLLOW: follows; not armed yet" in done.stdout
    assert "was not measured" in done.stdout


async def test_the_result_as_a_document(home: Home, boards: dict[str, HandMade]) -> None:
    """Nothing else is on standard output."""
    once_ordered(boards, "alpha")
    done = await run(home, "switchover", "--yes", "--json")
    shown = json.loads(done.stdout)
    assert shown["leader"] == {"node": "beta", "epoch": 3, "writable": True}
    assert shown["unwritable_seconds"] is None
    assert shown["seconds"] >= 0.3
    assert set(shown["nodes"]) == {"alpha", "beta"}


@pytest.mark.parametrize(
    "call",
    [("switchover",), ("failover", "--force"), ("degrade", "--partner-is-off"), ("rejoin", "beta")],
    ids=" ".join,
)
async def test_without_a_terminal_it_does_nothing_unless_told_to(
    home: Home, boards: dict[str, HandMade], call: tuple[str, ...]
) -> None:
    """Exit code 2, and the command that does it."""
    done = await run(home, *call)
    assert (done.exit_code, boards["alpha"].orders, boards["beta"].orders) == (2, [], [])
    assert f"next: aya {' '.join(call)} --yes" in done.stderr


async def test_a_refusal_is_told_with_its_next_command(home: Home, boards: dict[str, HandMade]) -> None:
    """In the watchdog's words."""
    boards["beta"].refusal = AyaError("this node may lack rows", hint="aya failover --force takes that")
    done = await run(home, "failover", "--yes")
    assert done.exit_code == 1
    assert "aya: beta: this node may lack rows\n  next: aya failover --force takes that" in done.stderr


async def test_what_does_not_come_about_is_an_error(home: Home, boards: dict[str, HandMade]) -> None:
    """It says how far things are."""
    done = await run(home, "switchover", "--yes", "--timeout", "0.3")
    assert done.exit_code == 1
    assert "not done after 0.3 s: alpha is SYNC" in done.stderr


async def test_the_primary_goes_on_alone_when_somebody_answers_for_it(home: Home, boards: dict[str, HandMade]) -> None:
    """Under either name."""
    boards["alpha"].react = lambda _: boards["alpha"].said.update(condition="SOLO")
    for option in ("--partner-is-off", "--beta-is-off"):
        done = await run(home, "degrade", option, "--yes")
        assert done.exit_code == 0, done.output
    assert [order for order, _ in boards["alpha"].orders] == ["degrade", "degrade"]
    done = await run(home, "degrade", "--alpha-is-off", "--yes")
    assert (done.exit_code, "beta is the standby; this is for the primary" in done.stderr) == (2, True)
    done = await run(home, "degrade", "--yes")
    assert (done.exit_code, "somebody has to answer" in done.stderr) == (2, True)


async def test_a_standby_rejoins(home: Home, boards: dict[str, HandMade]) -> None:
    """Done when it follows again."""

    def react(order: Order) -> None:
        del order
        boards["beta"].said = standby(condition="REJOINING", why="this server's own history is rewound")
        asyncio.get_running_loop().call_later(0.4, boards["beta"].said.update, {"condition": "FOLLOW"})

    boards["beta"].react = react
    done = await run(home, "rejoin", "beta", "--yes")
    assert (done.exit_code, boards["beta"].orders[0][0]) == (0, "rejoin"), done.output
    assert "beta is REJOINING" in done.stderr


async def test_pause_and_resume_reach_both_nodes(home: Home, boards: dict[str, HandMade]) -> None:
    """Or the one that is named."""
    done = await run(home, "pause")
    assert (done.exit_code, boards["alpha"].said["paused"], boards["beta"].said["paused"]) == (0, True, True)
    assert "alpha is SYNC (paused)" in done.stdout
    assert "no failover happens until aya resume" in done.stdout
    done = await run(home, "resume", "--node", "beta")
    assert (done.exit_code, boards["alpha"].said["paused"], boards["beta"].said["paused"]) == (0, True, False)


async def test_the_history_comes_from_a_node_that_can_tell(home: Home, boards: dict[str, HandMade]) -> None:
    """The primary, else the other."""
    done = await run(home, "history")
    lines = done.stdout.splitlines()
    assert lines[0].split() == ["EPOCH", "LEADER", "SINCE", "TIMELINE", "WHY"]
    assert lines[1].split()[:4] == ["2", "beta", "2026-01-02", "00:00:00"]
    assert json.loads((await run(home, "history", "--json")).stdout)["node"] == "alpha"
    boards["alpha"].refusal = AyaError("the server is stopped", hint="aya status")
    assert json.loads((await run(home, "history", "--json")).stdout)["node"] == "beta"


@pytest.mark.parametrize(
    "call", [("failover", "--yes"), ("switchover", "--yes"), ("history",), ("pause",), ("rejoin", "beta", "--yes")]
)
async def test_where_no_watchdog_runs_it_says_so(home: Home, call: tuple[str, ...]) -> None:
    """With the command that starts one."""
    done = await run(home, *call)
    assert (done.exit_code, "aya: no watchdog of alpha or beta runs on this machine" in done.stderr) == (1, True)
    assert "next: aya up" in done.stderr


async def test_a_node_that_does_not_exist_is_named(home: Home, boards: dict[str, HandMade]) -> None:
    """With those that do."""
    done = await run(home, "history", "--node", "gamma")
    assert (done.exit_code, "there is no node 'gamma'" in done.stderr) == (1, True)
