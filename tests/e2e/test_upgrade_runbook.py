"""docs/operations/upgrade.md, followed word by word on three machines of their own (tests.hosts), from 16 to 18.

The tests are one story: each begins where the one before it has ended. Needs root and Linux.
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
UPGRADE, INSTALL = Page("upgrade.md"), Page("install.md")
WRITTEN = {"100.64.0.1": "alpha", "100.64.0.2": "beta", "100.64.0.3": "air"}


@pytest.fixture(scope="module")
def site() -> Iterator[dict[str, Machine]]:
    """Three machines with PostgreSQL 16, made as the page on installing says."""
    folder = Path(tempfile.mkdtemp(prefix="aya three machines "))
    folder.chmod(0o755)
    try:
        with machines(folder, WRITTEN, ("alpha", "beta", "air")) as made:
            alpha, beta, air = made["alpha"], made["beta"], made["air"]
            alpha.home.path.mkdir()
            alpha.home.config_file.write_text("[postgres]\nmajor = 16\n", encoding="utf-8")
            (make,) = INSTALL.blocks("ALPHA")
            alpha.type(make)
            for page, machine in (("BETA", beta), ("AIR", air)):
                invite, join = [block for block in INSTALL.blocks(page) if "join" in block]
                alpha.type(invite)
                machine.type(join)
            are(alpha, beta)
            alpha.type("aya add --text 'How to descale the espresso machine'")
            finds(air, "espresso", "descale")
            yield made
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def version(machine: Machine) -> str:
    """Return its PostgreSQL's major version."""
    return str(said(machine)["versions"]["postgresql"]).partition(".")[0]


def test_all_three_become_18(site: dict[str, Machine]) -> None:
    """In the page's order; what was written before is everywhere, and what is written now, too."""
    alpha, beta, air = site["alpha"], site["beta"], site["air"]
    assert [version(machine) for machine in site.values()] == ["16", "16", "16"]
    off, first, second, third = UPGRADE.blocks("The three machines")
    beta.type(off)
    alpha.type(first)
    beta.type(second)
    are(alpha, beta)
    air.type(third)
    assert [version(machine) for machine in site.values()] == ["18", "18", "18"]
    alpha.type("aya add --text 'Written by eighteen'")
    for machine in site.values():
        finds(machine, "espresso", "descale")
        finds(machine, "eighteen", "Written by eighteen")
    alpha.type("aya backup verify")
    alpha.type("aya switchover")
    are(beta, alpha)
    beta.type("aya switchover")
    are(alpha, beta)


def test_there_is_a_way_back(site: dict[str, Machine]) -> None:
    """To what was written before; BETA copies it."""
    alpha, beta = site["alpha"], site["beta"]
    (off, *_) = UPGRADE.blocks("The three machines")
    (back,) = UPGRADE.blocks("Back to the old one")
    beta.type(off)
    eventually(lambda: condition(alpha) == "SOLO", alpha)
    alpha.type("aya down")
    alpha.type(back)
    alpha.type("aya up --detach")
    assert version(alpha) == "16"
    beta.type(back.replace("nodes/alpha", "nodes/beta"))
    beta.type("aya up --detach")
    are(alpha, beta)
    finds(beta, "espresso", "descale")
    assert "Written by eighteen" not in beta.type("aya search eighteen")


def test_what_is_kept_is_removed(site: dict[str, Machine]) -> None:
    """When all is well; AIR was not taken back."""
    (remove,) = UPGRADE.blocks("When all is well")
    site["air"].type(remove)
    assert not list(site["air"].home.path.glob("nodes/*/*-16"))
    finds(site["air"], "espresso", "descale")


def test_every_frame_is_followed() -> None:
    """No command stands on the page that no test here has typed."""
    headings = [part.split("\n")[0] for part in re.split(r"^##+ ", UPGRADE.text, flags=re.MULTILINE)]
    framed = {heading for heading in headings[1:] if UPGRADE.blocks(heading)}
    assert framed == {"The three machines", "Back to the old one", "When all is well"}
