"""docs/operations/failover.md, followed word by word on two real servers: its commands are run as they stand there.

Both nodes are on one machine; `aya dev kill` is the plug that is pulled. Every test leaves the two in sync.
"""

from __future__ import annotations

import asyncio
import re
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import replace
from typing import Any

import asyncpg
import pytest
from tests.runbook import Follower, Page, machine

from aya.errors import AyaError
from aya.postgres.cluster import SUPERUSER
from aya.postgres.provision import superuser_settings
from aya.settings import node_settings
from aya.watchdog_client import WatchdogClient

pytestmark = [pytest.mark.slow, pytest.mark.database, pytest.mark.timeout(400)]
PAGE = Page("failover.md")
NODES = ("alpha", "beta")
LOST = (OSError, TimeoutError, asyncpg.PostgresError, asyncpg.InterfaceError)


class Pair(Follower):
    """A person at the machine of both nodes, and what is seen of them."""

    def status(self, node: str) -> dict[str, Any]:
        """Return what a watchdog says of itself; empty when it says nothing."""

        async def ask() -> dict[str, Any]:
            async with WatchdogClient(self.home, node) as client:
                return await client.status()

        with suppress(AyaError):
            return asyncio.run(ask())
        return {}

    def until(self, holds: Callable[[dict[str, dict[str, Any]]], bool], *, seconds: float = 60.0) -> None:
        """Wait until a condition on what both watchdogs say holds."""
        deadline = time.monotonic() + seconds
        while True:
            seen = {node: self.status(node) for node in NODES}
            if holds(seen):
                return
            told = {node: (one.get("role"), one.get("condition"), one.get("why")) for node, one in seen.items()}
            assert time.monotonic() < deadline, told
            time.sleep(0.05)

    def until_is(self, node: str, condition: str) -> None:
        """Wait until a node is in a condition; one that takes writes also does."""
        solo = condition == "SOLO"
        self.until(lambda seen: seen[node].get("condition") == condition and (not solo or seen[node]["writable"]))

    def in_sync(self, leader: str) -> None:
        """Have both well, with `leader` leading."""
        self.type("aya up --detach")
        self.until(lambda seen: {seen[node].get("condition") for node in NODES} == {"SYNC", "ARMED"})
        if self.status(leader)["role"] != "primary":
            self.type("aya switchover")
            self.until(lambda seen: seen[leader].get("condition") == "SYNC" and is_armed(seen))

    def run(self, node: str, statement: str, *, superuser: bool = False) -> Any:  # noqa: ANN401 - what it gives
        """Run one statement on a node, as the owner or as the superuser, and return its first value."""
        settings = node_settings(self.home, node, environ={}).local
        if superuser:
            known = superuser_settings(self.cluster_of(node), self.home.secrets(node)[SUPERUSER])
            settings = replace(known, options=(("default_transaction_read_only", "off"),))

        async def work() -> Any:  # noqa: ANN401
            connection = await asyncpg.connect(settings.dsn(), timeout=5)
            try:
                return await connection.fetchval(statement)
            finally:
                connection.terminate()

        return asyncio.run(work())

    def add(self, node: str, content: str) -> None:
        """Add a document on one node."""
        self.run(node, f"INSERT INTO documents (content) VALUES ('{content}')")  # noqa: S608 - ours

    def contents(self, node: str) -> set[str]:
        """Return the documents of a node."""
        return set(self.run(node, "SELECT coalesce(array_agg(content), '{}') FROM documents"))

    def log(self, node: str) -> str:
        """Return what a watchdog has logged."""
        return (self.home.log_directory(node) / "watchdog.log").read_text(encoding="utf-8")


def is_armed(seen: dict[str, dict[str, Any]]) -> bool:
    """Return whether one of both may take over."""
    return any(one.get("condition") == "ARMED" for one in seen.values())


@pytest.fixture(scope="module")
def made() -> Iterator[Pair]:
    """A machine with both servers."""
    with machine("alpha,beta") as person:
        yield Pair(person.home, str(person.programs))


@pytest.fixture
def person(made: Pair) -> Iterator[Pair]:
    """At a machine whose servers are in sync; alpha leads. What the watchdogs said is shown when a test fails."""
    made.in_sync("alpha")
    yield made
    for node in NODES:
        sys.stdout.write(f"{node}: {made.log(node)[-10_000:]}\n")


def follow(person: Pair, heading: str, node: str = "") -> None:
    """Type everything that is framed under a heading, in order. node: what NODE stands for."""
    for commands in PAGE.blocks(heading):
        person.type(commands, NODE=node)


def test_every_frame_is_followed() -> None:
    """No command stands on the page that no test here has typed."""
    headings = [part.split("\n")[0] for part in re.split(r"^##+ ", PAGE.text, flags=re.MULTILINE)]
    framed = {heading for heading in headings[1:] if PAGE.blocks(heading)}
    assert framed == FOLLOWED


def test_alpha_is_gone_and_comes_back(person: Pair) -> None:
    """The plug is pulled; beta leads; alpha is brought back step by step, and leads again."""
    person.add("alpha", "written before")
    person.type("aya dev kill alpha")
    person.until_is("beta", "SOLO")
    history, _ = person.type(PAGE.blocks("ALPHA is gone")[0]).split("NODE")[0:2]
    assert history.splitlines()[1].split()[1] == "beta"
    person.add("beta", "written meanwhile")
    start, wait, look, lead, anew = PAGE.blocks("ALPHA comes back")
    person.type(start)
    assert "SYNC" in (said := person.type(wait))
    assert "ARMED" in said
    assert person.type(look) == "nothing\n"
    assert person.type(lead).splitlines()[-1]
    assert person.status("alpha")["role"] == "primary"
    person.in_sync("beta")
    person.type(anew)
    person.until(is_armed)
    assert person.contents("alpha") == person.contents("beta") >= {"written before", "written meanwhile"}


def test_what_only_alpha_had_is_brought_in(person: Pair) -> None:
    """A commit that waited when the link broke: alpha keeps it in a file, and a person takes it from there."""
    person.type("aya dev cut link")
    with pytest.raises(LOST):
        person.add("alpha", "nobody acknowledged this")
    person.until_is("beta", "SOLO")
    person.type("aya dev heal link")
    person.until(lambda seen: seen["beta"].get("condition") == "SYNC" and is_armed(seen))
    assert "nobody acknowledged this" not in person.contents("beta")
    follow(person, "What only one node had", node="alpha")
    assert "nobody acknowledged this" in person.contents("beta")
    remove(person, "alpha")


def remove(person: Pair, node: str) -> None:
    """Forget what a node kept."""
    for file in (person.home.node_directory(node) / "only-here").iterdir():
        file.unlink()


def test_what_could_not_be_kept_is_not_removed(person: Pair) -> None:
    """The file cannot be made: alpha is copied anew, and a person finds what it had beside the copy."""
    barred = person.home.node_directory("alpha") / "only-here"
    shutil.rmtree(barred, ignore_errors=True)
    barred.touch()
    person.type("aya dev cut link")
    with pytest.raises(LOST):
        person.add("alpha", "nobody acknowledged this, or kept it")
    person.until_is("beta", "SOLO")
    person.type("aya dev heal link")
    person.until(lambda seen: seen["beta"].get("condition") == "SYNC" and is_armed(seen))
    barred.unlink()
    assert "nobody acknowledged this, or kept it" not in person.contents("alpha")
    look, bring = PAGE.blocks("What could not be kept")
    person.type(look, owner=True, NODE="alpha")
    assert "unkept" in person.type("aya doctor", expect=None)
    person.type(bring, NODE="alpha")
    assert "nobody acknowledged this, or kept it" in person.contents("beta")
    assert "unkept" not in person.type("aya doctor", expect=None)


def test_beta_is_made_to_lead_by_hand(person: Pair) -> None:
    """Once by the watchdog, once with pg_ctl: either way the other follows by itself."""
    order, promote = PAGE.blocks("By hand")
    person.type(order)
    person.until(lambda seen: seen["beta"].get("condition") == "SYNC" and is_armed(seen))
    person.in_sync("alpha")
    person.type(promote, owner=True)
    person.until(lambda seen: seen["beta"].get("condition") == "SYNC" and is_armed(seen))
    assert "a person has promoted the server" in person.type("aya history")


def test_a_primary_goes_on_without_its_standby(person: Pair) -> None:
    """FENCED, then SOLO on a person's word, then in sync again."""
    person.type("aya dev kill beta")
    person.until_is("alpha", "FENCED")
    with pytest.raises(LOST):
        person.add("alpha", "refused")
    follow(person, "FENCED")
    person.add("alpha", "acknowledged by one")
    follow(person, "SOLO")
    person.until(lambda seen: seen["alpha"].get("condition") == "SYNC" and is_armed(seen))
    assert "acknowledged by one" in person.contents("beta")


def test_a_standby_that_lacks_rows_is_made_to_lead(person: Pair) -> None:
    """STRANDED; what the primary had acknowledged alone is gone, and is in a file when its disk runs again."""
    person.type("aya dev kill beta")
    person.until_is("alpha", "FENCED")
    follow(person, "FENCED")
    person.add("alpha", "on one disk only")
    person.type("aya dev kill alpha")
    person.type("aya dev heal beta")
    person.until_is("beta", "STRANDED")
    follow(person, "STRANDED")
    person.add("beta", "life goes on")
    follow(person, "SOLO")
    person.until(lambda seen: seen["beta"].get("condition") == "SYNC" and is_armed(seen))
    assert "on one disk only" not in person.contents("beta")
    follow(person, "What only one node had", node="alpha")
    assert {"on one disk only", "life goes on"} <= person.contents("alpha")
    remove(person, "alpha")


def stray(person: Pair) -> None:
    """Promote beta by hand while it is not armed: alpha's watchdog is paused, and beta has just been restarted."""
    person.type("aya pause --node alpha")
    person.type("aya dev kill beta")
    person.type("aya dev heal beta")
    person.until(lambda seen: seen["beta"].get("condition") == "FOLLOW" and seen["beta"]["in_recovery"])
    person.type(PAGE.blocks("By hand")[1], owner=True)
    person.until_is("beta", "STRAY")
    with pytest.raises(LOST):
        person.add("beta", "refused")


def test_a_stray_is_led_back(person: Pair) -> None:
    """And the pause is ended."""
    stray(person)
    follow(person, "Paused")
    person.type(PAGE.blocks("STRAY")[0], NODE="beta")
    person.until(lambda seen: seen["alpha"].get("condition") == "SYNC" and is_armed(seen))


def test_a_stray_is_kept(person: Pair) -> None:
    """The other is off for good; then it was not after all, and follows."""
    stray(person)
    person.type("aya dev kill alpha")
    person.type(PAGE.blocks("STRAY")[1])
    person.until_is("beta", "SOLO")
    person.add("beta", "after the stray")
    follow(person, "SOLO")
    person.until(lambda seen: seen["beta"].get("condition") == "SYNC" and is_armed(seen))
    assert "after the stray" in person.contents("alpha")


def test_a_slot_is_lost(person: Pair) -> None:
    """The standby copies itself anew; a person may ask for it, too."""
    person.type("aya dev kill beta")
    person.until_is("alpha", "FENCED")
    follow(person, "FENCED")
    slot = "SELECT pg_walfile_name(restart_lsn) FROM pg_replication_slots WHERE slot_name = 'beta_slot'"
    needed = person.run("alpha", slot, superuser=True)
    person.run("alpha", "ALTER SYSTEM SET max_slot_wal_keep_size = '1MB'", superuser=True)
    person.run("alpha", "ALTER SYSTEM SET wal_keep_size = 0", superuser=True)
    person.run("alpha", "SELECT pg_reload_conf()", superuser=True)
    for _ in range(40):
        person.run("alpha", "SELECT pg_logical_emit_message(false, 'filler', ''), pg_switch_wal()", superuser=True)
        person.run("alpha", "CHECKPOINT", superuser=True)
        if needed not in person.run("alpha", "SELECT array_agg(name) FROM pg_ls_waldir()", superuser=True):
            break
    else:
        raise AssertionError(f"{needed} is still there")
    person.run("alpha", "ALTER SYSTEM RESET ALL", superuser=True)
    person.run("alpha", "SELECT pg_reload_conf()", superuser=True)
    follow(person, "SOLO")
    person.until(lambda seen: seen["alpha"].get("condition") == "SYNC" and is_armed(seen))
    assert "cluster.copied" in person.log("beta")
    follow(person, "A slot is lost", node="beta")


@pytest.mark.parametrize("how", ["gone", "damaged"])
def test_a_watchdogs_file_is_lost(person: Pair, how: str) -> None:
    """Its node starts nothing, and copies the one that leads."""
    person.type("aya dev kill alpha")
    person.until_is("beta", "SOLO")
    file = person.home.node_directory("alpha") / "watchdog.json"
    file.unlink() if how == "gone" else file.write_text('{"version": 1}', encoding="utf-8")
    person.type("aya up --detach", expect=1)
    follow(person, "A watchdog's file is lost", node="alpha")
    person.until(lambda seen: seen["beta"].get("condition") == "SYNC" and is_armed(seen))


def test_a_certificate_is_made_anew(person: Pair) -> None:
    """The other knows it by the authority that signed it."""
    follow(person, "Certificates", node="beta")
    person.until(lambda seen: seen["alpha"].get("condition") == "SYNC" and is_armed(seen))


def test_both_take_writes(person: Pair) -> None:
    """A person's word was false: the earlier epoch gives way, and what it acknowledged is in a file."""
    person.type("aya dev cut link")
    person.until_is("beta", "SOLO")
    follow(person, "FENCED")
    person.add("alpha", "acknowledged by mistake")
    person.add("beta", "acknowledged rightly")
    (look,) = PAGE.blocks("Both take writes")
    epochs = [person.type(look, NODE=node).splitlines()[1].split()[:2] for node in NODES]
    assert [name for _, name in epochs] == ["alpha", "beta"]
    assert int(epochs[1][0]) == int(epochs[0][0]) + 1
    person.type("aya dev kill alpha")
    person.type("aya dev heal link")
    start, wait, kept, *_ = PAGE.blocks("ALPHA comes back")
    person.type(start)
    person.type(wait)
    assert "only-here" in person.type(kept)
    follow(person, "What only one node had", node="alpha")
    assert {"acknowledged by mistake", "acknowledged rightly"} <= person.contents("alpha")
    remove(person, "alpha")


def test_a_failover_is_tried(person: Pair) -> None:
    """There and back; nothing is rewound or copied."""
    before = person.log("alpha").count("cluster.rewound") + person.log("beta").count("cluster.rewound")
    follow(person, "Planned work")
    assert person.status("alpha")["role"] == "primary"
    assert person.log("alpha").count("cluster.rewound") + person.log("beta").count("cluster.rewound") == before


FOLLOWED = {
    "ALPHA is gone", "ALPHA comes back", "What only one node had", "What could not be kept", "By hand", "SOLO",
    "FENCED", "STRANDED", "STRAY", "Paused", "A slot is lost", "A watchdog's file is lost", "Certificates",
    "Both take writes", "Planned work",
}  # fmt: skip
