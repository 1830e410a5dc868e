"""Walk through the worlds that two watchdogs can get into, or through mutants of their tables; print what was seen.

python bench/failover_enumeration.py --faults 1              all worlds with one fault at most
python bench/failover_enumeration.py --worlds 300000         the nearest, with any faults
python bench/failover_enumeration.py --mutants --worlds 6000 what finds each guard that is left out
"""

from __future__ import annotations

import argparse
import sys
from dataclasses import replace
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

from tests.model.explore import examined, explored
from tests.model.moves import Bounds
from tests.model.mutants import mutants, spared

from aya_watchdog import decide


def main() -> int:
    """Return 1 when a promise was broken, or a mutant was not found."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--faults", type=int, default=99, help="crashes, restarts, suspicions and orders in one run")
    parser.add_argument("--records", type=int, default=3, help="of a log behind what both nodes have")
    parser.add_argument("--writes", type=int, default=1, help="of clients among them")
    parser.add_argument("--worlds", type=int, default=10**9, help="at most")
    parser.add_argument("--futures", action="store_true", help="look also at what becomes of each world")
    parser.add_argument("--by-hand", action="store_true", help="a person may promote a server by hand")
    parser.add_argument("--lost-files", action="store_true", help="a standby's state file may be gone")
    parser.add_argument("--mutants", action="store_true")
    parser.add_argument("--only", default="", help="mutants with this in their names")
    options = parser.parse_args()
    bounds = Bounds(
        options.records, options.writes, options.faults, by_hand=options.by_hand, lost_files=options.lost_files
    )
    if options.mutants:
        return _mutants(bounds, options.worlds, options.only)
    report = explored(decide, bounds, at_most=options.worlds, futures=options.futures)
    print(report)
    return 1 if report.found else 0


def _mutants(bounds: Bounds, worlds: int, only: str) -> int:
    missed, total = 0, 0
    for mutant in mutants():
        if only not in mutant.name:
            continue
        report = examined(mutant.tables(), bounds, at_most=worlds)
        if not report.found:
            odd = replace(bounds, by_hand=True, lost_files=True)
            report = examined(mutant.tables(), odd, at_most=worlds)
        total += 1
        why = spared(mutant.name)
        missed += not report.found and not why
        found = f"{report.found[:80]} ({len(report.trace)} steps)" if report.found else f"NOT FOUND: {why or 'why?'}"
        print(f"{report.states:6d} {report.seconds:5.1f} s  {mutant.name}: {found}", flush=True)
    print(f"{total} mutants, {missed} not found and not spared")
    return 1 if missed else 0


if __name__ == "__main__":
    sys.exit(main())
