"""AIR's sync under faults: two real servers, the daemon as a process, a wire between them that fails.

    python bench/sync_rounds.py rounds [--count 100] [--seed N]   random faults while both sides are written

After each round both come to rest and are compared row for row, and with what every client was told
(tests/sync/oracle.py). Exit code 1: a promise was broken.
"""

from __future__ import annotations

import argparse
import asyncio
import random
import shutil
import sys
import tempfile
import time
from collections import Counter
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from tests.sync import faults
from tests.sync.lab import lab


async def rounds(count: int, seed: int, directory: Path) -> int:
    """Go through random faults; print each, and what was counted."""
    began, befell, last = time.monotonic(), Counter[str](), 0
    print(f"seed {seed}, {count} rounds", flush=True)

    def told(number: int, done: faults.Round) -> None:
        nonlocal last
        befell.update(done.names)
        last = done.conflicts
        words = f"kept {done.kept}, conflicts {done.conflicts}: {', '.join(done.names)}"
        print(f"{number:4d}  {done.seconds:5.1f} s  {words}", flush=True)

    async with lab(directory) as made:
        try:
            journal = await faults.rounds(made, seed, count, told=told)
        except AssertionError as error:
            print(error)
            return 1
        print(f"{count} rounds in {(time.monotonic() - began) / 60:.1f} min; died {len(made.deaths)} times on purpose")
    kept, undone, unknown = (journal.count(state) for state in ("kept", "not kept", "unknown"))
    print(f"kept {kept}, lost 0, doubled 0; rolled back {undone}, unknown {unknown}; conflicts {last}")
    print("  ".join(f"{name} {times}" for name, times in sorted(befell.items())))
    return 0


def main() -> int:
    """Read the command line and run."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(dest="command", required=True)
    safe = commands.add_parser("rounds")
    safe.add_argument("--count", type=int, default=100)
    safe.add_argument("--seed", type=int, default=random.randrange(10**6))  # noqa: S311 - to be repeated
    safe.add_argument("--keep", action="store_true", help="leave the directory, with the logs")
    given = parser.parse_args()
    directory = Path(tempfile.mkdtemp(prefix="aya-sync-"))
    directory.chmod(0o755)
    try:
        return asyncio.run(rounds(given.count, given.seed, directory))
    finally:
        if given.keep:
            print(directory)
        else:
            shutil.rmtree(directory, ignore_errors=True)


if __name__ == "__main__":
    sys.exit(main())
