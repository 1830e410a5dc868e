"""An agent ends at every step of the protocol, one after the other, on real servers. Root on Linux is best (hosts).

    python bench/failover_crashes.py [--scenario failover …] [--only alone|server] [--match "the standby's intend"]

Each scenario is gone through once to see which steps there are; then again for each of them, with an agent that ends
there, alone and with its server, and is started again as launchd would. After each both are in SYNC, every acknowledged
row is there, and no epoch came again. Exit code 1: not so.
"""

from __future__ import annotations

import argparse
import asyncio
import shutil
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Generator
from contextlib import contextmanager, nullcontext
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.failover import clients, crashes
from tests.failover.clients import Journal
from tests.failover.crashes import Crash
from tests.failover.lab import NODES, Lab, lab
from tests.failover.network import is_possible, network


async def run(scenarios: list[str], *, servers: list[bool], match: str) -> int:
    """Go through them; print each crash, and what was counted."""
    with _directory() as directory, network(*NODES) if is_possible() else nullcontext() as hosts:
        async with lab(directory / "home", hosts, extras=["steps"]) as pair:
            await clients.prepare(pair.database())
            return await _all(pair, scenarios, servers, match)


@contextmanager
def _directory() -> Generator[Path]:
    directory = Path(tempfile.mkdtemp(prefix="aya-crashes-"))
    directory.chmod(0o755)
    try:
        yield directory
    finally:
        shutil.rmtree(directory, ignore_errors=True)


async def _all(pair: Lab, scenarios: list[str], servers: list[bool], match: str) -> int:
    journal, epoch, missed, counted = Journal(), 0, list[Crash](), Counter[str]()
    began = time.monotonic()
    for scenario in scenarios:
        found = await crashes.steps(pair, scenario)
        lacking = crashes.ACTIONS[scenario] - {crash.step.split(":")[0] for crash in found}
        if lacking:
            print(f"{scenario}: nobody came by {', '.join(sorted(lacking))}")
            return 1
        wanted = [each for each in found if match in str(each)]
        for crash in [replace(each, server=server) for each in wanted for server in servers]:
            at = time.monotonic()
            try:
                did, epoch = await crashes.endure(pair, crash, journal, epoch)
            except AssertionError as error:
                print(f"{crash}: {error}")
                return 1
            counted[scenario] += did
            missed += [] if did else [crash]
            told = "" if did else "  (nobody came by there)"
            print(f"{time.monotonic() - at:5.1f} s  epoch {epoch}  {crash}{told}", flush=True)
    print(
        f"{counted.total()} crashes in {(time.monotonic() - began) / 60:.0f} min: {dict(counted)}; {len(missed)} missed"
    )
    print(f"acknowledged {len(journal.acknowledged)}, lost 0; unknown {len(journal.unknown)}")
    return 0


def main() -> int:
    """Read the command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--scenario", nargs="+", choices=crashes.SCENARIOS, default=list(crashes.SCENARIOS))
    parser.add_argument("--only", choices=["alone", "server"])
    parser.add_argument("--match", default="", help="only steps with these words, as they are printed")
    given = parser.parse_args()
    servers = [False, True] if given.only is None else [given.only == "server"]
    return asyncio.run(run(given.scenario, servers=servers, match=given.match))


if __name__ == "__main__":
    sys.exit(main())
