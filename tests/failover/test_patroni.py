"""AYA as a client of a Patroni cluster, as docs/operations/patroni.md has it: real members, etcd, a killed leader.

AYA_PATRONI_PYTHON names the interpreter that has Patroni (`scripts/patroni` makes one and prints its path);
AYA_REQUIRE_PATRONI=1 turns a skip into a failure.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import asyncpg
import pytest
from tests.e2e.test_up_nodes import Machine, eventually, new_machine
from tests.failover.lab import NODES, other
from tests.failover.patroni_lab import AGGRESSIVE, PatroniLab, missing, patroni_lab

pytestmark = [pytest.mark.patroni, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that PostgreSQL's user can enter."""
    with tempfile.TemporaryDirectory(prefix="aya-patroni-") as name:
        Path(name).chmod(0o755)
        yield Path(name)


@pytest.fixture
async def members(directory: Path) -> AsyncIterator[PatroniLab]:
    """Two members in sync."""
    lacking = missing()
    if lacking:
        if os.environ.get("AYA_REQUIRE_PATRONI") == "1":
            pytest.fail(lacking, pytrace=False)
        pytest.skip(lacking)
    async with patroni_lab(directory / "lab", AGGRESSIVE) as lab:
        yield lab


@pytest.fixture
def machine(members: PatroniLab) -> Iterator[Machine]:
    """A home whose aya.toml names both members, and nothing of whom leads."""
    with new_machine() as made:
        made.home.path.mkdir(parents=True)
        made.home.config_file.write_text(f'[postgres]\ndsn = "{members.database().dsn()}"\n', encoding="utf-8")
        yield made


def added(machine: Machine, file: Path, text: str) -> bool:
    """Write a file and add it; return whether that went well."""
    file.write_text(text, encoding="utf-8")
    return machine.aya("add", str(file), expect=None).returncode == 0


def found(machine: Machine, query: str) -> str:
    """Search; return the best hit's text, or nothing."""
    done = machine.aya("search", query, "--json", expect=None)
    if done.returncode != 0:
        return ""
    hits: list[dict[str, object]] = json.loads(done.stdout)["results"]
    return str(hits[0]["chunk_text"]) if hits else ""


async def test_the_same_commands_work_before_and_after_patroni_changes_its_leader(
    members: PatroniLab, machine: Machine, tmp_path: Path
) -> None:
    """Add and search, kill the leader with its server, add and search again; the services find the new leader too."""
    machine.aya("up", "--detach")
    node = machine.alpha()
    assert {service["name"] for service in node["services"]} == {"embedder", "indexer", "web"}
    assert not any(machine.home.data_directory(name).exists() for name in NODES)

    assert added(machine, tmp_path / "bread.md", "Feed the starter twice a day, with rye flour.")
    assert "starter" in found(machine, "When does the starter want flour?")

    leader = await members.in_sync()
    members.kill_host(leader)
    assert "starter" in found(machine, "When does the starter want flour?"), "a standby answers meanwhile"
    eventually(lambda: added(machine, tmp_path / "beans.md", "Sow runner beans after the last frost."), 90)
    assert "beans" in found(machine, "When are beans sown?")
    assert "starter" in found(machine, "When does the starter want flour?")

    connection = await asyncpg.connect(members.database().dsn())
    try:
        await connection.execute("INSERT INTO documents (content) VALUES ('Oil the shears before the winter.')")
    finally:
        await connection.close()
    eventually(lambda: "shears" in found(machine, "What is oiled before winter?"), 60)

    members.repair()
    assert await members.in_sync(seconds=120) == other(leader)
    assert added(machine, tmp_path / "tools.md", "Sharpen the spade with a file.")
    assert "spade" in found(machine, "What is sharpened with a file?")
