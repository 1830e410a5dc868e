"""docs/operations/install.md and moving.md, followed word by word on three machines of their own (tests.hosts).

The tests are one story: each begins where the one before it has ended. Needs root and Linux; where CI runs there, it
may not be skipped.
"""

from __future__ import annotations

import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.failover.network import is_possible
from tests.hosts import NEEDED, Machine, are, condition, eventually, finds, machines, said
from tests.runbook import Page

pytestmark = [
    pytest.mark.slow,
    pytest.mark.database,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not (NEEDED or is_possible()), reason="namespaces cannot be made here: root on Linux"),
]
INSTALL, MOVING = Page("install.md"), Page("moving.md")
WRITTEN = {
    "100.64.0.1": "alpha", "100.64.0.2": "beta", "100.64.0.3": "air", "100.64.0.5": "new", "100.64.0.6": "",
}  # fmt: skip
DEGRADED = 3


@pytest.fixture(scope="module")
def site() -> Iterator[dict[str, Machine]]:
    """Three machines with nothing on them, and a fourth that is to take BETA's place."""
    folder = Path(tempfile.mkdtemp(prefix="aya three machines "))
    folder.chmod(0o755)
    try:
        with machines(folder, WRITTEN, ("alpha", "beta", "air", "new")) as made:
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def test_alpha_is_made(site: dict[str, Machine]) -> None:
    """Looked at first, which changes nothing."""
    alpha = site["alpha"]
    (look,) = INSTALL.blocks("What is there already")
    assert "nothing was changed" in alpha.type(look, answer="")
    assert not alpha.home.config_file.exists()
    (make,) = INSTALL.blocks("ALPHA")
    assert "alpha is ready" in alpha.type(make)
    alpha.type("aya status", expect=DEGRADED)
    assert condition(alpha) == "SOLO"
    alpha.type("aya add --text 'How to descale the espresso machine'")


def test_beta_joins(site: dict[str, Machine]) -> None:
    """By one file, which is gone afterwards on both."""
    invite, join, look = INSTALL.blocks("BETA")
    site["alpha"].type(invite)
    assert "beta is ready" in site["beta"].type(join)
    are(site["alpha"], site["beta"])
    site["alpha"].type(look)
    site["beta"].type(look)
    assert not [file for name in ("alpha", "beta") for file in site[name].folder.glob("*.aya-join")]


def test_air_joins(site: dict[str, Machine]) -> None:
    """It finds what is at ALPHA, and sends what it makes; every service of every machine runs."""
    alpha, beta, air = site["alpha"], site["beta"], site["air"]
    let_in, there, invite, join = INSTALL.blocks("AIR")
    alpha.type(let_in)
    beta.type(there)
    alpha.type(invite)
    assert "air is ready" in air.type(join)
    finds(air, "espresso", "descale")
    air.type("aya add --text 'A note on bread'")
    finds(alpha, "bread", "A note on bread")
    finds(beta, "bread", "A note on bread")
    assert "No open conflicts" in air.type("aya conflicts")
    for machine in (alpha, beta, air):
        eventually(lambda m=machine: {one["state"] for one in said(m)["services"]} == {"running"}, machine)  # type: ignore[misc]
        machine.type("aya status")


def test_betas_machine_is_replaced(site: dict[str, Machine]) -> None:
    """By one with another address, while ALPHA goes on."""
    alpha, air, new = site["alpha"], site["air"], site["new"]
    site["beta"].pull_the_plug()
    eventually(lambda: condition(alpha) == "FENCED", alpha)
    off, invite, join, tell = MOVING.blocks("BETA's machine is replaced")
    alpha.type(off)
    new.stands_for("beta")
    alpha.type(invite)
    assert "beta is ready" in new.type(join)
    are(alpha, new)
    air.type(tell)
    finds(new, "espresso", "descale")


def test_alphas_machine_is_replaced(site: dict[str, Machine]) -> None:
    """BETA leads, invites it, and gives the lead back; AIR follows whoever leads."""
    alpha, beta, air = site["alpha"], site["new"], site["air"]
    alpha.pull_the_plug()
    alpha.lose_the_disk()
    alpha.switch_on()
    eventually(lambda: condition(beta) == "SOLO", beta)
    eventually(lambda: "indexed" in beta.type("aya add --text 'Written while BETA led'", expect=None), beta)
    finds(air, "while BETA led", "Written while BETA led")
    invite, join, lead = MOVING.blocks("ALPHA's machine is replaced")
    beta.type(invite)
    assert "alpha is ready" in alpha.type(join)
    are(beta, alpha)
    beta.type(lead)
    are(alpha, beta)
    finds(alpha, "while BETA led", "Written while BETA led")


def test_airs_machine_is_replaced(site: dict[str, Machine]) -> None:
    """A new laptop gets everything."""
    alpha, air = site["alpha"], site["air"]
    air.pull_the_plug()
    air.lose_the_disk()
    air.switch_on()
    *_, invite, join = INSTALL.blocks("AIR")
    alpha.type(invite)
    assert "air is ready" in air.type(join)
    finds(air, "espresso", "descale")


def test_a_servers_address_changes(site: dict[str, Machine]) -> None:
    """BETA's; its old one is gone from the network."""
    alpha, beta, air = site["alpha"], site["new"], site["air"]
    beta.move_to("100.64.0.6")
    (change,) = MOVING.blocks("A server's address changes")
    for machine, node in ((beta, "beta"), (alpha, "alpha"), (air, "air")):
        machine.type(change, NODE=node)
    are(alpha, beta)
    alpha.type("aya switchover")
    are(beta, alpha)
    beta.type("aya add --text 'Written at the new address'")
    finds(air, "new address", "Written at the new address")


def test_a_node_moves_to_another_disk(site: dict[str, Machine]) -> None:
    """AIR's, by hand; what it has is there afterwards."""
    air = site["air"]
    (move,) = MOVING.blocks("To another disk")
    disk = air.folder / "Big disk"
    disk.mkdir()
    air.type(move.replace("/Volumes/Big", str(disk)))
    finds(air, "espresso", "descale")
    assert (air.home.path / "nodes").resolve() == disk / "aya"


@pytest.mark.parametrize(
    ("page", "followed"),
    [
        (INSTALL, {"What is there already", "ALPHA", "BETA", "AIR"}),
        (
            MOVING,
            {
                "BETA's machine is replaced", "ALPHA's machine is replaced", "A server's address changes",
                "To another disk",
            },
        ),
    ],
)  # fmt: skip
def test_every_frame_is_followed(page: Page, followed: set[str]) -> None:
    """No command stands on a page that no test here has typed."""
    headings = [part.split("\n")[0] for part in re.split(r"^##+ ", page.text, flags=re.MULTILINE)]
    assert {heading for heading in headings[1:] if page.blocks(heading)} == followed
