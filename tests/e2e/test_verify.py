"""`aya verify` on a real machine with three nodes: all passes, and what is broken is the line that fails."""

from __future__ import annotations

import asyncio
import json
import signal
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import asyncpg
import pytest
from tests.runbook import AYA, Follower, machine

from aya.processes.supervisor import Supervisor
from aya.settings import node_settings
from aya.verify.checks import CHECKS

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(300)]
NODES = ("alpha", "beta", "air")
LEFT = """
SELECT (SELECT count(*) FROM documents WHERE category = 'aya-verify' OR source = 'aya-verify')
    + (SELECT count(*) FROM chunks WHERE chunk_text LIKE '%lighthouse keeper%')
"""
QUEUED = "SELECT count(*) FROM write_queue"


class Owner(Follower):
    """The owner, who looks whether everything is as was promised."""

    def verify(self, *arguments: str, expect: int = 0) -> dict[str, Any]:
        """Return the document of `aya verify`."""
        found: dict[str, Any] = json.loads(self.type(f"aya verify --json {' '.join(arguments)}", expect=expect))
        return found

    def fetch(self, node: str, statement: str) -> Any:  # noqa: ANN401 - what it gives
        """Run one statement on a node and return its first value."""
        settings = node_settings(self.home, node, environ={}).local

        async def work() -> Any:  # noqa: ANN401
            connection = await asyncpg.connect(settings.dsn())
            try:
                return await connection.fetchval(statement)
            finally:
                await connection.close()

        return asyncio.run(work())

    def left(self) -> dict[str, int]:
        """Return how many rows of aya verify each node has, AIR's queue included."""
        found = {node: int(self.fetch(node, LEFT)) for node in NODES}
        return {**found, "queue": int(self.fetch("air", QUEUED))}

    def stop(self, label: str) -> None:
        """Stop a service, which its supervisor does not start again."""
        supervisor = Supervisor(self.home)
        supervisor.rpc().stop(label)
        while supervisor.processes()[label].pid:
            pass

    def ended(self, signum: signal.Signals, after: str) -> tuple[int, str]:
        """Begin `aya verify`, end it by a signal after a line that holds `after`; return exit code and last words."""
        command = [str(AYA), "--home", str(self.home.path), "verify"]
        pipe = subprocess.PIPE
        with subprocess.Popen(command, stdout=pipe, stderr=pipe, text=True) as running:
            assert running.stdout is not None
            assert any(after in line for line in running.stdout)
            running.send_signal(signum)
            said = running.communicate(timeout=60)[1]
        return running.returncode, said


@pytest.fixture(scope="module")
def owner() -> Iterator[Owner]:
    """A machine with all three nodes."""
    with machine("alpha,beta,air") as person:
        yield Owner(person.home, person.programs)


def results(document: dict[str, Any], result: str) -> set[str]:
    """Return the ids of the lines with a result."""
    return {line["id"] for line in document["checks"] if line["result"] == result}


def test_everything_passes_and_nothing_is_left(owner: Owner) -> None:
    """Every line is measured on the node that it is of, with its figure; the base is as it was before."""
    said = owner.verify()
    assert [line for line in said["checks"] if line["result"] != "passed"] == []
    assert said["passed"]
    assert said["leader"] == "alpha"
    assert results(said, "passed") == {check.id for check in CHECKS}
    assert {line["node"] for line in said["checks"] if line["phase"] == 4} == {*NODES}
    assert all(line["figure"] is not None and line["seconds"] >= 0 for line in said["checks"])
    assert owner.left() == {"alpha": 0, "beta": 0, "air": 0, "queue": 0}


@dataclass(frozen=True)
class Fault:
    """Something that is broken. arguments: of aya verify. mended: by what is typed, None: by the hint itself."""

    broken: Callable[[Owner], object]
    arguments: str
    failed: str
    hint: str
    mended: str | None = None


FAULTS = {
    "embedder": Fault(
        lambda owner: owner.stop("com.aya.beta.embedder"), "--phase 2", "2.embedder", "aya up", "aya up --detach"
    ),
    "index": Fault(
        lambda owner: owner.fetch("alpha", "DROP INDEX idx_documents_category"), "--phase 1 alpha",
        "1.idx_documents_category", "CREATE INDEX idx_documents_category",
    ),
    "archive": Fault(
        lambda owner: owner.home.archive_directory("alpha").chmod(0o755), "--phase 1", "1.archive_mode", "chmod 700",
    ),
    "sync": Fault(lambda owner: owner.type("aya sync pause"), "--phase 3 air", "3.daemon", "aya sync resume"),
    "indexer": Fault(
        lambda owner: owner.stop("com.aya.alpha.indexer"), "--phase 5", "5.indexed", "aya up", "aya up --detach"
    ),
}  # fmt: skip


@pytest.mark.parametrize("fault", FAULTS.values(), ids=FAULTS.keys())
def test_what_is_broken_is_the_line_that_fails(owner: Owner, fault: Fault) -> None:
    """That line and no other; it says the next command, and that mends it."""
    mended = fault.mended
    fault.broken(owner)
    try:
        said = owner.verify(fault.arguments, expect=1)
        (line,) = [line for line in said["checks"] if line["result"] == "failed"]
        assert line["id"] == fault.failed
        assert fault.hint in line["hint"]
        assert line["why"]
        mended = mended or str(line["hint"])
    finally:
        if mended:
            owner.type(mended)
    assert owner.verify(fault.arguments)["passed"]
    assert set(owner.left().values()) == {0}


@pytest.mark.parametrize(
    ("signum", "after"), [(signal.SIGINT, "a row queued here"), (signal.SIGTERM, "similarity search finds it")]
)
def test_an_interrupted_run_removes_what_it_inserted(owner: Owner, signum: signal.Signals, after: str) -> None:
    """Ctrl-C after rows were inserted on the primary and queued on AIR; TERM after the first of them."""
    code, said = owner.ended(signum, after)
    assert code == 130
    assert "what was inserted is removed" in said
    assert set(owner.left().values()) == {0}


def test_the_next_run_removes_what_a_killed_one_left(owner: Owner) -> None:
    """And says so."""
    owner.ended(signal.SIGKILL, after="similarity search finds it")
    assert owner.left()["alpha"] > 0
    said = owner.verify("--phase", "1")
    assert said["left_over"]["alpha"] > 0
    assert said["passed"]
    assert set(owner.left().values()) == {0}


@pytest.mark.parametrize("arguments", ["nowhere", "--phase 6"])
def test_a_wrong_call_is_refused(owner: Owner, arguments: str) -> None:
    """Exit code 2, and nothing is measured."""
    assert owner.type(f"aya verify {arguments}", expect=2) == ""


def test_after_a_switchover_the_primarys_lines_are_measured_on_beta(owner: Owner) -> None:
    """The roles follow who leads, and the table says so."""
    owner.type("aya switchover --yes")
    owner.type("aya sync now")
    said = owner.verify("--phase 1 --phase 2")
    assert said["leader"] == "beta"
    assert {line["node"] for line in said["checks"] if line["phase"] == 1} == {"beta"}
    slots = {line["title"] for line in said["checks"] if line["id"] in {"1.slot", "2.slot_active"}}
    assert slots == {"slot alpha_slot"}
    assert "beta, leads" in owner.type("aya verify --phase 1 beta")
