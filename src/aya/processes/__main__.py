"""`python -m aya.processes lint launchd/`: exit code 0, or 1 with every problem of every plist in words."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path

from aya.processes.lint import LABEL, parse_plist, problems

_USAGE = "usage: python -m aya.processes lint DIRECTORY|FILE…"


def main(arguments: Sequence[str]) -> int:
    """Lint what is named; return the exit code (2: the call itself was wrong)."""
    if len(arguments) < 2 or arguments[0] != "lint":  # noqa: PLR2004 - the word lint and a path
        sys.stderr.write(_USAGE + "\n")
        return 2
    plists = [file for name in arguments[1:] for file in _plists(Path(name))]
    found = [f"{file}: {problem}" for file in plists for problem in lint_file(file)]
    for problem in found or ([] if plists else ["no plist there"]):
        sys.stderr.write(f"{problem}\n")
    if plists and not found:
        sys.stdout.write(f"{len(plists)} plists are good\n")
    return 0 if plists and not found else 1


def lint_file(file: Path) -> list[str]:
    """Return what is wrong with one file, its name included."""
    try:
        plist = parse_plist(file.read_bytes())
    except (OSError, ValueError) as error:
        return [str(error)]
    found = problems(plist)
    label = LABEL.fullmatch(str(plist.get("Label")))
    if label and file.name not in {f"com.aya.{label['service']}.plist", f"{label[0]}.plist"}:
        found.append(f"its name does not belong to the label {label[0]}")
    return found


def _plists(path: Path) -> list[Path]:
    return sorted(path.glob("*.plist")) if path.is_dir() else [path]


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
