"""Which files a walk leaves out: the rules of .gitignore and .ayaignore, nested, with negations, as git reads them."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from pathspec import GitIgnoreSpec

RULE_FILES = (".gitignore", ".ayaignore")
"""In the order in which they speak: what the second says goes before what the first says."""
LONGEST_RULES = 1024 * 1024
"""A file of rules with more bytes is not one."""


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules that hold in a folder, outermost first: the last that matches decides (gitignore(5)).

    A folder that is left out is not entered, so nothing inside it can be taken back in, as with git.
    """

    specs: tuple[tuple[str, GitIgnoreSpec], ...] = ()

    def __bool__(self) -> bool:
        return bool(self.specs)

    def ignore(self, path: Path, *, folder: bool) -> bool:
        """Return whether an entry is left out; path: below the folders that the rules stand in."""
        absolute = os.path.abspath(path)  # noqa: PTH100 (Path.absolute keeps "..")
        for base, spec in reversed(self.specs):
            decided = spec.check_file(os.path.relpath(absolute, base) + ("/" if folder else "")).include
            if decided is not None:
                return decided
        return False


NO_RULES = Rules()


def rules_in(folder: Path, above: Rules) -> Rules:
    """Return the rules that hold in `folder`: those above and those in its own files. What cannot be read is none."""
    own = [spec for name in RULE_FILES if (spec := _spec(folder / name)) is not None]
    base = os.path.abspath(folder)  # noqa: PTH100
    return Rules((*above.specs, *((base, spec) for spec in own))) if own else above


def rules_above(folder: Path) -> Rules:
    """Return the rules that the folders above `folder` set, up to the top of its git work tree; none outside of one.

    A folder that those rules leave out was named all the same: then they do not hold in it.
    """
    absolute = Path(os.path.abspath(folder))  # noqa: PTH100
    top = next((each for each in (absolute, *absolute.parents) if os.path.lexists(each / ".git")), absolute)
    rules = NO_RULES
    for each in reversed(list(_between(top, absolute))):
        rules = rules_in(each, rules)
        below = absolute.relative_to(each).parts[0]
        if rules.ignore(each / below, folder=True):
            return NO_RULES
    return rules


def _between(top: Path, folder: Path) -> Iterable[Path]:
    """Yield the folders above `folder`, from the nearest up to `top`."""
    return (each for each in folder.parents if each == top or top in each.parents)


def _spec(path: Path) -> GitIgnoreSpec | None:
    """Return a file's rules; None where there is no such regular file, or no rule in it."""
    try:
        if not path.is_file() or path.stat().st_size > LONGEST_RULES:
            return None
        lines = path.read_bytes().decode("utf-8-sig", "surrogateescape").split("\n")
    except (OSError, ValueError):
        return None
    return _parsed(lines)


def _parsed(lines: list[str]) -> GitIgnoreSpec | None:
    """Return the rules in some lines; a line that is no pattern is left out, as git does."""
    good = [
        line
        for line in (each.removesuffix("\r") for each in lines)
        if line.strip() and not line.startswith("#") and _is_pattern(line)
    ]
    return GitIgnoreSpec.from_lines(good) if good else None


def _is_pattern(line: str) -> bool:
    try:
        GitIgnoreSpec.from_lines([line])
    except ValueError:
        return False
    return True
